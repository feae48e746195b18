"""Where inputs come from that are neither files here nor outputs of jobs: the port of sources, one for each scheme.

A source says what is wrong with a URL, and opens what it names as a stream of bytes. What all of them need is done
once, in `fetching`: resuming, limits of size and of tries, the digest, the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from nexapod_batch.errors import DescriptorError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = [
    "EXTRAS", "LISTING", "NETWORK_VARIABLES", "ListingSource", "NoRoomError", "Opened", "Source", "SourceError",
    "SourceSettings",
]  # fmt: skip

#: Extras of this package that bring what a scheme needs.
EXTRAS: Mapping[str, str] = {"s3": "s3"}
#: Schemes whose sources are `ListingSource`s.
LISTING = frozenset({"s3"})
#: Variables of the environment by which servers are reached, in lower case: proxies, and whose certificates are good.
NETWORK_VARIABLES = frozenset({"http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir"})


class SourceError(DescriptorError):
    """What an input names cannot be had as it is named: another try would not help."""


class NoRoomError(TryAgainError):
    """The disk has no room for an input."""


class SourceSettings(NamedTuple):
    """What the account lets sources do, and by which ways they go."""

    max_bytes: int = 1 << 40  # of one input
    private_hosts: tuple[str, ...] = ()  # hosts whose addresses may be private ones
    gateways: tuple[str, ...] = ()  # of IPFS
    environ: Mapping[str, str] = {}
    scratch: Path | None = None  # a folder for what is put together before it is whole; None: that of the system
    window_s: float = 120.0  # seconds in each of which some KiB must come


class Opened(NamedTuple):
    """A stream that was opened."""

    start: int  # the byte that it begins with: the one asked for, or 0
    size: int | None  # bytes of the whole; None where nobody says
    version: str  # what names these very bytes there; "" where nothing does, and a part is worth nothing
    blocks: Iterator[bytes]
    instead: str = ""  # what came in the place of the file, as far as one can see: a web page, packed bytes


class Source(Protocol):
    """One scheme of URLs."""

    def refusal(self, url: str) -> str:
        """Return why a URL cannot be used, in a few words; "" where it can. Nobody is asked.

        Args:
            url: As the descriptor has it.

        """
        ...

    def open(
        self, url: str, start: int, version: str, settings: SourceSettings
    ) -> AbstractContextManager[Opened]:
        """Open what a URL names.

        Args:
            url: One that is not refused.
            start: The first byte that is wanted; what has another version by now is opened from its beginning.
            version: That of the bytes before `start`.
            settings: What is allowed.

        Raises:
            SourceError: It is not there, or not to be had by us.
            UnreachableError: Nobody answers, or not now.
            OSError: The connection broke; so may the blocks raise it.

        """
        ...


class ListingSource(Source, Protocol):
    """One that can say what there is."""

    def listed(self, url: str, limit: int, settings: SourceSettings) -> list[tuple[str, str]]:
        """Return the URL of each file that a pattern takes, and its name as the pattern spells it, sorted.

        Args:
            url: With `*`, `**` or `[...]` in its path.
            limit: How many there may be.
            settings: What is allowed.

        Raises:
            SourceError: There are none, too many, or one whose name is no plain path.
            UnreachableError: Nobody answers, or not now.

        """
        ...

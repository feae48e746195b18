"""`ipfs://CID/path`: files by their content, from gateways that need not be trusted.

A gateway sends the blocks of the file as a CAR, in whatever order; each is compared with its CID as it comes, and the
file is put together from the root that the URL names. What a gateway says is therefore believed in nothing. Several are
tried, in the order of the setting.
"""

from __future__ import annotations

import http.client
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import quote, unquote, urlsplit

from nexapod_batch import __version__
from nexapod_batch.errors import UnreachableError
from nexapod_batch.sources import Opened, SourceError, web
from nexapod_batch.sources.addresses import GuardedHttp, GuardedHttps
from nexapod_batch.sources.car import blocks
from nexapod_batch.sources.cids import RAW, Cid, CidError
from nexapod_batch.sources.slowness import Watch
from nexapod_batch.sources.unixfs import file_bytes, linked, missing, size_of, understood

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from nexapod_batch.sources import SourceSettings

__all__ = ["IpfsSource"]

_CAR = "application/vnd.ipld.car"
#: What a CAR may have beyond the bytes of its file: nodes, names of blocks.
_MORE = 64 << 20


class IpfsSource:
    """Files of IPFS."""

    def refusal(self, url: str) -> str:
        """Return why a URL cannot be used."""
        if "?" in url or "#" in url:
            return "it may have a path and nothing else; in a name ? is %3F and # is %23"
        try:
            cid, names = _parts(url)
        except ValueError:
            return "its path is no text"
        try:
            Cid.parse(cid)
        except CidError as error:
            return str(error)
        if any(name in {"", ".", ".."} or "\0" in name for name in names):
            return "its path names no file"
        return ""

    @contextmanager
    def open(self, url: str, start: int, version: str, settings: SourceSettings) -> Iterator[Opened]:  # noqa: ARG002 - a CAR begins at its root
        """Fetch and verify the blocks of a file, and open it.

        Raises:
            SourceError: It is no file, or too large.
            UnreachableError: No gateway sent it as it is.

        """
        text, names = _parts(url)
        refused: list[str] = []
        for gateway in settings.gateways:
            with tempfile.TemporaryFile(dir=settings.scratch) as scratch:
                try:
                    kept = _Kept(scratch)
                    _gather(kept, gateway, text, names, settings)
                    root = _found(kept, Cid.parse(text), names)
                    size = size_of(understood(root, kept.block(root)))
                    absent = missing(root, kept.looked_at)
                    if absent is not None:
                        raise CidError(f"block {absent} did not come")
                except (CidError, SourceError, OSError, http.client.HTTPException) as error:
                    refused.append(f"{gateway}: {_line(error)}")
                    continue
                yield Opened(0, size, "", _bytes(kept, root))
                return
        hint = "[sources] gateways of config.toml names others"
        raise UnreachableError(f"{url} came from no gateway", got="; ".join(refused) or "there is none", hint=hint)


def _parts(url: str) -> tuple[str, list[str]]:
    """Return the CID and the names behind it."""
    cid, *names = unquote(url.partition("://")[2], errors="strict").split("/")
    return cid, names


class _Kept:
    """Blocks that were verified, in a file."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self._scratch = scratch
        self._where: dict[Cid, tuple[int, int]] = {}
        self.bytes = 0

    def add(self, cid: Cid, block: bytes) -> None:
        if cid not in self._where:
            self._where[cid] = self.bytes, len(block)
            self._scratch.write(block)
            self.bytes += len(block)

    def looked_at(self, cid: Cid) -> bytes | None:
        """Return a block as far as links are concerned: raw ones have none."""
        if cid not in self._where:
            return None
        return b"" if cid.codec == RAW else self.block(cid)

    def block(self, cid: Cid) -> bytes:
        if cid not in self._where:
            raise CidError(f"block {cid} did not come")
        at, size = self._where[cid]
        self._scratch.seek(at)
        return self._scratch.read(size)


def _gather(kept: _Kept, gateway: str, cid: str, names: list[str], settings: SourceSettings) -> None:
    """Keep all blocks that a gateway sends for a path."""
    path = "/".join(quote(name, safe="") for name in [cid, *names])
    url = f"{gateway.rstrip('/')}/ipfs/{path}?format=car&dag-scope=entity"
    agent = f"nexapod-batch/{__version__}"
    request = urllib.request.Request(url, headers={"User-Agent": agent, "Accept": _CAR})  # noqa: S310 - the account's own setting
    hosts = (*settings.private_hosts, urlsplit(gateway).hostname or "")
    with Watch(settings.window_s) as watch, _asked(request, hosts, watch) as answer:
        if answer.headers.get_content_type() != _CAR:
            raise CidError(f"it sent {answer.headers.get_content_type()}, not a CAR")
        looked = _MORE  # bytes after which it is looked at how many there should be
        for found, block in blocks(watch.counted(web.blocks(answer))):
            kept.add(found, block)
            if kept.bytes > looked:
                _check_amount(kept, Cid.parse(cid), names, settings)
                looked = 2 * kept.bytes


def _asked(
    request: urllib.request.Request, hosts: tuple[str, ...], watch: Watch
) -> AbstractContextManager[http.client.HTTPResponse]:
    """Return the answer of a gateway, which may redirect: by HTTP, and to private addresses of these hosts alone."""
    client = web.opener(GuardedHttp(hosts, watch), GuardedHttps(hosts, watch), web.Redirects(_led_away))
    try:
        return cast("http.client.HTTPResponse", client.open(request, timeout=web.TIMEOUT_S))
    except (OSError, http.client.HTTPException):
        watch.check()
        raise


def _led_away(url: str, there: str) -> CidError | None:
    if url.startswith("https:") and not there.startswith("https:"):
        return CidError(f"it leads elsewhere: {there[:200]}")
    return None


def _check_amount(kept: _Kept, root: Cid, names: list[str], settings: SourceSettings) -> None:
    """Raise CidError where more came than the file has, or may have."""
    try:
        node = _found(kept, root, names)
        most = min(size_of(understood(node, kept.block(node))), settings.max_bytes)
    except CidError:  # its root has not come yet
        most = settings.max_bytes
    if kept.bytes > most + most // 8 + _MORE:
        raise CidError(f"it sends more than the {most} bytes of the file")


def _found(kept: _Kept, root: Cid, names: list[str]) -> Cid:
    """Return the CID of what a path leads to."""
    for name in names:
        root = linked(understood(root, kept.block(root)), name)
    return root


def _bytes(kept: _Kept, root: Cid) -> Iterator[bytes]:
    """Yield the bytes of a file.

    Raises:
        SourceError: It is no file after all.

    """
    try:
        yield from file_bytes(root, kept.block)
    except CidError as error:
        raise SourceError(f"{root} is no file that can be put together", got=str(error)) from error


def _line(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"{error.code} {error.reason}"
    return " ".join(str(getattr(error, "reason", error)).split())[:200] or type(error).__name__

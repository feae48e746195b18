"""What a file votes by that its comparator cannot read, or not in time: it agrees with the same bytes alone.

One rule for whoever digests outputs: for one or thousands of them, for what a command printed of one, for kept ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import CompareError
from nexapod_batch.trust.statement import unread_digest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Voted", "voted", "why_unread"]


class Voted(NamedTuple):
    """What an output votes by."""

    normalized: str | None  # beside the digest of its bytes; None where that is all
    unread: str = ""  # why its comparator cannot read it


def voted(digest: Callable[[], str | None], name: str, sha256: str) -> Voted:
    """Return what an output votes by, of this name and digest of its bytes; `digest` has the normalised one."""
    try:
        return Voted(digest())
    except CompareError as error:
        return Voted(unread_digest(sha256), why_unread(name, error))


def why_unread(name: str, error: CompareError) -> str:
    """Return what is said of an output that cannot be compared."""
    wanted = f", wanted {error.wanted}" if error.wanted else ""
    return f"output {name!r} cannot be compared: got {error.got}{wanted}"

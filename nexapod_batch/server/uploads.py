"""What requests about files that are sent in parts have in common: the digest, numbers of bytes, how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.server import problems
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from nexapod_batch.server.calls import Call

__all__ = ["digest_of", "number_of_bytes", "progress_headers"]

_DIGITS = 15


def digest_of(call: Call) -> str:
    """Return the digest that a path names.

    Raises:
        RequestError: It is none.

    """
    digest = call.path["digest"]
    if not is_hex(digest, 64):
        raise RequestError(problems.BAD_REQUEST, "not a SHA-256", wanted="64 hex digits in lower case")
    return digest


def number_of_bytes(text: str, name: str) -> int:
    """Return the number of bytes that the header or parameter of this name says.

    Raises:
        RequestError: It is none.

    """
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise RequestError(problems.BAD_REQUEST, f"{name} is no number of bytes", got=quoted(text))
    return int(text)


def progress_headers(size: int, *, complete: bool) -> dict[str, str]:
    """Return how many bytes of a file are here, and whether that is all, by the names of resumable uploads."""
    return {"upload-offset": str(size), "upload-complete": "?1" if complete else "?0", "cache-control": "no-store"}

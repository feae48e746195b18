"""What downloads over HTTP have in common: an opener that knows HTTP alone, what an answer says, how it is waited."""

from __future__ import annotations

import http.client
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TIMEOUT_S", "announced_size", "blocks", "opener", "pause_s", "reason_of", "starts_at"]

#: Seconds without a byte after which a connection is given up.
TIMEOUT_S = 60.0
_BLOCK = 1 << 18
_DIGITS = 18  # of a size that can be one


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return a client with proxies from the environment and these handlers: no files, no FTP."""
    made = urllib.request.OpenerDirector()
    common = (
        urllib.request.ProxyHandler(), urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()
    )
    for handler in (*common, *handlers):
        made.add_handler(handler)
    return made


def starts_at(answer: http.client.HTTPResponse, start: int) -> bool:
    """Say whether what comes is the rest of a file, from this byte on."""
    begins = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return begins and answer.status == http.client.PARTIAL_CONTENT


def announced_size(answer: http.client.HTTPResponse, start: int) -> int | None:
    """Return the bytes of the whole, of which `start` are there, as the server says; None where it does not."""
    length = answer.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and len(length) <= _DIGITS:
        return start + int(length)
    return None


def blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what comes, as it comes."""
    while block := answer.read1(_BLOCK):
        yield block


def pause_s(tries: int) -> float:
    """Return how many seconds are waited after so many tries that broke off."""
    return min(8.0, 0.25 * (1 << tries))


def reason_of(error: BaseException) -> str:
    """Return the innermost reason in one line."""
    while isinstance(inner := getattr(error, "reason", None), BaseException):
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

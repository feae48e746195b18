"""What downloads over HTTP have in common: an opener that knows HTTP alone, what an answer says, how it is waited."""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["TIMEOUT_S", "Redirects", "announced_size", "blocks", "netrc_login", "opener", "reason_of", "starts_at"]

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


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, as far as `refused` has nothing against the next URL. No body of one is read."""

    max_redirections = 5

    def __init__(self, refused: Callable[[str, str], Exception | None]) -> None:
        """Ask `refused` about each: the URL that was asked, the one that it leads to."""
        self._refused = refused

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:  # noqa: ANN401 - urllib's
        """Follow one; ValueError where it leads to what is no URL."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:  # noqa: ANN401 - urllib's
        """Return the next request; what `refused` returned is raised."""
        fp.close()  # urllib would read it to its end, which it may not have
        refusal = self._refused(req.full_url, newurl)
        if refusal is not None:
            raise refusal
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def netrc_login(host: str, environ: Mapping[str, str]) -> str:
    """Return the Authorization that `~/.netrc`, or the file that NETRC names, has for a host; "" for none."""
    file = environ.get("NETRC") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".netrc")
    try:
        known = netrc.netrc(file).authenticators(host)
    except (OSError, ValueError, netrc.NetrcParseError):
        return ""
    if known is None:
        return ""
    return "Basic " + base64.b64encode(f"{known[0]}:{known[2]}".encode()).decode()


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


def reason_of(error: BaseException) -> str:
    """Return the innermost reason in one line."""
    while isinstance(inner := getattr(error, "reason", None), BaseException):
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

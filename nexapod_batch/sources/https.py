"""`https://`: files of web servers, with the standard library's client.

Proxies come from the environment and logins from `~/.netrc`, never from the descriptor; a login goes to no other host.
A redirect never leads out of HTTPS. Addresses of private networks are refused unless the account allows the host: who
submits a stranger's descriptor asks servers for the stranger.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import netrc
import os
import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nexapod_batch import __version__
from nexapod_batch.errors import NexapodError, TryAgainError, UnreachableError
from nexapod_batch.sources import Opened, SourceError
from nexapod_batch.sources.web import TIMEOUT_S, announced_size, blocks, opener, starts_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexapod_batch.sources import SourceSettings

__all__ = ["HttpsSource"]

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_PAGE_NAMES = (".html", ".htm", ".xhtml")


class HttpsSource:
    """Files by HTTPS."""

    def refusal(self, url: str) -> str:
        """Return why a URL cannot be used."""
        parts = urlsplit(url)
        if not parts.hostname:
            return "it names no host"
        if "@" in parts.netloc:
            return "logins are no part of a descriptor: ~/.netrc has them"
        if not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
            return "it has characters that no URL has"
        return ""

    @contextmanager
    def open(self, url: str, start: int, version: str, settings: SourceSettings) -> Iterator[Opened]:
        """Ask for a file, or for the rest of it where it is the same still."""
        request = urllib.request.Request(url, headers={"User-Agent": f"nexapod-batch/{__version__}"})  # noqa: S310 - HTTPS only
        request.add_header("Accept-Encoding", "identity")
        if start:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", version)
        login = _login(urlsplit(url).hostname or "", settings.environ)
        if login:
            request.add_unredirected_header("Authorization", login)
        try:
            with opener(_Https(settings.private_hosts), _Redirects()).open(request, timeout=TIMEOUT_S) as answer:
                opened = _opened(answer, start)
                yield opened._replace(page=_is_page(answer, url))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise _refused(error, url) from error
            with self.open(url, 0, "", settings) as opened:  # it is another file by now, and shorter
                yield opened
        except urllib.error.URLError as error:
            if isinstance(error.reason, NexapodError):
                raise error.reason from error
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise _not_trusted(error.reason, url) from error
            raise


def _opened(answer: http.client.HTTPResponse, start: int) -> Opened:
    """Return what came: the rest, or the whole where it is another file by now."""
    at = start if starts_at(answer, start) else 0
    version = answer.headers.get("ETag", "")
    if version.startswith("W/"):  # says that it means the same, not that it is the same
        version = ""
    return Opened(at, announced_size(answer, at), version[:500], blocks(answer))


def _is_page(answer: http.client.HTTPResponse, url: str) -> bool:
    """Say whether a web page came, and the URL names none: of a portal, or one that asks for a login."""
    path = urlsplit(url).path.lower()
    return answer.headers.get_content_type() in _PAGES and not path.endswith(_PAGE_NAMES)


def _login(host: str, environ: Mapping[str, str]) -> str:
    """Return the Authorization that `~/.netrc` has for a host; "" for none."""
    file = environ.get("NETRC") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".netrc")
    try:
        known = netrc.netrc(file).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return ""
    if known is None:
        return ""
    return "Basic " + base64.b64encode(f"{known[0]}:{known[2]}".encode()).decode()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none out of HTTPS."""

    max_redirections = 5

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:  # noqa: ANN401 - urllib's
        """Return the next request; SourceError for one that leads out of HTTPS."""
        if not newurl.lower().startswith("https:"):
            fp.close()
            raise SourceError(f"{req.full_url} leads elsewhere", got=newurl[:200], wanted="https://")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Https(urllib.request.HTTPSHandler):
    """Opens connections, to private addresses only where that is allowed."""

    def __init__(self, private_hosts: tuple[str, ...]) -> None:
        super().__init__()
        self._private_hosts = private_hosts

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request, having looked at where the connection leads."""
        host = urlsplit(req.full_url).hostname or ""
        proxied = bool(getattr(req, "_tunnel_host", None))  # a proxy is the account's own word
        allowed = host in self._private_hosts or proxied

        def connection(*args: Any, **more: Any) -> http.client.HTTPSConnection:  # noqa: ANN401 - as http.client has them
            made = _Connection(*args, **more)
            made.any_address = allowed
            return made

        return self.do_open(connection, req)


class _Connection(http.client.HTTPSConnection):
    """A connection that sends nothing to a private address, unless any will do."""

    any_address = False

    def connect(self) -> None:
        """Connect, and look at who it is."""
        super().connect()
        address = str(self.sock.getpeername()[0])
        if not self.any_address and not ipaddress.ip_address(address.partition("%")[0]).is_global:
            self.close()
            raise SourceError(
                f"{self.host} is a private address", got=address, wanted="one of the Internet",
                hint=f'if you mean it: [sources] private_hosts = ["{self.host}"] in config.toml',
            )


def _not_trusted(error: ssl.SSLCertVerificationError, url: str) -> SourceError:
    """Return what is wrong with the certificate of a server: another try would find the same."""
    hint = "SSL_CERT_FILE names the certificates of other authorities, where it is one of your own"
    return SourceError(f"{url}: the server's certificate is not to be trusted", got=error.verify_message, hint=hint)


def _refused(error: urllib.error.HTTPError, url: str) -> NexapodError:
    """Return what a server said, in our words."""
    said = f"{error.code} {error.reason}"
    if error.code == 429 or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        when = f"after {after} seconds" if after.isascii() and after.isdigit() else "later"
        kind = TryAgainError if error.code == 429 else UnreachableError
        return kind(f"{url}: the server cannot answer now", got=said, hint=f"try again {when}")
    if error.code in {401, 403, 407}:
        return SourceError(f"{url} asks for a login", got=said, hint="~/.netrc is looked into, by its host")
    if error.code in {404, 410}:
        return SourceError(f"{url} does not exist", got=said)
    return SourceError(f"{url} was refused", got=said)

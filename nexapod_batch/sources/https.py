"""`https://`: files of web servers, with the standard library's client.

Proxies come from the environment and logins from `~/.netrc`, never from the descriptor; a login goes to no other host.
A redirect never leads out of HTTPS. Addresses of private networks are refused unless the account allows the host: who
submits a stranger's descriptor asks servers for the stranger.
"""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nexapod_batch import __version__
from nexapod_batch.errors import NexapodError, TryAgainError, UnreachableError
from nexapod_batch.sources import Opened, SourceError
from nexapod_batch.sources.addresses import GuardedHttps
from nexapod_batch.sources.slowness import Watch
from nexapod_batch.sources.web import TIMEOUT_S, Redirects, announced_size, blocks, netrc_login, opener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.sources import SourceSettings

__all__ = ["HttpsSource"]

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_PAGE_NAMES = (".html", ".htm", ".xhtml")
#: What files are called that are packed themselves: servers say of some of them that it is the way that they are sent.
_PACKED_NAMES = (".gz", ".tgz", ".z", ".bz2", ".xz", ".zst", ".br", ".svgz")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


class HttpsSource:
    """Files by HTTPS."""

    def refusal(self, url: str) -> str:
        """Return why a URL cannot be used."""
        try:
            parts = urlsplit(url)
            no_port = parts.port == 0
        except ValueError:
            return "it is no URL"
        if not parts.hostname or no_port:
            return "it names no host"
        if "@" in parts.netloc:
            return "logins are no part of a descriptor: ~/.netrc has them"
        if "%" in parts.netloc or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
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
        login = netrc_login(urlsplit(url).hostname or "", settings.environ)
        if login:
            request.add_unredirected_header("Authorization", login)
        begun = None
        with Watch(settings.window_s) as watch, _named_errors(url, watch):
            client = opener(GuardedHttps(settings.private_hosts, watch), Redirects(self._led_away))
            with _answer(client, request) as answer:
                begun = None if answer is None else _opened(answer, start, url)
                if begun is not None:
                    yield begun._replace(blocks=watch.counted(begun.blocks))
        if begun is None:  # it is another file by now and shorter, or the server has its own idea of ranges
            with self.open(url, 0, "", settings) as opened:
                yield opened

    def _led_away(self, url: str, there: str) -> SourceError | None:
        """Return why a redirect is not followed; None where it is."""
        if not there.lower().startswith("https:"):
            return SourceError(f"{url} leads elsewhere", got=there[:200], wanted="https://")
        if why := self.refusal(there):
            return SourceError(f"{url} leads to what is no URL: {why}", got=there[:200])
        return None


@contextmanager
def _answer(
    client: urllib.request.OpenerDirector, request: urllib.request.Request
) -> Iterator[http.client.HTTPResponse | None]:
    """Yield what a server answers; None where it has no such range."""
    try:
        answer = client.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not request.has_header("Range"):
            raise _refused(error, request.full_url) from error
        yield None
        return
    except ValueError as error:  # a name, or where a redirect leads, is nothing that can be asked
        raise SourceError(f"{request.full_url} leads nowhere", got=" ".join(str(error).split())[:200]) from error
    with answer:
        yield answer


@contextmanager
def _named_errors(url: str, watch: Watch) -> Iterator[None]:
    """Say in our words what no other try would mend; the rest is as it came.

    Raises:
        SourceError: The server is not to be trusted, or answers what no server of files does.

    """
    try:
        yield
    except urllib.error.URLError as error:
        watch.check()
        if isinstance(error.reason, NexapodError):
            raise error.reason from error
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _not_trusted(error.reason, url) from error
        raise
    except (OSError, http.client.HTTPException) as error:
        watch.check()
        if type(error) in {http.client.HTTPException, http.client.LineTooLong, http.client.InvalidURL}:
            what = f"{url} does not answer as a server of files does"
            raise SourceError(what, got=" ".join(str(error).split())[:200]) from error
        raise


def _opened(answer: http.client.HTTPResponse, start: int, url: str) -> Opened | None:
    """Return what came: the rest, or the whole where it is another file by now; None for another part of it.

    Raises:
        SourceError: It is no file.

    """
    version = answer.headers.get("ETag", "")
    if version.startswith("W/"):  # says that it means the same, not that it is the same
        version = ""
    size, at = announced_size(answer, 0), 0
    if answer.status == http.client.PARTIAL_CONTENT:
        size, at = _part(answer, start), start
        if size is None:
            if start:
                return None
            got = answer.headers.get("Content-Range", "none")[:200]
            raise SourceError(f"{url} sends a part of it as if it were the whole", got=f"Content-Range: {got}")
    elif answer.status != http.client.OK:
        raise SourceError(f"{url} is no file", got=f"{answer.status} {answer.reason}"[:200], wanted="200 OK")
    return Opened(at, size, version[:500], blocks(answer), _instead(answer, url))


def _part(answer: http.client.HTTPResponse, start: int) -> int | None:
    """Return the size of the whole where what comes is all of the rest from `start` on; None where it is not."""
    said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if said is None or not start:
        return None
    first, last, size = map(int, said.groups())
    if (first, last + 1) != (start, size) or announced_size(answer, start) not in {None, size}:
        return None
    return size


def _instead(answer: http.client.HTTPResponse, url: str) -> str:
    """Return what came in the place of the file; "" where nothing says that something did."""
    path = urlsplit(url).path.lower()
    if answer.headers.get_content_type() in _PAGES and not path.endswith(_PAGE_NAMES):
        return "a web page"  # of a portal, or one that asks for a login
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity"} and not path.endswith(_PACKED_NAMES):
        return f"packed bytes ({encoding[:40]})"  # they are kept as they came, never unpacked
    return ""


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

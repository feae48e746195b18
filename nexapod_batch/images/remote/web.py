"""Requests over HTTP, with faults in our words, and downloads that go on where they broke off.

The standard library is enough: proxies from the environment, TLS, redirects. A login is sent to the server that asked
for it and to no other one; a redirect never leads from HTTPS to HTTP, or to a file.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexapod_batch import __version__
from nexapod_batch.errors import ImageError, NexapodError, TryAgainError, UnreachableError
from nexapod_batch.images.cache import faults, mismatch
from nexapod_batch.sources.addresses import GuardedHttp, GuardedHttps
from nexapod_batch.sources.resuming import Download, resumed
from nexapod_batch.sources.web import TIMEOUT_S, Redirects, announced_size, blocks, opener, reason_of, starts_at

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from io import FileIO
    from pathlib import Path

    from nexapod_batch.images.cache import Progress

__all__ = ["Web", "told"]

#: What breaks a transfer, and may not the next time.
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError)


def _led_away(url: str, there: str) -> ImageError | None:
    """Return why a redirect is not followed: it would give up TLS; None where it is."""
    if url.startswith("https:") and not there.startswith("https:"):
        return ImageError("a redirect gives up TLS", got=there, wanted="https://")
    return None


class Web:
    """A client. `pause` is how it waits before it takes a broken download up again.

    With `private_hosts` it asks for somebody else: no private address but those of these hosts.
    """

    def __init__(
        self, timeout_s: float = TIMEOUT_S, pause: Callable[[float], None] = time.sleep,
        private_hosts: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """Make an opener that knows HTTP and nothing else."""
        self._timeout_s, self._pause = timeout_s, pause
        if private_hosts is None:
            handlers = (urllib.request.HTTPHandler(), urllib.request.HTTPSHandler())
        else:
            handlers = (GuardedHttp(private_hosts), GuardedHttps(private_hosts))
        self._opener = opener(*handlers, Redirects(_led_away))

    @contextmanager
    def open(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, login: str = ""
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer to a request; `login` is an Authorization that no redirect carries on.

        urllib.error.HTTPError for a refusal, OSError or http.client.HTTPException where none came: see `told`.
        """
        request = urllib.request.Request(url, method=method, headers={"User-Agent": f"nexapod-batch/{__version__}"})  # noqa: S310 - the opener knows HTTP only
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if login:
            request.add_unredirected_header("Authorization", login)
        with self._opener.open(request, timeout=self._timeout_s) as response:
            yield response

    def download(
        self, url: str, target: Path, *, what: str, progress: Progress, sha256: str = "", size: int | None = None,
        login: str = "", room: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """Bring a file. What is there of it already counts where `sha256` can tell that it belongs to it.

        `room` is called with the bytes that are still to come, before they do. ImageError for a file other than
        wanted, or one that is larger than `size`; what `open` raises where nothing came, see `told`.
        """
        if not sha256:
            target.unlink(missing_ok=True)
        trusted = not target.exists()
        while True:
            self._all_of_it(url, target, what, progress, size, login, room, keep=bool(sha256))
            with faults(target.parent), target.open("rb") as stream:
                got = hashlib.file_digest(stream, "sha256").hexdigest()
            if sha256 in {"", got}:
                return
            target.unlink()
            if trusted:
                raise mismatch(what, got, sha256)
            trusted = True  # what an earlier run left was of something else: once more, from the start

    def _all_of_it(
        self, url: str, target: Path, what: str, progress: Progress, size: int | None, login: str,
        room: Callable[[int], None], *, keep: bool,
    ) -> None:  # fmt: skip
        """Bring a file whole; what came before a break is gone on from where it is to be kept."""
        before = _size(target)
        began = False

        def attempt() -> None:
            if not keep:
                target.unlink(missing_ok=True)
            self._append(url, target, what, progress, size, login, room)

        def may_pass(error: Exception) -> bool:
            nonlocal began
            began = began or _size(target) != before
            return began and isinstance(error, _BROKEN) and not isinstance(error, urllib.error.HTTPError)

        resumed(attempt, Download(what, lambda: _size(target), may_pass, progress.say, self._pause))

    def _append(
        self,
        url: str,
        target: Path,
        what: str,
        progress: Progress,
        size: int | None,
        login: str,
        room: Callable[[int], None],
    ) -> None:
        have = _size(target)
        if size is not None and have == size:
            progress.start(what, size)
            progress.advance(size)
            return
        if size is not None and have > size:
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self.open(url, headers=headers, login=login) as answer:
            if not starts_at(answer, have):
                have = 0
            total = announced_size(answer, have) if size is None else size
            room((total or have) - have)
            progress.start(what, total)
            progress.advance(have)
            with faults(target.parent), target.open("r+b" if have else "wb", buffering=0) as sink:
                sink.seek(have)
                got = _copy(answer, sink, what, progress, have=have, total=total)
            if total is not None and got < total:
                raise http.client.IncompleteRead(b"", total - got)


def _size(target: Path) -> int:
    if target.exists():
        return target.stat().st_size
    return 0


def _copy(
    answer: http.client.HTTPResponse, sink: FileIO, what: str, progress: Progress, *, have: int, total: int | None
) -> int:
    """Copy what comes, behind the bytes that are there; return how many there are then, on the disk."""
    got = have
    for block in blocks(answer):
        got += len(block)
        if total is not None and got > total:
            raise ImageError(f"{what} is larger than announced", got=f"{got} bytes", wanted=f"{total}")
        view = memoryview(block)
        while view:
            view = view[sink.write(view) :]
        progress.advance(len(block))
    os.fsync(sink.fileno())
    return got


def told(error: Exception, what: str, login: str = "") -> NexapodError:
    """Return what went wrong with a request, in our words; `login` says how to log in there."""
    if not isinstance(error, urllib.error.HTTPError):
        hint = "look at the network and at https_proxy, then try again"
        return UnreachableError(f"{what} cannot be reached", got=reason_of(error), hint=hint)
    error.close()
    said = f"{error.code} {error.reason}"
    match error.code:
        case 401 | 403:
            hint = login or "fetch the image yourself and name the file"
            return ImageError(f"{what} asks for a login, or there is no such image", got=said, hint=hint)
        case 404 | 410:
            return ImageError(f"{what} does not exist", got=said, hint="look at the name and at the tag")
        case 429:
            after = error.headers.get("Retry-After", "")
            when = f"after {after} seconds" if after.isascii() and after.isdigit() else "later"
            hint = f"try again {when}" + (f", or log in: {login}" if login else "")
            return TryAgainError(f"{what}: the server limits pulls", got=said, hint=hint)
        case code if code >= 500:
            return UnreachableError(f"{what}: the server cannot answer now", got=said, hint="try again later")
    return ImageError(f"{what} was refused", got=said)

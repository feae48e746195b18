"""Requests to the REST interface of a repository: JSON in, JSON out, files as they are; tried again where that helps.

The token goes to the server that was named and to no other: redirects are refused. Nothing is sent without TLS, but to
this machine itself.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from nexapod_batch import __version__
from nexapod_batch.errors import NexapodError, TryAgainError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["RefusedError", "Web", "address", "field_errors"]

#: Seconds without a byte after which a connection is given up; bytes that an answer may have; tries of one request.
TIMEOUT_S, _MAX_ANSWER, _TRIES = 120.0, 8 << 20, 6
#: The longest pause that a server may ask for, in seconds.
_MAX_PAUSE_S = 120.0
_PASSING = frozenset({429, 500, 502, 503, 504})
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError)


class RefusedError(NexapodError):
    """The repository refused a request."""

    def __init__(self, what: str, status: int, answer: Any, **more: Any) -> None:  # noqa: ANN401 - whatever JSON spells
        """Keep the status and the answer."""
        super().__init__(what, **more)
        self.status, self.answer = status, answer


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: the token must not go elsewhere, and no request of the interface is redirected."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401 - urllib's
        """Return nothing, which makes it an error."""


class Web:
    """The interface of one repository. `pause` is how it waits before it tries again."""

    def __init__(self, url: str, token: str, pause: Callable[[float], None] = time.sleep) -> None:
        """Keep the address and the token; UsageError for an address that a token must not be sent to."""
        self.url = address(url)
        self._token, self._pause = token, pause
        proxies: dict[str, str] | None = None  # those of the environment
        if not self.url.startswith("https:"):
            proxies = {}  # one of them would read the token
        self._opener = urllib.request.build_opener(_NoRedirects(), urllib.request.ProxyHandler(proxies))

    def call(self, method: str, path: str, body: Any = None, *, file: Path | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON that answers a request; None for an answer without any.

        Raises:
            RefusedError: The repository will not do it.
            UnreachableError: No answer came, however often it was tried.
            TryAgainError: The repository says, again and again, that it has no time.

        """
        left = _TRIES
        while True:
            left -= 1
            try:
                return self._once(method, path, body, file)
            except urllib.error.HTTPError as error:
                with error:
                    self._refuse_or_wait(error, f"{method} {path}", left)
            except _BROKEN as error:
                if not left:
                    hint = "run the same command again: it goes on from what is there"
                    raise UnreachableError(f"{self.url} cannot be reached", got=_reason(error), hint=hint) from error
                self._pause(_backoff(left))

    def _once(self, method: str, path: str, body: Any, file: Path | None) -> Any:  # noqa: ANN401 - JSON
        headers = {
            "Authorization": f"Bearer {self._token}", "Accept": "application/json",
            "User-Agent": f"nexapod-batch/{__version__}",
        }  # fmt: skip
        data: Any = None
        if file is not None:
            headers["Content-Type"] = "application/octet-stream"
            headers["Content-Length"] = str(file.stat().st_size)
            data = file.open("rb")
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        elif method in {"POST", "PUT"}:
            data = b""
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers=headers)  # noqa: S310 - its scheme was checked
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                text = answer.read(_MAX_ANSWER + 1)
                if answer.length:
                    raise http.client.IncompleteRead(b"", answer.length)
        finally:
            if file is not None:
                data.close()
        return self._decoded(text, f"{method} {path}")

    def _decoded(self, text: bytes, what: str) -> Any:  # noqa: ANN401 - JSON
        if not text.strip():
            return None
        try:
            if len(text) > _MAX_ANSWER:
                raise ValueError("too long")
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            hint = "is that the address of an InvenioRDM repository?"
            problem = f"{self.url} does not answer {what} with JSON"
            raise UnreachableError(problem, got=str(error)[:80], hint=hint) from error

    def _refuse_or_wait(self, error: urllib.error.HTTPError, what: str, left: int) -> None:
        """Wait where it may help; else raise what the refusal means."""
        if error.code in _PASSING and left:
            asked = error.headers.get("Retry-After", "")
            seconds = float(asked) if asked.isascii() and asked.isdigit() else _backoff(left)
            self._pause(min(seconds, _MAX_PAUSE_S))
            return
        try:
            answer = json.loads(error.read(_MAX_ANSWER))
        except (ValueError, RecursionError, *_BROKEN):
            answer = None
        said = f"{error.code} {_message(answer) or error.reason}"
        if error.code in _PASSING:
            hint = "run the same command again later: it goes on from what is there"
            raise TryAgainError(f"{self.url} cannot take it now ({what})", got=said, hint=hint)
        problem = f"{self.url} refused {what}"
        if error.code in {401, 403}:
            hint = "has the token expired, or does it lack the scope for deposits?"
            raise RefusedError(problem, error.code, answer, got=said, hint=hint)
        raise RefusedError(problem, error.code, answer, got=said)


def address(url: str) -> str:
    """Return the address of a repository, without a slash or the path of its interface at the end.

    Raises:
        UsageError: It is none, or a token would be sent to it unprotected.

    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), ""
    own = host in {"localhost", "127.0.0.1", "::1"}
    if not host or parts.username is not None or parts.query or parts.fragment or not url.isprintable():
        raise UsageError("that is no address of a repository", got=url, wanted="https://zenodo.org, or one like it")
    if parts.scheme != "https" and not (own and parts.scheme == "http"):
        raise UsageError("a token is sent over TLS only", got=url, wanted=f"https://{host}")
    return url.rstrip("/").removesuffix("/api")


def _message(answer: Any) -> str:  # noqa: ANN401 - whatever JSON spells
    """Return what a refusal says, in one line: its message, and each field that is wrong."""
    if not isinstance(answer, dict):
        return ""
    parts = [str(answer.get("message", "")), *field_errors(answer)]
    return " ".join("; ".join(part for part in parts if part).split())[:1_000]


def field_errors(answer: dict[str, Any]) -> list[str]:
    """Return which fields an answer finds wanting, each with what it says of it."""
    errors = answer.get("errors")
    if not isinstance(errors, list):
        return []
    return [f"{one.get('field')}: {one.get('messages')}" for one in errors[:10] if isinstance(one, dict)]


def _backoff(left: int) -> float:
    """Return seconds to wait before the next of so many tries."""
    return 0.5 * (1 << (_TRIES - 1 - left))


def _reason(error: BaseException) -> str:
    """Return the innermost reason in one line."""
    while isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

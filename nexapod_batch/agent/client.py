"""Requests of a node to its coordinator: signed, over TLS to a server whose key is pinned, with a bound on every wait.

A connection is kept and made anew where it broke; whatever is asked for may be asked again. The clock of the server
counts in signatures: a node whose clock is days off learns the difference from the first answer.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson

from nexapod_batch import __version__
from nexapod_batch.errors import (
    ConfigError,
    NexapodError,
    TryAgainError,
    UnreachableError,
    UsageError,
    VerificationError,
)
from nexapod_batch.mesh import signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.trust.dsse import Signer

__all__ = ["Client", "RefusedError", "Reply", "check_url"]

_CONNECT_S, _ANSWER_S = 15.0, 30.0
_MAX_ANSWER = 600 << 20
_PROBLEM = 64 << 10
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
#: What a command ends with that was refused for good; any other refusal may be none later.
_EXIT_CODES = {400: 2, 401: 1, 403: 1, 404: 66, 422: 2}
_SKEWED = 20  # seconds by which clocks may differ before signatures follow the server's


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Streamed(Protocol):
    """A body that is read while it is sent, anew each time; its pieces count until the next one is asked for."""

    def __len__(self) -> int:
        """Return of how many bytes it is."""
        ...

    def __iter__(self) -> Iterator[memoryview]:
        """Return it piece by piece."""
        ...


class RefusedError(TryAgainError):
    """The coordinator refused a request."""

    def __init__(self, reply: Reply) -> None:
        """Keep what it answered, in the words of its problem document."""
        try:
            said = orjson.loads(reply.body[:_PROBLEM])
            parts = {name: said.get(name) for name in ("detail", "got", "wanted", "hint")}
        except (ValueError, AttributeError):
            parts = {"detail": f"the coordinator answered {reply.status}"}
        super().__init__(
            str(parts["detail"] or f"the coordinator answered {reply.status}"), got=parts.get("got"),
            wanted=parts.get("wanted"), hint=parts.get("hint"),
        )  # fmt: skip
        self.status, self.headers = reply.status, reply.headers
        self.exit_code = _EXIT_CODES.get(reply.status, self.exit_code)
        self.retry_after = _seconds(reply.headers.get("retry-after", ""))


def check_url(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a coordinator's URL.

    Raises:
        UsageError: It is none, or it would send what is secret without TLS.

    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1 or parts.path not in {"", "/"}:
        raise UsageError("not the URL of a coordinator", got=repr(url), wanted="https://HOST:PORT")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise UsageError("plain HTTP leads only to this very machine", got=url, wanted=f"https://{parts.netloc}")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Client:
    """Talks to one coordinator for one node; not for several threads at once."""

    def __init__(self, url: str, pin: str, signer: Signer) -> None:
        """Connect to nothing yet."""
        self._signer, self._aimed = signer, ("", "")
        self._connection: http.client.HTTPConnection | None = None
        self._when_sent: Callable[[], None] | None = None
        self.ahead_s = 0.0  # of the server's clock, before ours
        self.aim(url, pin)

    def aim(self, url: str, pin: str) -> None:
        """Talk to this coordinator from now on."""
        if (url, pin) == self._aimed:
            return
        self.close()
        self._aimed, self._pin, self.ahead_s = (url, pin), pin, 0.0
        self._scheme, self._host, self._port = check_url(url)
        default = {"https": 443, "http": 80}[self._scheme]
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = shown if self._port == default else f"{shown}:{self._port}"

    def post(
        self, path: str, body: bytes, *, patience_s: float = 0.0, more: dict[str, str] | None = None
    ) -> bytes:
        """Return what the coordinator answers; RefusedError where it refuses, UnreachableError where it is not there.

        Raises:
            RefusedError: The coordinator refused.

        """
        reply = self.ask("POST", path, body, patience_s=patience_s, more=more)
        if reply.status >= 300:
            raise RefusedError(reply)
        return reply.body

    def ask(
        self, method: str, path: str, body: bytes | Streamed = b"", *, media: str = "application/json",
        patience_s: float = 0.0, more: dict[str, str] | None = None, when_sent: Callable[[], None] | None = None,
    ) -> Reply:  # fmt: skip
        """Return the answer to a signed request; with a clock that is off it is asked once more, by the server's.

        `more` are further headers, among them the `content-digest` of a body that is read while it is sent. `when_sent`
        is called when all of it was sent, and only the answer is to come.
        """
        self._when_sent = when_sent
        reply = self._once(method, path, body, media, patience_s, more or {})
        if reply.status == 401 and self._learn(reply):
            reply = self._once(method, path, body, media, patience_s, more or {})
        return reply

    def another(self) -> Client:
        """Return a client for the same coordinator, with a connection of its own."""
        made = Client(*self._aimed, self._signer)
        made.ahead_s = self.ahead_s
        return made

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _learn(self, reply: Reply) -> bool:
        """Learn how far the server's clock is ahead; say whether that is more than was known."""
        with suppress(ValueError, TypeError):
            ahead = parsedate_to_datetime(reply.headers.get("date", "")).timestamp() - time.time()
            if abs(ahead - self.ahead_s) > _SKEWED:
                self.ahead_s = ahead
                return True
        return False

    def _once(
        self, method: str, path: str, body: bytes | Streamed, media: str, patience_s: float, more: dict[str, str]
    ) -> Reply:
        for fresh in (False, True):  # a kept connection may have ended meanwhile
            kept = self._connection is not None
            head = self._head(method, path, body, media, more.get("content-digest", "")) | more
            try:
                return self._exchange(method, path, body, head, _ANSWER_S + patience_s)
            except (http.client.HTTPException, OSError) as error:
                self.close()
                if kept and not fresh and not isinstance(error, TimeoutError):
                    continue
                raise UnreachableError(f"no answer from {self._authority}", got=_text(error)) from error
        raise AssertionError  # the second time there is an answer, or an error

    def _head(self, method: str, path: str, body: bytes | Streamed, media: str, digest: str) -> dict[str, str]:
        """Return the headers of a request: signed anew each time, for a nonce counts once."""
        created, nonce = int(time.time() + self.ahead_s), os.urandom(16).hex()
        said = body if isinstance(body, bytes) else b""  # of what is read later the digest is known
        head = signatures.headers(
            self._signer, method, self._authority, path, said, created=created, nonce=nonce, digest=digest
        )
        head |= {"host": self._authority, "user-agent": f"nexapod-batch/{__version__}"}
        if method in _WITH_BODY:
            head |= {"content-type": media, "content-length": str(len(body))}
        return head

    def _exchange(
        self, method: str, path: str, body: bytes | Streamed, head: dict[str, str], wait_s: float
    ) -> Reply:
        connection = self._connection or self._connect()
        self._connection = connection
        if connection.sock is not None:
            connection.sock.settimeout(wait_s)
        try:
            connection.request(method, path, body if method in _WITH_BODY else None, head)
        except NexapodError:  # the body cannot be read to its end, which the server waits for
            self.close()
            raise
        if self._when_sent is not None:
            self._when_sent()
        response = connection.getresponse()
        data = response.read(_MAX_ANSWER + 1)
        if len(data) > _MAX_ANSWER:
            raise http.client.HTTPException("the answer is too long")
        if response.will_close:
            self.close()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    def _connect(self) -> http.client.HTTPConnection:
        if self._scheme == "http":
            made = http.client.HTTPConnection(self._host, self._port, timeout=_CONNECT_S)
            made.connect()
        else:
            made = http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT_S, context=self._context())
            try:
                made.connect()
                self._check_pin(made)
            except ssl.SSLError as error:
                raise _untrusted(self._authority, error) from error
            except VerificationError:
                made.close()
                raise
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _context(self) -> ssl.SSLContext:
        """Return how TLS is spoken: with a pin the pin alone counts, else the authorities of this machine."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._pin:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _check_pin(self, connection: http.client.HTTPSConnection) -> None:
        """Compare the server's public key with the pin, before anything is sent.

        Raises:
            VerificationError: It is another server.

        """
        if not self._pin:
            return
        from cryptography import x509  # noqa: PLC0415 - once for each connection
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        shown: bytes = connection.sock.getpeercert(binary_form=True) or b""
        certificate = x509.load_der_x509_certificate(shown)
        public = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        found = "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")
        if found != self._pin:
            raise VerificationError(
                f"{self._authority} is not the coordinator that is meant", got=found, wanted=self._pin,
                hint="ask whoever runs it for the line that serve prints; nothing was sent",
            )  # fmt: skip


def _untrusted(authority: str, error: ssl.SSLError) -> ConfigError:
    return ConfigError(
        f"no safe connection to {authority}", got=_text(error),
        hint="give the fingerprint that serve prints: --fingerprint SHA256:...",
    )  # fmt: skip


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(text: str) -> float:
    if text.isascii() and text.isdigit():
        return min(3600.0, float(text[:6]))
    return 0.0

"""Requests to one server: the right one or none, tried again where that is harmless, never sooner than it asks for."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_client.errors import NexaPodError, UnreachableError, UntrustedServerError, error_of

if TYPE_CHECKING:
    import http.client
    import ssl
    from typing import BinaryIO

    from nexapod_client.place import Place

__all__ = ["Answer", "Transport"]

#: Answers after which the same request may do, later.
_LATER = frozenset({429, 502, 503, 504})
#: Seconds between two tries: at first, at most, and at most where the server says how long.
_FIRST_S, _MOST_S, _SERVERS_S = 0.25, 10.0, 120.0
#: Bytes of the largest answer that is read; larger files come in blocks.
_LARGEST = 256 << 20
_BLOCK = 1 << 20


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever JSON spells
        """Return the body as data; NexaPodError where it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NexaPodError("the server's answer is not JSON", status=self.status) from error


class Transport:
    """Makes requests, each over a connection that no other one uses meanwhile; connections are kept for the next."""

    def __init__(self, place: Place, *, timeout: float, retries: int) -> None:
        """Connect at the first request."""
        self.place, self._timeout, self._retries = place, timeout, retries
        self._idle: list[http.client.HTTPConnection] = []

    def __del__(self) -> None:
        """Close what is still open."""
        self.close()

    def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None,
        again: bool | None = None, longer: float = 0.0, into: BinaryIO | None = None,
    ) -> Answer:  # fmt: skip
        """Return the answer to a request, which may take `longer` than others; its body goes `into` a file, if given.

        With `again` (as usual for GET) it is sent again where no answer came or the server was not able to give one.

        Raises:
            NexaPodError: The server refused.
            UnreachableError: No server answered.

        """
        repeatable = method == "GET" if again is None else again
        pause = _FIRST_S
        for left in range(self._retries if repeatable else 0, -1, -1):
            try:
                answer = self._once(method, path, body, headers or {}, longer, into)
            except OSError as error:
                self.close()
                if not left:
                    got = str(error) or type(error).__name__
                    why = {"got": got, "hint": "is the address right, and the server up?"}
                    raise UnreachableError(f"no answer from {self.place.url}", problem=why) from error
                wait = pause
            else:
                if answer.status not in _LATER or not left:
                    return _good(answer)
                wait = _retry_after(answer, pause)
            time.sleep(wait * (1.0 + os.urandom(1)[0] / 1024))  # so that not all come at once
            pause = min(2 * pause, _MOST_S)
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close the connections that are not in use; the next request makes another."""
        while self._idle:
            self._idle.pop().close()

    def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], longer: float, into: BinaryIO | None
    ) -> Answer:
        import http.client  # noqa: PLC0415 - see the package

        sent = {"Accept": "application/json", "User-Agent": "nexapod-client", **headers}
        if self.place.token:
            sent["Authorization"] = f"Bearer {self.place.token}"
        connection = self._taken(longer)
        kept = False
        try:
            connection.request(method, self.place.path + path, body=body, headers=sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            if into is not None and answer.status == 200:
                content = b""
                _copy(answer, into)
            else:
                content = answer.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise NexaPodError("the server's answer is too large", problem={"wanted": f"at most {_LARGEST} bytes"})
            if answer.length:  # bytes that were promised and did not come
                raise ConnectionError(f"the answer was cut, {answer.length} bytes are missing")
            kept = connection.sock is not None
            return Answer(answer.status, found, content)
        except http.client.HTTPException as error:
            raise ConnectionError(f"the connection ended: {type(error).__name__} {error}") from error
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()

    def _taken(self, longer: float) -> http.client.HTTPConnection:
        """Return a connection that nobody uses."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _connected(self.place, self._timeout)
        if connection.sock is not None:
            connection.sock.settimeout(self._timeout + longer)
        return connection


def _copy(answer: http.client.HTTPResponse, into: BinaryIO) -> None:
    """Write the body of an answer into a file, from its beginning: an earlier try may have left a part."""
    into.seek(0)
    into.truncate()
    while block := answer.read(_BLOCK):
        into.write(block)


def _good(answer: Answer) -> Answer:
    """Return an answer; the error that it is otherwise."""
    if answer.status < 400:
        return answer
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = {"got": answer.body[:200].decode("utf-8", "replace")}
    raise error_of(answer.status, problem if isinstance(problem, dict) else {})


def _retry_after(answer: Answer, pause: float) -> float:
    try:
        return min(max(float(answer.headers["retry-after"]), 0.0), _SERVERS_S)
    except (KeyError, ValueError):
        return pause


def _connected(place: Place, timeout: float) -> http.client.HTTPConnection:
    """Return a connection to the server that is meant; UntrustedServerError where another one answers."""
    import http.client  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    if not place.tls:
        plain = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
        plain.connect()
        return plain
    seen = ""
    if place.pin:
        pinned = http.client.HTTPSConnection(place.host, place.port, timeout=timeout, context=_any_certificate())
        pinned.connect()
        seen = _pin_of(pinned.sock)
        if seen == place.pin:
            return pinned
        pinned.close()
        if place.only_pin:
            raise _another(place, seen)
    checked = http.client.HTTPSConnection(place.host, place.port, timeout=timeout)
    try:
        checked.connect()
    except ssl.SSLCertVerificationError as error:
        checked.close()
        if place.pin:
            raise _another(place, seen) from None
        hint = "give its fingerprint, as `serve` prints it, or a token that carries it"
        problem = {"got": error.verify_message, "hint": hint}
        raise UntrustedServerError(f"nothing says that {place.url} is the right server", problem=problem) from error
    return checked


def _another(place: Place, seen: str) -> UntrustedServerError:
    shown = {"got": _shown(seen), "wanted": _shown(place.pin)}
    hint = "ask whoever runs it whether its key was replaced; until then do not trust what answers there"
    return UntrustedServerError(f"another server answers at {place.url}", problem={**shown, "hint": hint})


def _shown(pin: str) -> str:
    return "SHA256:" + pin.replace("-", "+").replace("_", "/")


def _any_certificate() -> ssl.SSLContext:
    """Return a context that takes every certificate: its key is compared before anything is sent."""
    import ssl  # noqa: PLC0415

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def _pin_of(connected: Any) -> str:  # noqa: ANN401 - an ssl.SSLSocket, which is imported late
    """Return the pin of the key of whoever answers."""
    import base64  # noqa: PLC0415
    import hashlib  # noqa: PLC0415

    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    certificate = x509.load_der_x509_certificate(connected.getpeercert(binary_form=True) or b"")
    public = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")

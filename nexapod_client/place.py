"""Which server is meant, and by what it is known: URL, token, pin.

A token may carry the pin of its server's key (`nxp_SECRET.PIN`): then it is shown to no other server, whatever answers
at the address. The server of this very account leaves word in its home, readable for this account alone.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any, NamedTuple

from nexapod_client.errors import NexaPodError

__all__ = ["Place", "find_place"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PIN_CHARS = 43
_MAX = 1 << 16


class Place(NamedTuple):
    """A server, and how to know it."""

    host: str
    port: int
    tls: bool
    token: str
    pin: str  # SHA-256 of the server's public key, base64url without padding; "" for none
    only_pin: bool  # no certificate authority will do instead
    path: str = ""  # below which the server is, behind some proxies

    @property
    def url(self) -> str:
        """The address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"


def find_place(url: str | None, token: str | None, fingerprint: str | None) -> Place:
    """Return the place that arguments, `NEXAPOD_URL`, `NEXAPOD_TOKEN`, `NEXAPOD_FINGERPRINT` and the own server say.

    Raises:
        NexaPodError: Nothing says where the server is, or a token would travel in the clear.

    """
    for name, value in (("base_url", url), ("token", token), ("fingerprint", fingerprint)):
        if value is not None and not isinstance(value, str):
            raise NexaPodError(f"{name} is no text", problem={"got": type(value).__name__, "wanted": "a str"})
    local = _local_word()
    url = _chosen(url, "NEXAPOD_URL", local.get("url"))
    if not url:
        raise NexaPodError("which server?", problem={"hint": "give its URL, or set NEXAPOD_URL"})
    scheme, host, port, path = _address(url)
    is_loopback = host in _LOOPBACK
    if not (is_loopback and local.get("port") == port):
        local = {}  # it is of another server
    token = _chosen(token, "NEXAPOD_TOKEN", local.get("token"))
    given = _chosen(fingerprint, "NEXAPOD_FINGERPRINT", None)
    pin = _pin(given) or _pin_of_token(token) or str(local.get("pin", ""))
    tls = scheme == "https" or (is_loopback and bool(pin))  # the same port speaks both
    if not tls and not is_loopback and token:
        hint = "use https://; plain http is for the server's own machine alone"
        raise NexaPodError("a token must not travel in the clear", problem={"got": url[:200], "hint": hint})
    return Place(host, port, tls, token, pin, bool(given), path)


def _chosen(given: str | None, variable: str, word: object) -> str:
    """Return what was given, else what a variable says, else what the own server left; "" for none of them."""
    return given or os.environ.get(variable) or str(word or "")


def _address(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of a URL."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - when a client is made

    refusal = NexaPodError("this is no URL of a server", problem={"got": url[:200], "wanted": "https://HOST:PORT"})
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        given_port = parts.port
    except ValueError:  # a port, or brackets, that are none
        raise refusal from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        raise refusal
    port = given_port or {"https": 443, "http": 80}[parts.scheme]
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


def _pin(fingerprint: str) -> str:
    """Return a fingerprint (`SHA256:...`) as a pin; NexaPodError for what is none."""
    pin = fingerprint.removeprefix("SHA256:").rstrip("=").replace("+", "-").replace("/", "_")
    if fingerprint and len(pin) != _PIN_CHARS:
        raise NexaPodError("this is no fingerprint", problem={"got": fingerprint[:100], "wanted": "SHA256:..."})
    return pin


def _pin_of_token(token: str) -> str:
    pin = token.partition(".")[2] if token.startswith("nxp_") else ""
    return pin if len(pin) == _PIN_CHARS else ""


def _home() -> str:
    """Return the home folder of this account, which an empty HOME means as well."""
    if os.environ.get("HOME") == "":
        import pwd  # noqa: PLC0415 - seldom

        return pwd.getpwuid(os.getuid()).pw_dir
    return os.path.expanduser("~")


def _local_word() -> dict[str, Any]:
    """Return what the server of this account left; nothing where it is not private to this account."""
    home = os.environ.get("NEXAPOD_HOME")
    if not home:
        state = os.environ.get("XDG_STATE_HOME") or os.path.join(_home(), ".local/state")
        home = os.path.join(state, "nexapod-batch")
    with suppress(OSError, ValueError):
        descriptor = os.open(os.path.join(home, "server", "local.json"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            private = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
            found = json.loads(stream.read(_MAX)) if private else {}
            return found if isinstance(found, dict) else {}
    return {}

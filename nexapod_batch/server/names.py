"""What this server is called: by which Host headers it is meant, and which URL others are given."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Names", "is_loopback", "names_of", "shown_host"]

#: Listening on these means every address.
_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - looked for, not listened on
_LOCAL = ("localhost", "127.0.0.1", "::1")


def is_loopback(address: str) -> bool:
    """Say whether an address leads to this very machine."""
    with suppress(ValueError):
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    return address == "localhost"


class Names:
    """The names of a server.

    A page in somebody's browser can reach us under a name of its own (DNS rebinding) but never under an address: every
    address is ours, of names only those that are known.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Know some names, and every address."""
        self._known = frozenset(name.lower().rstrip(".") for name in names)
        self.shown = ", ".join(sorted(self._known))[:300]

    def is_ours(self, host: str) -> bool:
        """Say whether a Host header names this server."""
        name, port = _split(host)
        if port and not (port.isascii() and port.isdigit() and int(port[:6]) < 1 << 16):
            return False
        if name.lower().rstrip(".") in self._known:
            return True
        with suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return False


def _split(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, closed, rest = host[1:].partition("]")
        return (name, rest.removeprefix(":")) if closed else ("", "")
    name, _, port = host.partition(":")
    return name, port


def names_of(host: str, more: Sequence[str]) -> list[str]:
    """Return the names and addresses of a server that listens on `host`, those that a person gave first."""
    found = [*more, *(() if host in _ANY else (host,))]
    own = socket.gethostname()
    found += [own, *_LOCAL]
    if host in _ANY:
        address = _outward_address()
        found += [address] if address else []
    return list(dict.fromkeys(name for name in found if name))


def shown_host(host: str, more: Sequence[str]) -> str:
    """Return under which name others reach a server: one that was given, else its address."""
    if more:
        chosen = more[0]
    elif host in _ANY:
        chosen = _outward_address() or socket.gethostname()
    else:
        chosen = host
    return f"[{chosen}]" if ":" in chosen else chosen


def _outward_address() -> str:
    """Return the address of this machine towards others; "" where it has none. Nothing is sent."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # an address that is nobody's (RFC 5737)
        return str(probe.getsockname()[0])
    return ""

"""Which addresses belong to the Internet, and connections that lead to no others unless that is allowed.

A name is looked up once, and the addresses of the Internet that it has are the ones that are called: where it leads the
next time changes nothing. Whom a connection led to is looked at once more, before anything is sent.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from nexapod_batch.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nexapod_batch.sources.slowness import Watch

__all__ = ["GuardedHttp", "GuardedHttps", "is_public"]

#: Where IPv6 has the addresses of IPv4 in it: of translators, and as they were written once.
_WITH_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_LOCAL = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("fec0::/10"))


def is_public(address: str) -> bool:
    """Say whether an address is one of the Internet, also by the address of IPv4 that it may have in it.

    Args:
        address: As sockets have it: IPv4 or IPv6, with a zone or without.

    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not found.is_multicast
    if found.ipv4_mapped is not None:
        return is_public(str(found.ipv4_mapped))
    inner = [found.sixtofour, *(found.teredo or ())]
    inner += [ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) for network in _WITH_IPV4 if found in network]
    if not all(is_public(str(one)) for one in inner if one is not None):
        return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _LOCAL)


def _written(host: str) -> str:
    """Return the address that a host is, however it is written; "" for a name."""
    with suppress(OSError, UnicodeEncodeError):
        return socket.inet_ntoa(socket.inet_aton(host))  # as connections read it: 127.1, 0x7f000001, 2130706433
    with suppress(ValueError):
        return str(ipaddress.ip_address(host.partition("%")[0]))
    return "127.0.0.1" if f".{host.rstrip('.')}".endswith(".localhost") else ""


def _to_public(
    address: tuple[str, int], timeout: float | None = None, source_address: tuple[str, int] | None = None
) -> socket.socket:
    """Connect as `socket.create_connection` does, to addresses of the Internet alone: no others hear of it.

    Raises:
        SourceError: The name has none.
        OSError: Nobody answers there.

    """
    host, port = address
    found = dict.fromkeys([str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
    public = [one for one in found if is_public(one)]
    if found and not public:
        raise _private(host, next(iter(found)))
    failed = OSError("its name has no address")
    for one in public:
        try:
            return socket.create_connection((one, port), timeout, source_address)
        except OSError as error:
            failed = error
    raise failed


class _Plain(http.client.HTTPConnection):
    """A connection that sends nothing to a private address, unless any will do."""

    any_address = False
    watch: Watch | None = None

    def connect(self) -> None:
        """Connect, and look at who it is; TLS comes afterwards."""
        if not self.any_address:
            self._create_connection = _to_public
        super().connect()
        address = str(self.sock.getpeername()[0])
        if not self.any_address and not is_public(address):
            self.close()
            raise _private(self.host, address)
        if self.watch is not None:
            self.watch.over(self.sock)


class _Secure(http.client.HTTPSConnection, _Plain):
    """The same with TLS."""

    def connect(self) -> None:
        """Connect."""
        super().connect()
        if self.watch is not None:
            self.watch.over(self.sock)


class _Guard:
    """What both handlers do."""

    def __init__(self, private_hosts: Collection[str], watch: Watch | None = None) -> None:
        super().__init__()
        self._private_hosts, self._watch = private_hosts, watch

    def _maker(self, req: urllib.request.Request, kind: type[_Plain]) -> Callable[..., Any]:
        """Return what makes a connection for a request."""
        host = unquote(urlsplit(req.full_url).hostname or "")  # as urllib reads it
        proxied = bool(getattr(req, "_tunnel_host", None)) or req.has_proxy()
        allowed = host in self._private_hosts
        if not allowed and _written(host) and not is_public(_written(host)):
            raise _private(host, _written(host))

        def made(*args: Any, **more: Any) -> _Plain:  # noqa: ANN401 - as http.client has them
            connection = kind(*args, **more)
            connection.any_address = allowed or proxied  # a proxy is the account's own word
            connection.watch = self._watch
            return connection

        return made


class GuardedHttps(_Guard, urllib.request.HTTPSHandler):
    """Opens connections with TLS, to private addresses only for these hosts."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request, having looked at where the connection leads."""
        return self.do_open(self._maker(req, _Secure), req)


class GuardedHttp(_Guard, urllib.request.HTTPHandler):
    """Opens connections without TLS, to private addresses only for these hosts."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request, having looked at where the connection leads."""
        return self.do_open(self._maker(req, _Plain), req)


def _private(host: str, address: str) -> SourceError:
    return SourceError(
        f"{host} is a private address", got=address, wanted="one of the Internet",
        hint=f'if you mean it: [sources] private_hosts = ["{host}"] in config.toml',
    )  # fmt: skip

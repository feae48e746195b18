"""Machines in network namespaces of their own: a server, two neighbours in its /24, and one elsewhere behind NAT.

Nothing of it reaches the machine's own network: the server has addresses of documentation (RFC 5737) inside its namespace alone.
"""

from __future__ import annotations

import secrets
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from clusters.daemons import program

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NEAR", "SERVER", "Net", "network"]

SERVER = "198.51.100.1"
#: The machines in the server's /24, and their addresses.
NEAR = {"near": "198.51.100.11", "neighbour": "198.51.100.12"}
_FAR, _INSIDE, _ROUTER, _OUTSIDE, _UPLINK = "far", "192.168.7.2", "192.168.7.1", "203.0.113.5", "203.0.113.1"


class Net(NamedTuple):
    """Namespaces: the names of `server`, `near`, `neighbour` and `far` for the system."""

    names: dict[str, str]

    def inside(self, machine: str) -> list[str]:
        """Return the words that run what follows on a machine."""
        return [program("ip"), "netns", "exec", self.names[machine]]


@contextmanager
def network() -> Iterator[Net]:
    """Yield machines that reach the server; all of it is gone afterwards."""
    tag = secrets.token_hex(3)
    names = {one: f"nx{tag}-{one}" for one in ("server", "router", _FAR, *NEAR)}
    with ExitStack() as stack:
        for name in names.values():
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        server, router, far = names["server"], names["router"], names[_FAR]
        _ip("-n", server, "link", "add", "lan", "type", "bridge")
        _ip("-n", server, "address", "add", f"{SERVER}/24", "dev", "lan")
        _ip("-n", server, "link", "set", "lan", "up")
        for one, address in NEAR.items():
            _wire(names[one], "eth", address, server, one)
            _ip("-n", server, "link", "set", one, "master", "lan")
        _wire(router, "wan", _OUTSIDE, server, "uplink", _UPLINK)
        _wire(far, "eth", _INSIDE, router, "lan", _ROUTER)
        _ip("-n", router, "route", "add", "default", "via", _UPLINK)
        _ip("-n", far, "route", "add", "default", "via", _ROUTER)
        net = Net(names)
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run([*net.inside("router"), "sh", "-c", forward], check=True)
        hides = [program("iptables"), "-t", "nat", "-A", "POSTROUTING", "-o", "wan", "-j", "MASQUERADE"]
        subprocess.run([*net.inside("router"), *hides], check=True, capture_output=True)
        yield net


def _wire(one: str, device: str, address: str, other: str, peer: str, peer_address: str = "") -> None:
    """Connect two namespaces."""
    _ip("-n", one, "link", "add", device, "type", "veth", "peer", "name", peer, "netns", other)
    _ip("-n", one, "address", "add", f"{address}/24", "dev", device)
    _ip("-n", one, "link", "set", device, "up")
    if peer_address:
        _ip("-n", other, "address", "add", f"{peer_address}/24", "dev", peer)
    _ip("-n", other, "link", "set", peer, "up")


def _ip(*words: str) -> None:
    subprocess.run([program("ip"), *words], check=True, capture_output=True)

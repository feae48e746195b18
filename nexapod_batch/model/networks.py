"""From which network a node calls: a /24 of IPv4, a /48 of IPv6, which one household or institute has. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

__all__ = ["KEPT_NETWORKS", "network_of"]

#: Networks that are kept of one node, the latest: laptops travel.
KEPT_NETWORKS = 16
_PREFIX = {4: 24, 6: 48}


@lru_cache(1_000)
def network_of(address: str) -> str:
    """Return the network of an address; "" for this very machine, and for what is no address."""
    try:
        parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback or parsed.is_unspecified:
        return ""
    return str(ipaddress.ip_network((parsed, _PREFIX[parsed.version]), strict=False))

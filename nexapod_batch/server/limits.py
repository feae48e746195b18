"""How often somebody may ask: buckets of tokens, by address, by token, by key. Bounded in memory, whoever comes.

They are looked at before anything that costs: a signature, the database, a body.
"""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Buckets", "address_group"]

#: Names that are remembered at once; the ones that were quiet longest are forgotten first.
_REMEMBERED = 20_000
#: Addresses whose group is remembered at once.
_ADDRESSES = 1_000


class Buckets:
    """A bucket for each name: `burst` requests at once, and `rate` more each second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nobody known."""
        self.rate, self.burst, self._clock = rate, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # name -> tokens, and when that was

    def wait_s(self, name: str, cost: float = 1.0) -> float:
        """Take `cost` from a bucket and return 0; or take nothing, and return in how many seconds it is there."""
        left = self._now_left(name)
        if left >= cost:
            self._keep(name, left - cost)
            return 0.0
        self._keep(name, left)
        return (cost - left) / self.rate

    def fine(self, name: str, number: float) -> None:
        """Take more from a bucket than a request costs, down to as much below nothing as it can hold."""
        self._keep(name, max(-float(self.burst), self._now_left(name) - number))

    def _now_left(self, name: str) -> float:
        left, since = self._left.get(name, (float(self.burst), 0.0))
        return min(float(self.burst), left + (self._clock() - since) * self.rate)

    def _keep(self, name: str, left: float) -> None:
        self._left.pop(name, None)  # so that it is the last to be forgotten
        self._left[name] = (left, self._clock())
        while len(self._left) > _REMEMBERED:
            self._left.pop(next(iter(self._left)))

    def __len__(self) -> int:
        return len(self._left)


@lru_cache(_ADDRESSES)
def address_group(address: str) -> str:
    """Return by what an address is counted: itself, or the /64 of an IPv6 address, which one person has to himself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
    return str(parsed)

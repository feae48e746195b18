"""How much work a registration costs, and whether it was done. Nothing is kept of a challenge until it is answered.

Where few come without a join token it costs nothing. Each doubling of those who came within the last hour, from one
address or in all, doubles the work. A challenge says until when, how hard and for whom, under an HMAC of the server
that made it: it is good once, for the key that asked, from its address, for ten minutes, and not after a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import time
from typing import TYPE_CHECKING

from nexapod_batch.mesh.puzzle import MOST_BITS, is_solved

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Puzzles"]

#: Registrations within an hour that cost nothing: of one address, and in all.
FREE_OF_ADDRESS, FREE = 8, 64
#: Bits of the easiest puzzle, about a tenth of a second; seconds in which one is to be solved.
LEAST_BITS, GOOD_S = 16, 600
_HALF_S = 3_600 / 2
_REMEMBERED = 20_000


class Puzzles:
    """The puzzles of one server."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Make the secret that challenges are made with."""
        self._clock, self._secret = clock, secrets.token_bytes(32)
        self._came: dict[str, tuple[float, float]] = {}  # group of addresses -> how many, and when that was
        self._all = (0.0, 0.0)
        self._spent: dict[str, float] = {}  # challenge -> until when it would have been good

    def bits(self, group: str) -> int:
        """Return how hard a registration from a group of addresses is now; 0: it costs nothing."""
        ratio = max(self._faded(self._came.get(group)) / FREE_OF_ADDRESS, self._faded(self._all) / FREE)
        if ratio < 1:
            return 0
        return min(MOST_BITS, LEAST_BITS + int(math.log2(ratio)))

    def count(self, group: str) -> None:
        """Count one that came from there, whatever became of it."""
        now = self._clock()
        mine = self._faded(self._came.pop(group, None)) + 1
        self._came[group] = (mine, now)
        self._all = (self._faded(self._all) + 1, now)
        while len(self._came) > _REMEMBERED:
            self._came.pop(next(iter(self._came)))

    def challenge(self, group: str, key_id: str) -> str:
        """Return a challenge for who asks with a key from a group of addresses."""
        head = f"{int(self._clock()) + GOOD_S}.{self.bits(group)}"
        return f"{head}.{self._mac(head, group, key_id)}"

    def is_answer(self, challenge: str, number: str, group: str, key_id: str) -> bool:
        """Say whether a challenge of ours is solved, in time and for the first time; then it is spent."""
        head, _, mac = challenge.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(head, group, key_id).encode()):
            return False
        until, bits = map(int, head.split("."))
        now = self._clock()
        while self._spent and next(iter(self._spent.values())) < now:
            del self._spent[next(iter(self._spent))]
        if now > until or challenge in self._spent or len(self._spent) >= _REMEMBERED:
            return False
        if not (number.isascii() and number.isdigit() and len(number) < 20 and int(number) < 1 << 64):
            return False
        if not is_solved(challenge, int(number), bits):
            return False
        self._spent[challenge] = float(until)
        return True

    def _mac(self, head: str, group: str, key_id: str) -> str:
        return hmac.new(self._secret, f"{head}\n{group}\n{key_id}".encode(), hashlib.sha256).hexdigest()[:32]

    def _faded(self, came: tuple[float, float] | None) -> float:
        if came is None:
            return 0.0
        number, at = came
        return number * math.pow(0.5, max(0.0, self._clock() - at) / _HALF_S)

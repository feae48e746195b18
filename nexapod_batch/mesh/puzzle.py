"""The puzzle before a registration: a number that makes a SHA-256 begin with so many zero bits. Pure, for both sides.

Finding it takes 2^bits hashes on average, checking it takes one. A challenge is a line of text that only its server
reads; whoever solves it need know nothing of it but the number of bits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ANSWER", "CHALLENGE", "MOST_BITS", "is_solved", "solve"]

#: Headers: of the refusal, what is to be solved, as in `20 CHALLENGE`; of the request that follows, `CHALLENGE NUMBER`.
CHALLENGE, ANSWER = "nexapod-puzzle", "nexapod-puzzle-answer"
#: Bits of the hardest puzzle: about a minute of one core.
MOST_BITS = 26
_TOLD = 1 << 20


def is_solved(challenge: str, number: int, bits: int) -> bool:
    """Say whether a number solves a challenge."""
    digest = hashlib.sha256(challenge.encode() + number.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") >> (256 - bits) == 0


def solve(challenge: str, bits: int, tell: Callable[[int], None]) -> int:
    """Return the least number that solves a challenge; `tell` hears now and then how many were tried.

    Raises:
        UsageError: It would take more than any coordinator may ask for.

    """
    if not 0 <= bits <= MOST_BITS:
        raise UsageError("the coordinator asks for more work than a registration may cost", got=f"{bits} bits")
    begun = hashlib.sha256(challenge.encode())
    zeros = 256 - bits
    number = 0
    while True:
        tried = begun.copy()
        tried.update(number.to_bytes(8, "big"))
        if int.from_bytes(tried.digest(), "big") >> zeros == 0:
            return number
        number += 1
        if number % _TOLD == 0:
            tell(number)

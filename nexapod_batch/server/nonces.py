"""What was said once and must not be said again for a while: each costs some hundred bytes until that is over."""

from __future__ import annotations

import hashlib

__all__ = ["Nonces"]

#: Sets that are kept, the newest being filled; how many bytes stand for one, and how many of them there are at most.
_SETS, _BYTES, _MOST = 5, 16, 1_000_000


class Nonces:
    """Remembers what it is asked about for some seconds, and a quarter of them longer at most."""

    def __init__(self, seconds: float) -> None:
        """Know of nothing."""
        self._each_s = seconds / (_SETS - 1)
        self._sets: list[set[bytes]] = [set()]  # the newest first
        self._begun = float("-inf")

    def is_new(self, nonce: str, now: float) -> bool:
        """Say whether something has not been asked about, and remember it; `now` never goes back."""
        if now - self._begun >= self._each_s or len(self._sets[0]) >= _MOST // _SETS:
            kept = [] if now - self._begun >= self._each_s * _SETS else self._sets[: _SETS - 1]
            self._sets, self._begun = [set(), *kept], now
        digest = hashlib.blake2b(nonce.encode(), digest_size=_BYTES).digest()
        if any(digest in one for one in self._sets):
            return False
        self._sets[0].add(digest)
        return True

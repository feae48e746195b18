"""Whether folders have changed since they were looked at, without a look at each file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TICK_S", "News"]

#: How long one tick of a file system's clock is, at most.
TICK_S = 0.05


class News:
    """Whether folders may have changed since they were looked at, by their versions.

    A change within one tick of a file system's clock leaves the same version: folders are looked at again until that is
    past. How long ago a version appeared our own clock tells, for the file system's may be another machine's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no look yet."""
        self._clock = clock
        self._version: tuple[int, int] | None = None
        self._since = 0.0
        self._settled = False

    def there(self, version: tuple[int, int]) -> bool:
        """Say whether to look now, where this is the version."""
        now = self._clock()
        if version != self._version:
            self._version, self._since, self._settled = version, now, False
            return True
        if self._settled:
            return False
        self._settled = now - self._since > TICK_S
        return True

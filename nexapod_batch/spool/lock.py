"""Who holds a spool: asked by the backend, which starts workers, and by the coordinator, which clears up after them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["live_incarnation"]


def live_incarnation(spool: Path) -> str | None:
    """Return the incarnation that holds a spool ("" when it has not written it yet); None when no worker lives."""
    try:
        fd = os.open(spool / "worker.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 100).decode("ascii", "replace")
    else:
        return None
    finally:
        os.close(fd)

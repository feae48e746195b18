"""Children that are forked for one job of work: nothing of the parent's code runs in them afterwards."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from nexapod_batch.runner.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fork", "fork_helper"]


def fork(work: Callable[[], None]) -> int:
    """Fork a child that does its work and exits, with 1 and the reason on stderr if it fails; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the last thing this process does is to say why
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def fork_helper(work: Callable[[], None]) -> int:
    """Fork a child that any signal ends, and that is killed when its parent ends; return its process id."""
    parent = os.getpid()

    def helper() -> None:
        descendants.die_with_parent(signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(sign, signal.SIG_DFL)
        if os.getppid() == parent:  # else it died before that was set
            work()

    return fork(helper)

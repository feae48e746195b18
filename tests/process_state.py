"""What a test could leave behind in its process, for the tests after it to stumble over."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, NamedTuple

__all__ = ["ProcessState"]

#: Seconds in which threads that a test started must have ended.
GRACE_S = 10
#: Set by pytest itself, for each test.
_PYTESTS = "PYTEST_CURRENT_TEST"
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class ProcessState(NamedTuple):
    """What is compared."""

    umask: int
    folder: str
    environ: dict[str, str]
    blocked: set[int]  # signals
    handlers: dict[int, Any]
    threads: set[threading.Thread]

    @classmethod
    def now(cls) -> ProcessState:
        """Look at this process."""
        umask = os.umask(0)
        os.umask(umask)
        return cls(
            umask, os.getcwd(), {name: value for name, value in os.environ.items() if name != _PYTESTS},
            set(signal.pthread_sigmask(signal.SIG_BLOCK, ())), {number: signal.getsignal(number) for number in _SIGNALS},
            set(threading.enumerate()),
        )  # fmt: skip

    def changes(self) -> list[str]:
        """Return what is not as it was, a line each, after threads that are about to end have ended."""
        for thread in set(threading.enumerate()) - self.threads:
            thread.join(GRACE_S)
        after = ProcessState.now()
        found = []
        if after.umask != self.umask:
            found.append(f"umask {self.umask:03o} became {after.umask:03o}")
        if after.folder != self.folder:
            found.append(f"current folder {self.folder} became {after.folder}")
        found += [f"variable {name} has another value" for name in _unlike(self.environ, after.environ)]
        if after.blocked != self.blocked:
            found.append(f"blocked signals {sorted(self.blocked)} became {sorted(after.blocked)}")
        found += [f"handler of {signal.Signals(one).name} is another" for one in _unlike(self.handlers, after.handlers)]
        found += [f"thread {thread.name} still runs" for thread in after.threads - self.threads]
        return found

    def restore(self) -> None:
        """Put back what can be put back, for the tests that follow."""
        os.umask(self.umask)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environ)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)
        for number, handler in self.handlers.items():
            if signal.getsignal(number) != handler and handler is not None:  # None: it was not set from Python
                signal.signal(number, handler)


def _unlike(before: dict[Any, Any], after: dict[Any, Any]) -> list[Any]:
    """Return the keys whose values differ, or are missing on one side."""
    return [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]

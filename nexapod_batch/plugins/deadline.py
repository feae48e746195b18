"""How long foreign code may take: a bound in time around a call, kept by an alarm of the kernel.

The alarm raises `CallTimeoutError` inside the call, so that it cleans up behind itself: a child of `subprocess.run` is
killed, a lock is given back. Only the main thread can be interrupted so; in another one there is no bound.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CallTimeoutError", "deadline"]

#: Seconds between two alarms once the time is over, and how many of them a call may swallow.
_AGAIN_S, _SWALLOWED = 1.0, 10
_UNAVAILABLE = 69


class CallTimeoutError(BaseException):
    """A call took longer than it may. No Exception, so that no `except Exception` in it goes on."""


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Interrupt what is done inside when it takes longer than `seconds`; `what` says for people what that is.

    Code that goes on after alarm upon alarm ends the process: nothing else would ever run again. What was done until
    then is as after any other crash.

    Raises:
        CallTimeoutError: The time is over.

    """
    over, alarms = False, 0

    def interrupt(*_: object) -> None:
        nonlocal alarms
        alarms += 1
        if alarms > _SWALLOWED:
            _end(f"{what} did not return within {seconds:g} s, and does not let itself be interrupted")
        if not over:
            raise CallTimeoutError(f"it did not return within {seconds:g} s")

    try:
        before = signal.signal(signal.SIGALRM, interrupt) or signal.SIG_DFL
    except ValueError:  # not in the main thread
        before = None
    if before is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        try:
            yield
        finally:
            over = True  # an alarm that comes now, or has come just before, finds nothing to interrupt
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _end(message: str) -> NoReturn:
    os.write(2, f"nexapod-batch: {message}\n".encode(errors="replace"))
    os._exit(_UNAVAILABLE)

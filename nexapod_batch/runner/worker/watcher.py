"""Somebody outside who watches over a runner that has no worker: it is forked, and its parent watches.

A command of the same account can stop or kill what runs it. The parent is what the scheduler started and signals. It
passes those signals on; lets a runner that was stopped go on at once (the kernel tells it); kills one that does not end
what is over its time; ends what a dead one left (it is the subreaper above it); and lets another one sign what the task
did itself. It ends as the runner does, as soon as that, and so leaves neither a zombie nor an orphan.

The watcher, when it was stopped, is let go on by the kernel, by a timer of its own, and by the runner.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.runner.execution.slate import Seat, Slate
from nexapod_batch.runner.launches.allocation import TIME_OVER
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.signal_wait import wait_for_signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from nexapod_batch.trust.statement import Outcome

__all__ = ["OVERDUE_S", "PASSED_ON", "WATCH_S", "Share", "divide"]

#: For which a command may be over its time: until it hears of it, and is killed.
OVERDUE_S = 15.0
#: Seconds between two looks for such.
WATCH_S = 1.0
#: What the watcher passes on.
PASSED_ON = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, TIME_OVER})
_HEARD = frozenset({*PASSED_ON, signal.SIGCHLD, signal.SIGCONT})
_STOPPED_S = 0.25  # for which the watcher stands still at most when it was stopped
_ORPHANS_S = 5.0  # for which what a dead runner left is killed again and again


class Share(NamedTuple):
    """What the process is told that is to run."""

    seat: Seat  # where it says until when its command may run
    number: int  # of this runner: 1 for the one that only reports
    watcher: int  # its parent
    verdict: tuple[Outcome, str] | None  # on what ran, and has nobody else to report it


def divide(accuse: Callable[[bool], tuple[Outcome, str] | None]) -> Share:
    """Become two: return in the one that is to run, with `PASSED_ON` blocked; the other one watches, and never returns.

    When a runner was killed while its command ran, `accuse` hears whether it was overdue, and says what the replica
    must be called; None when it may be bad luck.
    """
    descendants.become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    slate, watcher = Slate(), os.getpid()
    verdict: tuple[Outcome, str] | None = None
    number = 0
    while True:
        seat = slate.seat(number)
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCONT})
            descendants.die_with_parent(signal.SIGTERM)
            if os.getppid() != watcher:  # it died before that was set
                os._exit(1)
            return Share(seat, number, watcher, verdict)
        if number == 0:
            _go_on_by_timer()
        watch = _Watch(pid, seat)
        status = watch.until_end()
        _end_orphans()
        if number == 0 and os.WIFSIGNALED(status) and seat.running and not watch.told:
            verdict = accuse(watch.overdue)
        if number or verdict is None:
            _end_as(status)
        number = 1


class _Watch:
    """Watches over one runner."""

    def __init__(self, pid: int, seat: Seat) -> None:
        self._pid, self._seat = pid, seat
        self.told = False  # the scheduler ends it
        self.overdue = False

    def until_end(self) -> int:
        """Return how it ended, as the kernel tells it."""
        while True:
            number = wait_for_signal(_HEARD, WATCH_S)
            if number in PASSED_ON:
                self.told = True
                os.kill(self._pid, number)  # not waited for yet: the number is its own
            found, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if found and os.WIFSTOPPED(status):
                os.kill(self._pid, signal.SIGCONT)
            elif found:
                if wait_for_signal(PASSED_ON, 0):  # sent before that
                    self.told = True
                return status
            deadline = self._seat.deadline
            if deadline and time.monotonic() > deadline + OVERDUE_S:
                self.overdue = True
                descendants.end_all(os.getpid())  # the command too: we do not hear of the end of what it traces


def _go_on_by_timer() -> None:
    """Have the kernel send CONT to this process again and again, as long as it takes it; nothing without timers."""
    event = (ctypes.c_long * 8)()  # a sigevent: a value, then two ints, the signal and 0, which is SIGEV_SIGNAL
    ctypes.cast(ctypes.byref(event, ctypes.sizeof(ctypes.c_void_p)), ctypes.POINTER(ctypes.c_int))[0] = signal.SIGCONT
    nanoseconds = round(_STOPPED_S * 1e9)
    times = (ctypes.c_long * 4)(0, nanoseconds, 0, nanoseconds)
    timer = ctypes.c_void_p()
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if not hasattr(libc, "timer_create"):  # of a glibc before 2.34
            libc = ctypes.CDLL("librt.so.1")
        if libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)) == 0:
            libc.timer_settime(timer, 0, times, None)


def _end_orphans() -> None:
    """Kill what a dead runner left; all of it is below us now."""
    until = time.monotonic() + _ORPHANS_S
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        descendants.end_all(os.getpid())
        wait_for_signal({signal.SIGCHLD}, 0.002)


def _end_as(status: int) -> NoReturn:
    """End as the runner did, so that the scheduler knows."""
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(os.WEXITSTATUS(status))

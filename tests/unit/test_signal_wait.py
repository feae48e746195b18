"""Waiting for signals: what comes is returned, and what does not come is not made up, however often others interrupt."""

import signal
import subprocess
import sys

import pytest

#: Waits in a process of its own: `argv` are what interrupts, what is sent before, what is sent meanwhile, and the time.
PROGRAM = """
import os, signal, sys, threading
from nexapod_batch.runner.processes.signal_wait import wait_for_signal
interrupts, before, meanwhile, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
waited = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, waited)
signal.signal(signal.SIGALRM, lambda *_: None)
if before:
    os.kill(os.getpid(), before)
    assert wait_for_signal(waited, 5) == before
if interrupts:
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
if meanwhile:
    threading.Timer(0.02, os.kill, (os.getpid(), meanwhile)).start()
came = wait_for_signal(waited, seconds)
signal.setitimer(signal.ITIMER_REAL, 0)
print(came)
"""
TERM, USR1, CHLD, HUP = signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP


@pytest.mark.parametrize(
    ("interrupts", "before", "meanwhile", "seconds", "wanted"),
    [
        (0, 0, 0, 0.05, 0),
        (0, 0, 0, 0.0, 0),
        (0, 0, 0, -1.0, 0),
        (0, 0, TERM, 10, TERM),
        (0, 0, USR1, 10, USR1),
        (0, TERM, 0, 0.05, 0),
        (1, 0, 0, 0.1, 0),
        (1, TERM, 0, 0.1, 0),  # as CPython returns it again
        (1, USR1, 0, 0.1, 0),
        (1, 0, TERM, 10, TERM),
        (1, TERM, CHLD, 10, CHLD),
    ],
)
def test_only_what_came_is_returned(interrupts: int, before: int, meanwhile: int, seconds: float, wanted: int) -> None:
    """A wait that another signal interrupts goes on, and ends with what came, or with nothing."""
    argv = [sys.executable, "-c", PROGRAM, *map(str, (interrupts, int(before), int(meanwhile), seconds))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) == wanted

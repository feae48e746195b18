"""A stop of everything that reached the command before its runner.

A scheduler sends TERM to each process of a job, in any order. What it killed first may be a part of the command alone,
and the command go on without it and end well: nothing of that is an answer.
"""

from __future__ import annotations

import os
import signal

__all__ = ["late_stop_s"]

#: Seconds for which a command that ended waits for a TERM that was meant for its runner as well, at most.
_LATE_S = 0.25
_SHORT_S, _SHARE = 1.0, 0.02


def late_stop_s(status: int, elapsed_s: float) -> float:
    """Return for how many seconds a stop is waited for when a command ended, with this wait status, after `elapsed_s`.

    What died of TERM most likely had it from who stops everything. All others wait for 2 % of the time that they took:
    what is short waits for nothing.
    """
    if os.waitstatus_to_exitcode(status) in {-signal.SIGTERM, 128 + signal.SIGTERM}:
        return _LATE_S
    if elapsed_s < _SHORT_S:
        return 0.0
    return min(_LATE_S, elapsed_s * _SHARE)

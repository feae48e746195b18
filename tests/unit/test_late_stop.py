"""For how long a stop is waited for that reached the command first."""

from __future__ import annotations

import signal

import pytest

from nexapod_batch.runner.processes.late_stop import late_stop_s


@pytest.mark.parametrize(
    ("status", "elapsed_s", "wanted"),
    [
        (0, 0.002, 0.0),
        (0, 0.99, 0.0),
        (0, 5.0, 0.1),
        (0, 36_000.0, 0.25),
        (3 << 8, 5.0, 0.1),
        (signal.SIGKILL, 5.0, 0.1),
        (signal.SIGTERM, 0.002, 0.25),
        ((128 + signal.SIGTERM) << 8, 0.002, 0.25),
    ],
)
def test_what_died_of_it_waits_and_others_by_their_time(status: int, elapsed_s: float, wanted: float) -> None:
    """A script whose child was killed by TERM may end well before its runner hears of it: 2 %, at most 0.25 s."""
    assert late_stop_s(status, elapsed_s) == pytest.approx(wanted)

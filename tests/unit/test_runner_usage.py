"""What a runner notices of the use of its machine, and how often it looks at a replica."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nexapod_batch.runner.processes.process_tree import Pace
from nexapod_batch.runner.processes.usage import ALARM_S, MAX_PROCESSES, Alarm

THREADS = f"""
import threading, time
for _ in range({MAX_PROCESSES // 4 + 100}): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("there", flush=True)
time.sleep(60)
"""


def test_a_crowd_is_noticed_and_again_when_it_comes_again() -> None:
    """Five hundred threads more than there were at the least since it was noticed last."""
    alarm, now = Alarm(), 0.0
    for _ in range(2):
        alarm.rings(now)  # hears what there is without them
        with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) as many:
            assert many.stdout is not None
            many.stdout.readline()
            assert alarm.rings(now + ALARM_S)
            many.kill()
        now += 2 * ALARM_S


@pytest.mark.parametrize(
    ("looks", "rings"),
    [
        ([(100, 800), (600, 800), (601, 800), (602, 800)], [False, True, False]),
        ([(100, 800), (100, 700), (100, 699), (100, 650), (100, 600)], [False, True, False, True]),
        ([(100, 400), (100, 800), (100, 690)], [False, True]),
        ([(0, 0), (0, 0)], [False]),
    ],
)
def test_the_alarm_rings_once_for_each_change(looks: list[tuple[int, int]], rings: list[bool]) -> None:
    """More than 500 threads above the least, less than seven eighths of the most memory free; then it counts anew."""
    waiting = iter(looks)
    alarm = Alarm(lambda: next(waiting))
    assert rings == [alarm.rings(ALARM_S * number) for number in range(len(looks) - 1)]


def test_the_alarm_looks_seldom_however_often_it_is_asked() -> None:
    """Between two looks the answer is no, and nobody looks."""
    waiting = iter([(0, 1), (1000, 1)])
    alarm = Alarm(lambda: next(waiting))
    assert [alarm.rings(now) for now in (0.0, 0.1, 0.2)] == [True, False, False]


def test_what_rests_is_looked_at_ever_less_often() -> None:
    """Each pause is twice the last one, up to the longest, however near the limit it is."""
    pace = Pace(0.0, (0.1, 1.0))
    now, pauses = 0.02, []
    for _ in range(6):
        after = pace.next(now, used=99, left=1)
        pauses.append(round(after - now, 3))
        now = after
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_what_grows_is_looked_at_before_half_of_what_is_left_is_gone() -> None:
    """A hundred in a second, and eighty are left: in 0.4 seconds; soon, where nothing is left."""
    pace = Pace(0.0, (0.1, 1.0))
    assert pace.next(1.0, used=100, left=80) == pytest.approx(1.4)
    assert pace.next(1.4, used=180, left=0) == pytest.approx(1.5)

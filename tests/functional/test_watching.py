"""Many replicas are watched by a runner that seldom looks at each: what harms the machine is seen all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from spools import House

from nexapod_batch.model.job import Array, Job, Resources
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: An executor that tells whether a signal of the worker's ends it, before it is ready for one.
EARLY = """
import signal
from nexapod_batch.runner.worker.executor_pool import ExecutorPool
def serve(channel, number):
    channel.send(b'true' if signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ()) else b'false')
executors = ExecutorPool(serve, lambda executor, message: print(message), lambda executor: None)
executors.idle().send({}, urgent=True)
while len(executors):
    executors.wait(1)
print(signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
#: An executor that says something and ends, with something that it never read.
LAST_WORDS = """
import select
from nexapod_batch.runner.worker.executor_pool import ExecutorPool
def serve(channel, number):
    select.select([channel], [], [])
    channel.send(b'"last words"')
executors = ExecutorPool(serve, lambda executor, message: print(message), lambda executor: print("died"))
executors.idle().send({})
while len(executors):
    executors.wait(1)
"""
JUMP = "import time; time.sleep(2); x = bytearray(400 << 20); time.sleep(60)"
BOMB = """
import os, time
time.sleep(2)
for _ in range(4000):
    if os.fork() == 0: time.sleep(60); os._exit(0)
time.sleep(60)
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node on which forty replicas run at once."""
    made = House(tmp_path, cpus=40)
    yield made
    made.end()


def test_an_executor_survives_what_is_urgent_before_it_is_ready() -> None:
    """The signal is blocked from the fork on; in the worker itself it is not."""
    told = subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert told.stdout.split() == ["True", "False"]


def test_the_last_words_of_an_executor_are_heard() -> None:
    """Also where it had not read all that was said to it, which the kernel tells before them."""
    told = subprocess.run([sys.executable, "-c", LAST_WORDS], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["last words", "died"]


@pytest.mark.parametrize(
    ("code", "mem", "outcome", "said"),
    [
        (JUMP, 100, Outcome.MEMORY, "over its memory: got "),
        (BOMB, None, Outcome.FAILED, "too many processes: got "),
    ],
)
def test_a_replica_that_rested_is_stopped_when_it_breaks_out(
    house: House, code: str, mem: int | None, outcome: Outcome, said: str
) -> None:
    """After seconds of rest, and beside others that rest, which it does not disturb."""
    code = f"import sys, time\nif sys.argv[1] != '7': time.sleep(4); sys.exit()\n{code}"
    job = Job(
        name="t",
        command=("python3", "-c", code, "{task}"),
        array=Array(ranges=((0, 39, 1),)),
        resources=Resources(mem_mib=mem),
    )
    reports = house.run(job, 40)
    odd = reports.pop(7).statement
    assert (odd.outcome, odd.detail[: len(said)]) == (outcome, said)
    assert {report.statement.outcome for report in reports} == {Outcome.OK}

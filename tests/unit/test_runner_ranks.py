"""What a launcher says of ranks that were killed for memory, or never began."""

from __future__ import annotations

import pytest

from nexapod_batch.runner.execution.launcher.ranks import said_by_launcher
from nexapod_batch.trust.statement import Outcome

#: As Slurm 22.05 and 23.11 say it, and as 20.02 did.
KILLED = [
    b"slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.\n",
    b"slurmstepd: error: Detected 2 oom-kill event(s) in StepId=12.0 cgroup. Some of your processes may have been killed.\n",
]
NOT_BEGUN = [
    b"srun: error: Task launch for StepId=7.0 failed on node n2: Invalid job credential\n",
    b"srun: error: Application launch failed: Job credential expired\n",
    b"srun: error: Unable to create step for job 7: Socket timed out on send/recv operation\n",
    b"srun: error: Unable to confirm allocation for job 7: Unable to contact slurm controller (connect failure)\n",
]


@pytest.mark.parametrize("words", KILLED)
@pytest.mark.parametrize("status", [0, 1, 137])
def test_a_step_that_lost_a_process_is_over_its_memory(words: bytes, status: int) -> None:
    """Also when every rank ended with 0."""
    said = said_by_launcher(status, b"before\n" + words + b"srun: error: n1: task 0: Out Of Memory\n")
    assert said is not None
    assert said[0] is Outcome.MEMORY


@pytest.mark.parametrize("words", NOT_BEGUN)
def test_ranks_that_never_began_are_no_error_of_the_job(words: bytes) -> None:
    """The reason holds what srun said; where it ended well after all, nothing is wrong."""
    assert said_by_launcher(1, b"x\n" + words) == (Outcome.NODE, f"its ranks could not be started: {words.decode().strip()}")
    assert said_by_launcher(0, words) is None


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"srun: error: n1: task 0: Exited with exit code 3\n",
        b"srun: error: Unable to create step for job 7: More processors requested than permitted\n",
        b"my srun: error: Application launch failed: x\n",
        b"Detected 1 oom_kill event\n",
    ],
)
def test_other_words_decide_nothing(words: bytes) -> None:
    """Exit codes of ranks, what the job itself asked wrongly, and what only looks alike."""
    assert said_by_launcher(3, words) is None

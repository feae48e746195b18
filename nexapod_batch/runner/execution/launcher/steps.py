"""What a scheduler's accounting says of the steps in which a launcher ran the ranks of one replica.

Ranks that `srun` starts are no descendants of the runner, on its host or on others: what they used, and that the kernel
killed one of them for memory, only the accounting knows. It is asked from inside the allocation as soon as the launcher
has ended; where it cannot be asked, or does not say, nothing is said of what was used. Elements of an array and steps
are told apart by their names: `12_3.batch` is the script, `12_3.extern` what belongs to no step, `12_3.0` a step.

CPU time is what the kernel counted when a rank ended. Memory is looked at now and then (JobAcctGatherFrequency, 30 s
where nobody sets it): of a step that was shorter than `SAMPLED_S` the figure says little, and is not taken.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.runner.execution.stage import CommandError, find_program

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SAMPLED_S", "Steps", "of_allocation", "read_steps"]

_COLUMNS = "JobID,State,ElapsedRaw,TotalCPU,TRESUsageInTot"
#: Seconds that a step must take for its memory to have been looked at.
SAMPLED_S = 60
#: The program must not find what changes its answer.
_UNWANTED = ("SLURM_", "SACCT_", "SRUN_", "PMI", "OMPI_", "PRTE_")
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})
#: Seconds for which one answer, and the end of all steps in the accounting, is waited for.
_TIMEOUT_S, _PATIENCE_S, _PAUSE_S = 10.0, 3.0, 0.2
_MAX_LINES = 10_000
#: States of a step that has not ended.
_GOES_ON = frozenset({"RUNNING", "PENDING", "SUSPENDED", "COMPLETING"})
_STEP = re.compile(r"\d{1,10}(?:_\d{1,10})?(?:\+\d{1,5})?\.(\d{1,10})", re.ASCII)
_TIME = re.compile(r"(?:(?:(\d{1,5})-)?(\d{1,4}):)?(\d{1,4}):(\d{1,2})(?:\.(\d{1,3}))?", re.ASCII)
_MEMORY = re.compile(r"(?:^|,)mem=(\d{1,15}(?:\.\d{1,6})?)([KMGTP]?)(?=,|$)", re.ASCII)
_KIB = {"": 1 / 1024, "K": 1, "M": 1024, "G": 1024**2, "T": 1024**3, "P": 1024**4}


class _Row(NamedTuple):
    """A line of the accounting: the cells of `_COLUMNS`."""

    id: str
    state: str
    elapsed: str  # seconds
    total_cpu: str
    usage: str


class Steps(NamedTuple):
    """All steps of a Slurm job, but its batch script, together."""

    number: int = 0
    ended: bool = True  # all of them
    out_of_memory: tuple[str, ...] = ()  # those of which Slurm says so
    cpu_ms: int | None = None  # None: it was not measured
    max_rss_kib: int | None = None  # the largest step's: the sum of what each of its ranks had at most; likewise


def of_allocation(path: str, environment: Mapping[str, str]) -> Steps | None:
    """Return what the accounting says of the steps of the Slurm job around us; None where it does not say."""
    job = environment.get("SLURM_JOB_ID", "")
    try:
        program = find_program("sacct", path, "/")
    except CommandError:
        return None
    env = {name: value for name, value in environment.items() if name in _KEPT or not name.startswith(_UNWANTED)}
    argv = [program, "--noheader", "--parsable2", f"--jobs={job}", f"--format={_COLUMNS}"]
    end = time.monotonic() + _PATIENCE_S
    while True:
        text = _answer(argv, {**env, "LC_ALL": "C"})
        found = None if text is None else read_steps(text)
        if found is None or (found.number and found.ended) or time.monotonic() > end:
            if found is None or found.ended:
                return found
            return None
        time.sleep(_PAUSE_S)  # the end of a step is on its way to the accounting


def _answer(argv: list[str], env: Mapping[str, str]) -> str | None:
    """Return what the program prints; None where it fails, or does not answer in time."""
    from nexapod_batch.files import answers  # noqa: PLC0415 - most replicas are one process

    try:
        done = answers.ask(argv, env=env, timeout_s=_TIMEOUT_S)
    except OSError:
        return None
    if done.status:
        return None
    return done.stdout.decode("utf-8", "replace")


def read_steps(text: str) -> Steps | None:
    """Return what sacct printed, added up; None where not even the job is in it. Pure: lines that make no sense go."""
    rows = []
    for line in text.split("\n")[:_MAX_LINES]:
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == len(_Row._fields):
            rows.append(_Row(*cells))
    if not rows:
        return None
    steps = [row for row in rows if _STEP.fullmatch(row.id)]
    ended = all(row.state.partition(" ")[0] not in _GOES_ON for row in steps)
    killed = tuple(row.id for row in steps if row.state.startswith("OUT_OF_ME"))
    cpu_ms = sum(_ms(row.total_cpu) or 0 for row in steps)
    memory = {row: kib for row in steps if (kib := _kib(row.usage)) is not None}
    if not cpu_ms and not memory:  # JobAcctGatherType=none: zeros would be taken for figures
        return Steps(len(steps), ended, killed)
    largest = max((kib for row, kib in memory.items() if _was_sampled(row.elapsed)), default=None)
    return Steps(len(steps), ended, killed, cpu_ms, None if largest is None else round(largest))


def _was_sampled(elapsed: str) -> bool:
    """Say whether a step ran long enough for its memory to be looked at."""
    return elapsed.isdecimal() and int(elapsed) >= SAMPLED_S


def _ms(text: str) -> int | None:
    """Return the milliseconds of `[[days-]hours:]minutes:seconds[.thousandths]`."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:4])
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return whole * 1000 + int((found[5] or "0").ljust(3, "0"))


def _kib(usage: str) -> float | None:
    """Return the memory of `cpu=..,mem=..K,..` in KiB."""
    found = _MEMORY.search(usage)
    if found:
        return float(found[1]) * _KIB[found[2]]
    return None

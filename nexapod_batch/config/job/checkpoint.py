"""`[checkpoint]`: what a command saves, so that a later attempt goes on where it was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.config.job.paths import check_inside, check_no_log
from nexapod_batch.model.job import Checkpoint
from nexapod_batch.schema.kinds import BAD

if TYPE_CHECKING:
    from nexapod_batch.model.job import Resources
    from nexapod_batch.schema.kinds import Report, Value

__all__ = ["read_checkpoint"]


def read_checkpoint(section: Value, resources: Resources | None, report: Report) -> Checkpoint | None:
    """Return the section as the job keeps it; None where there is none, or faults, which are reported."""
    if not isinstance(section, dict) or BAD in section.values():
        return None
    for number, path in enumerate(section["path"]):
        check_inside(path, f"checkpoint.path[{number}]", report)
        check_no_log(path, f"checkpoint.path[{number}]", report)
    name, _, seconds = (section["signal"] or "@0").partition("@")
    if name and resources is not None:
        _check_time(int(seconds), resources.time_s, report)
    return Checkpoint(
        paths=tuple(section["path"]), signal=name.removeprefix("SIG"), ahead_s=int(seconds),
        exit_code=section["exit_code"],
    )  # fmt: skip


def _check_time(ahead_s: int, time_s: int | None, report: Report) -> None:
    """Report a signal before the end of a time that has none, or that is shorter."""
    if time_s is None:
        report.add("checkpoint.signal", "the job has no time limit", wanted="[resources] time")
    elif ahead_s >= time_s:
        what = f"its time is over after {time_s} s"
        report.add("checkpoint.signal", what, got=f"{ahead_s} s before that", wanted="fewer seconds")

"""`[checkpoint]`: what a command saves, so that a later attempt goes on where it was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.config.job.paths import check_inside
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
    name, _, seconds = (section["signal"] or "").partition("@")
    ahead_s = int(seconds or 0)
    time_s = None if resources is None else resources.time_s
    if name and resources is not None and time_s is None:
        report.add("checkpoint.signal", "the job has no time limit", wanted="[resources] time")
    elif name and time_s is not None and ahead_s >= time_s:
        what = f"its time is over after {time_s} s"
        report.add("checkpoint.signal", what, got=f"{ahead_s} s before that", wanted="fewer seconds")
    return Checkpoint(
        paths=tuple(section["path"]), signal=name.removeprefix("SIG"), ahead_s=ahead_s, exit_code=section["exit_code"]
    )

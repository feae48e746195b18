"""`[job] reproducible = true`: variables that keep the clock, the place and the machine out of what programs write.

They become part of the job's `env`, which is pinned and signed with the job: the same on every node, also where
somebody runs the job again in years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.placeholders import THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.schema.kinds import Report

__all__ = ["EPOCH", "pinned_environment"]

#: 1980-01-01T00:00:00Z: the earliest date that a zip file can hold. A constant, so that a job sent twice is the same.
EPOCH = 315_532_800
_SURROUNDINGS = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "OMP_DYNAMIC": "FALSE",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": str(EPOCH),
    "TZ": "UTC",
}


def pinned_environment(env: Mapping[str, str], cpus: int | None, report: Report) -> dict[str, str]:
    """Return a job's own variables and those that are pinned; its own win, and are told as warnings.

    `cpus` is how many threads programs start: `cpus_per_task`, without it one.
    """
    pinned = _SURROUNDINGS | dict.fromkeys(THREADS, str(cpus or 1))
    for name in sorted(pinned.keys() & env.keys()):
        if env[name] != pinned[name]:
            told = f"job.env: {name} is {env[name]!r}, not {pinned[name]!r} as job.reproducible pins it"
            report.warnings.append(told)
    return {**pinned, **env}

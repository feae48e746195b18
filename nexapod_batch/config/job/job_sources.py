"""Sources that are outputs of another job, and the jobs that go before, by number or by the name they have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.config.job.paths import check_inside
from nexapod_batch.model.job import Dependency, Input
from nexapod_batch.model.job_source import SCHEME, JobSource, is_job_source, parse_job_source
from nexapod_batch.schema.problems import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.schema.kinds import Report

__all__ = ["is_job_source", "number_of", "read", "report_unknown", "with_sources"]

_TASK = re.compile(r"(.+)_([0-9]+|\{[^/{}]+\})", re.ASCII | re.DOTALL)
_EXAMPLE = "job:41/path, or job:41_{task}/path for that of the same task"


def number_of(named: str | int, jobs: Mapping[str, int]) -> int | None:
    """Return the number of a job that is named by it, or by its name in the same submission; None for neither."""
    if isinstance(named, int):
        return named
    if named in jobs:
        return jobs[named]
    if named.isascii() and named.isdigit() and 0 < len(named) < 16 and int(named) > 0:
        return int(named)
    return None


def read(
    text: str, target: str | None, given: str | None, where: str, jobs: Mapping[str, int], report: Report
) -> Sequence[Input]:
    """Return an input that comes from another job; its digest is known when that is accepted."""
    who, slash, path = text.removeprefix(SCHEME).partition("/")
    if not slash or not who or not path:
        report.add(f"{where}.source", "names no output of a job", got=text, wanted=_EXAMPLE)
        return ()
    if given is not None:
        report.add(f"{where}.sha256", "not accepted with job:", wanted="no sha256: the verdict has it")
    task = ""
    number = number_of(who, jobs)
    parts = _TASK.fullmatch(who)
    if number is None and parts is not None:
        number, task = number_of(parts[1], jobs), parts[2]
    if number is None:
        report_unknown(f"{where}.source", who, jobs, report)
        return ()
    if not check_inside(path, f"{where}.source", report):
        return ()
    return [Input(source=str(JobSource(number, task, path)), target=target or path, sha256="")]


def report_unknown(where: str, name: str, jobs: Mapping[str, int], report: Report) -> None:
    """Report a name that is that of no job of this submission, and no number."""
    hint = nearest(name, jobs) or "nexapod-batch submit one.toml two.toml submits jobs that name each other"
    wanted = f"a number, or one of: {', '.join(jobs)}" if jobs else "the number of a job"
    report.add(where, "no such job", got=name, wanted=wanted, hint=hint)


def with_sources(before: Sequence[Dependency], inputs: Sequence[Input], report: Report) -> tuple[Dependency, ...]:
    """Return the jobs that go before, with those of which there are inputs; report one whose outputs may not exist."""
    found = {one.job: one for one in before}
    for number, job_input in enumerate(inputs):
        if not is_job_source(job_input.source):
            continue
        job = parse_job_source(job_input.source).job
        known = found.setdefault(job, Dependency(job=job))
        if known.when != "accepted":
            where = f"inputs[{number}].source"
            report.add(where, "there are outputs of accepted jobs only", got=known.when, wanted='when = "accepted"')
    return tuple(found.values())

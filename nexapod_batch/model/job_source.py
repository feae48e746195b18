"""`job:41_7/out.npy`: an input that is an output of another job, as descriptors and documents spell it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nexapod_batch.model.job import Input, Job

__all__ = [
    "SCHEME", "JobSource", "has_remote", "is_job_source", "is_listing", "is_remote", "parse_job_source", "scheme_of",
    "with_numbers",
]  # fmt: skip

#: How such a source begins.
SCHEME = "job:"
_NUMBERED = re.compile(r"job:(-?[0-9]+)(?:_([0-9]+|\{[^/{}]+\}))?/(.+)", re.DOTALL | re.ASCII)


class JobSource(NamedTuple):
    """Outputs of another job; a job of the same submission has a negative number until it is stored."""

    job: int
    task: str  # an index, or a placeholder in braces that stands for one; "" for every task
    path: str  # as the other job calls it, or a glob; may have placeholders

    def __str__(self) -> str:
        """Return it as it stands in a document."""
        task = f"_{self.task}" if self.task else ""
        return f"{SCHEME}{self.job}{task}/{self.path}"


def is_job_source(source: str) -> bool:
    """Say whether a source names another job."""
    return source.startswith(SCHEME)


def scheme_of(source: str) -> str:
    """Return the scheme of a URL, in lower case; "" for a path, and for an output of a job."""
    scheme, found, _ = source.partition("://")
    return scheme.lower() if found and "/" not in scheme and not is_job_source(source) else ""


def is_remote(source: str) -> bool:
    """Say whether the source of a pinned input is a URL: files of this machine stand there by their path."""
    return bool(scheme_of(source))


def has_remote(inputs: Iterable[Input]) -> bool:
    """Say whether an input may be a URL: for thousands of files, none of which is, this is all that is asked."""
    return any("://" in job_input.source for job_input in inputs)


def is_listing(source: str) -> bool:
    """Say whether a URL stands for all that a pattern takes; `?` begins a query, and a host may be `[::1]`."""
    path = source.partition("://")[2].partition("?")[0].partition("/")[2]
    return is_remote(source) and bool({"*", "["} & set(path))


def parse_job_source(source: str) -> JobSource:
    """Return what a source of a document names; ValueError for any other text."""
    match = _NUMBERED.fullmatch(source)
    if match is None:
        msg = f"{source[:80]!r} names no output of a job"
        raise ValueError(msg)
    number, task, path = match.groups()
    return JobSource(int(number), task or "", path)


def with_numbers(job: Job, numbers: Mapping[int, int]) -> Job:
    """Return a job that names jobs by the numbers that they got; `numbers` are those, by the provisional ones. Pure."""
    from msgspec.structs import replace  # noqa: PLC0415 - only for jobs that follow others

    before = tuple(one._replace(job=numbers.get(one.job, one.job)) for one in job.schedule.depends_on)
    inputs = []
    for job_input in job.inputs:
        if is_job_source(job_input.source):
            named = parse_job_source(job_input.source)
            source = named._replace(job=numbers.get(named.job, named.job))
            inputs.append(job_input._replace(source=str(source)))
        else:
            inputs.append(job_input)
    return replace(job, inputs=tuple(inputs), schedule=job.schedule._replace(depends_on=before))

"""Selectors: `42`, `42_7`, `40-45`, `last`, `last_7` and `all` become jobs and tasks that exist.

`parse` is pure text to data; `resolve` asks the store, so that a job that is not there is refused by name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.store import Store

__all__ = ["Last", "Target", "jobs_of", "parse", "parse_range", "replica_of", "resolve", "resolve_one"]

# Compiled by the first use: most commands use none of them.
_JOB = r"([1-9][0-9]{0,17})(?:_(0|[1-9][0-9]{0,17}))?"
_LAST = r"last(?:_(0|[1-9][0-9]{0,17}))?"
_JOBS = r"([1-9][0-9]{0,17})-([1-9][0-9]{0,17})"
_TASKS = r"([0-9]{1,18})(?:-([0-9]{1,18}))?"
_WANTED = "42, 42_7, 40-45, last, last_7 or all"


class Target(NamedTuple):
    """A job, or one task of it."""

    job: int
    task: int | None = None

    def __str__(self) -> str:
        """Return `42` or `42_7`."""
        return str(self.job) if self.task is None else f"{self.job}_{self.task}"


class Last(NamedTuple):
    """The newest job, or one task of it."""

    task: int | None = None


def parse(text: str) -> Target | Last | range | None:
    """Return a target, the newest job, a range of job ids, or None for `all`; UsageError for anything else."""
    if text == "all":
        return None
    if match := re.fullmatch(_LAST, text):
        return Last(None if match[1] is None else int(match[1]))
    if text.isascii() and text.isdecimal() and text[0] != "0" and len(text) < 19:
        return Target(int(text))
    if match := re.fullmatch(_JOB, text):
        return Target(int(match[1]), None if match[2] is None else int(match[2]))
    if match := re.fullmatch(_JOBS, text):
        first, last = int(match[1]), int(match[2])
        if first > last:
            raise UsageError("a range of jobs runs upwards", got=text, wanted=f"{last}-{first}")
        return range(first, last + 1)
    raise UsageError("not a job or task", got=repr(text[:80]), wanted=_WANTED, hint="nexapod-batch ls")


def parse_range(text: str) -> tuple[int, int]:
    """Return first and last of `7` or `1-100`; UsageError for anything else."""
    match = re.fullmatch(_TASKS, text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if first > last:
        raise UsageError("not a range of tasks", got=repr(text[:80]), wanted="7 or 1-100, upwards")
    return first, last


def resolve(store: Store, texts: Iterable[str], *, only_open: bool = False) -> list[Target]:
    """Return what the selectors name, in their order, each once; NotFoundError when one names nothing.

    With `only_open`, `all` means every job that has not ended.
    """
    found: dict[Target, None] = {}
    for text in texts:
        for target in _resolve(store, text, only_open=only_open):
            found[target] = None
    return list(found)


def resolve_one(store: Store, text: str) -> Target:
    """Return the one job or task that a selector names."""
    found = resolve(store, [text])
    if len(found) != 1:
        raise UsageError("one job or task at a time", got=f"{text}, which is {len(found)} jobs", wanted="42 or 42_7")
    return found[0]


def replica_of(store: Store, text: str) -> tuple[Target, int | None]:
    """Return the task that a selector names, and the replica of it: `42_7.2`, `last_0.2`, or a task with None."""
    name, dot, number = text.partition(".")
    if dot and not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise UsageError("not a replica", got=repr(text[:80]), wanted="42_7.2", hint="nexapod-batch show last")
    target = resolve_one(store, name)
    if target.task is None:
        first = views.tasks(store, target.job, limit=1)["tasks"][0]["index"]
        target = Target(target.job, first)
    return target, int(number) if dot else None


def jobs_of(targets: Iterable[Target]) -> list[int]:
    """Return the job ids of whole-job targets; UsageError when one names a task."""
    jobs = []
    for target in targets:
        if target.task is not None:
            raise UsageError("this works on whole jobs", got=str(target), wanted=str(target.job))
        jobs.append(target.job)
    return jobs


def _resolve(store: Store, text: str, *, only_open: bool) -> list[Target]:
    selector = parse(text)
    if isinstance(selector, Last):
        job = views.last_job(store)
        if job is None:
            raise NotFoundError("there is no job yet", hint="nexapod-batch submit job.toml")
        selector = Target(job, selector.task)
    if isinstance(selector, Target):
        if selector.task is None:
            views.require_job(store, selector.job)
        else:
            views.require_task(store, selector.job, selector.task)
        return [selector]
    if isinstance(selector, range):
        ids = views.job_ids(store, selector.start, selector.stop - 1)
        if not ids:
            raise NotFoundError("no such jobs", got=text, hint="nexapod-batch ls")
        return [Target(job) for job in ids]
    return [Target(job) for job in (views.open_jobs(store) if only_open else views.job_ids(store))]

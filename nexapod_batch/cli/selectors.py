"""Selectors: `42`, `42_7`, `42_1-5`, `40-45`, `last`, `all` and lists of them become jobs and tasks that exist.

`parse` is pure text to data; `resolve` asks the store, so that a job that is not there is refused by name.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nexapod_batch.store import Store

__all__ = ["Target", "is_path", "jobs_of", "parse", "parse_range", "replica_of", "resolve", "resolve_one"]

# Compiled by the first use: most commands use none of them.
_NUMBER = r"0|[1-9][0-9]{0,17}"
_ONE = rf"(last|[1-9][0-9]{{0,17}})(?:_({_NUMBER}))?"
_JOBS = r"([1-9][0-9]{0,17})-([1-9][0-9]{0,17})"
_TASKS_OF = rf"(last|[1-9][0-9]{{0,17}})_(?:\[([0-9,-]{{1,2000}})\]|((?:{_NUMBER})-(?:{_NUMBER})))"
_TASKS = r"([0-9]{1,18})(?:-([0-9]{1,18}))?"
_WANTED = "42, 42_7, 42_1-5, 42_[1,3-5], 40-45, 40,42, last, last_7 or all"


class Target(NamedTuple):
    """A job, or one task of it."""

    job: int
    task: int | None = None

    def __str__(self) -> str:
        """Return `42` or `42_7`."""
        if self.task is None:
            return str(self.job)
        return f"{self.job}_{self.task}"


class Part(NamedTuple):
    """One part of a selector: jobs from first to last, or tasks of one job; `job` 0 is the newest."""

    job: int
    last_job: int
    tasks: tuple[tuple[int, int], ...] = ()  # first and last each; empty: the whole job


#: What `all` means.
ALL = Part(1, views.LARGEST)


def is_path(text: str) -> bool:
    """Say whether a word names a file or folder and no job: it has a slash, or no job is called so and it is there."""
    if "/" in text:
        return True
    try:
        parse(text)
    except UsageError:
        return text in {".", ".."} or text.endswith(".tar") or os.path.lexists(text)
    return False


def parse(text: str) -> list[Part]:
    """Return the parts of a selector, which commas separate; UsageError for anything else."""
    if text.isascii() and text.isdecimal() and text[0] != "0" and len(text) < 19:
        return [Part(int(text), int(text))]
    return [_part(piece, text) for piece in re.split(r",(?![^\[]*\])", text)]


def _part(piece: str, text: str) -> Part:
    if piece == "all":
        return ALL
    if match := re.fullmatch(_ONE, piece):
        job = _job(match[1])
        return Part(job, job, ((int(match[2]), int(match[2])),) if match[2] is not None else ())
    if match := re.fullmatch(_TASKS_OF, piece):
        job = _job(match[1])
        return Part(job, job, tuple(map(parse_range, (match[2] or match[3]).split(","))))
    if match := re.fullmatch(_JOBS, piece):
        first, last = int(match[1]), int(match[2])
        if first > last:
            raise UsageError("a range of jobs runs upwards", got=piece, wanted=f"{last}-{first}")
        return Part(first, last)
    raise UsageError("not a job or task", got=repr(text[:80]), wanted=_WANTED, hint="nexapod-batch ls")


def _job(text: str) -> int:
    if text == "last":
        return 0
    return int(text)


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
    """Return the one job or task that a selector names.

    Raises:
        UsageError: It names several, or none.

    """
    found = resolve(store, [text])
    if len(found) != 1:
        raise UsageError("one job or task at a time", got=f"{text}, which is {len(found)}", wanted="42 or 42_7")
    return found[0]


def replica_of(store: Store, text: str) -> tuple[Target, int | None]:
    """Return the task that a selector names, and the replica of it: `42_7.2`, `last_0.2`, or a task with None.

    Raises:
        UsageError: It names no single task, or no replica of it.

    """
    name, dot, number = text.partition(".")
    if dot and not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise UsageError("not a replica", got=repr(text[:80]), wanted="42_7.2", hint="nexapod-batch show last")
    target = resolve_one(store, name)
    if target.task is None:
        first = views.tasks(store, target.job, limit=1, replicas=False)["tasks"][0]["index"]
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


def _resolve(store: Store, text: str, *, only_open: bool) -> Iterator[Target]:
    for part in parse(text):
        if part == ALL:
            jobs = views.open_jobs(store) if only_open else views.job_ids(store)
            yield from (Target(job) for job in jobs)
        elif part.tasks:
            yield from _tasks(store, part)
        elif part.job == part.last_job:
            job = part.job or _newest(store)
            views.require_job(store, job)
            yield Target(job)
        else:
            ids = views.job_ids(store, part.job, part.last_job)
            if not ids:
                raise NotFoundError("no such jobs", got=text, hint="nexapod-batch ls")
            yield from (Target(job) for job in ids)


def _newest(store: Store) -> int:
    job = views.last_job(store)
    if job is None:
        raise NotFoundError("there is no job yet", hint="nexapod-batch submit job.toml")
    return job


def _tasks(store: Store, part: Part) -> Iterator[Target]:
    """Yield the tasks that are there; NotFoundError for a single one, or a range, that names none."""
    job = part.job or _newest(store)
    for first, last in part.tasks:
        if first == last:
            views.require_task(store, job, first)
            yield Target(job, first)
            continue
        indexes = views.task_indexes(store, job, first, last)
        if not indexes:
            raise NotFoundError(f"job {job} has no tasks {first}-{last}", hint=f"nexapod-batch show {job} lists them")
        yield from (Target(job, index) for index in indexes)

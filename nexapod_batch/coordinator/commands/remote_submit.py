"""Submissions of people elsewhere: what is sent twice becomes one job, and a stranger's commands are confined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.config.job.descriptor import parse, parse_document
from nexapod_batch.config.settings import settings
from nexapod_batch.coordinator.commands.submit import submit
from nexapod_batch.coordinator.people.jobs import find
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import DescriptorError, Problem, UsageError
from nexapod_batch.model.job_source import is_job_source, is_remote, parse_job_source

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from nexapod_batch.config.job.descriptor import Parsed
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.store.repositories.people import SentRow

__all__ = ["Quota", "Sent", "already", "submit_for"]


class Quota(Struct, frozen=True, kw_only=True):
    """What one person may have open."""

    open_jobs: int = 1_000
    open_tasks: int = 1_000_000


class Sent(Struct, frozen=True, kw_only=True):
    """What a person sends."""

    person: str
    descriptor: str | dict[str, Any]  # TOML text, or the same as data
    folder: Path  # the files that came with it
    keys: tuple[str, ...]  # under which it is remembered
    digest: bytes  # SHA-256 of the request
    quota: Quota = Quota()
    sees_all: bool = False  # may build on jobs of others
    trusted: bool = False  # the account's own: its commands run as those that it submits itself
    warnings: tuple[str, ...] = ()


def already(c: Coordinator, sent: Sent) -> int | None:
    """Return the job that a submission became when it came before; None where it is new.

    Raises:
        UsageError: The same key came with something else.

    """
    for key in sent.keys:
        row = c.store.people.sent(sent.person, key)
        if row is not None:
            _check_same(row, sent, key)
            return row.job_id
    return None


def _check_same(row: SentRow, sent: Sent, key: str) -> None:
    if row.digest == sent.digest:
        return
    own_id = key.removeprefix("id:")
    if own_id != key:
        hint = f"take another id, or leave it out; GET /v1/jobs/{row.job_id} shows that job"
        raise _SentBeforeError(f"the id {own_id!r} is that of another job of yours", hint=hint)
    raise _SentBeforeError("this Idempotency-Key came with another job", hint="take a new key for a new job")


class _SentBeforeError(UsageError):
    """Something else came under the same key."""

    http_status = 409


def submit_for(c: Coordinator, sent: Sent) -> tuple[int, tuple[str, ...]]:
    """Store what a person sent, once; return the number of the job, and warnings. Errors as of `submit`."""
    known = already(c, sent)
    if known is not None:
        views.require_job(c.store, known)
        return known, ()
    parsed = _parsed(c, sent)
    _check_others(c, sent, parsed.job)
    _check_quota(c, sent, parsed.job)

    def remember(job: int) -> None:
        for key in sent.keys:
            c.store.people.insert_sent(person=sent.person, key=key, digest=sent.digest, job=job, now=c.now())

    done = submit(
        c, parsed.job, sent.folder, {}, foreign=not sent.trusted, warnings=(*sent.warnings, *parsed.warnings),
        user=sent.person, also=remember,
    )  # fmt: skip
    return done.job, done.warnings


def _check_others(c: Coordinator, sent: Sent, job: Job) -> None:
    """Refuse what is not theirs: jobs of others, told as ones that are not there, and what this account may fetch."""
    named = {one.job for one in job.schedule.depends_on}
    named |= {parse_job_source(one.source).job for one in job.inputs if is_job_source(one.source)}
    for number in sorted(named):
        find(c, str(number), sent.person, sees_all=sent.sees_all)
    fetched = [number for number, one in enumerate(job.inputs) if is_remote(one.source)]
    if fetched and not sent.trusted:  # this account's logins would open for them what is not theirs
        why = "is fetched with the logins of the server's account: send the file with the job instead"
        problems = tuple(Problem(f"inputs[{number}].source", why) for number in fetched)
        raise DescriptorError("the server fetches nothing for other people", problems=problems)


def _check_quota(c: Coordinator, sent: Sent, job: Job) -> None:
    jobs, tasks = c.store.people.open_of(sent.person)
    for what, number, more, most in (
        ("jobs", jobs, 1, sent.quota.open_jobs), ("tasks", tasks, job.n_tasks, sent.quota.open_tasks)
    ):  # fmt: skip
        if number + more > most:
            raise _QuotaError(
                f"too many {what} of {sent.person} have not ended", got=f"{number} and {more} more",
                wanted=f"at most {most}", hint="wait for some to end, or ask whoever runs the coordinator",
            )  # fmt: skip


class _QuotaError(UsageError):
    """A person has as much open as they may have."""

    http_status = 409


def _parsed(c: Coordinator, sent: Sent) -> Parsed:
    """Parse the descriptor; what it leaves out is as the settings of the coordinator's account say."""
    found = settings(c.paths)
    defaults = dict(found.job_defaults)
    if found.site is not None:
        defaults["schedule.sites"] = found.site
    if isinstance(sent.descriptor, str):
        return parse(sent.descriptor, sent.folder, name="job.toml", defaults=defaults)
    return parse_document(sent.descriptor, sent.folder, name="job", defaults=defaults)

"""Submissions of people elsewhere: what is sent twice becomes one job, and a stranger's commands are confined."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.config.job.descriptor import parse, parse_document
from nexapod_batch.config.settings import settings
from nexapod_batch.config.toml import decode
from nexapod_batch.coordinator.commands.submit import submit
from nexapod_batch.coordinator.people import quotas
from nexapod_batch.coordinator.people.jobs import find
from nexapod_batch.coordinator.people.quotas import Quota
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

__all__ = ["Sent", "already", "names_image", "submit_for"]

#: What follows in a message says where something leads on this machine, and what `submit` there would take.
_OUTSIDE = re.compile(r"(lies outside the folder of the descriptor): .*", re.DOTALL)
_SENT_ALONG = "a file that is sent with the job, in `files`"


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


def names_image(sent: Sent) -> bool:
    """Say whether a submission may have to wait for a registry of images; a faulty one does not."""
    try:
        found = decode(sent.descriptor, "job.toml") if isinstance(sent.descriptor, str) else sent.descriptor
    except DescriptorError:
        return False
    return "container" in found


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
    try:
        return _submitted(c, sent)
    except DescriptorError as error:
        raise _from_afar(error, sent.folder) from error


def _submitted(c: Coordinator, sent: Sent) -> tuple[int, tuple[str, ...]]:
    parsed = _parsed(c, sent)
    _check_others(c, sent, parsed.job)
    quotas.check(c, sent.person, sent.quota, parsed.job)

    def remember(job: int) -> None:
        quotas.check(c, sent.person, sent.quota, None)  # once more, where nobody else stores a job meanwhile
        for key in sent.keys:
            c.store.people.insert_sent(person=sent.person, key=key, digest=sent.digest, job=job, now=c.now())

    done = submit(
        c, parsed.job, sent.folder, {}, foreign=not sent.trusted, warnings=(*sent.warnings, *parsed.warnings),
        user=sent.person, also=remember,
    )  # fmt: skip
    return done.job, done.warnings


def _from_afar(error: DescriptorError, folder: Path) -> DescriptorError:
    """Return an error for who sent a job: where its files lie here, and where links lead, is not told."""
    places = sorted({str(folder), os.path.realpath(folder)}, key=len, reverse=True)

    def told(text: str) -> str:
        for place in places:
            text = text.replace(f"{place}/", "").replace(place, "the job")
        text = _OUTSIDE.sub(rf"\1: wanted {_SENT_ALONG}", text)
        return text.replace("a file beside the descriptor", _SENT_ALONG)

    problems = tuple(Problem(one.path, told(one.message), one.line) for one in error.problems)
    return type(error)(told(error.what), problems=problems, got=error.got, wanted=error.wanted, hint=error.hint)


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
    if job.results_to and not sent.trusted:
        why = "would be written with the logins of the server's account: fetch the results instead"
        problem = Problem("results.to", why)
        raise DescriptorError("the server delivers nothing for other people", problems=(problem,))


def _parsed(c: Coordinator, sent: Sent) -> Parsed:
    """Parse the descriptor; what it leaves out is as the settings of the coordinator's account say."""
    found = settings(c.paths)
    defaults = dict(found.job_defaults)
    if found.site is not None:
        defaults["schedule.sites"] = found.site
    if isinstance(sent.descriptor, str):
        return parse(sent.descriptor, sent.folder, name="job.toml", defaults=defaults)
    return parse_document(sent.descriptor, sent.folder, name="job", defaults=defaults)

"""Jobs: sent in, listed, shown, waited for, cancelled. A person sees their own; who operates the coordinator, all."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch.coordinator.commands import job_control, remote_submit
from nexapod_batch.coordinator.people import jobs as private_jobs
from nexapod_batch.coordinator.people.jobs import key_of_own_id
from nexapod_batch.coordinator.placement.on_the_way import staging_of
from nexapod_batch.coordinator.queries import views
from nexapod_batch.coordinator.queries.queue_place import queue_place, waiting_reasons
from nexapod_batch.errors import TryAgainError
from nexapod_batch.schema.literal import Literal
from nexapod_batch.server import bodies, nexapod_form, problems, sign_in
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.paging import AFTER, LIMIT, after_of, limit_of
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.sent_inputs import unpacked
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.wording import one_line

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES", "find", "sees_all"]

#: Bytes of a submission with the files that come with it.
_SUBMISSION = 24 << 20
_KEY = 200
#: Seconds that a question may wait for the end of a job: proxies cut what says nothing for a minute.
_WAIT_S = 50.0
#: Reasons that are told of one job.
_REASONS = 10
_ENDED = frozenset({"accepted", "failed", "inconclusive", "cancelled"})


class Submitted(Struct, frozen=True, kw_only=True):
    """A job that was taken."""

    id: int
    job_id: str  # the id that its submitter chose, else the number
    uuid: str
    name: str
    state: str
    status: str  # as the NexaPod documents have it
    tasks: int
    warnings: tuple[str, ...]


class Jobs(Struct, frozen=True, kw_only=True):
    """A page of jobs, the newest first."""

    items: list[dict[str, Any]]
    next: str | None  # what `after` must be for the next page


class Tasks(Struct, frozen=True, kw_only=True):
    """A page of tasks with their replicas."""

    items: list[dict[str, Any]]
    next: str | None


class Cancelled(Struct, frozen=True, kw_only=True):
    """What was cancelled."""

    cancelled: bool  # false: it had ended
    state: str
    faults: list[str]  # what could not be told to a node yet; it is told again


def sees_all(call: Call) -> bool:
    """Say whether somebody sees the jobs of all."""
    return call.caller.scope in {"operate", "admin"}


async def find(call: Call) -> int:
    """Return the job that a path means; NotFoundError for one that is not there, or not theirs."""
    name, person, every = call.path["job"], call.caller.name, sees_all(call)
    return await call.service.read(lambda c: private_jobs.find(c, name, person, sees_all=every))


async def submit(call: Call) -> Submitted:
    """Take a job, once; TryAgainError while the same one is being taken."""
    sent, own_id = await asyncio.to_thread(_sent, call)
    busy = call.service.busy
    key = f"{sent.person} {sent.keys[0]}"
    if key in busy:
        raise TryAgainError("this very job is being taken right now", hint="send the same again in a moment")
    busy.add(key)
    try:
        take = call.service.fetch if remote_submit.names_image(sent) else call.service.submit
        job, warnings = await take(lambda c: remote_submit.submit_for(c, sent))
        call.service.passes.wake()
    finally:
        busy.discard(key)
        await asyncio.to_thread(shutil.rmtree, sent.folder, ignore_errors=True)
    found = await call.service.read(lambda c: views.job(c.store, job))
    return Submitted(
        id=job, job_id=own_id or str(job), uuid=found["uuid"], name=found["name"], state=found["state"],
        status="job submitted", tasks=found["n_tasks"], warnings=warnings,
    )  # fmt: skip


def _sent(call: Call) -> tuple[remote_submit.Sent, str]:
    """Return what came, and the id that its submitter chose; its files lie in a folder of their own then."""
    key = call.request.headers.get("idempotency-key", "")
    if len(key) > _KEY or not key.isprintable():
        raise RequestError(problems.BAD_REQUEST, "Idempotency-Key", wanted=f"at most {_KEY} printable characters")
    media = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    own_id, notes, files = "", list[str](), dict[str, Any]()
    descriptor: str | dict[str, Any]
    if media == "application/toml":
        try:
            descriptor = call.body.decode("utf-8")
        except UnicodeDecodeError:
            raise RequestError(problems.BAD_REQUEST, "the TOML is not UTF-8") from None
    else:
        document = bodies.json_value(call.body, Literal)
        if not isinstance(document, dict):
            raise RequestError(problems.BAD_REQUEST, "a job is one JSON object", got=quoted(document))
        files = document.pop("files", {})
        descriptor, own_id, notes = nexapod_form.translate(document)
    keys = [key_of_own_id(own_id)] if own_id else []
    keys += [f"key:{key}"] if key else []
    folder = unpacked(call, files)
    sent = remote_submit.Sent(
        person=call.caller.name, descriptor=descriptor, folder=folder, keys=tuple(keys or [f"once:{folder.name}"]),
        digest=hashlib.sha256(call.body).digest(), trusted=call.caller.scope == "admin", warnings=tuple(notes),
        sees_all=sees_all(call), quota=call.service.options.quota,
    )  # fmt: skip
    return sent, own_id


async def listing(call: Call) -> Jobs:
    """Return a page of jobs."""
    limit, after = limit_of(call), after_of(call)
    before = after or views.LARGEST
    person, every = call.caller.name, sees_all(call)

    def ask(c: Coordinator) -> list[dict[str, Any]]:
        if every:
            return views.jobs(c.store, limit + 1, before=before)
        return views.jobs_of(c.store, person, limit + 1, before=before)

    found = [_with_aliases(job) for job in await call.service.read(ask)]
    more = len(found) > limit
    return Jobs(items=found[:limit], next=str(found[limit - 1]["id"]) if more else None)


def _with_aliases(job: dict[str, Any]) -> dict[str, Any]:
    """Add what the NexaPod documents call it."""
    ended = sum(number for state, number in job["counts"].items() if state in _ENDED)
    return {**job, "job_id": str(job["id"]), "status": job["state"], "progress": ended / job["n_tasks"]}


async def show(call: Call) -> dict[str, Any]:
    """Return a job as it stands; with `wait` not before it ended, or the time is over, or whoever asks has left."""
    job = await find(call)
    seconds = _wait_s(call)
    end = asyncio.get_running_loop().time() + seconds
    gone = asyncio.ensure_future(_gone_or_ending(call)) if seconds else None
    try:
        while True:
            news = call.service.passes.news()
            found = await call.service.read(lambda c: _described(c, job))
            left = end - asyncio.get_running_loop().time()
            if found["ended"] or left <= 0 or gone is None or gone.done():
                return found
            await _heard(call, news, gone, left)
            await sign_in.check_again(call.request, call.service)
    finally:
        if gone is not None:
            gone.cancel()


async def _heard(call: Call, news: asyncio.Event, gone: asyncio.Task[None], seconds: float) -> None:
    """Wait until there is news, nobody to tell it to, or the time is over."""
    heard = asyncio.ensure_future(news.wait())
    call.service.waiting += 1
    try:
        await asyncio.wait({heard, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        call.service.waiting -= 1
        heard.cancel()


async def _gone_or_ending(call: Call) -> None:
    """Return when whoever asks has left, or the server ends."""
    gone, ending = asyncio.ensure_future(call.gone()), asyncio.ensure_future(call.service.ending.wait())
    try:
        await asyncio.wait({gone, ending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        ending.cancel()


def _wait_s(call: Call) -> float:
    text = call.query.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RequestError(problems.BAD_REQUEST, "wait", got=quoted(text), wanted="seconds")
    return min(seconds, _WAIT_S)


def _described(c: Coordinator, job: int) -> dict[str, Any]:
    found = views.job(c.store, job)
    open_tasks = found["counts"]["waiting"] + found["counts"]["active"]
    unpublished = bool(c.store.jobs.has_unpublished([job]))
    found.pop("folder")  # where the server kept what came with it
    described = {**_with_aliases(found), "ended": not open_tasks and not unpublished, "queue": None}
    described["staging"] = staging_of(c.paths.staging, job) if open_tasks else []
    why = waiting_reasons(c, job, _REASONS) if open_tasks else []
    described |= {"reasons": [one_line(reason) for reason in why], "why": [reason.document() for reason in why]}
    place = queue_place(c, job) if open_tasks else None
    if place is not None:
        described["queue"] = {**place.parameters, "text": one_line(place)}
    return described


async def tasks(call: Call) -> Tasks:
    """Return a page of a job's tasks."""
    job, limit, after = await find(call), limit_of(call), after_of(call)
    first = after + 1 if "after" in call.query else 0
    found = await call.service.read(lambda c: views.tasks(c.store, job, first, limit=limit))
    items = found["tasks"]
    return Tasks(items=items, next=str(items[-1]["index"]) if found["more"] else None)


async def cancel(call: Call) -> Cancelled:
    """Cancel a job."""
    job = await find(call)
    changed, faults = await call.service.write(lambda c: job_control.cancel(c, [(job, None)]))
    call.service.passes.wake()
    found = await call.service.read(lambda c: views.job(c.store, job))
    return Cancelled(cancelled=bool(changed), state=found["state"], faults=[one_line(fault) for fault in faults])


_WAIT = Query("wait", float, f"Seconds to wait for the end of the job, at most {_WAIT_S:g}.")


def _of_all_names(path: str, also: str, **route: Any) -> tuple[Route, ...]:  # noqa: ANN401 - fields of a route
    summary = route.pop("summary")
    own = Route(path=path, summary=summary, access=Access.SUBMIT, **route)
    alias = Route(path=also, summary=f"As {path}; the path of the NexaPod documents.", access=Access.SUBMIT, **route)
    return own, alias


_SUBMIT: dict[str, Any] = {
    "method": "POST", "handler": submit, "takes": bytes, "answers": Submitted, "status": 202, "max_body": _SUBMISSION,
    "media": ("application/json", "application/toml"),
}  # fmt: skip

ROUTES = (
    *_of_all_names(
        "/v1/jobs", "/jobs", **_SUBMIT,
        summary="Submit a job: a descriptor as TOML or JSON, or a flat JSON object; `files` brings inputs as base64.",
    ),
    Route(
        path="/submit-job", access=Access.SUBMIT, summary="As POST /v1/jobs; the path of the NexaPod documents.",
        **_SUBMIT,
    ),
    *_of_all_names(
        "/v1/jobs", "/jobs", method="GET", handler=listing, answers=Jobs, query=(AFTER, LIMIT),
        summary="Your jobs, the newest first; all jobs for who operates the coordinator.",
    ),
    *_of_all_names(
        "/v1/jobs/{job}", "/jobs/{job}", method="GET", handler=show, answers=dict[str, Any], query=(_WAIT,),
        summary="A job by number, UUID or an id of your own; with `wait` not before it ended.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/tasks", access=Access.SUBMIT, handler=tasks, answers=Tasks,
        query=(AFTER, LIMIT), summary="Tasks of a job with their replicas.",
    ),
    Route(
        method="POST", path="/v1/jobs/{job}/cancel", access=Access.SUBMIT, handler=cancel, answers=Cancelled,
        summary="Cancel a job; what was accepted stays accepted.",
    ),
)  # fmt: skip

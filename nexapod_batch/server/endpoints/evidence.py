"""What shows how a job was decided: the explanation, what happened, the signed proof, the whole archive."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from starlette.responses import Response

from nexapod_batch.coordinator.archives import make
from nexapod_batch.coordinator.queries import events, explain, views
from nexapod_batch.coordinator.verification import attestations as proofs
from nexapod_batch.coordinator.verification import ledger
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.endpoints.jobs import find
from nexapod_batch.server.paging import AFTER, LIMIT, after_of, index_of, limit_of
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.sent_files import made_file, packed
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES"]

_OPEN = frozenset({"waiting", "active"})
_TAR = "application/x-tar"
_TASK = Query("task", int, "Of this task alone.")
_INPUTS = Query("inputs", str, "`no` leaves the inputs out: they are named by digest and source.")
_REPLICA = Query("replica", int, "Of this replica of the task alone: its report, or where there is none its placing.")


class Explained(Struct, frozen=True, kw_only=True):
    """Why tasks are where they are."""

    explanation: list[str]  # in sentences, as `explain` prints them
    tasks: list[dict[str, Any]]  # the same reasons as codes


class Events(Struct, frozen=True, kw_only=True):
    """A page of what happened; it may be empty although others follow."""

    items: list[dict[str, Any]]
    next: str | None


async def explained(call: Call) -> Explained:
    """Say why a job or task is where it is, and where replicas differ."""
    job, task = await find(call), _task(call)
    found = await call.service.make(lambda c: explain.explain(c, job, _known(c, job, task)))
    return Explained(explanation=found.lines, tasks=found.tasks)


async def happened(call: Call) -> Events:
    """Return a page of the entries of the ledger that are about a job."""
    job, task, limit = await find(call), _task(call), limit_of(call)
    after = after_of(call) if "after" in call.query else -1
    items, further = await call.service.make(lambda c: events.events_of(c.store, job, task, after, limit))
    return Events(items=items, next=None if further is None else str(further))


async def attestations(call: Call) -> Response:
    """Return the proof of a job as a tar file: statements, keys, verdicts, and how to check them."""
    job, task = await find(call), _task(call)

    def export(c: Coordinator, folder: Path) -> tuple[Path, str]:
        _require_decided(c, job)
        inner, tar = folder / f"job-{job}", folder / "proof.tar"
        proofs.attestations(c, job, _known(c, job, task), inner)
        packed(inner, tar)
        return tar, _digest(tar)

    return await made_file(call, export, _TAR)


async def archive(call: Call) -> Response:
    """Return the archive of a job that ended, as `archive ID --out FILE.tar` writes it; RequestError."""
    job, inputs = await find(call), call.query.get("inputs", "yes")
    if inputs not in {"yes", "no"}:
        raise RequestError(problems.BAD_REQUEST, "inputs", got=quoted(inputs), wanted="yes or no")

    def export(c: Coordinator, folder: Path) -> tuple[Path, str]:
        _require_decided(c, job)
        done = make.archive(c, job, folder / "archive.tar", inputs=inputs == "yes")
        return done.path, _digest(done.path)

    return await made_file(call, export, _TAR)


async def proof(call: Call) -> Response:
    """Return the proof that the ledger has what is said of a job, task or replica; RequestError for no task."""
    job, task, number = await find(call), _task(call), index_of(call, "replica")
    if number is not None and task is None:
        raise RequestError(problems.BAD_REQUEST, "replica", got="no task", wanted="the task that it is of")

    def ask(c: Coordinator) -> str:
        return str(ledger.prove(c, ledger.entry_of(c, job, _known(c, job, task), number)))

    return Response(await call.service.make(ask), media_type="text/plain")


def _task(call: Call) -> int | None:
    return index_of(call, "task")


def _known(c: Coordinator, job: int, task: int | None) -> int | None:
    """Return a task that there is."""
    if task is not None:
        views.require_task(c.store, job, task)
    return task


def _require_decided(c: Coordinator, job: int) -> None:
    """Refuse what other owners' nodes could hand on as their own, as long as it is of use to them."""
    if views.job(c.store, job)["state"] in _OPEN:
        hint = f"GET /v1/jobs/{job}?wait=50 answers at its end"
        raise RequestError(problems.CONFLICT, f"job {job} is not decided yet", hint=hint)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


ROUTES = (
    Route(
        method="GET", path="/v1/jobs/{job}/explain", access=Access.SUBMIT, handler=explained, answers=Explained,
        query=(_TASK,), summary="Why a job or task is where it is, and where replicas differ.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/events", access=Access.SUBMIT, handler=happened, answers=Events,
        query=(_TASK, AFTER, LIMIT), summary="What happened to a job, as the ledger has it.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/attestations", access=Access.SUBMIT, handler=attestations, answers=_TAR,
        query=(_TASK,), summary="The proof of a job that was decided, as `attestations` writes it.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/archive", access=Access.SUBMIT, handler=archive, answers=_TAR,
        query=(_INPUTS,), summary="A job that ended with everything that its verdicts rest on, as `archive` writes it.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/proof", access=Access.SUBMIT, handler=proof, answers="text/plain",
        query=(_TASK, _REPLICA), summary="The proof that something about a job is in the ledger.",
    ),
)  # fmt: skip

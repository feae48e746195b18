"""What jobs left: results with their digests, and logs.

While a task is undecided, what one of its replicas wrote is shown only where all nodes are of one owner: the owner of
another node could hand it on as its own work.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.responses import Response

from nexapod_batch.coordinator.queries import log_files, views
from nexapod_batch.coordinator.queries.published_files import PublishedFile, files_of, folder_of
from nexapod_batch.errors import NotFoundError
from nexapod_batch.files.beneath import OutsideError, open_beneath
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.endpoints.jobs import find
from nexapod_batch.server.etags import has_it, unchanged
from nexapod_batch.server.paging import AFTER, LIMIT, after_of, index_of, limit_of
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.sent_files import SentFile
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES"]

_OPEN = frozenset({"waiting", "active"})
#: Tasks whose files stand on one page, at most.
_TASKS = 200


_FROM = Query("offset", int, "From which byte on.")
_TASK = Query("task", int, "Of which task; else the first.")
_STREAM = Query("stream", str, "stdout, or stderr.")


class Files(Struct, frozen=True, kw_only=True):
    """Published files, by task and path; a page holds whole tasks."""

    items: list[PublishedFile]
    next: str | None


async def results(call: Call) -> Files:
    """Return a page of published files."""
    job, limit, after = await find(call), min(limit_of(call), _TASKS), after_of(call)
    first = after + 1 if "after" in call.query else 0

    def ask(c: Coordinator) -> Files:
        found = views.tasks(c.store, job, first, limit=limit, replicas=False)
        items: list[PublishedFile] = []
        for task in found["tasks"]:
            with suppress(NotFoundError):
                items += files_of(c, job, task["index"])
        return Files(items=items, next=str(found["tasks"][-1]["index"]) if found["more"] else None)

    return await call.service.read(ask)


async def result(call: Call) -> Response:
    """Return a published file, in whole or in ranges."""
    job, task, name = await find(call), _index(call), call.path["name"]

    def look(c: Coordinator) -> tuple[int, str]:
        digest = next((file.sha256 for file in files_of(c, job, task) if file.path == name), None)
        if digest is None:
            raise NotFoundError("there is no such result", got=quoted(name), hint=f"GET /v1/jobs/{job}/results")
        try:
            return open_beneath(folder_of(c, job, task), name), digest
        except (OSError, OutsideError) as error:
            raise NotFoundError("there is no such result", got=quoted(name)) from error

    descriptor, digest = await call.service.read(look)
    if has_it(call, digest):
        os.close(descriptor)
        return unchanged(digest)
    return SentFile(descriptor, digest, "application/octet-stream")


async def logs_of_task(call: Call) -> Response:
    """Return what a task wrote to stdout or stderr, from an offset."""
    return await _log(call, _index(call), call.path["stream"])


async def logs(call: Call) -> Response:
    """Return what a task, or the first one, wrote to stdout or stderr, from an offset."""
    return await _log(call, index_of(call, "task") or 0, call.query.get("stream", "stdout"))


async def _log(call: Call, task: int, stream: str) -> Response:
    job, offset = await find(call), _offset(call)
    if stream not in {"stdout", "stderr"}:
        raise RequestError(problems.NOT_FOUND, "no such log", got=quoted(stream), wanted="stdout or stderr")

    def look(c: Coordinator) -> tuple[bytes, int, str]:
        state = views.tasks(c.store, job, task, task, limit=1, replicas=False)["tasks"]
        if not state:
            raise NotFoundError(f"job {job} has no task {task}", hint=f"GET /v1/jobs/{job}/tasks")
        if state[0]["state"] in _OPEN and len({node.owner for node in c.nodes() if node.active}) > 1:
            why = "the task is undecided, and its nodes belong to different owners"
            raise RequestError(problems.CONFLICT, "the log is not shown yet", got=why, hint="wait for the verdict")
        data, after = log_files.live_log(c, job, task, offset, stream)
        return data, after, state[0]["state"]

    data, after, state = await call.service.read(look)
    headers = {"next-offset": str(after), "task-state": state, "cache-control": "no-store"}
    return Response(data, 200, headers, "application/octet-stream")


def _index(call: Call) -> int:
    text = call.path["task"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFoundError("there is no such task", got=quoted(text), wanted="a number")
    return int(text)


def _offset(call: Call) -> int:
    text = call.query.get("offset", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RequestError(problems.BAD_REQUEST, "offset", got=quoted(text), wanted="bytes")
    return int(text)


ROUTES = (
    Route(
        method="GET", path="/v1/jobs/{job}/results", access=Access.SUBMIT, handler=results, answers=Files,
        query=(AFTER, LIMIT), summary="Files of accepted results, with the digests that were signed.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/results/{task}/{name:path}", access=Access.SUBMIT, handler=result,
        answers="application/octet-stream", summary="A file of an accepted result; its ETag is its SHA-256.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/tasks/{task}/{stream}", access=Access.SUBMIT, handler=logs_of_task,
        answers="application/octet-stream", query=(_FROM,),
        summary="What a task wrote to stdout or stderr; the header Next-Offset says where to go on.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/logs", access=Access.SUBMIT, handler=logs,
        answers="application/octet-stream", query=(_TASK, _STREAM, _FROM),
        summary="As /v1/jobs/{job}/tasks/{task}/{stream}.",
    ),
)  # fmt: skip

"""What jobs left: results with their digests, logs, and the signed evidence.

While a task is undecided, what one of its replicas wrote is shown only where all nodes are of one owner: the owner of
another node could hand it on as its own work.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.responses import FileResponse, Response

from nexapod_batch.coordinator.queries import log_files, views
from nexapod_batch.coordinator.queries.published_files import PublishedFile, files_of, folder_of
from nexapod_batch.coordinator.verification.attestations import attestations
from nexapod_batch.errors import NotFoundError
from nexapod_batch.files.beneath import OutsideError, open_beneath
from nexapod_batch.files.own import own_folder
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.endpoints.jobs import find
from nexapod_batch.server.paging import AFTER, LIMIT, after_of, limit_of
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES"]

_OPEN = frozenset({"waiting", "active"})
#: Tasks whose files stand on one page, at most.
_TASKS = 200


class Files(Struct, frozen=True, kw_only=True):
    """Published files, by task and path; a page holds whole tasks."""

    items: list[PublishedFile]
    next: str | None


class _OpenFile(FileResponse):
    """A file that was opened with care, sent in ranges; closed at the end, however that comes."""

    def __init__(self, descriptor: int, etag: str, media: str, gone: Path | None = None) -> None:
        """Take over a descriptor; `gone` is removed with it."""
        self._descriptor, self._gone = descriptor, gone
        headers = {"etag": f'"{etag}"', "cache-control": "private, no-cache"}
        status = os.fstat(descriptor)
        super().__init__(f"/proc/self/fd/{descriptor}", 200, headers, media, stat_result=status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)
            if self._gone is not None:
                await asyncio.to_thread(shutil.rmtree, self._gone, ignore_errors=True)


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
    if digest in call.request.headers.get("if-none-match", ""):
        os.close(descriptor)
        return Response(status_code=304, headers={"etag": f'"{digest}"'})
    return _OpenFile(descriptor, digest, "application/octet-stream")


async def logs(call: Call) -> Response:
    """Return what a task wrote to stdout or stderr, from an offset; RequestError where it is not shown yet."""
    job, task, stream, offset = await find(call), _index(call), call.path["stream"], _offset(call)
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


async def evidence(call: Call) -> Response:
    """Return the proof of a job as a tar file: statements, keys, verdicts, and how to check them."""
    job = await find(call)
    above = call.service.paths.home / "server" / "outgoing"
    folder = above / os.urandom(16).hex()

    def export(c: Coordinator) -> int:
        if views.job(c.store, job)["state"] in _OPEN:
            hint = f"GET /v1/jobs/{job}?wait=50 answers at its end"
            raise RequestError(problems.CONFLICT, f"job {job} is not decided yet", hint=hint)
        own_folder(folder)
        attestations(c, job, None, folder / f"job-{job}")
        with tarfile.open(folder / "proof.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(folder / f"job-{job}", f"job-{job}", filter=_plain)
        return os.open(folder / "proof.tar", os.O_RDONLY | os.O_CLOEXEC)

    try:
        descriptor = await call.service.read(export)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    return _OpenFile(descriptor, folder.name, "application/x-tar", folder)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who this account is."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


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
        method="GET", path="/v1/jobs/{job}/tasks/{task}/{stream}", access=Access.SUBMIT, handler=logs,
        answers="application/octet-stream", query=(Query("offset", int, "From which byte on."),),
        summary="What a task wrote to stdout or stderr; the header Next-Offset says where to go on.",
    ),
    Route(
        method="GET", path="/v1/jobs/{job}/attestations", access=Access.SUBMIT, handler=evidence,
        answers="application/x-tar", summary="The proof of a job that was decided, as `attestations` writes it.",
    ),
)  # fmt: skip

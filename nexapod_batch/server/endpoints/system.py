"""The server itself: health, status, what it can be asked, what its problems mean."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from nexapod_batch import __version__
from nexapod_batch.coordinator.queries import views
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Call, Route
from nexapod_batch.server.etags import has_it, unchanged
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES"]

#: Seconds without a pass after which the server is not well: passes are made every few seconds.
_SILENT_S = 120.0


class Health(Struct, frozen=True, kw_only=True):
    """Whether the server can do its work."""

    ok: bool
    version: str
    read_ms: float  # what one real question to the database took
    last_pass_s: float | None  # seconds since the last pass; null before the first
    last_write_s: float | None  # seconds since the database was written last
    problem: str


class Status(Struct, frozen=True, kw_only=True):
    """What is going on."""

    version: str
    uptime_s: float
    nodes: int
    nodes_active: int
    open_jobs: int
    replicas_out: int
    last_pass_s: float | None
    last_write_s: float | None
    coordinator: str  # fingerprint of the key that signs for this coordinator
    system: dict[str, Any]  # as the NexaPod documents have it


class Explained(Struct, frozen=True, kw_only=True):
    """What a kind of problem means."""

    type: str
    title: str
    status: int
    text: str


async def health(call: Call) -> Health:
    """Ask the database for real, and say how old the last pass is; RequestError where none are made."""
    service = call.service
    begun = time.perf_counter()
    await service.read(lambda c: views.last_job(c.store))
    took = round((time.perf_counter() - begun) * 1000, 3)
    age = service.passes.age_s
    starting = time.time() - service.started_at < _SILENT_S
    problem = service.passes.last.failed
    if not problem and (age is None or age > _SILENT_S) and not starting:
        problem = "there was no pass for a long time"
    if problem:
        wait = {"retry-after": "10"}
        raise RequestError(problems.UNAVAILABLE, "passes are not made", got=problem, headers=wait)
    return Health(
        ok=True, version=__version__, read_ms=took, last_pass_s=_rounded(age),
        last_write_s=_last_write_s(call), problem=problem,
    )  # fmt: skip


async def status(call: Call) -> Status:
    """Say what is going on."""
    service = call.service
    nodes = await service.read(lambda c: views.nodes(c.store))
    open_jobs, key = await service.read(_counts)
    uptime = round(time.time() - service.started_at, 1)
    return Status(
        version=__version__, uptime_s=uptime, nodes=len(nodes),
        nodes_active=sum(1 for node in nodes if node["active"]), open_jobs=open_jobs,
        replicas_out=sum(node["out"] for node in nodes), last_pass_s=_rounded(service.passes.age_s),
        last_write_s=_last_write_s(call), coordinator=key,
        system={"status": "healthy", "version": __version__, "uptime_seconds": uptime},
    )  # fmt: skip


def _counts(c: Coordinator) -> tuple[int, str]:
    return c.store.jobs.count_open(), c.signer.key_id


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(0.0, seconds), 3)


def _last_write_s(call: Call) -> float | None:
    """Return for how long nobody wrote to the database: by its files, whoever wrote."""
    found = []
    for suffix in ("", "-wal"):
        with suppress(OSError):
            found.append(os.stat(f"{call.service.paths.state_db}{suffix}").st_mtime)
    return round(max(0.0, time.time() - max(found)), 3) if found else None


async def api(call: Call) -> Response:
    """Return the OpenAPI document of all routes; it is the same as long as the server is."""
    data = msgspec.json.encode(call.service.describe())
    digest = hashlib.sha256(data).hexdigest()
    if has_it(call, digest):
        return unchanged(digest)
    return Response(data, headers={"etag": f'"{digest}"', "cache-control": "no-cache"}, media_type="application/json")


async def problem(call: Call) -> Explained:
    """Say what a kind of problem means; RequestError for one that is none."""
    for kind in problems.KINDS:
        if kind.slug == call.path["slug"]:
            return Explained(type=problems.BASE + kind.slug, title=kind.title, status=kind.status, text=kind.text)
    raise RequestError(problems.NOT_FOUND, "there is no such kind of problem", got=quoted(call.path["slug"]))


ROUTES = (
    Route(
        method="GET", path="/v1/health", access=Access.ANYBODY, handler=health, answers=Health,
        summary="Whether the server can do its work: a real read, the age of the last pass and of the last write.",
    ),
    Route(
        method="GET", path="/v1/status", access=Access.PUBLIC, handler=status, answers=Status,
        summary="Version, nodes, queue, the age of the last pass and of the last write.",
    ),
    Route(
        method="GET", path="/status", access=Access.PUBLIC, handler=status, answers=Status,
        summary="As /v1/status; the path of the NexaPod documents.",
    ),
    Route(
        method="GET", path="/v1/openapi.json", access=Access.ANYBODY, handler=api, answers=dict[str, Any],
        summary="This document.",
    ),
    Route(
        method="GET", path="/v1/problems/{slug}", access=Access.ANYBODY, handler=problem, answers=Explained,
        summary="What a kind of problem means.",
    ),
)  # fmt: skip

"""Health of a server: a real read, and passes that are made; one that is stuck shows."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.server.calls import Call, Caller
from nexapod_batch.server.endpoints import system
from nexapod_batch.server.names import Names
from nexapod_batch.server.passes import LastPass
from nexapod_batch.server.problems import RequestError
from nexapod_batch.server.service import Options, Service

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0
ROUTE = next(route for route in system.ROUTES if route.path == "/v1/health")


def health(home: Path, *, up_s: float, last_s: float | None, failed: str) -> system.Health:
    """Return the health of a server that has been up for a time, and whose last pass was so long ago."""
    paths = Paths(home, (), home / "results")
    with open_coordinator(paths):
        pass

    async def ask() -> system.Health:
        service = Service(paths, Names(("localhost",)), Options())
        service.started_at = time.time() - up_s
        service.passes.last = LastPass(at=0.0 if last_s is None else time.time() - last_s, failed=failed)
        call = Call(request=Request({"type": "http"}), route=ROUTE, service=service, caller=Caller(kind="nobody"), path={})
        try:
            return await system.health(call)
        finally:
            service.threads.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(("up_s", "last_s"), [(DAY, 0.0), (DAY, 60.0), (1.0, None), (60.0, DAY)])
def test_it_is_well(tmp_path: Path, up_s: float, last_s: float | None) -> None:
    """Where passes are made, or it has only just begun; how old the last one is, is told."""
    found = health(tmp_path / "home", up_s=up_s, last_s=last_s, failed="")
    assert (found.ok, found.last_pass_s is None) == (True, last_s is None)
    assert found.read_ms > 0
    assert found.last_write_s is not None


@pytest.mark.parametrize(
    ("last_s", "failed", "told"),
    [
        (DAY, "", "no pass for a long time"),
        (121.0, "", "no pass for a long time"),
        (None, "", "no pass for a long time"),
        (1.0, "the database is damaged", "the database is damaged"),
    ],
)
def test_it_is_not(tmp_path: Path, last_s: float | None, failed: str, told: str) -> None:
    """A pass that is stuck, that never came or that failed: 503, and why."""
    with pytest.raises(RequestError) as caught:
        health(tmp_path / "home", up_s=DAY, last_s=last_s, failed=failed)
    assert caught.value.kind.status == 503
    assert told in str(caught.value.got)

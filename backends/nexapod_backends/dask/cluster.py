"""One Dask cluster: how its scheduler is reached, and what is asked of it. Shared by all nodes of a site."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_backends.dask.managed.cluster import gone
from nexapod_backends.dask.placement import host_of
from nexapod_backends.dask.scheduler.agent_protocol import ended_by
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.model.fit import job_at, partition_for, words_at

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.dask.launch_records import Record
    from nexapod_backends.dask.scheduler.client import Wire
    from nexapod_backends.dask.site_table import Dask
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Partition, Site

__all__ = ["Cluster", "read_scheduler_file"]

#: For so long an answer about the workers is as good as a new one, in seconds.
_FRESH_S = 0.1
#: For so long the dashboard may keep people waiting, in seconds.
_SHOWN_S = 2.0


class Cluster:
    """The scheduler of a site."""

    def __init__(
        self, dask: Dask, address: Callable[[], tuple[str, Mapping[str, str]]], owner: str, own: Path | None = None
    ) -> None:
        """Connect to nothing yet, and import nothing; `own` is the folder of a cluster that is started for us."""
        self.own = own
        self.dask, self._address, self._owner = dask, address, owner
        self._wire: Wire | None = None
        self._identity: tuple[float, dict[str, dict[str, Any]]] = (-_FRESH_S, {})

    @property
    def wire(self) -> Wire:
        """Return the connection; SchedulerError when `distributed` is not installed."""
        if self._wire is None:
            from nexapod_backends.dask.scheduler.client import Wire  # noqa: PLC0415 - 400 ms that only a Dask site may cost

            self._wire = Wire(self._address, float(self.dask.timeout_s), self._owner)
        return self._wire

    def identity(self) -> dict[str, dict[str, Any]]:
        """Return what the scheduler says of each worker, by address."""
        asked, found = self._identity
        if time.monotonic() - asked >= _FRESH_S:
            found = self.wire.workers()
            self._identity = (time.monotonic(), found)
        return found

    def scheduler_id(self) -> str:
        """Return the id that the scheduler gave itself; "" where it says none."""
        self.wire.workers()
        return self.wire.scheduler_id

    def dashboard(self) -> str:
        """Say where the scheduler shows itself to browsers, as far as that can be seen from here."""
        port = self.wire.services.get("dashboard")
        if not port:
            return "none"
        from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 - for people who look only

        host = host_of(self.wire.address)
        shown = f"http://{host}:{port}/status"
        connection = HTTPConnection(host, int(port), timeout=_SHOWN_S)
        try:
            connection.request("HEAD", "/status")
            code = connection.getresponse().status
        except (OSError, HTTPException):
            return f"{shown} (not reachable from here)"
        finally:
            connection.close()
        if code < 400:
            return shown
        return "none (the scheduler runs without one, or without bokeh)"

    def versions(self) -> dict[str, dict[str, str]]:
        """Return the versions of Python, dask and distributed: "" ours, the scheduler's, each worker's by address."""
        from nexapod_backends.dask.scheduler.client import here  # noqa: PLC0415 - see above

        found = {"": here(), "scheduler": _packages(self.wire.call("versions"))}
        for address in self.identity():
            with suppress(SchedulerError):
                found[address] = _packages(self.wire.call("proxy", msg={"op": "versions"}, worker=address))
        return found

    def states(self, keys: Sequence[str]) -> dict[str, str | None]:
        """Return Dask's word for the state of tasks."""
        if keys:
            return self.wire.states(keys)
        return {}

    def others(self, mine: Container[str]) -> dict[str, list[str]]:
        """Return the tasks that are not `mine`, by the address of their worker; none where nobody says it."""
        found: object = {}
        with suppress(SchedulerError):
            found = self.wire.call("processing", workers=None)
        said = found if isinstance(found, dict) else {}
        return {
            str(address): [str(key) for key in keys if str(key) not in mine]
            for address, keys in said.items()
            if isinstance(keys, (list, tuple))
        }

    def why_gone(self, address: str, name: str) -> str:
        """Say who ended a worker that is gone, as far as scheduler or Slurm know it; "" for nobody."""
        if self.own is not None and (said := gone(self.own, name)):
            return said
        with suppress(SchedulerError):
            killed = self.wire.call("events", topic="worker-restart-memory")
            return ended_by(address, self.wire.call("events", topic=address), killed)
        return ""

    def release(self, keys: Sequence[str]) -> None:
        """Let the scheduler drop tasks."""
        if keys:
            self.wire.release(keys)

    def submit(
        self, launches: Sequence[tuple[Record, Mapping[str, float]]], *, base: str, python: str, reports: str
    ) -> None:
        """Give bound launches to the scheduler."""
        if not launches:
            return
        from nexapod_backends.dask.scheduler.client import Call  # noqa: PLC0415 - see above

        calls = []
        for one, resources in launches:
            spec = {
                "key": one.key, "base": base, "worker": one.worker, "address": one.address, "host": one.host,
                "envelope": one.envelope, "seed": one.seed, "python": python, "reports": reports,
            }  # fmt: skip
            request = json.dumps(spec).encode()
            calls.append(
                Call(key=one.task, worker=one.address, request=request, priority=one.priority, resources=resources)
            )
        self.wire.submit(calls)

    def partition(self, site: Site, job: Job, node: str = "") -> Partition:
        """Return the partition of a site that a job goes to; ConfigError when none fits."""
        group = site.groups().get(node, site.partitions)
        wanted = words_at(job, site.name).get("partition")
        found = partition_for(group, job_at(job, site.name), wanted)
        if found is None:
            raise ConfigError(
                f"site {site.name}: no partition fits job {job.name}",
                wanted=f"one of: {', '.join(one.name for one in group) or 'none is declared'}",
                hint=f"nexapod-batch site show {site.name}",
            )
        return found


def _packages(answer: object) -> dict[str, str]:
    """Return what matters of Dask's report on versions; what is missing is left out."""
    found: dict[str, str] = {}
    if isinstance(answer, dict):
        host = dict(answer.get("host") or ())
        packages = answer.get("packages") or {}
        packages = packages if isinstance(packages, dict) else dict(packages)
        found = {name: str(packages[name]) for name in ("dask", "distributed") if packages.get(name)}
        if host.get("python"):
            found["python"] = str(host["python"]).rpartition(".final")[0] or str(host["python"])
    return found


def read_scheduler_file(path: str) -> str:
    """Return the address that a scheduler wrote down; SchedulerError when there is none."""
    try:
        with open(path, "rb") as stream:
            return str(json.load(stream)["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SchedulerError(
            f"the scheduler file {path} does not say where a scheduler is", got=f"{type(error).__name__}: {error}",
            hint="start the scheduler with --scheduler-file, or correct the path",
        ) from error  # fmt: skip

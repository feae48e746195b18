"""The backend `dask`: runners on the workers of a Dask cluster, one future for each launch, each bound to its worker.

The Dask scheduler keeps the futures, under a name of ours, because every command is a new process. A launch's future
hands the bundle to the runner of its worker and is over when the launch has ended; what it returns is never read. What
counts are files: the spool of each worker, seen through a shared file system or through Dask.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from typing import TYPE_CHECKING, Any

from nexapod_backends.dask.cluster import Cluster, read_scheduler_file
from nexapod_backends.dask.launch_records import Records
from nexapod_backends.dask.managed.cluster import folder_of
from nexapod_backends.dask.node import DaskNode
from nexapod_backends.dask.site_table import Dask
from nexapod_backends.dask.worker_files import Far
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.model.fit import job_at
from nexapod_batch.plugins import targets
from nexapod_batch.requirements import absent
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Finding, Launch, LaunchStatus, NodeContext, Probing

__all__ = ["DaskBackend"]

#: Launches that one slot should get, so that the work spreads evenly.
_SHARES = 16
#: Seconds for which what was seen is not asked for again.
_FRESH_S = 1.0


class DaskBackend:
    """Launches runners on Dask workers."""

    starts_ranks = False  # a worker runs one process for each replica

    def __init__(self) -> None:
        """Know of no site yet; nothing of Dask is imported."""
        self._clusters: dict[str, Cluster] = {}
        self._nodes: dict[str, DaskNode] = {}
        self._prepared: set[str] = set()  # digests of settings that were written

    def missing(self, site: Site) -> Sequence[str]:
        """Return what is not installed of Dask, and of dask-jobqueue where workers are Slurm jobs."""
        wanted = ["dask", "distributed"]
        settings = site.backend_settings
        if isinstance(settings, Dask) and settings.cluster == "jobqueue":
            wanted.append("dask_jobqueue")
        return absent(wanted)

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Make our folders, and the settings that each worker's storage is to hold; the node's key stays here."""
        node, site = self._node(context), context.its_site
        wanted = {
            **settings, "path": site.runner.path, "work": f"{node.far.base}/work",
            "pass": list(site.environment.passes), "tmp": site.filesystem.local_scratch,
        }  # fmt: skip
        stamp = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        if stamp in self._prepared:
            return
        own_folder(context.spool, *layout.FOLDERS, below=base_of(context.spool))
        own_folder(context.work, below=base_of(context.work))
        node.far.prepare({**wanted, "runtimes": targets("runtime")})
        self._prepared.add(stamp)

    def fetch_folder(self, context: NodeContext) -> str:
        """Return where the workers of one storage keep what they fetch."""
        return f"{self._node(context).far.base}/{layout.FETCHED}"

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return few enough that all workers share the work evenly; one where a replica holds a resource."""
        node = self._node(context)
        asked = job_at(job, context.its_site.name).resources
        if asked.gpus or node.cluster.dask.mem_resource:
            return 1
        dask = node.cluster.dask
        try:
            known = {"": {"nthreads": dask.workers * dask.threads}} if dask.cluster else node.cluster.identity()
            threads = sum(int(one["nthreads"]) for one in known.values())
        except (SchedulerError, KeyError, TypeError, ValueError):
            partition = node.cluster.partition(context.its_site, job, context.node.name)
            threads = partition.hosts * partition.max_cpus
        return max(1, -(-replicas // (max(1, threads // asked.cpus) * _SHARES)))

    def cluster_id(self, context: NodeContext) -> str:
        """Return the id of the scheduler; "" for a cluster that is started for us, and ends again."""
        node = self._node(context)
        return "" if node.cluster.dask.cluster else node.cluster.scheduler_id()

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Return where runners find inputs: as they lie, copied into `work_dir`, or sent with the first launch."""
        return self._node(context).far.stage(inputs, copy=bool(context.its_site.filesystem.work_dir))

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:
        """Remove copies in `work_dir` that no job needs; workers without shared storage keep theirs until they end."""
        if context.its_site.filesystem.work_dir:
            return self._node(context).far.unstage(needed, context.spare_mib << 20)
        return 0

    def collect(self, context: NodeContext) -> None:
        """Bring new reports here, unless they are written here, or were just brought.

        Raises:
            SchedulerError: A worker answers what no agent would.

        """
        node = self._node(context)
        node.records.refresh()
        if not node.records.by_key:
            return
        if not node.far.shared and time.monotonic() - node.far.last.at >= _FRESH_S:
            node.survey()
            node.look()
        if faults := node.faults():
            raise SchedulerError("; ".join(faults))

    def change_token(self, context: NodeContext) -> str | None:  # noqa: ARG002
        """Return None: only `collect` can tell."""
        return None

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove report segments that were taken in."""
        node = self._node(context)
        if not node.far.shared:
            node.survey()
            node.look()
        node.far.discard(segments)

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False, names: Collection[str] | None = None,
        max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Bring the files of a replica from its worker's storage into the work folder here."""
        node = self._node(context)
        if not node.far.shared:
            node.survey()
        node.far.fetch(replica, context.work, logs=logs, names=names, max_bytes=max_bytes)

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove work folders and logs here, and on the workers that are in reach."""
        node = self._node(context)
        if not node.far.shared:
            node.survey()
        node.far.remove(replicas, context.work)

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str]:
        """Write launches down, bind as many as workers have room for, and give those to the scheduler."""
        node = self._node(context)
        node.records.refresh()
        node.take(launches)
        node.survey()
        node.bind()
        return {launch.key: f"nexapod-{launch.key}" for launch in launches}

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of each launch; bind what waits for a worker that has room now."""
        node = self._node(context)
        node.records.refresh()
        found = node.told(keys)
        node.take_back()
        if any(not record.worker and not record.over for record in node.records.by_key.values()):
            node.bind()
            found.update(node.unbound(found))
        return found

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Stop replicas by notes for their runners; take back what has not begun."""
        node = self._node(context)
        node.records.refresh()
        if any(key in node.records.by_key for key in replicas):
            node.told(list(replicas))
            node.cancel(replicas)

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove every trace of launches that ended."""
        node = self._node(context)
        node.records.refresh()
        node.forget(keys)

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Forget that there were these launches; what their workers keep goes with them."""
        self._node(context).records.expire(keys)

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:
        """Return the calls of Dask that a launch would be, and what workers there are."""
        node = self._node(context)
        partition = node.cluster.partition(context.its_site, job, context.node.name)
        asked = job_at(job, context.its_site.name).resources
        size = min(64, self.launch_size(context, job, replicas))
        count = -(-replicas // size)
        needs, python = node.needs(job), context.its_site.runner.python or "python"
        command = shlex.join(job.command) if job.command else "the script of the descriptor"
        lines = [
            f"node {context.node.name}: {_times(count, 'future')} of up to {_times(size, 'replica')}, each",
            "  client.submit(run, <signed bundle>, key='nexapod-<launch key>', pure=False, retries=0,",
            f"      priority={job.schedule.priority}, workers=['<one of partition {partition.name}>'],",
            f"      allow_other_workers=False, resources={needs})",
            f"  run hands the bundle to: {python} -m nexapod_batch.runner {node.far.base}/w/<worker>",
            f"  which runs {command}, {_times(asked.cpus, 'CPU')} each, as many at once as its worker has threads",
        ]
        if ask:
            lines.append(node.said())
        return "\n".join(lines)

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Look at scheduler, versions, workers, files and clocks."""
        from nexapod_backends.dask.site_check import probe  # noqa: PLC0415 - only `site check` needs it

        yield from probe(contexts[0].its_site, [(context, self._node(context)) for context in contexts], how)

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove spools and work folders, here and on the workers in reach; a cluster that is ours ends."""
        import shutil  # noqa: PLC0415

        from nexapod_backends.dask.managed.cluster import folder_of, stop  # noqa: PLC0415

        for context in contexts:
            node = self._node(context)
            if not node.far.shared:
                node.survey()
            node.far.clear()
            for folder in (context.spool, context.work):
                shutil.rmtree(folder, ignore_errors=True)
            if context.its_site.filesystem.work_dir:
                shutil.rmtree(context.spool.parent.parent, ignore_errors=True)
        stop(folder_of(contexts[0]))

    def discover(self, site: Site) -> str:
        """Refuse: a site file of Dask says little that a scheduler could tell.

        Raises:
            SchedulerError: Always.

        """
        raise SchedulerError(
            f"site {site.name}: nothing is discovered of a Dask cluster",
            hint="start from a ready file: nexapod-batch site init --from dask",
        )

    def _node(self, context: NodeContext) -> DaskNode:
        name = context.node.name
        if name not in self._nodes:
            site = context.its_site
            dask = _dask(site)
            known = context.node.first_key or context.node.key_id  # with a new key its folders stay where they are
            digest = hashlib.sha256(known.encode()).hexdigest()[:16]
            if site.name not in self._clusters:
                own = folder_of(context) if dask.cluster else None
                self._clusters[site.name] = Cluster(dask, _address(context, dask), f"nexapod-{digest}", own)
            cluster = self._clusters[site.name]
            shared = not dask.local_dir and bool(site.filesystem.work_dir or dask.cluster)
            folder = context.state / "dask" / name
            base = str(context.remote_spool) if shared else f"{_local(dask)}/nexapod-{digest}"
            far = Far(
                lambda: cluster.wire, base, shared=shared, reports=context.spool / layout.REPORTS,
                memory=folder,
            )  # fmt: skip
            self._nodes[name] = DaskNode(name, site, cluster, far, Records(folder / "launches"), folder / "hosts.json")
        return self._nodes[name]


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _dask(site: Site) -> Dask:
    if not isinstance(site.backend_settings, Dask):
        raise ConfigError(f"site {site.name}: [dask] is missing", wanted='address = "tcp://host:8786"')
    return site.backend_settings


def _local(dask: Dask) -> str:
    import getpass  # noqa: PLC0415

    return dask.local_dir.replace("{user}", getpass.getuser()) or "/tmp"  # noqa: S108 - see agent._own


def _address(context: NodeContext, dask: Dask) -> Callable[[], tuple[str, Mapping[str, str]]]:
    """Return what finds the scheduler's address, and what TLS needs, when it is needed."""
    names = {"tls_ca_file": dask.tls_ca, "tls_client_cert": dask.tls_cert, "tls_client_key": dask.tls_key}
    security = names if dask.tls_ca else {}
    if dask.address:
        return lambda: (dask.address, security)
    if dask.scheduler_file:
        return lambda: (read_scheduler_file(dask.scheduler_file), security)
    from nexapod_backends.dask.managed.cluster import started  # noqa: PLC0415 - where a cluster is ours to start

    return lambda: started(context, dask)

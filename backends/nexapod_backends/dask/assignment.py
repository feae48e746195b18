"""From launch to future: launches are bound to workers, durably, and then given to the scheduler.

A bound launch never goes to another worker: the scheduler is told the worker's address and that no other may take it,
and the worker's agent refuses what is meant for another process at that address.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections import Counter
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from nexapod_backends.dask.demand import workers_wanted
from nexapod_backends.dask.launch_records import Record
from nexapod_backends.dask.managed.cluster import coming, demand
from nexapod_backends.dask.placement import Rules, choose, free, lasts, needs_s, resources_of
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.model.fit import job_at
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.bundle import decode_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.dask.cluster import Cluster
    from nexapod_backends.dask.launch_records import Records, Used
    from nexapod_backends.dask.placement import Worker
    from nexapod_backends.dask.worker_files import Far
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Launch

__all__ = ["Binding"]


class Binding:
    """Binds the launches of one node."""

    def __init__(self, name: str, site: Site, cluster: Cluster, far: Far, records: Records, hosts_file: Path) -> None:
        """Know the node; nothing is bound yet."""
        self._name, self._site, self._cluster, self._far = name, site, cluster, far
        self._records, self._hosts_file = records, hosts_file
        self._workers: Mapping[str, Worker] = {}
        self._load: Counter[str] = Counter()  # launches bound to a worker that are not over, by id
        self._busy_s: Counter[str] = Counter()  # what these may take
        self.others: Mapping[str, Sequence[str]] = {}  # tasks of others, by address
        self.reasons: dict[str, str] = {}  # launch -> what it waits for

    def take(self, launches: Sequence[Launch]) -> None:
        """Write down launches that are new."""
        records = self._records
        unknown = [launch for launch in launches if launch.key not in records.by_key]
        new = [self._record(launch) for launch in unknown if not records.is_spent(launch.key)]
        self._records.save(new, durable=False)  # the same launch comes again after a crash

    def bind(self, workers: Mapping[str, Worker]) -> list[Record]:
        """Bind launches to workers that have room, durably, and give them to the scheduler; return those."""
        waiting = [record for record in self._records.by_key.values() if not record.worker and not record.over]
        if not waiting:
            return []
        self.look(workers)
        bound: list[Record] = []
        full: dict[tuple[object, ...], str] = {}
        staged = self._staged(waiting)
        used = self._used(waiting)
        for one in waiting:
            alike = (one.partition, one.cpus, one.mem_mib, one.gpus, one.time_s, str(one.host_set))
            if alike in full:
                self.reasons[one.key] = full[alike]
                continue
            mine = used[one.job].of(one.tasks)[0]
            found = self._chosen(one, mine, staged)
            if isinstance(found, str):
                self.reasons[one.key] = found
                if found.startswith("waits its turn"):
                    full[alike] = found
                continue
            one.worker, one.address, one.name = found.id, found.address, found.name
            one.host, one.storage = found.host, found.storage
            self._count(one)
            for task in one.tasks:
                used[one.job].workers[task].add(found.id)
            bound.append(one)
        self._records.save(bound)
        self.give(bound)
        return bound

    def _used(self, records: Sequence[Record]) -> dict[str, Used]:
        """Return for each job of some launches which workers had replicas of its tasks."""
        return {job: self._records.used(job) for job in {record.job for record in records}}

    def _staged(self, records: Sequence[Record]) -> Mapping[str, Path]:
        """Return the input files that lie here, by digest; none where no launch has inputs."""
        if any(record.inputs for record in records):
            return self._far.inputs()
        return {}

    def look(self, workers: Mapping[str, Worker]) -> None:
        """Learn what workers have to do; launches that ended take no room, whoever was told of their end."""
        self._workers = workers
        self._load, self._busy_s = Counter(), Counter()
        mine = [record for record in self._records.by_key.values() if record.worker and not record.ended]
        self.others = self._cluster.others({one.task for one in mine})
        for one in mine:
            self._count(one)

    def _count(self, record: Record) -> None:
        one = self._workers.get(record.address)
        self._load[record.worker] += 1
        self._busy_s[record.worker] += round(needs_s(record, one.threads if one is not None else 1))

    def take_back(self, queued: Sequence[Record], workers: Mapping[str, Worker]) -> None:
        """Unbind launches that wait behind tasks of others while another worker is free, and have not begun."""
        if not queued:
            return
        self.look(workers)
        back: list[Record] = []
        used = self._used(queued)
        for one in queued:
            if not self.others.get(one.address):
                continue
            rules = self._rules(one, frozenset(used[one.job].of(one.tasks)[0] | {one.worker, *(one.withdrawn or ())}))
            better = choose(one, list(workers.values()), rules)
            if isinstance(better, str) or not free(better, one, rules):
                continue
            if self._far.withdraw("" if self._far.shared else one.address, one.worker, one.key):
                self._load[better.id] += 1
                back.append(one)
        self._unbind(back)

    def _unbind(self, back: Sequence[Record]) -> None:
        """Let launches wait for a worker anew, and never for one that they were taken from."""
        self._cluster.release([one.task for one in back])
        for one in back:
            one.withdrawn = [*(one.withdrawn or ()), one.worker]
            one.worker = one.address = one.name = one.host = one.storage = ""
        self._records.save(back)

    def give(self, records: Sequence[Record]) -> None:
        """Give bound launches to the scheduler, each for its worker."""
        self._cluster.submit(
            [(record, resources_of(record, self._rules(record, frozenset()))) for record in records],
            base=self._far.base, python=self._site.runner.python, reports=self._far.reports_there,
        )  # fmt: skip

    def _chosen(self, record: Record, used: set[str], staged: Mapping[str, Path]) -> Worker | str:
        """Return the worker of a launch, with all on it that the runner needs; else what it waits for.

        `staged` are the input files that lie here, by digest.
        """
        inputs = {digest: staged[digest] for digest in record.inputs if digest in staged}
        never = frozenset(record.withdrawn or ())
        rules = self._rules(record, never | used)
        while True:
            found = choose(record, list(self._workers.values()), rules)
            if isinstance(found, str) and used and not record.apart:
                found = choose(record, list(self._workers.values()), replace(rules, used=never))
            if isinstance(found, str):
                return found + self._coming()
            try:
                self._far.settle(found, inputs)
            except (SchedulerError, OSError) as error:
                found.trouble = " ".join(str(error).split())
                found.id = ""  # asked again later
                found.asked = time.monotonic()
                continue
            return found

    def demand(self, workers: Mapping[str, Worker]) -> None:
        """Let a cluster of our own know for how many workers there is work."""
        own = self._cluster.own
        if own is None:
            return
        open_ = [record for record in self._records.by_key.values() if not record.over and not record.ended]
        waiting = [one for one in open_ if not one.worker]
        used = self._used(waiting)
        alive = {worker.id for worker in workers.values()}
        wanted = workers_wanted(open_, self._cluster.dask.threads, lambda one: used[one.job].of(one.tasks)[0], alive)
        if waiting:
            wanted += self._ending(workers, waiting)
        kept = 0 if self._far.shared else len(self._records.by_key)  # what they left lies with workers until it is here
        demand(own, self._name, max(wanted, min(1, kept)), waiting=len(waiting) + kept)

    def _ending(self, workers: Mapping[str, Worker], waiting: Sequence[Record]) -> int:
        """Return how many workers end too soon for all that waits: they are as good as gone."""
        rules = Rules(busy_s=self._busy_s, now=time.time())
        return sum(not any(lasts(worker, record, rules) for record in waiting) for worker in workers.values())

    def _coming(self) -> str:
        """Say where workers are to come from in a cluster of our own, and why they do not."""
        own, dask = self._cluster.own, self._cluster.dask
        if own is None:
            return ""
        said = coming(own)
        if self._workers:
            if said:
                return f"; more are coming: {said}"
            return ""
        where = f"they are Slurm jobs of site {dask.on}" if dask.on else "they are starting"
        return f" yet: {where}" + (f": {said}" if said and said != where else "")

    def _rules(self, record: Record, used: frozenset[str]) -> Rules:
        partitions = self._site.partitions
        patterns = next((partition.workers for partition in partitions if partition.name == record.partition), ())
        dask = self._cluster.dask
        hosts = self._hosts() if record.host_set is not None else ()
        return Rules(
            patterns=patterns, hosts=hosts, used=used, load=self._load, busy_s=self._busy_s, others=self.others,
            now=time.time(), mem_resource=dask.mem_resource, gpu_resource=dask.gpu_resource,
        )  # fmt: skip

    def _hosts(self) -> list[str]:
        """Return all hosts that were ever seen, new ones last: the sets of hosts must not change."""
        try:
            known: list[str] = careful.load(self._hosts_file)
        except (OSError, ValueError):
            known = []
        new = sorted({worker.place for worker in self._workers.values() if worker.id} - set(known))
        if new:
            own_folder(self._hosts_file.parent, below=self._hosts_file.parents[2])
            atomic.write(self._hosts_file, orjson.dumps([*known, *new]), mode=0o600)
        return [*known, *new]

    def _record(self, launch: Launch) -> Record:
        payload = b64decode(orjson.loads(launch.envelope)["payload"])
        bundle = decode_bundle(payload)
        partition = self._cluster.partition(self._site, launch.job, self._name)
        asked = job_at(launch.job, self._site.name).resources
        return Record(
            key=launch.key,
            job=f"{bundle.job_uuid}.{bundle.job_id}",
            tasks=[replica.task for replica in bundle.replicas],
            replicas=[str(ReplicaName(bundle.job_id, replica.task, replica.number)) for replica in bundle.replicas],
            cpus=asked.cpus,
            mem_mib=asked.mem_mib or 0,
            gpus=asked.gpus,
            time_s=asked.time_s or 0,
            priority=launch.job.schedule.priority,
            partition=partition.name,
            host_set=None if launch.host_set is None else list(launch.host_set),
            apart=launch.job.quorum.agree > 1,
            inputs=sorted(launch.inputs if not self._far.shared else ()),
            envelope=b64encode(launch.envelope).decode(),
            seed=launch.seed.hex(),
        )

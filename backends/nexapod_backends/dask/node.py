"""One node on a Dask cluster: its launches are bound to workers, watched through their spools, and told.

Files first, the scheduler second: a launch has ended when its bundle has left the inbox of its worker's spool.

| spool of its worker | Dask says | it is |
|---|---|---|
| - | not bound to a worker yet | NEW |
| refused | - | FAILED, with the reason |
| claim, no bundle | - | COMPLETED |
| bundle and claim of the runner that lives | - | ACTIVE |
| bundle and claim of another | - | FAILED: its runner died |
| bundle | worker is there | QUEUED |
| nothing | waiting, processing ... | QUEUED |
| nothing | unknown, worker is there | given to the scheduler again, for the same worker |
| bundle or nothing | its worker is gone | FAILED: lost, and replaced by a new replica, never repeated |
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_backends.dask.assignment import Binding
from nexapod_backends.dask.launch_ends import TASK_ENDED, ended_by_scheduler, ended_in, was_lost, with_host
from nexapod_backends.dask.placement import TASK_STATES, known_worker, named, why_queued
from nexapod_batch.errors import SchedulerError
from nexapod_batch.model.fit import job_at
from nexapod_batch.plugins import BackendState, LaunchStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.dask.cluster import Cluster
    from nexapod_backends.dask.launch_records import Record, Records
    from nexapod_backends.dask.placement import Worker
    from nexapod_backends.dask.scheduler.agent_protocol import Seen, Spool
    from nexapod_backends.dask.worker_files import Far
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Launch

__all__ = ["DaskNode"]

#: Seconds after which a worker that did not answer is asked again.
_AGAIN_S = 15.0


class DaskNode:
    """The launches of one node."""

    def __init__(self, name: str, site: Site, cluster: Cluster, far: Far, records: Records, hosts_file: Path) -> None:
        """Know the node; nothing is asked yet."""
        self.name, self.site, self.cluster, self.far = name, site, cluster, far
        self.records = records
        self._binding = Binding(name, site, cluster, far, records, hosts_file)
        self.workers: dict[str, Worker] = {}  # by address
        self._queued: list[Record] = []  # bound, and not with their runner yet, when they were last told

    # ---- workers

    def survey(self) -> None:
        """Learn which workers there are, and who those are that are new; SchedulerError when nobody can say."""
        found: dict[str, Worker] = {}
        for address, said in self.cluster.identity().items():
            with suppress(KeyError, TypeError, ValueError):
                one, old = known_worker(address, said), self.workers.get(address)
                if old is not None and (old.name, old.folder) == (one.name, one.folder):
                    one.id, one.storage, one.trouble, one.asked = old.id, old.storage, old.trouble, old.asked
                    one.machine, one.ends = old.machine, old.ends
                found[address] = one
        self.workers = found
        now = time.monotonic()
        new = [
            one for one in found.values()
            if not one.id and (not one.trouble or now - one.asked > _AGAIN_S)
        ]  # fmt: skip
        if new:
            for one in new:
                one.trouble, one.asked = "", now
            self.far.meet(new)
        self.far.reach(found.values())

    def alive(self, record: Record) -> bool:
        """Say whether the process that a launch is bound to is still one of the workers."""
        one = self.workers.get(record.address)
        if one is None or record.address in self.far.faulty:
            return False
        return one.id == record.worker or (not one.id and bool(one.trouble))

    def look(self) -> Seen:
        """See all spools in reach; who answers what no agent would is given nothing, and asked again later."""
        seen = self.far.look()
        for address, words in self.far.faulty.items():
            one = self.workers.get(address)
            if one is not None and not one.trouble:
                one.id, one.trouble, one.asked = "", words, time.monotonic()
        return seen

    def faults(self) -> list[str]:
        """Return in words which of the workers that are there answer what no agent would."""
        return [words for address, words in self.far.faulty.items() if address in self.workers]

    def belongs(self, worker: Worker, partition: str) -> bool:
        """Say whether a worker is one of a partition."""
        patterns = next((one.workers for one in self.site.partitions if one.name == partition), ())
        return named(worker, patterns)

    def said(self) -> str:
        """Say in one line what workers there are, and where the dashboard is."""
        try:
            self.survey()
        except SchedulerError as error:
            return f"  {' '.join(str(error).split())}"
        some = self.workers.values()
        threads = sum(one.threads for one in some)
        return f"  {len(some)} workers with {threads} threads are connected; dashboard: {self.cluster.dashboard()}"

    def needs(self, job: Job) -> dict[str, float]:
        """Return which of Dask's abstract resources a launch of a job requires."""
        asked, dask, found = job_at(job, self.site.name).resources, self.cluster.dask, {}
        if asked.gpus:
            found[dask.gpu_resource] = float(asked.gpus)
        if dask.mem_resource and asked.mem_mib:
            found[dask.mem_resource] = float(asked.mem_mib * 2**20)
        return found

    # ---- from launch to future

    def take(self, launches: Sequence[Launch]) -> None:
        """Write down launches that are new."""
        self._binding.take(launches)
        self._binding.demand(self.workers)

    def bind(self) -> None:
        """Bind launches to workers that have room, and give them to the scheduler."""
        for one in self._binding.bind(self.workers):
            if one.notes:
                self._note(one, one.notes)
        self._binding.demand(self.workers)

    # ---- what became of them

    def told(self, keys: Sequence[str]) -> dict[str, LaunchStatus]:
        """Return the state of each launch; only what has ended while the scheduler cannot be asked."""
        mine = {key: self.records.by_key[key] for key in keys if key in self.records.by_key}
        found = {key: self._unknown(key) for key in keys if key not in mine}
        if not mine:
            return found
        trouble = self._survey_trouble()
        seen = self.look()
        ended = {key: status for key, one in mine.items() if (status := self._ended_in(one, seen)) is not None}
        open_ = {key: one for key, one in mine.items() if key not in ended}
        if trouble is None:
            going, failed = self._going_on(open_, seen)
            found.update(going)
            ended.update(failed)
        elif not ended and open_:
            raise trouble
        self._remember(ended)
        self._binding.demand(self.workers)
        found.update({key: with_host(status, mine[key]) for key, status in ended.items()})
        return found

    def _survey_trouble(self) -> SchedulerError | None:
        """Survey the cluster; return why that cannot be done, where files tell enough without it."""
        try:
            self.survey()
        except SchedulerError as error:
            if not self.far.shared:
                raise
            return error
        return None

    def take_back(self) -> None:
        """Unbind what waits behind tasks of others while another worker is free."""
        self._binding.take_back(self._queued, self.workers)

    def unbound(self, statuses: Mapping[str, LaunchStatus]) -> dict[str, LaunchStatus]:
        """Return anew, after `bind`, what was told of launches that had no worker."""
        found = {}
        for key in [key for key, status in statuses.items() if status.state is BackendState.NEW]:
            one = self.records.by_key[key]
            state = BackendState.QUEUED if one.worker else BackendState.NEW
            reason = "goes to its worker" if one.worker else self._binding.reasons.get(key, "not bound to a worker yet")
            native, code = one.address or one.task, "dask.goes_to_worker" if one.worker else "dask.no_worker_yet"
            found[key] = LaunchStatus(state=state, native=native, reason=reason, code=code)
        return found

    def _ended_in(self, record: Record, seen: Seen) -> LaunchStatus | None:
        """Say how a launch ended, by the spool of its worker; None when that does not say that it has."""
        native = record.address or record.task
        spool = seen.spools.get((record.storage, record.worker))
        if spool is not None:
            ended = ended_in(record, spool, native, lambda: self._why_gone(record))
            if ended is not None:
                return ended
        if record.over and not record.worker:
            return LaunchStatus(state=BackendState.CANCELED, native=native, reason=record.over)
        return None

    def _going_on(
        self, open_: Mapping[str, Record], seen: Seen
    ) -> tuple[dict[str, LaunchStatus], dict[str, LaunchStatus]]:
        """Return what goes on and what failed of the launches that no spool calls ended."""
        going: dict[str, LaunchStatus] = {}
        failed: dict[str, LaunchStatus] = {}
        asked: dict[str, Record] = {}
        for key, one in open_.items():
            spool = seen.spools.get((one.storage, one.worker))
            if not one.worker:
                reason = self._binding.reasons.get(key, "not bound to a worker yet")
                going[key] = LaunchStatus(
                    state=BackendState.NEW, native=one.task, reason=reason, code="dask.no_worker_yet"
                )
            elif spool is not None and key in spool.claims and key in spool.inbox:
                going[key] = LaunchStatus(state=BackendState.ACTIVE, native=one.address)
                self._drop_key(one)
            elif not self.alive(one):
                failed[key] = self._gone(one)
            else:
                asked[key] = one
        more, lost = self._ask_scheduler(asked, seen)
        return going | more, failed | lost

    def _ask_scheduler(
        self, asked: Mapping[str, Record], seen: Seen
    ) -> tuple[dict[str, LaunchStatus], dict[str, LaunchStatus]]:
        """Return launches that go on, by what the scheduler says of their tasks, and those that failed.

        What it has lost is given to it once more.
        """
        going: dict[str, LaunchStatus] = {}
        failed: dict[str, LaunchStatus] = {}
        states = self._states(asked.values())
        again = []
        for key, one in asked.items():
            state, spool = states.get(one.task), seen.spools.get((one.storage, one.worker))
            untraced = state in TASK_ENDED and self._without_trace(one, spool)
            ended = ended_by_scheduler(one, state, untraced=untraced)
            if ended is not None:
                failed[key] = ended
                continue
            going[key] = LaunchStatus(
                state=BackendState.QUEUED, native=one.address, reason=self._why_queued(one, state, spool),
                code="dask.waits", native_state=state or "",
            )  # fmt: skip
            if was_lost(state, spool):
                again.append(one)
        self._queued = [one for key, one in asked.items() if states.get(one.task) in TASK_STATES and key in going]
        if again:
            self.cluster.release([one.task for one in again])
            self._binding.give(again)
        return going, failed

    def _unknown(self, key: str) -> LaunchStatus:
        """Return the state of a launch of which there is no record (any more)."""
        if self.records.is_spent(key):
            reason = "it was handed over before, and has ended: a launch is run once"
            return LaunchStatus(state=BackendState.FAILED, reason=reason, code="dask.ended_before")
        return LaunchStatus(state=BackendState.UNKNOWN)

    def _drop_key(self, record: Record) -> None:
        """Forget the key of a launch that was claimed: its runner has it, and nobody else needs it."""
        if record.seed:
            record.seed = ""
            self.records.save([record], durable=False)

    def _states(self, records: Collection[Record]) -> dict[str, str | None]:
        """Return Dask's word for the state of each launch's task; where some wait, see whose tasks are before them."""
        states = self.cluster.states([record.task for record in records])
        if not TASK_STATES.keys().isdisjoint(states.values()):
            self._binding.look(self.workers)
        return states

    def _gone(self, record: Record) -> LaunchStatus:
        """Say that the worker of a launch is gone, and who ended it, or that it answers what no agent would."""
        reason, code = self.far.faulty.get(record.address, ""), "dask.worker_faulty"
        if not reason:
            why = self.cluster.why_gone(record.address, record.name)
            reason, code = f"worker {record.address} left the cluster", "dask.worker_left"
            reason += f": {why}" if why else ""
        return LaunchStatus(state=BackendState.FAILED, native=record.address, reason=reason, code=code)

    def _without_trace(self, record: Record, spool: Spool | None) -> bool:
        """Say whether a launch whose task is over never reached the spool, where that could be seen."""
        one = self.workers.get(record.address)
        if one is not None and one.trouble:
            return False
        return spool is None or record.key not in spool.inbox

    def _why_queued(self, record: Record, state: str | None, spool: Spool | None) -> str:
        others = self._binding.others.get(record.address, ())
        return why_queued(record, self.workers.get(record.address), state, spool, others)

    def _remember(self, ended: Mapping[str, LaunchStatus]) -> None:
        """Keep which launches ended, for other processes, too, and which failed: that counts against no worker."""
        changed = []
        for key, status in ended.items():
            one = self.records.by_key[key]
            failed = one.failed or status.state is not BackendState.COMPLETED
            if not one.ended or failed != one.failed:
                one.ended, one.failed = True, failed
                changed.append(one)
        self.records.save(changed, durable=False)

    # ---- stopping and forgetting

    def cancel(self, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave notes where launches are bound; what has not begun is taken back from the scheduler."""
        changed = []
        taken_back = []
        for key, names in replicas.items():
            record = self.records.by_key.get(key)
            if record is None or record.ended:
                continue
            changed.append(record)
            whole = names is None or set(record.replicas) <= set(names)
            if whole:
                record.over = "cancelled before it started"
            if not record.worker:
                record.notes = sorted({*(record.notes or ()), *(names or ())})
                continue
            if whole:
                taken_back.append(record.task)
            self._note(record, [*(names or ()), *([key] if whole else ())])
        self.records.save(changed)
        self.cluster.release(taken_back)

    def _note(self, record: Record, names: Sequence[str]) -> None:
        head = {"op": "cancel", "base": self.far.base, "worker": record.worker, "names": list(names)}
        through = self.through(record)
        if through is not None:
            self.far.ask(through, head)

    def through(self, record: Record) -> str | None:
        """Return through whom the spool of a launch is reached; None when nobody sees it."""
        if self.far.shared:
            return ""
        spool = self.far.last.spools.get((record.storage, record.worker))
        if spool is not None:
            return spool.through
        return record.address if self.alive(record) else None

    def forget(self, keys: Sequence[str]) -> None:
        """Remove every trace of launches that ended: from spools, from the scheduler, and here."""
        mine = [self.records.by_key[key] for key in keys if key in self.records.by_key]
        if not mine:
            return
        bound = [one for one in mine if one.worker]
        try:
            if bound and not self.far.shared:
                self.survey()
                self.look()
            self.cluster.release([one.task for one in bound])
        except SchedulerError:
            if not self.far.shared:
                raise
        self._forget_spools(bound, keys)
        for one in bound:
            if not one.failed:
                self.records.use(one)
        self.records.remove([one.key for one in mine])
        self._binding.demand(self.workers)

    def _why_gone(self, record: Record) -> str:
        """Return why the worker of a launch left the cluster; "" while it is there."""
        if self.alive(record):
            return ""
        return self.cluster.why_gone(record.address, record.name)

    def _by_way(self, bound: Sequence[Record]) -> dict[str, list[Record]]:
        """Return records by the worker through which their spools are reached, where there is one."""
        by_way: dict[str, list[Record]] = {}
        for record in bound:
            way = self.through(record)
            if way is not None:
                by_way.setdefault(way, []).append(record)
        return by_way

    def _forget_spools(self, bound: Sequence[Record], keys: Sequence[str]) -> None:
        """Let agents forget launches that were bound, and whole spools of workers that are gone and have no others."""
        in_use = {record.worker for record in self.records.by_key.values() if record.key not in keys}
        alive = {worker.id for worker in self.workers.values()}
        for way, records in self._by_way(bound).items():
            launches: list[list[object]] = [[record.worker, record.key, record.replicas] for record in records]
            for record in records:
                launches += [[worker, record.key, []] for worker in record.withdrawn or ()]
            gone: list[str] = []
            if alive:  # else nobody knows which are gone
                seen = {worker for (_, worker), spool in self.far.last.spools.items() if spool.through == way}
                gone = sorted((seen | {record.worker for record in records}) - in_use - alive)
            self.far.ask(way, {"op": "forget", "base": self.far.base, "launches": launches, "gone": gone})

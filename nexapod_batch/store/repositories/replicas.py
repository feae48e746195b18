"""Replicas: placed, out, reported, judged, to be stopped, to be cleaned away."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.model.replica import CHANGED, NOT_FETCHED
from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nexapod_batch.store.database import Database

__all__ = [
    "ForeignReplica", "NewReplica", "OutReplica", "OwedStop", "ReplicaLaunch", "ReplicaReport", "ReplicaRow",
    "Replicas", "ReportedReplica", "UncleanReplica", "VotingReplica",
]  # fmt: skip

#: Digest that was wanted, in a node's words; words of one job's losses that are read at most.
_WANTED, _LOSSES = re.compile(r"wanted ([0-9a-f]{64})"), 20


class VotingReplica(Row, frozen=True):
    """What placing and deciding need to know of a replica."""

    id: int
    job_id: int
    task: int
    number: int
    node_id: int
    launch_id: int
    isolation: str  # as the node said; "" before
    created_at: int
    ended_at: int | None
    host: str  # as the node said; "" before
    machine: str  # as the node signed it: boot, machine, since and until in ms
    execution: str
    validation: str
    voided: bool  # two different valid statements
    numeric_class: str  # as the node said, of the job's kind of class
    vote: bytes | None  # digest of the (normalised) outputs
    reason: str  # as JSON; "" for none
    failure: str  # which kind of failure its node signed


class ReplicaRow(VotingReplica, frozen=True):
    """A replica."""

    nonce: str
    exit_code: int | None
    wall_ms: int | None
    cpu_ms: int | None
    max_rss_kib: int | None
    output_bytes: int | None
    gpus: str | None  # JSON list of {uuid, model, time_ms, peak_mib, energy_mj}
    deadline: int
    cleaned: bool  # its work folder is gone


class ReportedReplica(Row, frozen=True):
    """What a report of a replica is compared with."""

    id: int
    task: int
    number: int
    node_id: int
    launch_id: int
    created_at: int
    nonce: str
    execution: str
    job_uuid: str
    job_digest: str
    native_id: str  # what the scheduler calls its launch; "" where that is not known


class ForeignReplica(Row, frozen=True):
    """A replica of somebody else's job that may have run without isolation."""

    id: int
    node_id: int
    isolation: str
    created_at: int
    ended_at: int | None
    contained: bool  # its job asks for a container


class OutReplica(Row, frozen=True):
    """A replica that has not ended, and the key of its launch."""

    id: int
    job_id: int
    task: int
    number: int
    node_id: int
    key: str


class OwedStop(OutReplica, frozen=True):
    """A replica that is to stop, and of which its backend has not heard yet."""

    open: bool  # its launch has not ended


class ReplicaLaunch(Row, frozen=True):
    """The launch of a replica."""

    key: str
    reason: str  # why it waits, as JSON; "" for none
    host_awaited: bool  # where it ran matters, and its scheduler did not say yet


class UncleanReplica(Row, frozen=True):
    """A replica that has ended, and whose work folder is still there."""

    id: int
    job_id: int
    task: int
    number: int
    node_id: int
    execution: str


class NewReplica(NamedTuple):
    """A replica that is placed, in the order of the statement that stores it."""

    job_id: int
    task: int
    number: int
    node_id: int
    launch_id: int
    nonce: str
    created_at: int
    deadline: int
    placed: int  # number of the ledger's entry that says so


class ReplicaReport(NamedTuple):
    """What a report makes of its replica, in the order of the statement that stores it."""

    execution: str
    reason: str  # as JSON; "" for none
    failure: str
    exit_code: int | None
    host: str
    machine: str
    numeric_class: str
    isolation: str
    vote: bytes | None
    wall_ms: int | None
    cpu_ms: int | None
    max_rss_kib: int | None
    output_bytes: int | None
    gpus: str | None
    ended_at: int
    cleaned: int  # 1: its files came with the report
    committed: int  # number of the ledger's entry that says so
    id: int


class Replicas:
    """The replicas of all tasks."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "replicas")

    def insert(self, replicas: Iterable[NewReplica]) -> None:
        """Store replicas whose launch is stored."""
        self._sql.many("replica_insert", replicas)

    def of_task(self, job: int, task: int) -> list[ReplicaRow]:
        """Return the replicas of one task, by number."""
        return self._sql.all(ReplicaRow, "replicas_of_task", job=job, task=task)

    def of_tasks(self, job: int, tasks: Sequence[int]) -> list[VotingReplica]:
        """Return the replicas of some tasks of a job, by task and number, as far as a decision needs them."""
        return self._sql.all(VotingReplica, "replicas_of_tasks", job=job, tasks=json.dumps(tasks))

    def of_job(self, job: int) -> list[ReplicaRow]:
        """Return the replicas of a job, by task and number."""
        return self._sql.all(ReplicaRow, "replicas_of_job", job=job)

    def between(self, job: int, first: int, last: int) -> list[ReplicaRow]:
        """Return the replicas of the tasks from `first` to `last`, by task and number."""
        return self._sql.all(ReplicaRow, "replicas_between", job=job, first=first, last=last)

    # Out -------------------------------------------------------------------------------------------------------

    def out(self, job: int, task: int | None) -> list[OutReplica]:
        """Return the replicas of one task, or of a whole job, that have not ended."""
        return self._sql.all(OutReplica, "replicas_out", job=job, task=task)

    def jobs_out(self, node: int, limit: int) -> list[int]:
        """Return at most `limit` jobs of which replicas have not ended on a node."""
        return self._sql.values(int, "jobs_out", node=node, limit=limit)

    def launch_of(self, replica: int) -> ReplicaLaunch:
        """Return the launch of a replica that is known to be there."""
        (row,) = self._sql.all(ReplicaLaunch, "replica", id=replica)
        return row

    def ahead_of(self, replica: VotingReplica) -> int:
        """Return how many replicas of the same Slurm job, or whatever its backend started, come before one."""
        found = self._sql.value(int, "ahead_of", id=replica.id, node=replica.node_id, launch=replica.launch_id)
        return found or 0

    def start(self, started: Iterable[tuple[int, int, int, int]]) -> None:
        """Note for each (job, task, number, node) that it runs, unless it has ended."""
        self._sql.many("replica_running", started)

    def lose_overdue(self, *, now: int, reason: str, limit: int) -> list[tuple[int, int]]:
        """Call replicas lost whose deadline has passed; return (job, task) of each."""
        rows = self._sql.tuples("overdue", now=now, limit=limit)
        self._sql.many("replica_overdue", [(reason, now, replica) for replica, _, _ in rows])
        return [(job, task) for _, job, task in rows]

    def could_not_fetch(self, job: int, node: int) -> bool:
        """Say whether a replica of a job was lost because its node could not fetch an input."""
        return bool(self._sql.value(int, "replica_could_not_fetch", job=job, node=node, words=NOT_FETCHED))

    def changed_inputs(self, job: int, tasks: Iterable[int]) -> set[str]:
        """Return SHA-256 of inputs of which nodes said, of replicas of these tasks, that their copies are others."""
        listed = json.dumps(list(tasks))
        rows = self._sql.tuples("replica_words_of_losses", job=job, tasks=listed, words=CHANGED, limit=_LOSSES)
        return {digest for (reason,) in rows for digest in _WANTED.findall(reason)}

    def cancel(self, replicas: Iterable[int], now: int) -> None:
        """Note that somebody cancelled replicas, unless they have ended."""
        self._sql.many("replica_cancel", [(now, replica) for replica in replicas])

    def drop_unneeded(self, replicas: Iterable[int], now: int) -> None:
        """Note that replicas which did not start yet are needed no longer."""
        self._sql.many("replica_unneeded", [(now, replica) for replica in replicas])

    def set_aside(self, job: int, task: int | None) -> None:
        """Take what brought no vote out of the count, of tasks that ended without a good result."""
        self._sql.run("replicas_set_aside", job=job, task=task)

    # Stops -----------------------------------------------------------------------------------------------------

    def owe_stops(self, replicas: Iterable[int]) -> None:
        """Note that the backends of replicas are still to be told to stop them."""
        self._sql.many("stop_owe", [(replica,) for replica in replicas])

    def owed_stops(self) -> list[OwedStop]:
        """Return the replicas of which backends are still to be told, by node."""
        return self._sql.all(OwedStop, "stops_owed")

    def stopped(self, replicas: Iterable[int]) -> None:
        """Note that the backends of replicas were told, or need not be told any more."""
        self._sql.many("stop_paid", [(replica,) for replica in replicas])

    # Reported and judged ---------------------------------------------------------------------------------------

    def for_reports(self, job: int, replicas: Collection[tuple[int, int]]) -> list[ReportedReplica]:
        """Return what reports about replicas of a job, by (task, number), are compared with; perhaps others as well."""
        numbers = [number for _, number in replicas]
        tasks = sorted({task for task, _ in replicas})
        return self._sql.all(
            ReportedReplica, "replicas_for_reports",
            job=job, tasks=json.dumps(tasks), least=min(numbers), most=max(numbers),
        )  # fmt: skip

    def report(self, reports: Iterable[ReplicaReport]) -> None:
        """Store what reports make of replicas that have reported nothing yet and are not void."""
        self._sql.many("replica_reported", reports)

    def void(self, replica: int) -> None:
        """Take the vote from a replica of which there are two different signed statements."""
        self._sql.run("replica_voided", id=replica)

    def withdraw(self, replica: int, reason: str) -> list[tuple[int, int]]:
        """Make an error of a replica that reported as well; return its (job, task), or nothing where it is none."""
        return [(job, task) for job, task in self._sql.tuples("replica_withdrawn", id=replica, reason=reason)]

    def judge(self, judged: Iterable[tuple[int, str]]) -> None:
        """Store for each (replica, validation) what it is worth."""
        by_validation: dict[str, list[int]] = defaultdict(list)
        for replica, validation in judged:
            by_validation[validation].append(replica)
        for validation, replicas in by_validation.items():
            self._sql.run("replica_judged", validation=validation, replicas=json.dumps(replicas))

    def foreign(self, *, since: int, until: int) -> list[ForeignReplica]:
        """Return the replicas of somebody else's jobs that may have run without isolation in a time."""
        return self._sql.all(ForeignReplica, "foreign_replicas", since=since, until=until)

    # Work folders ----------------------------------------------------------------------------------------------

    def unclean(self, *, accepted_before: int, others_before: int, limit: int) -> list[UncleanReplica]:
        """Return replicas whose work folders are still there: of published tasks and of others that ended long ago."""
        return self._sql.all(
            UncleanReplica, "replicas_unclean", accepted=accepted_before, others=others_before, limit=limit
        )

    def cleaned(self, replicas: Iterable[int]) -> None:
        """Note that the work folders of replicas are gone."""
        self._sql.many("replica_cleaned", [(replica,) for replica in replicas])

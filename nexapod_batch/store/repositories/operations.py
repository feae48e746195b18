"""What keeps a coordinator going: whose database it is, who writes, what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from nexapod_batch.store.database import Database

__all__ = ["CoordinatorKeyRow", "EpochRow", "LeaseRow", "Operations"]


class CoordinatorKeyRow(Row, frozen=True):
    """A key that the coordinator has, or had. Numbers are those of entries of the ledger."""

    key_id: str
    public_key: bytes | None  # None: of a time before it was kept
    since: int  # the first entry that it signs for
    until: int | None  # the first that it signs for no longer; None: it is the coordinator's key
    until_ms: int | None  # when that was, since 1970
    revoked: int | None  # the first entry for which what it signed counts no longer
    rotation: bytes | None  # envelope by which it took the place of the one before; None for the first


class EpochRow(Row, frozen=True):
    """When a stand-in took over."""

    number: int
    since: int  # ms since 1970
    entry: int  # of the ledger, that says so
    first_job: int  # jobs below may be known to nodes better than to this database


class LeaseRow(Row, frozen=True):
    """Who coordinates, or did so last."""

    host: str
    boot: str
    pid: int
    taken_at: int
    released: bool


class Operations:
    """The lease, the coordinator's key, standing faults, and the checks of `db check`."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "operations")

    def first_coordinator_key(self) -> str | None:
        """Return the id of the key that the database was made with; None where that was not kept."""
        return self._sql.value(str, "coordinator")

    def coordinator_key(self) -> str | None:
        """Return the id of the key that the coordinator has now; None where none was kept."""
        keys = self.coordinator_keys()
        if keys:
            return keys[-1].key_id
        return self.first_coordinator_key()

    def coordinator_keys(self) -> list[CoordinatorKeyRow]:
        """Return the keys that the coordinator has and had, the first one first."""
        return self._sql.all(CoordinatorKeyRow, "coordinator_keys")

    def keep_coordinator_key(self, key_id: str, public_key: bytes) -> None:
        """Keep the key that the database was made with; one that is kept stays."""
        self._sql.run("coordinator_put", key=key_id)
        self._sql.run("coordinator_key_first", key=key_id, public_key=public_key)
        self._sql.run("coordinator_key_known", key=key_id, public_key=public_key)

    def replace_coordinator_key(
        self, key_id: str, public_key: bytes, *, entry: int, now: int, rotation: bytes
    ) -> None:
        """Give the coordinator another key, from an entry of the ledger on."""
        self._sql.run("coordinator_key_over", entry=entry, now=now)
        self._sql.run("coordinator_key_insert", key=key_id, public_key=public_key, entry=entry, rotation=rotation)

    def revoke_coordinator_key(self, key_id: str, since: int) -> None:
        """Let nothing count that a key signed for an entry of the ledger from this one on."""
        self._sql.run("coordinator_key_revoked", key=key_id, since=since)

    def faults(self) -> dict[str, str]:
        """Return what was broken at the last pass: a stored reason, by what it is about."""
        return dict(self._sql.tuples("faults"))

    def keep_fault(self, key: str, reason: str, now: int) -> None:
        """Keep that something is broken, and since when."""
        self._sql.run("fault_told", key=key, reason=reason, now=now)

    def drop_fault(self, key: str) -> None:
        """Forget something that is broken no longer."""
        self._sql.run("fault_gone", key=key)

    # Epochs ----------------------------------------------------------------------------------------------------

    def epoch(self) -> EpochRow:
        """Return the epoch that is now: the first one where nobody ever took over."""
        return self._sql.find(EpochRow, "epoch") or EpochRow(number=1, since=0, entry=0, first_job=0)

    def begin_epoch(self, epoch: EpochRow, *, gap: int) -> None:
        """Begin an epoch; numbers of jobs go on so many further on."""
        self._sql.run(
            "epoch_begin", number=epoch.number, since=epoch.since, entry=epoch.entry, first_job=epoch.first_job
        )
        self._sql.run("job_numbers_begun")
        self._sql.run("job_numbers_raised", gap=gap)

    def newest_job(self) -> int:
        """Return the number of the newest job that there ever was; 0 for none."""
        return self._sql.value(int, "job_newest") or 0

    # The lease -------------------------------------------------------------------------------------------------

    def lease(self) -> LeaseRow | None:
        """Return who coordinates, or did so last; None where nobody ever did."""
        return self._sql.find(LeaseRow, "lease")

    def take_lease(self, *, host: str, boot: str, pid: int, taken_at: int) -> None:
        """Write who coordinates from now on."""
        self._sql.run("lease_take", host=host, boot=boot, pid=pid, taken_at=taken_at)

    def release_lease(self, *, host: str, boot: str, pid: int, taken_at: int) -> None:
        """Note that a lease was given back, if it is still the one that counts."""
        self._sql.run("lease_release", host=host, boot=boot, pid=pid, taken_at=taken_at)

    # Checks ----------------------------------------------------------------------------------------------------

    def miscounted_jobs(self) -> list[int]:
        """Return jobs whose counters contradict their tasks."""
        return self._sql.values(int, "check_tasks_counted")

    def replicas_without_report(self) -> list[tuple[int, int, int]]:
        """Return (job, task, number) of replicas that count as reported, and whose report is missing."""
        return [(job, task, number) for job, task, number in self._sql.tuples("check_reported_without_report")]

    def accepted_without_valid(self) -> list[tuple[int, int]]:
        """Return (job, task) of accepted tasks without a valid replica."""
        return [(job, task) for job, task in self._sql.tuples("check_accepted_without_valid")]

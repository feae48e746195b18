"""Launches: handed over, seen, ended, forgotten; and the delegations by which their keys may sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.store.database import Database

__all__ = [
    "DelegationRow", "EndedLaunch", "LaunchEnvelope", "LaunchHosts", "LaunchKey", "LaunchReason", "LaunchReplica",
    "Launches", "OpenLaunch",
]  # fmt: skip


class OpenLaunch(Row, frozen=True):
    """A launch that has not ended."""

    id: int
    key: str
    node_id: int
    job_id: int
    state: str  # intent or handed
    native_id: str  # what the scheduler calls it; "" where that is not known
    native_state: str  # the scheduler's word for its state
    native_reason: str  # the scheduler's word for why it waits
    reason: str  # why it waits, as JSON; "" for none
    created_at: int
    host_set: int  # which of the node's disjoint sets of hosts it is bound to; -1: any
    hosts: str  # where it ran by the scheduler's word: names with commas, ? when it never said
    keyed: bool  # nobody claimed it yet: the seed of its key is still kept


class LaunchEnvelope(Row, frozen=True):
    """What is handed over of a launch."""

    key: str
    envelope: bytes  # the signed bundle
    seed: bytes | None  # of its key; None when somebody claimed it, and for a launch of a time without
    job_id: int
    host_set: int
    replicas: int  # how many it holds


class LaunchHosts(Row, frozen=True):
    """Where a launch was to run, and where it ran."""

    host_set: int
    hosts: str


class LaunchKey(Row, frozen=True):
    """A launch, as its backend knows it."""

    id: int
    key: str
    node_id: int


class EndedLaunch(LaunchKey, frozen=True):
    """A launch that is over, and of which its backend still keeps something."""

    reported: bool  # some of its replicas reported as well


class LaunchReason(NamedTuple):
    """Why a launch is as it is, in the order of the statements that store it."""

    reason: str  # as JSON; "" for none
    native_state: str  # the scheduler's word for its state
    native_reason: str  # the scheduler's word for why
    launch: int


class LaunchReplica(Row, frozen=True):
    """A replica that is out with a launch."""

    id: int
    task: int


class DelegationRow(Row, frozen=True):
    """What a node's key signed for the key of a launch."""

    payload: bytes  # exactly the bytes that were signed
    signature: bytes
    key_id: str
    public_key: bytes
    revoked: int | None  # the first entry of the ledger for which what that key signed counts no longer
    over: int | None  # the entry that gave the node another key


class Launches:
    """The launches of all jobs."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "launches")

    def insert(self, *, key: str, node: int, job: int, host_set: int, envelope: bytes, now: int) -> int:
        """Store the intent of a launch; return its id."""
        (launch,) = self._sql.values(
            int, "launch_insert", key=key, node=node, job=job, host_set=host_set, envelope=envelope, now=now
        )
        return launch

    def insert_delegation(
        self, launch: int, *, seed: bytes | None, key_id: str, not_after: int, payload: bytes, signature: bytes,
        trail: bytes | None = None,
    ) -> None:  # fmt: skip
        """Store what a node's key signed for the key of a launch; `not_after` in seconds since 1970.

        `trail` is the secret of the launch's log trails, which stays when the seed is forgotten.
        """
        self._sql.run(
            "delegation_insert", launch=launch, seed=seed, key=key_id, not_after=not_after, payload=payload,
            signature=signature, trail=trail,
        )  # fmt: skip

    def sign_delegation(self, launch: int, signature: bytes) -> None:
        """Keep the signature that a node sent for the key of a launch."""
        self._sql.run("delegation_signed", launch=launch, signature=signature)

    def delegation(self, launch: int) -> DelegationRow | None:
        """Return what was signed for the key of a launch; None for a launch of a time without."""
        return self._sql.find(DelegationRow, "delegation_of", launch=launch)

    def claimed(self, launches: Iterable[int]) -> None:
        """Forget the seeds of launches that a runner has claimed."""
        self._sql.many("delegation_claimed", [(launch,) for launch in launches])

    def of(self, key: str) -> int | None:
        """Return the id of the launch with a key; None where there is none."""
        return self._sql.value(int, "launch_of", key=key)

    def newest(self) -> int:
        """Return the id of the newest launch that there ever was; 0 for none."""
        return self._sql.value(int, "launch_newest") or 0

    def all_open(self) -> list[OpenLaunch]:
        """Return every launch that has not ended, by node."""
        return self._sql.all(OpenLaunch, "launches_open")

    def envelope(self, launch: int) -> LaunchEnvelope:
        """Return what is handed over of a launch that has not ended."""
        (row,) = self._sql.all(LaunchEnvelope, "launch_envelope", id=launch)
        return row

    def hand_over(self, natives: Iterable[tuple[str, str]]) -> None:
        """Note for each (key, native id) that its backend has it, and what the scheduler calls it."""
        self._sql.many("launch_handed", [{"key": key, "native_id": native} for key, native in natives])

    def note_waiting(self, reasons: Iterable[LaunchReason]) -> None:
        """Keep why launches wait, and what the scheduler says of them."""
        self._sql.many("launch_waits", reasons)

    def seen(self, launches: Iterable[int]) -> None:
        """Note that the replicas of launches are queued."""
        self._sql.many("launch_seen", [{"launch": launch} for launch in launches])

    # Hosts -----------------------------------------------------------------------------------------------------

    def hosts(self, launch: int) -> LaunchHosts:
        """Return where a launch was to run, and where it ran."""
        (row,) = self._sql.all(LaunchHosts, "launch_hosts", id=launch)
        return row

    def ran_on(self, launch: int, hosts: str) -> None:
        """Keep where a launch ran, unless that is known."""
        self._sql.run("launch_ran_on", id=launch, hosts=hosts)

    def tasks(self, launch: int) -> list[tuple[int, int]]:
        """Return (job, task) of what a launch held."""
        return [(job, task) for job, task in self._sql.tuples("launch_tasks", id=launch)]

    # Ends ------------------------------------------------------------------------------------------------------

    def replicas_out(self, launch: int) -> list[LaunchReplica]:
        """Return the replicas of a launch that have not ended, by task."""
        return self._sql.all(LaunchReplica, "launch_out", launch=launch)

    def lose(self, launch: int, *, execution: str, reason: str, now: int) -> list[tuple[int, int]]:
        """End the replicas of a launch that never reported; return (job, task) of each."""
        return self._pairs("launch_lost", launch=launch, execution=execution, reason=reason, now=now)

    def take_back(self, launch: int, *, reason: str, now: int) -> list[tuple[int, int]]:
        """Set the replicas of a launch aside that never reported, as nobody's fault; return (job, task) of each."""
        return self._pairs("launch_taken_back", launch=launch, reason=reason, now=now)

    def memory_explained(self, launch: int) -> bool:
        """Say whether a report of the same job of the scheduler says that the kernel killed something there."""
        return bool(self._sql.value(int, "launch_memory_explained", launch=launch))

    def overrule(self, launch: int, *, reason: str, aside: bool) -> list[tuple[int, int]]:
        """Make errors of the replicas of a launch that reported as well; return (job, task) of each.

        `aside`: nobody's error where the task has not ended; it is placed anew.
        """
        return self._pairs("launch_overruled", launch=launch, reason=reason, aside=aside)

    def of_key(self, key_id: str) -> list[int]:
        """Return the open launches that a key of a node vouches for."""
        return self._sql.values(int, "launches_of_key", key=key_id)

    def placed_between(self, since: int, until: int) -> list[int]:
        """Return the open launches that were placed by entries of the ledger from one to before another."""
        return self._sql.values(int, "launches_placed", since=since, until=until)

    def revoke_reports(self, node: int, key_id: str, *, since: int, reason: str) -> list[tuple[int, int]]:
        """Let no report count that rests on a key of a node, with an entry from `since` on; return (job, task) of each.

        In tasks that have not ended they are set aside: they are placed anew.
        """
        failures = self._pairs("failures_revoked", node=node, key=key_id, since=since)
        return failures + self._pairs("reports_revoked", node=node, key=key_id, since=since, reason=reason)

    def explain_lost(self, launch: int, reason: str, text: str) -> None:
        """Add what the backend knows to the reasons of the launch's lost replicas, unless they have its `text`."""
        self._sql.run("launch_lost_why", launch=launch, reason=reason, text=text)

    def end(self, ended: LaunchReason) -> None:
        """Note that a launch is over, and why."""
        self._sql.many("launch_ended", [ended])

    def ended(self, limit: int) -> list[EndedLaunch]:
        """Return launches that are over and of which their backends still keep something, by node."""
        return self._sql.all(EndedLaunch, "launches_ended", limit=limit)

    def forget(self, launches: Iterable[int]) -> None:
        """Note that the backends keep nothing more of launches that are over."""
        self._sql.many("launch_forgotten", [(launch,) for launch in launches])

    def claims_expired(self, *, before_s: int, limit: int) -> list[LaunchKey]:
        """Return forgotten launches whose claims are still kept, though no runner may start them since `before_s`."""
        return self._sql.all(LaunchKey, "claims_expired", before=before_s, limit=limit)

    def expire_claims(self, launches: Iterable[int]) -> None:
        """Note that the claims of launches are gone."""
        self._sql.many("claim_expired", [(launch,) for launch in launches])

    def _pairs(self, name: str, **params: str | int) -> list[tuple[int, int]]:
        return [(job, task) for job, task in self._sql.tuples(name, **params)]

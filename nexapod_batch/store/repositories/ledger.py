"""The ledger: what happened, appended in the transaction in which the fact is written, and the tree over it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.ledger import tree
from nexapod_batch.ledger.audit import KEPT_LEVEL, mark_of
from nexapod_batch.ledger.edge import Edge
from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nexapod_batch.store.database import Database

__all__ = [
    "Appending", "JobEntry", "KnownJob", "KnownLaunch", "KnownReport", "KnownVerdict", "LaunchEntry", "Ledger",
    "PublicationEntry", "ReportEntry", "VerdictEntry",
]  # fmt: skip


class KnownJob(Row, frozen=True):
    """A job of a database that had no ledger."""

    id: int
    uuid: str
    digest: str
    created_at: int
    n_tasks: int


class KnownLaunch(Row, frozen=True):
    """A launch of a database that had no ledger."""

    id: int
    job_id: int
    key: str
    node: str
    created_at: int
    replicas: int


class KnownReport(Row, frozen=True):
    """A signed statement of a database that had no ledger."""

    replica_id: int
    job_id: int
    task: int
    number: int
    payload_sha256: bytes
    received_at: int


class KnownVerdict(Row, frozen=True):
    """A verdict of a database that had no ledger."""

    job_id: int
    idx: int
    state: str
    agree: int
    basis: str
    published_from: int | None
    since: int  # when its job ended, or began where it has not


class JobEntry(Row, frozen=True):
    """A job, and the entry that is to say that it was submitted."""

    id: int
    uuid: str
    n_tasks: int
    digest: str  # hex
    entry: bytes | None


class LaunchEntry(Row, frozen=True):
    """A launch, and the entry that is to say that its replicas were placed."""

    id: int
    key: str | None  # None: it is gone, or its replicas are said to be another node's
    job_id: int | None
    entry: bytes | None


class VerdictEntry(Row, frozen=True):
    """A task that ended, and the entry that is to say so."""

    job_id: int
    idx: int
    state: str
    entry: bytes | None


class PublicationEntry(Row, frozen=True):
    """What was published of a task, and the entry that is to say so."""

    job_id: int
    idx: int
    number: int  # of the replica whose files they are
    payload_sha256: bytes | None  # of that replica's first statement
    entry: bytes | None


class ReportEntry(Row, frozen=True):
    """A statement of a replica, and the entry that is to say that the replica reported first."""

    job_id: int
    task: int
    number: int
    payload_sha256: bytes
    entry: bytes | None


class Appending:
    """Entries that are written when the transaction that they belong to is complete, or when it is told to go on."""

    __slots__ = ("edge", "entries", "first")

    def __init__(self, first: int) -> None:
        """Take the number that the first of them will have."""
        self.first = first
        self.entries: list[bytes] = []  # that are not written yet
        self.edge: Edge | None = None  # of the tree as it is written; None: it was not asked for

    def add(self, entry: bytes) -> int:
        """Append an entry; return its number."""
        self.entries.append(entry)
        return self.first + len(self.entries) - 1


class Ledger:
    """The ledger of a coordinator."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._database = database
        self._sql = Statements(database, "ledger")
        self._open: Appending | None = None

    def size(self) -> int:
        """Return how many entries there are."""
        return self._sql.value(int, "ledger_size") or 0

    # Appending -------------------------------------------------------------------------------------------------

    @contextmanager
    def appending(self) -> Iterator[Appending]:
        """Give entries their numbers before they are written: all at once, when the block ends well.

        Call it at the beginning of the transaction in which the facts are written, and let an exception that leaves the
        block leave the transaction too: facts never stay without their entries. A block inside another is part of it.
        CorruptStoreError where the tree lacks what is needed to go on.
        """
        if self._open is not None:
            yield self._open
            return
        with self._database.joined():
            self._open = Appending(self.size())
            try:
                yield self._open
                self.write()
            finally:
                self._open = None

    def append(self, entries: Iterable[bytes]) -> int:
        """Append entries; return the number of the first."""
        if self._open is None:
            with self.appending():
                return self.append(entries)
        first = self._open.first + len(self._open.entries)
        self._open.entries.extend(entries)
        return first

    def write(self) -> None:
        """Write what was appended so far; the rest of a long transaction goes on behind it.

        CorruptStoreError where the tree lacks what is needed to go on.
        """
        pending = self._open
        if pending is None or not pending.entries:
            return
        edge = pending.edge = pending.edge or self._edge(pending.first)
        rows: list[tuple[int, bytes, int]] = []
        nodes: list[tree.Node] = []
        for number, entry in enumerate(pending.entries, pending.first):
            leaf = tree.leaf_hash(entry)
            rows.append((number, entry, mark_of(leaf)))
            nodes += edge.add(leaf)[KEPT_LEVEL - 1 :]  # the first node above a leaf is of level 1
        self._sql.many("entry_insert", rows)
        self._sql.many("node_insert", nodes)
        pending.first += len(rows)
        pending.entries.clear()

    def _edge(self, size: int) -> Edge:
        return Edge(size, {level: self.node(level, (size >> level) - 1) for level in _bits(size)})

    # The tree --------------------------------------------------------------------------------------------------

    def node(self, level: int, number: int) -> bytes:
        """Return the hash of a whole subtree, as `ledger.tree` asks for it; CorruptStoreError where it is missing."""
        if level >= KEPT_LEVEL:
            found = self._sql.value(bytes, "tree_node", level=level, number=number)
            if found is None:
                raise _missing(f"node {level}/{number}")
            return found
        first, count = number << level, 1 << level
        entries = self.entries(first, first + count)
        if len(entries) < count:
            raise _missing(f"an entry from {first} to {first + count - 1}")
        return tree.root_of_whole([tree.leaf_hash(entry) for entry in entries])

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries."""
        return tree.root(size, self.node)

    def entries(self, first: int, last: int) -> list[bytes]:
        """Return the entries from `first` to before `last`, as far as they are there."""
        return self._sql.values(bytes, "entries", first=first, last=last)

    def marked_entries(self) -> Iterator[tuple[int, bytes, int]]:
        """Yield number, content and mark of every entry."""
        yield from self._sql.stream("entries_marked")

    def levels(self) -> list[int]:
        """Return the levels of which nodes are kept."""
        return self._sql.values(int, "levels")

    def nodes(self, level: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and hash of the nodes of a level."""
        yield from self._sql.stream("nodes_of_level", level=level)

    # Heads -----------------------------------------------------------------------------------------------------

    def newest_checkpoint(self) -> tuple[int, str] | None:
        """Return size and text of the newest signed head; None for none."""
        rows = self._sql.tuples("checkpoint_newest")
        if rows:
            return (rows[0][0], rows[0][1])
        return None

    def keep_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed head."""
        self._sql.run("checkpoint_put", size=size, note=note)

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        """Yield size and text of every signed head that is kept, the oldest first."""
        yield from self._sql.stream("checkpoints")

    def witnessed(self, origin: str) -> tuple[str, str] | None:
        """Return key and newest head of another ledger that was cosigned here; None for one that never was."""
        rows = self._sql.tuples("witnessed", origin=origin)
        if rows:
            return (rows[0][0], rows[0][1])
        return None

    def keep_witnessed(self, origin: str, key: str, note: str) -> None:
        """Keep the newest head of another ledger that was cosigned here, and by which key it signs."""
        self._sql.run("witnessed_put", origin=origin, key=key, note=note)

    # Where facts stand -----------------------------------------------------------------------------------------

    def note_submitted(self, job: int, entry: int) -> None:
        """Keep which entry says that a job was submitted."""
        self._sql.many("job_submitted", [(entry, job)])

    def note_verdicts(self, verdicts: Iterable[tuple[int, int, int]]) -> None:
        """Keep for each (entry, job, task) which entry is the task's latest verdict."""
        self._sql.many("task_decided_at", verdicts)

    def note_shown(self, shown: Iterable[tuple[int, int, int]]) -> None:
        """Keep for each (entry, job, task) which entry says what was published of the task last."""
        self._sql.many("task_shown", shown)

    def note_placed(self, placed: Iterable[tuple[int, int]]) -> None:
        """Keep for each (entry, launch) which entry says that its replicas were placed."""
        self._sql.many("replica_placed", placed)

    def note_committed(self, committed: Iterable[tuple[int, int]]) -> None:
        """Keep for each (entry, replica) which entry says that it reported first."""
        self._sql.many("replica_committed", committed)

    def of_job(self, job: int) -> int | None:
        """Return which entry says that a job was submitted; None where there is none."""
        return self._sql.value(int, "position_of_job", job=job)

    def of_task(self, job: int, task: int) -> int | None:
        """Return which entry is the latest verdict on a task; None where there is none."""
        return self._sql.value(int, "position_of_task", job=job, task=task)

    def of_publication(self, job: int, task: int) -> int | None:
        """Return which entry says what was published of a task; None where there is none."""
        return self._sql.value(int, "position_of_publication", job=job, task=task)

    def of_tasks(self, job: int) -> dict[int, tuple[int | None, int | None]]:
        """Return for each task of a job which entries are its latest verdict, and what was published of it last."""
        return {task: (decided, shown) for task, decided, shown in self._sql.tuples("positions_of_tasks", job=job)}

    def of_reports(self, job: int) -> dict[tuple[int, int], int]:
        """Return which entry says that each replica of a job reported first, by task and number."""
        return {(task, number): entry for task, number, entry in self._sql.tuples("positions_of_reports", job=job)}

    def entry_after(self, after: int, digest: str) -> int | None:
        """Return the first entry after another one that names a digest, as entries spell it."""
        return self._sql.value(int, "entry_after", after=after, digest=digest.encode())

    def of_replica(self, job: int, task: int, number: int) -> tuple[int | None, int | None]:
        """Return which entries say that a replica was placed, and that it reported."""
        rows = self._sql.tuples("positions_of_replica", job=job, task=task, number=number)
        if rows:
            return (rows[0][0], rows[0][1])
        return (None, None)

    def statements_of(self, job: int, tasks: Sequence[int]) -> dict[tuple[int, int], bytes]:
        """Return the SHA-256 of the first statement of each replica of some tasks, by (task, number)."""
        rows = self._sql.tuples("statements_of", job=job, tasks=json.dumps(tasks))
        return {(task, number): digest for task, number, digest in rows}

    def jobs_with_entries(self) -> Iterator[JobEntry]:
        """Yield every job with its entry."""
        yield from self._sql.each(JobEntry, "jobs_with_entries")

    def launches_with_entries(self) -> Iterator[LaunchEntry]:
        """Yield every launch that has replicas with its entry."""
        yield from self._sql.each(LaunchEntry, "launches_with_entries")

    def verdicts_with_entries(self) -> Iterator[VerdictEntry]:
        """Yield every task that ended by a verdict with its entry."""
        yield from self._sql.each(VerdictEntry, "verdicts_with_entries")

    def reports_with_entries(self) -> Iterator[ReportEntry]:
        """Yield every statement, those of one replica together and in order, with the entry of the first."""
        yield from self._sql.each(ReportEntry, "reports_with_entries")

    def publications_with_entries(self) -> Iterator[PublicationEntry]:
        """Yield what was published of every task with its entry."""
        yield from self._sql.each(PublicationEntry, "publications_with_entries")

    def accepted_of_no_replica(self) -> Iterator[tuple[int, int]]:
        """Yield the accepted tasks of which it is not kept which replica was published."""
        yield from self._sql.stream("accepted_of_no_replica")

    # What a database knew before it had a ledger ---------------------------------------------------------------

    def known_jobs(self) -> Iterator[KnownJob]:
        """Yield every job."""
        yield from self._sql.each(KnownJob, "known_jobs")

    def known_launches(self) -> Iterator[KnownLaunch]:
        """Yield every launch that has replicas."""
        yield from self._sql.each(KnownLaunch, "known_launches")

    def known_reports(self) -> Iterator[KnownReport]:
        """Yield every signed statement."""
        yield from self._sql.each(KnownReport, "known_reports")

    def known_verdicts(self) -> Iterator[KnownVerdict]:
        """Yield every verdict."""
        yield from self._sql.each(KnownVerdict, "known_verdicts")


def _bits(number: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set."""
    for level in range(number.bit_length()):
        if number >> level & 1:
            yield level


def _missing(what: str) -> CorruptStoreError:
    hint = "nexapod-batch ledger verify says what else is wrong with it"
    return CorruptStoreError(f"the ledger lacks {what}", hint=hint)

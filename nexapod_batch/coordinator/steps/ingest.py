"""Ingest: what the nodes' segments say is stored with the signed bytes, and the offset moves, all in one transaction.

A line that does not verify, or is not about the replica that it names, goes to quarantine and changes nothing else. The
same report again is no event.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.report_reader import (
    Left,
    Refused,
    Report,
    Started,
    beginning,
    blocks,
    read_all,
)
from nexapod_batch.coordinator.evidence.stored_statements import dictionary_for, pack, stored_reports
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.steps.quarantine import quarantine
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.lifecycle import OUT, Execution
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import failure_kind
from nexapod_batch.quorum.expected import Expected, Place
from nexapod_batch.spool import layout
from nexapod_batch.spool.segment_reader import Budget
from nexapod_batch.store.repositories.replicas import ReplicaReport
from nexapod_batch.store.repositories.reports import NewReport
from nexapod_batch.trust.delegation import DELEGATION_TYPE, not_covered, open_delegation
from nexapod_batch.trust.dsse import envelope
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.report_reader import Block, Line
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReportedReplica
    from nexapod_batch.trust.delegation import Delegation
    from nexapod_batch.trust.statement import Statement

__all__ = ["EXECUTION_OF", "ingest", "signed_reason", "unread"]

#: Bytes of segments that are taken in together: a commit costs as much as 50 reports.
_TOGETHER = 2 * 1024 * 1024
#: Bytes of one node's segments that one pass looks at, and of one segment at least: the rest is for the next pass.
_PER_NODE, _LEAST = 64 << 20, 4 << 20
#: Bad lines of one node after which the rest of it waits for the next pass.
_JUNK = 1_000

#: What a signed outcome makes of the replica.
EXECUTION_OF: dict[str, Execution] = {
    Outcome.OK: Execution.REPORTED,
    Outcome.FAILED: Execution.ERRORED,
    Outcome.TIME: Execution.ERRORED,
    Outcome.MEMORY: Execution.ERRORED,
    Outcome.DISK: Execution.ERRORED,
    Outcome.OUTPUT: Execution.ERRORED,
    Outcome.INPUT: Execution.ERRORED,
    Outcome.CANCELLED: Execution.CANCELLED,
    Outcome.PREEMPTED: Execution.LOST,
    Outcome.NODE: Execution.LOST,
}


def signed_reason(detail: str) -> Reason | None:
    """Return the reason that a statement makes of its replica: what it says beside the outcome, if anything."""
    return Reason(code=Code.SIGNED, parameters={"text": detail}) if detail else None


class Intake(Struct):
    """What one pass took in."""

    reports: int = 0
    quarantined: int = 0
    behind: set[int] = field(default_factory=set)  # ids of nodes of which not everything was read


def ingest(c: Coordinator, nodes: list[Node], faults: Faults, end: float | None = None) -> Intake:
    """Take in the complete new lines of the nodes' segments; a spool that cannot be read is a fault of its node.

    Of each node so much is read that others get their turn, and nothing more at the time `end`; what is left is for the
    next pass, which goes on there.
    """
    intake, known = Intake(), _Known()
    found = _in_turn([_blocks(c, node, faults, intake, end) for node in nodes])
    broken: set[Path] = set()
    junk: dict[int, int] = defaultdict(int)  # bad lines by node
    waiting: list[tuple[Node, Block, list[Line]]] = []
    size = 0
    read = read_all([(block, oldest_key(c, node)) for node, block in found])
    for (node, block), lines in zip(found, read, strict=True):
        if isinstance(lines, OSError):
            faults.of_node(Code.REPORTS_FAULT, node, lines)
            broken.add(block.path)
        elif block.path in broken:  # what follows a block that was not read waits for it
            continue
        elif junk[node.id] >= _JUNK:
            intake.behind.add(node.id)
        else:
            waiting.append((node, block, lines))
            size += block.end - block.start
            junk[node.id] += sum(isinstance(line, Refused) for line in lines)
            if isinstance(lines[-1] if lines else None, Left):
                broken.add(block.path)
                intake.behind.add(node.id)
        if size >= _TOGETHER:
            _take_in(c, waiting, intake, known)
            waiting, size = [], 0
            if end is not None and c.clock() >= end:
                intake.behind |= {other.id for other, _ in found}
                break
    _take_in(c, waiting, intake, known)
    return intake


def _blocks(
    c: Coordinator, node: Node, faults: Faults, intake: Intake, end: float | None
) -> list[tuple[Node, Block]]:
    """Bring the segments of one node here and return what is new of them, as much as is read in one pass."""
    if end is not None and c.clock() >= end:
        intake.behind.add(node.id)
        return []
    try:
        c.backend(node).collect(c.context(node))
    except (NexapodError, OSError) as error:
        faults.of_node(Code.COLLECT_FAULT, node, error)
    found: list[tuple[Node, Block]] = []
    try:
        segments = unread(c, node)
        left = _PER_NODE
        for number, (path, position, _) in enumerate(segments):
            budget = Budget(max(_LEAST, left // (len(segments) - number)))
            left -= budget.left
            found += [(node, block) for block in blocks(path, position, budget)]
            left += max(0, budget.left)
            if budget.left <= 0:
                intake.behind.add(node.id)
    except OSError as error:
        faults.of_node(Code.REPORTS_FAULT, node, error)
    return found


def _in_turn(of_nodes: list[list[tuple[Node, Block]]]) -> list[tuple[Node, Block]]:
    """Return the blocks of all nodes so that none waits for all of another's."""
    return [one for together in zip_longest(*of_nodes) for one in together if one is not None]


def _take_in(c: Coordinator, blocks: list[tuple[Node, Block, list[Line]]], intake: Intake, known: _Known) -> None:
    """Apply blocks and move the offsets, in one transaction."""
    if not blocks:
        return
    with c.store.atomic(), c.store.ledger.appending():
        for node, block, lines in blocks:
            last = lines[-1] if lines else None
            position = last.position if isinstance(last, Left) else block.end
            _lines(c, node, block.path, lines, intake, known)
            c.store.reports.move_segment(node.id, block.path.name, position)


def unread(c: Coordinator, node: Node) -> list[tuple[Path, int, int]]:
    """Return each segment that grew since it was read, how far that was, and its size; OSError for a broken spool."""
    folder = c.context(node).spool / layout.REPORTS
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        with os.scandir(fd) as entries:
            files = [e for e in entries if layout.is_segment(e.name) and e.is_file(follow_symlinks=False)]
            sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in files}
    finally:
        os.close(fd)
    if not sizes:
        return []
    read = c.store.reports.segments(node.id)
    return [
        (folder / name, read.get(name, 0), sizes[name]) for name in sorted(sizes) if sizes[name] > read.get(name, 0)
    ]


def _lines(
    c: Coordinator, node: Node, path: Path, lines: list[Line], intake: Intake, known: _Known
) -> None:
    """Apply the lines of one block; what is good is read and written together."""
    batch = _Batch()
    refused = [line for line in lines if isinstance(line, Refused)]
    batch.started = [(*line.replica, node.id) for line in lines if isinstance(line, Started)]
    reports = [line for line in lines if isinstance(line, Report)]
    known.rows = _rows(c, reports)
    for report in reports:
        try:
            _apply(c, node, report, known, batch)
            intake.reports += 1
        except _RefusedReport as refusal:
            refused.append(_refused(report, refusal.reason, path))
        except VerificationError as error:
            why = Reason(code=Code.REPORT_REFUSED, parameters={"error": Reason.of_error(error)})
            refused.append(_refused(report, why, path))
        except NexapodError:  # of the database: nothing of this pass is kept
            raise
        except Exception as error:  # noqa: BLE001 - whatever one report does, the others are taken in
            why = Reason(code=Code.REPORT_NOT_TAKEN_IN, parameters={"kind": type(error).__name__})
            refused.append(_refused(report, why, path))
    if refused:
        intake.quarantined += len(refused)
        quarantine(c, node, path, refused)
    _write(c, batch)


class _RefusedReport(Exception):  # noqa: N818 - it is caught where it is raised
    """A report is about something else than its replica; it says why."""

    def __init__(self, code: str, **parameters: object) -> None:
        """Keep the reason."""
        super().__init__(code)
        self.reason = Reason(code=code, parameters=parameters)


def _refused(report: Report, reason: Reason, path: Path) -> Refused:
    return Refused(report.position, reason.stored(), beginning(path, report.position))


def oldest_key(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the key that signed the statements of launches without a delegation: the node's first."""
    return dict([next(iter(keys_of(c, node).items()))])


class _Known(Struct):
    """What is stored of the replicas at hand and, for a whole pass, what their launches' keys may say."""

    rows: dict[tuple[int, int, int], ReportedReplica] = field(default_factory=dict)  # of the reports at hand
    given: dict[int, Delegation | None] = field(default_factory=dict)  # by launch, as far as it was looked up
    expected: dict[int, Expected] = field(default_factory=dict)  # by job, likewise

    def delegation(self, c: Coordinator, launch: int) -> Delegation | None:
        """Return the delegation of a launch, verified once; None for a launch of a time without."""
        if launch not in self.given:
            row = c.store.launches.delegation(launch)
            self.given[launch] = None
            if row is not None:
                sealed = envelope(DELEGATION_TYPE, row.payload, row.key_id, row.signature)
                self.given[launch] = open_delegation(sealed, {row.key_id: row.public_key})
        return self.given[launch]


def _rows(c: Coordinator, reports: list[Report]) -> dict[tuple[int, int, int], ReportedReplica]:
    """Return what is stored of the replicas that reports are about."""
    tasks: dict[int, set[int]] = defaultdict(set)
    for report in reports:
        job, task, _ = report.replica
        tasks[job].add(task)
    return {
        (job, row.task, row.number): row
        for job, wanted in tasks.items()
        for row in c.store.replicas.for_reports(job, sorted(wanted))
    }


class _Batch(Struct):
    """Rows to write; `seen` are the replicas that have a report among them."""

    reports: list[NewReport] = field(default_factory=list)
    carried: list[tuple[int, bytes]] = field(default_factory=list)
    replicas: list[ReplicaReport] = field(default_factory=list)
    started: list[tuple[int, int, int, int]] = field(default_factory=list)
    news: set[tuple[int, int]] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    dictionaries: dict[int, bytes] = field(default_factory=dict)


def _write(c: Coordinator, batch: _Batch) -> None:
    reports, replicas = c.store.reports, c.store.replicas
    if batch.started:
        replicas.start(batch.started)
    if batch.reports:
        reports.insert(batch.reports)
    if batch.carried:
        reports.insert_carried(batch.carried)
    if batch.replicas:
        replicas.report(batch.replicas)
    if batch.news:
        c.store.tasks.note_news(sorted(batch.news))
    batch.reports.clear()
    batch.carried.clear()
    batch.replicas.clear()


def _apply(c: Coordinator, node: Node, report: Report, known: _Known, batch: _Batch) -> None:
    """Store one verified report and move its replica; _RefusedReport when it is about something else."""
    said = report.statement
    row = _check(c, node, report, said, known)
    replica, (job, task, _) = row.id, report.replica
    if replica in batch.seen or row.execution not in OUT:  # perhaps there is a report of it already
        batch.seen.discard(replica)
        _write(c, batch)
        before = [one.payload for one in stored_reports(c, replica)]
        if report.payload in before:
            if report.carried is not None:  # a copy of the line without them may have come first
                c.store.reports.supply_carried(replica, report.carried)
            return
        if before:
            c.store.replicas.void(replica)
            c.store.nodes.blame(node.id)
    now = c.now()
    sha256 = hashlib.sha256(report.payload).digest()
    if job not in batch.dictionaries:
        batch.dictionaries[job] = dictionary_for(c, job, report.payload)
    packed = pack(report.payload, batch.dictionaries[job])
    execution = EXECUTION_OF[said.outcome]
    vote = bytes.fromhex(said.vote) if execution is Execution.REPORTED else None
    failure = failure_kind(said.outcome, said.exit_code) if execution is Execution.ERRORED else ""
    reason = signed_reason(said.detail)
    numeric_class = said.classes.get(c.job(job).quorum.numeric_class.value, "")
    batch.seen.add(replica)
    batch.reports.append(
        NewReport(replica, sha256, packed, report.signature, now)
    )
    if report.carried is not None:
        batch.carried.append((replica, report.carried))
    batch.news.add((job, task))
    name = "{}_{}.{}".format(*report.replica)
    committed = c.store.ledger.append([event(Kind.REPORT, now, id=name, sha256=encoded_digest(sha256))])
    batch.replicas.append(
        ReplicaReport(
            execution.value, "" if reason is None else reason.stored(), failure, said.exit_code, said.host,
            report.machine, numeric_class, said.isolation, vote, said.wall_ms, said.cpu_ms, said.max_rss_kib,
            said.output_bytes, report.gpus, now, int(report.carried is not None), committed, replica,
        )
    )  # fmt: skip


def _check(c: Coordinator, node: Node, report: Report, said: Statement, known: _Known) -> ReportedReplica:
    """Return the replica's row; _RefusedReport unless its own launch's key says what it may say of it.

    The node is blamed for what a key of its own signed that no honest runner signs, not for what others put there.
    """
    row, name = known.rows.get(report.replica), "{}_{}.{}".format(*report.replica)
    if row is None:
        raise _RefusedReport(Code.REPORT_OF_NO_REPLICA, replica=name, node=node.name)
    if row.node_id != node.id:
        raise _RefusedReport(Code.REPORT_OF_OTHER_NODE, replica=name, node=node.name)
    given = known.delegation(c, row.launch_id)
    if report.key != (given.subkey if given else next(iter(oldest_key(c, node).values()))):
        raise _RefusedReport(Code.REPORT_BY_OTHER_KEY, replica=name, node=node.name)
    if row.native_id and said.native_id != row.native_id and c.backend(node).signs_native:
        # Nobody's lie: a scheduler may have taken one launch twice, or a shell started the runner where it should not.
        raise _RefusedReport(
            Code.REPORT_FROM_ELSEWHERE, replica=name, native_id=said.native_id, launch=row.native_id
        )
    if why := _wrong(c, node, said, row, given, known):
        c.store.nodes.blame(node.id)
        raise _RefusedReport(Code.REPORT_CONTRADICTS, replica=name, node=node.name, contradiction=why)
    return row


def _wrong(
    c: Coordinator, node: Node, said: Statement, row: ReportedReplica, given: Delegation | None, known: _Known
) -> Reason | None:
    """Return why no honest runner signs this for the replica of a row; None where one may."""
    if said.nonce != row.nonce:
        return Reason(code=Code.OTHER_NONCE)
    if (said.job_uuid, said.job_digest) != (row.job_uuid, row.job_digest):
        return Reason(code=Code.OTHER_JOB)
    if given is not None and (code := not_covered(given, said)):
        return Reason(code=code)
    job = said.replica.job
    if job not in known.expected:
        known.expected[job] = Expected(c.job(job))
    host = node.host if node.site == LOCAL else None
    place = Place(backend=node.backend, host=host, given_ms=row.created_at, received_ms=c.now())
    return known.expected[job].contradiction(said, place)

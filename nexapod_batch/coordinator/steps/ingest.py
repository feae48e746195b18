"""Ingest: what the nodes' segments say is stored with the signed bytes, and the offset moves, all in one transaction.

A line that does not verify, or is not about the replica that it names, goes to quarantine and changes nothing else. The
same report again is no event.
"""

from __future__ import annotations

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
    Trailed,
    beginning,
    blocks,
    read_all,
)
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.coordinator.garbage import no_collection
from nexapod_batch.coordinator.nodes.joined_keys import signature_of
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.nodes.networks import note_networks
from nexapod_batch.coordinator.steps.commitments import forget_files, take_commitments
from nexapod_batch.coordinator.steps.joined_reports import commitments_of, not_taken
from nexapod_batch.coordinator.steps.log_notes import take_note
from nexapod_batch.coordinator.steps.quarantine import quarantine
from nexapod_batch.coordinator.steps.report_batch import ReportBatch
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.lifecycle import OUT
from nexapod_batch.model.document import form_of
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum.expected import Expected, Place
from nexapod_batch.spool import layout
from nexapod_batch.spool.segment_reader import Budget
from nexapod_batch.trust.delegation import DELEGATION_TYPE, not_covered, open_delegation
from nexapod_batch.trust.dsse import envelope

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.report_reader import Block, Line
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReportedReplica
    from nexapod_batch.trust.delegation import Delegation
    from nexapod_batch.trust.statement import Statement

__all__ = ["ingest", "unread"]

#: Bytes of segments that are taken in together, at most and at least: a commit costs as much as 50 reports.
_TOGETHER, _AT_LEAST = 2 * 1024 * 1024, 256 * 1024
#: Bytes of one node's segments that one pass looks at, and of one segment at least: the rest is for the next pass.
_PER_NODE, _LEAST = 64 << 20, 4 << 20
#: Bad lines of one node after which the rest of it waits for the next pass.
_JUNK = 1_000


class Intake(Struct):
    """What one pass took in."""

    reports: int = 0
    quarantined: int = 0
    behind: set[int] = field(default_factory=set)  # ids of nodes of which not everything was read


@no_collection()
def ingest(c: Coordinator, nodes: list[Node], faults: Faults, end: float | None = None) -> Intake:
    """Take in the complete new lines of the nodes' segments; a spool that cannot be read is a fault of its node.

    Of each node so much is read that others get their turn, and nothing more at the time `end`; what is left is for the
    next pass, which goes on there.
    """
    intake, known = Intake(), _Known()
    _commit(c, nodes)
    found = _in_turn([_blocks(c, node, faults, intake, end) for node in nodes])
    broken: set[Path] = set()
    junk: dict[int, int] = defaultdict(int)  # bad lines by node
    waiting: list[tuple[Node, Block, list[Line]]] = []
    size, left = 0, sum(block.end - block.start for _, block in found)
    oldest = {node.id: oldest_key(c, node) for node in {node.id: node for node, _ in found}.values()}
    read = read_all([(block, oldest[node.id]) for node, block in found])
    for (node, block), lines in zip(found, read, strict=True):
        left -= block.end - block.start
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
        # Less and less towards the end: what is taken in when all is read keeps nobody busy but this process.
        if size >= min(_TOGETHER, max(_AT_LEAST, left)):
            _take_in(c, waiting, intake, known)
            waiting, size = [], 0
            if end is not None and c.clock() >= end:
                intake.behind |= {other.id for other, _ in found}
                break
    _take_in(c, waiting, intake, known)
    return intake


def _commit(c: Coordinator, nodes: list[Node]) -> None:
    """Take in what nodes committed themselves to, whether they have reported it or not."""
    joined = [node for node in nodes if node.joined]
    if joined:
        note_networks(c, joined)
        with c.store.atomic():
            taken = take_commitments(c, joined)
        forget_files(taken)


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
    """Apply blocks and move the offsets, in one transaction; what is good is read and written together."""
    if not blocks:
        return
    batch = ReportBatch()
    with c.store.atomic(), c.store.ledger.appending():
        taken = take_commitments(c, [node for node, _, _ in blocks])
        known.rows = _rows(c, blocks)
        known.committed = commitments_of(c, [node for node, _, _ in blocks], known.rows.values())
        for node, block, lines in blocks:
            last = lines[-1] if lines else None
            position = last.position if isinstance(last, Left) else block.end
            _lines(c, node, block.path, lines, intake, known, batch)
            c.store.reports.move_segment(node.id, block.path.name, position)
        batch.write(c)
    forget_files(taken)


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
    c: Coordinator, node: Node, path: Path, lines: list[Line], intake: Intake, known: _Known, batch: ReportBatch
) -> None:
    """Apply the lines of one block."""
    refused = [line for line in lines if isinstance(line, Refused)]
    refused += [bad for line in lines if isinstance(line, Trailed) and (bad := take_note(c, node, line)) is not None]
    batch.started += [(*line.replica, node.id) for line in lines if isinstance(line, Started)]
    good = []
    for report in lines:  # step by step for all of them, so that each step finds its code in the nearest cache
        if isinstance(report, Report):
            try:
                good.append((_check(c, node, report, known), report))
            except Exception as error:  # noqa: BLE001 - whatever one report does, the others are taken in
                refused.append(_refusal(report, error, path))
    for row, report in good:
        try:
            _apply(c, node, row, report, batch)
            intake.reports += 1
        except Exception as error:  # noqa: BLE001 - see above
            refused.append(_refusal(report, error, path))
    if refused:
        intake.quarantined += len(refused)
        quarantine(c, node, path, refused)


class _RefusedReport(Exception):  # noqa: N818 - it is caught where it is raised
    """A report is about something else than its replica; it says why."""

    def __init__(self, code: str, **parameters: object) -> None:
        """Keep the reason."""
        super().__init__(code)
        self.reason = Reason(code=code, parameters=parameters)


def _refusal(report: Report, error: Exception, path: Path) -> Refused:
    """Return the line of a report that cannot be taken in; what is a fault of the database is raised again."""
    if isinstance(error, _RefusedReport):
        reason = error.reason
    elif isinstance(error, VerificationError):
        reason = Reason(code=Code.REPORT_REFUSED, parameters={"error": Reason.of_error(error)})
    elif isinstance(error, NexapodError):  # nothing of this pass is kept
        raise error
    else:
        reason = Reason(code=Code.REPORT_NOT_TAKEN_IN, parameters={"kind": type(error).__name__})
    return Refused(report.position, reason.stored(), beginning(path, report.position))


def oldest_key(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the key that signed the statements of launches without a delegation: the node's first."""
    return dict([next(iter(keys_of(c, node).items()))])


class _Given(Struct, frozen=True):
    """What a node let the key of a launch say."""

    delegation: Delegation
    nonces: frozenset[str]  # the same as the delegation has


class _Known(Struct):
    """What is stored of the replicas at hand and, for a whole pass, what their launches' keys may say."""

    rows: dict[tuple[int, int, int], ReportedReplica] = field(default_factory=dict)  # of the reports at hand
    committed: dict[int, bytes] = field(default_factory=dict)  # by row id, of those on nodes that joined
    given: dict[int, _Given | None] = field(default_factory=dict)  # by launch, as far as it was looked up
    revoked: set[int] = field(default_factory=set)  # launches that rest on a key that is revoked
    expected: dict[int, Expected] = field(default_factory=dict)  # by job, likewise

    def given_to(self, c: Coordinator, node: Node, launch: int) -> _Given | None:
        """Return what the key of a launch may say, verified once; None for a launch of a time without."""
        if launch not in self.given:
            row = c.store.launches.delegation(launch)
            if row is not None and node.joined:
                row = signature_of(c, node, launch, row)
            self.given[launch] = None
            if row is not None:
                sealed = envelope(DELEGATION_TYPE, row.payload, row.key_id, row.signature)
                delegation = open_delegation(sealed, {row.key_id: row.public_key})
                self.given[launch] = _Given(delegation, frozenset(delegation.nonces))
                if row.revoked is not None:
                    self.revoked.add(launch)
        return self.given[launch]


def _rows(
    c: Coordinator, blocks: list[tuple[Node, Block, list[Line]]]
) -> dict[tuple[int, int, int], ReportedReplica]:
    """Return what is stored of the replicas that reports are about, by job, task and number."""
    named: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for _, _, lines in blocks:
        for line in lines:
            if isinstance(line, Report):
                replica = line.statement.replica
                named[replica.job].add((replica.task, replica.number))
    return {
        (job, row.task, row.number): row
        for job, replicas in named.items()
        for row in c.store.replicas.for_reports(job, replicas)
    }


def _apply(c: Coordinator, node: Node, row: ReportedReplica, report: Report, batch: ReportBatch) -> None:
    """Store one report that was checked, and move its replica."""
    if row.id in batch.seen or row.execution not in OUT:  # perhaps there is a report of it already
        batch.write(c)
        before = [stored_report.payload for stored_report in stored_reports(c, row.id)]
        if report.payload in before:
            if report.carried is not None:  # a copy of the line without them may have come first
                c.store.reports.supply_carried(row.id, report.carried)
            return
        if before:
            c.store.replicas.void(row.id)
            c.store.nodes.blame(node.id)
    batch.add(c, row.id, report)


def _check(c: Coordinator, node: Node, report: Report, known: _Known) -> ReportedReplica:
    """Return the replica's row; _RefusedReport unless its own launch's key says what it may say of it.

    The node is blamed for what a key of its own signed that no honest runner signs, not for what others put there.
    """
    said = report.statement
    replica = said.replica
    row = known.rows.get((replica.job, replica.task, replica.number))
    if row is None:
        raise _RefusedReport(Code.REPORT_OF_NO_REPLICA, replica=str(replica), node=node.name)
    if row.node_id != node.id:
        raise _RefusedReport(Code.REPORT_OF_OTHER_NODE, replica=str(replica), node=node.name)
    given = known.given_to(c, node, row.launch_id)
    if report.key != (given.delegation.subkey if given else next(iter(oldest_key(c, node).values()))):
        raise _RefusedReport(Code.REPORT_BY_OTHER_KEY, replica=str(replica), node=node.name)
    if row.launch_id in known.revoked:
        raise _RefusedReport(Code.REPORT_BY_REVOKED_KEY, replica=str(replica), node=node.name)
    if row.native_id and said.native_id != row.native_id and c.backend(node).signs_native:
        # Nobody's lie: a scheduler may have taken one launch twice, or a shell started the runner where it should not.
        raise _RefusedReport(
            Code.REPORT_FROM_ELSEWHERE, replica=str(replica), native_id=said.native_id, launch=row.native_id
        )
    refusal = not_taken(node, row, report, known.committed.get(row.id)) if node.joined else None
    if refusal is not None:
        if refusal.blamed:
            c.store.nodes.blame(node.id)
        raise _RefusedReport(refusal.reason.code, **refusal.reason.parameters)
    if why := _wrong(c, node, said, row, given, known):
        c.store.nodes.blame(node.id)
        raise _RefusedReport(Code.REPORT_CONTRADICTS, replica=str(replica), node=node.name, contradiction=why)
    return row


def _wrong(
    c: Coordinator, node: Node, said: Statement, row: ReportedReplica, given: _Given | None, known: _Known
) -> Reason | None:
    """Return why no honest runner signs this for the replica of a row; None where one may."""
    if said.nonce != row.nonce:
        return Reason(code=Code.OTHER_NONCE)
    known_as = form_of(said.job_digest, row.job_digest, c.job(said.replica.job))
    if (said.job_uuid, said.job_digest) != (row.job_uuid, known_as):
        return Reason(code=Code.OTHER_JOB)
    if given is not None and (code := not_covered(given.delegation, said, given.nonces)):
        return Reason(code=code)
    job = said.replica.job
    if job not in known.expected:
        known.expected[job] = Expected(c.job(job))
    host = node.host if node.site == LOCAL else None
    place = Place(backend=node.backend, host=host, given_ms=row.created_at, received_ms=c.now())
    if c.job(job).checkpoint is not None and said.continues != c.store.continuations.of(row.id):
        return Reason(code=Code.OTHER_CONTINUATION)
    return known.expected[job].contradiction(said, place)

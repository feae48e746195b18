"""Ingest: what the nodes' segments say is stored with the signed bytes, and the offset moves, all in one transaction.

A line that does not verify, or is not about the replica that it names, goes to quarantine and changes nothing else. The
same report again is no event.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.ready_reports import (
    BlockOf,
    KnownJob,
    ReadyReport,
    helpers_to_read,
    known_jobs,
    read_all,
)
from nexapod_batch.coordinator.evidence.report_reader import (
    Left,
    Refused,
    Report,
    Started,
    Trailed,
    beginning,
    blocks,
    read_block,
)
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.coordinator.garbage import no_collection
from nexapod_batch.coordinator.nodes.networks import note_networks
from nexapod_batch.coordinator.steps.commitments import forget_files, take_commitments
from nexapod_batch.coordinator.steps.joined_reports import commitments_of
from nexapod_batch.coordinator.steps.log_notes import take_note
from nexapod_batch.coordinator.steps.quarantine import quarantine
from nexapod_batch.coordinator.steps.report_batch import ReportBatch
from nexapod_batch.coordinator.steps.report_check import Known, RefusedReport, check, fitting_row, oldest_key
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.lifecycle import OUT
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.spool import layout
from nexapod_batch.spool.segment_reader import Budget, first_line

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.ready_reports import ReadyLine
    from nexapod_batch.coordinator.evidence.report_reader import Block
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReportedReplica

__all__ = ["ingest", "unread"]

#: Bytes of segments that are taken in together, at most and at least: a commit costs as much as 100 reports.
_TOGETHER, _AT_LEAST = 4 * 1024 * 1024, 512 * 1024
#: Bytes of one node's segments that one pass looks at, and of one segment at least: the rest is for the next pass.
_PER_NODE, _LEAST = 64 << 20, 4 << 20
#: Bad lines of one node after which the rest of it waits for the next pass.
_JUNK = 1_000


class Intake(Struct):
    """What one pass took in."""

    reports: int = 0
    quarantined: int = 0
    behind: set[int] = field(default_factory=set)  # ids of nodes of which not everything was read


class _Waiting(Struct):
    """What was read of segments, and is to be taken in together."""

    blocks: list[tuple[Node, Block, list[ReadyLine]]] = field(default_factory=list)
    size: int = 0  # bytes
    broken: set[Path] = field(default_factory=set)  # what follows a block that was not read waits for it
    junk: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # bad lines by node

    def add(self, each: BlockOf, lines: list[ReadyLine] | OSError, intake: Intake, faults: Faults) -> None:
        """Add the lines of a block, unless it has to wait for another pass."""
        node, block = each.node, each.block
        if isinstance(lines, OSError):
            faults.of_node(Code.REPORTS_FAULT, node, lines)
            self.broken.add(block.path)
            return
        if block.path in self.broken:
            return
        if self.junk[node.id] >= _JUNK:
            intake.behind.add(node.id)
            return
        self.blocks.append((node, block, lines))
        self.size += each.size
        self.junk[node.id] += sum(isinstance(line, Refused) for line in lines)
        if isinstance(lines[-1] if lines else None, Left):
            self.broken.add(block.path)
            intake.behind.add(node.id)


@no_collection()
def ingest(c: Coordinator, nodes: list[Node], faults: Faults, end: float | None = None) -> Intake:
    """Take in the complete new lines of the nodes' segments; a spool that cannot be read is a fault of its node.

    Of each node so much is read that others get their turn, and nothing more at the time `end`; what is left is for the
    next pass, which goes on there.
    """
    intake, known, waiting = Intake(), Known(), _Waiting()
    _commit(c, nodes)
    found = _in_turn([_blocks(c, node, faults, intake, end) for node in nodes])
    helpers = helpers_to_read([each.block for each in found])
    if helpers:
        _know_jobs(c, found, known)
    left = sum(each.size for each in found)
    for each, lines in zip(found, read_all(found, known.jobs, helpers), strict=True):
        left -= each.size
        waiting.add(each, lines, intake, faults)
        # Less and less towards the end: what is taken in when all is read keeps nobody busy but this process.
        if waiting.size >= min(_TOGETHER, max(_AT_LEAST, left)):
            _take_in(c, waiting.blocks, intake, known)
            waiting.blocks, waiting.size = [], 0
            if end is not None and time.monotonic() >= end:
                intake.behind |= {other.node.id for other in found}
                break
    _take_in(c, waiting.blocks, intake, known)
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
) -> list[BlockOf]:
    """Bring the segments of one node here and return what is new of them, as much as is read in one pass."""
    if end is not None and time.monotonic() >= end:
        intake.behind.add(node.id)
        return []
    try:
        c.backend(node).collect(c.context(node))
    except (NexapodError, OSError) as error:
        faults.of_node(Code.COLLECT_FAULT, node, error)
    found: list[BlockOf] = []
    try:
        segments = unread(c, node)
        keys = oldest_key(c, node) if segments else {}
        left = _PER_NODE
        for number, (path, position, _) in enumerate(segments):
            budget = Budget(max(_LEAST, left // (len(segments) - number)))
            left -= budget.left
            found += [BlockOf(node, block, keys) for block in blocks(path, position, budget)]
            left += max(0, budget.left)
            if budget.left <= 0:
                intake.behind.add(node.id)
    except OSError as error:
        faults.of_node(Code.REPORTS_FAULT, node, error)
    return found


def _in_turn(of_nodes: list[list[BlockOf]]) -> list[BlockOf]:
    """Return the blocks of all nodes so that none waits for all of another's."""
    return [one for together in zip_longest(*of_nodes) for one in together if one is not None]


def _know_jobs(c: Coordinator, found: list[BlockOf], known: Known) -> None:
    """Read what helpers are to know of jobs.

    The statements of a job are deflated with its first one. Where none is stored yet, that of the first line is taken,
    if it may be taken in at all; it is stored with the first reports.
    """
    nodes = list({each.node.id: each.node for each in found}.values())
    known.jobs, lacking = known_jobs(c, nodes)
    if not lacking:
        return
    try:
        _begin(c, found[0], known, lacking)
    except Exception:  # noqa: BLE001 - it is told when the line is read again, and whatever is in it, others are read
        known.jobs, _ = known_jobs(c, nodes)


def _begin(c: Coordinator, first: BlockOf, known: Known, lacking: set[int]) -> None:
    """Let the job of a first line be known, where it lacks a statement to deflate with, and this is a good one."""
    lines: list[ReadyLine] = [*read_block(first_line(first.block), first.keys)]
    known.rows = _rows(c, [(first.node, first.block, lines)])
    for line in lines:
        if isinstance(line, Report) and line.statement.replica.job in lacking:
            job = KnownJob(c, line.statement.replica.job, line.payload)
            ready = job.ready(first.node, line)
            if isinstance(ready, ReadyReport) and fitting_row(c, first.node, ready, known) is not None:
                known.jobs[line.statement.replica.job] = job


def _take_in(c: Coordinator, blocks: list[tuple[Node, Block, list[ReadyLine]]], intake: Intake, known: Known) -> None:
    """Apply blocks and move the offsets, in one transaction; what is good is read and written together."""
    if not blocks:
        return
    batch = ReportBatch()
    with c.store.atomic(), c.store.ledger.appending():
        taken = take_commitments(c, [node for node, _, _ in blocks])
        known.rows = _rows(c, blocks)
        known.settle_dictionaries(c)
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
    c: Coordinator, node: Node, path: Path, lines: list[ReadyLine], intake: Intake, known: Known, batch: ReportBatch
) -> None:
    """Apply the lines of one block."""
    refused = [line for line in lines if isinstance(line, Refused)]
    refused += [bad for line in lines if isinstance(line, Trailed) and (bad := take_note(c, node, line)) is not None]
    batch.started += [(*line.replica, node.id) for line in lines if isinstance(line, Started)]
    good = []
    for report in lines:  # step by step for all of them, so that each step finds its code in the nearest cache
        if isinstance(report, Report | ReadyReport):
            try:
                good.append(_checked(c, node, report, known))
            except Exception as error:  # noqa: BLE001 - whatever one report does, the others are taken in
                refused.append(_refusal(report, error, path))
    for row, report in good:
        try:
            _apply(c, node, row, report, known, batch)
            intake.reports += 1
        except Exception as error:  # noqa: BLE001 - see above
            refused.append(_refusal(report, error, path))
    if refused:
        intake.quarantined += len(refused)
        quarantine(c, node, path, refused)


def _checked(
    c: Coordinator, node: Node, report: Report | ReadyReport, known: Known
) -> tuple[ReportedReplica, Report | ReadyReport]:
    """Return a report with the row of its replica; RefusedReport for what may not be taken in."""
    if isinstance(report, ReadyReport):
        row = fitting_row(c, node, report, known)
        if row is not None and report.replica[0] in known.settled:
            return row, report
        report = known.whole(report)
    return check(c, node, report, known), report


def _refusal(report: Report | ReadyReport, error: Exception, path: Path) -> Refused:
    """Return the line of a report that cannot be taken in; what is a fault of the database is raised again."""
    if isinstance(error, RefusedReport):
        reason = error.reason
    elif isinstance(error, VerificationError):
        reason = Reason(code=Code.REPORT_REFUSED, parameters={"error": Reason.of_error(error)})
    elif isinstance(error, NexapodError):  # nothing of this pass is kept
        raise error
    else:
        reason = Reason(code=Code.REPORT_NOT_TAKEN_IN, parameters={"kind": type(error).__name__})
    return Refused(report.position, reason.stored(), beginning(path, report.position))


def _rows(
    c: Coordinator, blocks: list[tuple[Node, Block, list[ReadyLine]]]
) -> dict[tuple[int, int, int], ReportedReplica]:
    """Return what is stored of the replicas that reports are about, by job, task and number."""
    named: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for _, _, lines in blocks:
        for line in lines:
            if isinstance(line, ReadyReport):
                named[line.replica[0]].add(line.replica[1:])
            elif isinstance(line, Report):
                replica = line.statement.replica
                named[replica.job].add((replica.task, replica.number))
    return {
        (job, row.task, row.number): row
        for job, replicas in named.items()
        for row in c.store.replicas.for_reports(job, replicas)
    }


def _apply(
    c: Coordinator, node: Node, row: ReportedReplica, report: Report | ReadyReport, known: Known, batch: ReportBatch
) -> None:
    """Store one report that was checked, and move its replica."""
    reported = row.id in batch.seen or row.execution not in OUT  # perhaps there is a report of it already
    if isinstance(report, ReadyReport):
        if not reported:
            batch.add_ready(row.id, report)
            return
        report = known.whole(report)
    if reported:
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

"""Reports made ready to be stored, by what was read of their jobs: so helpers, which have no database, do it too.

Left for the transaction is what depends on rows that others may change: whose replica it is, and whether its launch's
key may speak for it. What is not as nearly all reports are stays as it was read, and takes the general way.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from msgspec import Struct

from nexapod_batch.coordinator.evidence.report_columns import Columns, reported_columns
from nexapod_batch.coordinator.evidence.report_reader import (
    Ended,
    Left,
    Refused,
    Report,
    Started,
    Trailed,
    gpus_of,
    machine_of,
    read_block,
)
from nexapod_batch.coordinator.evidence.stored_statements import Packer, unpacked
from nexapod_batch.coordinator.side_by_side import helpers_for, side_by_side
from nexapod_batch.model.node import LOCAL
from nexapod_batch.quorum.expected import Expected, Place
from nexapod_batch.trust.common_statement import prepare
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.spool.segment_reader import Block

__all__ = ["BlockOf", "KnownJob", "ReadyLine", "ReadyReport", "helpers_to_read", "known_jobs", "read_all"]

#: Unread bytes that are worth another process: of fewer, starting it takes longer than what it saves.
_MANY = 1024 * 1024
#: Jobs of one node of which reports are made ready.
_MAX_JOBS = 64


class ReadyReport(Struct, frozen=True, array_like=True, tag=True):
    """A verified report that contradicts neither its job nor itself, as it is stored."""

    position: int  # of its line in the segment
    replica: tuple[int, int, int]  # job, task, number
    job_uuid: str
    job_digest: str
    nonce: str
    native_id: str
    builder: str
    started_ms: int
    finished_ms: int
    digest: bytes  # SHA-256 of the payload
    packed: bytes  # the payload, deflated with the dictionary of the job
    signature: bytes
    key: bytes  # that verified it
    carried: bytes | None
    columns: Columns

    def whole(self, dictionary: bytes) -> Report:
        """Return the report as it was read; `dictionary` is that of its job."""
        payload = unpacked(self.packed, dictionary)
        said = decode(payload)
        return Report(
            self.position, said, gpus_of(said), machine_of(said), payload, self.signature, self.key, self.carried
        )


ReadyLine: TypeAlias = ReadyReport | Report | Started | Trailed | Refused | Ended | Left


class KnownJob:
    """What is known of a job whose reports are to be read."""

    def __init__(self, c: Coordinator, job: int, dictionary: bytes) -> None:
        """Read a job whose document changes no more."""
        self.dictionary = dictionary
        self._digest = c.store.jobs.get(job).digest
        self._expected = Expected(c.job(job))
        self._class_kind = c.job(job).quorum.numeric_class.value
        self._packer = Packer(dictionary)

    def ready(self, node: Node, report: Report) -> ReadyReport | Report:
        """Return a report of a node made ready; the report where the general way has to look at it."""
        said = report.statement
        if said.job_digest != self._digest or said.continues is not None:
            return report
        host = node.host if node.site == LOCAL else None
        own_times = Place(
            backend=node.backend, host=host, given_ms=said.started_ms, received_ms=said.finished_ms
        )  # the others are compared in the transaction
        if self._expected.contradiction(said, own_times) is not None:
            return report
        return ReadyReport(
            report.position, (said.replica.job, said.replica.task, said.replica.number), said.job_uuid,
            said.job_digest, said.nonce, said.native_id, said.builder, said.started_ms, said.finished_ms,
            hashlib.sha256(report.payload).digest(), self._packer.pack(report.payload), report.signature, report.key,
            report.carried, reported_columns(said, report.machine, report.gpus, self._class_kind),
        )  # fmt: skip


def known_jobs(c: Coordinator, nodes: Sequence[Node]) -> tuple[dict[int, KnownJob], set[int]]:
    """Return what is known of the jobs that run on nodes, by id; and those that have no statement to deflate with.

    Jobs with checkpoints, or whose inputs are still open, and those of nodes that joined take the general way.
    """
    numbers = {job for node in nodes if not node.joined for job in c.store.replicas.jobs_out(node.id, _MAX_JOBS)}
    found: dict[int, KnownJob] = {}
    lacking: set[int] = set()
    for number in numbers:
        job = c.job(number)
        if job.checkpoint is not None or job.has_open_inputs:
            continue
        dictionary = c.store.reports.dictionary(number)
        if dictionary is None:
            lacking.add(number)
        else:
            found[number] = KnownJob(c, number, dictionary)
    return found, lacking


class BlockOf(NamedTuple):
    """A block of the segments of a node, and the keys that may have signed its lines unless they offer one."""

    node: Node
    block: Block
    keys: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of it."""
        return self.block.end - self.block.start


def helpers_to_read(blocks: Sequence[Block]) -> int:
    """Return how many helpers are worth starting to read blocks."""
    return helpers_for(sum(block.end - block.start for block in blocks), _MANY)


def read_all(
    blocks: Sequence[BlockOf], jobs: Mapping[int, KnownJob], helpers: int
) -> Iterator[list[ReadyLine] | OSError]:
    """Yield the lines of each block, verified, in order; the error where one cannot be read.

    Reports of jobs that are known are made ready. With much to read every core helps.
    """
    if helpers:
        prepare()

    def read(each: BlockOf) -> list[ReadyLine]:
        lines = read_block(each.block, each.keys)
        if not jobs or each.node.joined:
            return [*lines]
        return [_ready(jobs, each.node, line) if isinstance(line, Report) else line for line in lines]

    return side_by_side(read, blocks, list[ReadyLine], helpers)


def _ready(jobs: Mapping[int, KnownJob], node: Node, report: Report) -> ReadyReport | Report:
    job = jobs.get(report.statement.replica.job)
    if job is None:
        return report
    return job.ready(node, report)

"""Reading report segments: verify each line, store the signed bytes, move the offset, all in one transaction.

A segment is read up to its last complete line; the line is the commit of its writer. A line that does not verify, or
is not about the replica that it names, goes to quarantine and changes nothing else. The same report again is no event.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.lifecycle import OUT, Execution
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.dsse import MAX_ENVELOPE, open_envelope
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Row

__all__ = ["EXECUTION_OF", "ingest", "unread"]

#: Segments as runners name them; anything else in the folder is not read.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,120}\.jsonl")
_BLOCK = 4 * 1024 * 1024
_EMPTY = hashlib.sha256(b"").hexdigest()
#: Longest report line: the envelope and the small files carried with it.
_LINE = MAX_ENVELOPE + 64 * 1024
#: Bad lines kept for each node: enough to see what goes on, not enough to fill a disk.
MAX_QUARANTINED = 1_000
#: How much of a bad line the quarantine keeps.
_KEEP = 4096

#: What a signed outcome makes of the replica.
EXECUTION_OF = {
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


@dataclass(frozen=True, slots=True)
class Report:
    """A verified report: the signed bytes, what they say, and the files that came along."""

    statement: Statement
    payload_sha256: bytes
    envelope: bytes
    carried: bytes | None


@dataclass(slots=True)
class Intake:
    """What one pass took in."""

    reports: int = 0
    quarantined: int = 0


def ingest(c: Coordinator, nodes: list[Node], faults: dict[str, str]) -> Intake:
    """Take in every complete new line of the nodes' segments; a spool that cannot be read is a fault of its node."""
    intake = Intake()
    for node in nodes:
        try:
            for path, position in unread(c, node):
                _segment(c, node, path, position, intake)
        except OSError as error:
            faults[f"reports:{node.name}"] = f"node {node.name}: its reports cannot be read: {error.strerror}"
    return intake


def unread(c: Coordinator, node: Node) -> list[tuple[Path, int]]:
    """Return the segments that grew since they were read, and how far that was; OSError for a broken spool."""
    folder = c.paths.spool(node.name) / "reports"
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        with os.scandir(fd) as entries:
            files = [e for e in entries if _NAME.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
            sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in files}
    finally:
        os.close(fd)
    if not sizes:
        return []
    read = {row["name"]: row["position"] for row in c.store.all("segments", node=node.id)}
    return [(folder / name, read.get(name, 0)) for name in sorted(sizes) if sizes[name] > read.get(name, 0)]


def _segment(c: Coordinator, node: Node, path: Path, position: int, intake: Intake) -> None:
    """Read one segment from a position, one transaction for each block."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        stream.seek(position)
        for start, lines, end in _blocks(stream, position):
            with c.store.atomic():
                _lines(c, node, path.name, start, lines, intake)
                c.store.run("segment_moved", node=node.id, name=path.name, position=end)


def _blocks(stream: Any, position: int) -> Iterator[tuple[int, list[bytes], int]]:  # noqa: ANN401 - a binary file
    """Yield (start, complete lines, end); a line longer than allowed is cut to `_LINE` bytes, and so refused later."""
    rest, skipped = b"", 0
    while block := stream.read(_BLOCK):
        head, newline, tail = (rest + block).rpartition(b"\n")
        if newline:
            lines = head.split(b"\n")
            end = position + skipped + len(head) + 1
            yield position, lines, end
            position, rest, skipped = end, tail, 0
        else:  # no end in sight: keep what shows that it is too long, count the rest
            whole = rest + block
            rest, skipped = whole[: _LINE + 1], skipped + max(0, len(whole) - _LINE - 1)


def _lines(c: Coordinator, node: Node, segment: str, position: int, lines: list[bytes], intake: Intake) -> None:
    """Verify and apply lines; each is judged alone, what is good is written together."""
    keys = {node.key_id: node.public_key}
    batch = _Batch()
    for line in lines:
        try:
            found = _parse(line, keys)
            if isinstance(found, ReplicaName):
                batch.started.append((found.job, found.task, found.number, node.id))
            else:
                _apply(c, node, found, batch)
                intake.reports += 1
        except VerificationError as error:
            intake.quarantined += 1
            batch.quarantined.append((node.id, segment, position, str(error), line[:_KEEP], c.now()))
        position += len(line) + 1
    room = MAX_QUARANTINED - c.store.only("quarantine_of", node=node.id)["n"] if batch.quarantined else 0
    del batch.quarantined[max(0, room) :]
    _write(c, batch)


@dataclass(slots=True)
class _Batch:
    """Rows to write; `seen` are the replicas that have a report among them."""

    reports: list[tuple[Any, ...]] = field(default_factory=list)
    carried: list[tuple[int, bytes]] = field(default_factory=list)
    replicas: list[tuple[Any, ...]] = field(default_factory=list)
    started: list[tuple[int, int, int, int]] = field(default_factory=list)
    quarantined: list[tuple[Any, ...]] = field(default_factory=list)
    news: set[tuple[int, int]] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)


def _write(c: Coordinator, batch: _Batch) -> None:
    for name, rows in (
        ("quarantine_insert", batch.quarantined),
        ("replica_running", batch.started),
        ("report_insert", batch.reports),
        ("carried_insert", batch.carried),
        ("replica_reported", batch.replicas),
        ("task_news", sorted(batch.news)),
    ):
        if rows:
            c.store.many(name, rows)
    batch.reports.clear()
    batch.carried.clear()
    batch.replicas.clear()


def _parse(line: bytes, keys: dict[str, bytes]) -> Report | ReplicaName:
    """Return the verified report of a line, or the name in a start note."""
    if len(line) > _LINE:
        raise VerificationError("line too long", got=f"more than {_LINE} bytes", wanted="one report")
    try:
        document = orjson.loads(line)
        if "start" in document:
            return ReplicaName.parse(document["start"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise VerificationError("not a report line", got=f"{error}"[:200]) from error
    if not isinstance(document, dict):
        raise VerificationError("not a report line", got=type(document).__name__, wanted="an object")
    carried = document.get("carried")
    envelope = {key: document.get(key) for key in ("payload", "payloadType", "signatures")}  # nothing unsigned is kept
    opened = open_envelope(envelope, PAYLOAD_TYPE, keys)
    statement = decode(opened.payload)
    if carried is not None:
        _check_carried(carried, statement)
    try:
        return Report(
            statement,
            hashlib.sha256(opened.payload).digest(),
            orjson.dumps(envelope),
            None if carried is None else orjson.dumps(carried),
        )
    except TypeError as error:  # nested too deep
        raise VerificationError("not a report line", got=str(error)) from error


def _check_carried(carried: object, statement: Statement) -> None:
    """Refuse carried files that are not those that were signed: the signature does not cover the carrying."""
    if not isinstance(carried, dict):
        raise VerificationError("carried files are no object", got=type(carried).__name__)
    wanted = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
    if not statement.manifest:
        wanted.update({subject.name: subject.sha256 for subject in statement.subjects})
    if missing := wanted.keys() - carried.keys():
        raise VerificationError("carried files are missing", got=f"no {min(missing)!r}", wanted="all or none")
    for name, text in carried.items():
        if text == "" and wanted.get(name) == _EMPTY:
            continue
        try:
            digest = hashlib.sha256(base64.b64decode(text, validate=True)).hexdigest()
        except (binascii.Error, TypeError, ValueError) as error:
            raise VerificationError(f"carried file {name!r} is not base64", got=str(error)) from error
        if wanted.get(name) != digest:
            raise VerificationError(
                f"carried file {name!r} is not what was signed", got=digest, wanted=wanted.get(name)
            )


def _apply(c: Coordinator, node: Node, report: Report, batch: _Batch) -> None:
    """Store one verified report and move its replica; VerificationError when it is about something else."""
    said = report.statement
    name = said.replica
    row = _check(c, node, said, c.store.one("replica_for_report", job=name.job, task=name.task, number=name.number))
    if row["id"] in batch.seen or row["execution"] not in OUT:  # perhaps there is a report of it already
        batch.seen.discard(row["id"])
        _write(c, batch)
        known = [bytes(one["payload_sha256"]) for one in c.store.all("reports_of", replica=row["id"])]
        if report.payload_sha256 in known:
            return
        if known:
            c.store.run("replica_voided", id=row["id"])
            c.store.run("node_blame", id=node.id)
    now = c.now()
    batch.seen.add(row["id"])
    batch.reports.append((row["id"], report.payload_sha256, report.envelope, now))
    if report.carried is not None:
        batch.carried.append((row["id"], report.carried))
    batch.news.add((name.job, name.task))
    execution = EXECUTION_OF[said.outcome]
    batch.replicas.append(
        (
            execution.value,
            said.detail,
            said.exit_code,
            said.host,
            said.classes.get(c.job(name.job).quorum.numeric_class.value, ""),
            said.isolation,
            bytes.fromhex(said.vote) if execution is Execution.REPORTED else None,
            said.wall_ms,
            said.cpu_ms,
            said.max_rss_kib,
            said.output_bytes,
            now,
            int(report.carried is not None),
            row["id"],
        )
    )


def _check(c: Coordinator, node: Node, said: Statement, row: Row | None) -> Row:
    """Return the replica's row; VerificationError and blame unless the statement is about what this node was given."""
    if row is None:
        what = f"no replica {said.replica} was ever made"
    elif row["node_id"] != node.id or said.builder != node.key_id:
        what = f"replica {said.replica} was given to another node"
    elif said.nonce != row["nonce"]:
        what = f"the nonce is not that of replica {said.replica}"
    elif (said.job_uuid, said.job_digest) != (row["uuid"], row["digest"]):
        what = f"the job is not that of replica {said.replica}"
    else:
        return row
    c.store.run("node_blame", id=node.id)
    raise VerificationError(what, got=f"a statement signed by {node.name}")

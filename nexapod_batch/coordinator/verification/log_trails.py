"""`logs --verify`: logs compared with what was noted of them while they grew, and with what was signed in the end.

It works while a replica runs, on what was noted so far, and after. The notes are between runner and coordinator; what
convinces others is the digest of each log in the signed statement.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.steps.ingest import unread
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.files import careful
from nexapod_batch.spool.segment_reader import MAX_LINE, Budget, blocks
from nexapod_batch.trust.delegation import open_statement
from nexapod_batch.trust.nesting import loads
from nexapod_batch.trust.trail import chain_faults, decode_note, replica_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.spool.segment_reader import Block
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.trust.statement import LogTrail, Statement
    from nexapod_batch.trust.trail import Note

__all__ = ["STREAMS", "trail_faults", "verified_logs"]

STREAMS = ("stdout", "stderr")
#: Faults of one chain that are named; more say no more.
_NAMED = 5
_BLOCK = 1 << 20
#: Bytes of one segment, not taken in yet, in which notes are looked for.
_UNREAD = 16 << 20


class _Chunk(NamedTuple):
    """A part of a log that is to be as it was noted."""

    start: int
    end: int
    sha256: str
    note: int
    at_ms: int


def verified_logs(
    c: Coordinator, rows: Sequence[ReplicaRow], opened: Callable[[ReplicaRow, str], BinaryIO | None]
) -> list[dict[str, Any]]:
    """Return what was found of the logs of each replica that has any; `opened` finds `stdout` or `stderr` of one.

    NexapodError where a machine that has a log cannot be reached.
    """
    nodes = c.nodes_by_id()
    found = []
    for row in rows:
        one = _verified(c, row, nodes[row.node_id], opened)
        if one["notes"] or one["logs"]:
            found.append(one)
    return found


def _verified(
    c: Coordinator, row: ReplicaRow, node: Node, opened: Callable[[ReplicaRow, str], BinaryIO | None]
) -> dict[str, Any]:
    name = f"{row.job_id}_{row.task}.{row.number}"
    statement, problems = _statement(c, row, node)
    lines: list[tuple[int | None, bytes]] = [*c.store.trails.of(row.id)]
    if statement is None:
        lines += _unread_notes(c, node, name, known={line for _, line in lines})
    notes, faults = _checked(c, row, lines, statement)
    problems += faults
    logs = []
    for stream in STREAMS:
        source = opened(row, stream)
        if source is None:
            continue
        with source:
            logs.append(_log(notes, stream, source, _signed(statement, stream)))
    problems += [f"{log['stream']}: {problem}" for log in logs for problem in log.pop("problems")]
    return {
        "of": name, "notes": len(notes), "signed": statement is not None, "ok": not problems, "problems": problems,
        "logs": logs,
    }  # fmt: skip


def trail_faults(c: Coordinator, row: ReplicaRow, statement: Statement | None) -> list[str]:
    """Return where the stored notes of a replica's logs are no whole chain, or not the one that its statement names."""
    return _checked(c, row, c.store.trails.of(row.id), statement)[1]


def _checked(
    c: Coordinator, row: ReplicaRow, lines: Sequence[tuple[int | None, bytes]], statement: Statement | None
) -> tuple[list[Note], list[str]]:
    """Return the notes of a replica, and what is wrong with their chain."""
    named = None if statement is None else statement.trail
    if not lines:
        return [], [f"its statement names {named.notes} notes of its logs, and none is here"] if named else []
    checks = c.store.trails.replica(row.job_id, row.task, row.number)
    if checks is None or checks.secret is None:
        return [], ["the secret is gone by which notes of its logs are checked"]
    try:
        notes = [decode_note(loads(line)) for _, line in lines]
    except (VerificationError, ValueError):
        return [], ["a note of its logs cannot be read any more"]
    faults = list(chain_faults(replica_key(checks.secret, checks.nonce), notes))
    if any(number not in {None, note.number} for (number, _), note in zip(lines, notes, strict=True)):
        faults.append("a note of its logs is kept by another number")
    faults += _named_otherwise(notes, f"{row.job_id}_{row.task}.{row.number}", named)
    return notes, _first(faults)


def _first(faults: list[str]) -> list[str]:
    """Return the first faults, and how many there are beside them."""
    if len(faults) > _NAMED:
        return [*faults[:_NAMED], f"and {len(faults) - _NAMED} more"]
    return faults


def _named_otherwise(notes: Sequence[Note], replica: str, named: LogTrail | None) -> list[str]:
    """Return where notes are not those of their replica, or do not end where its statement says that they do."""
    faults = []
    if any(note.replica != replica for note in notes):
        faults.append("a note of its logs is another replica's")
    if named is not None and (notes[-1].number, notes[-1].mac) != named:
        faults.append(f"its statement ends with note {named.notes}, and note {notes[-1].number} is the last one here")
    return faults


def _statement(c: Coordinator, row: ReplicaRow, node: Node) -> tuple[Statement | None, list[str]]:
    """Return the first statement of a replica, None for one that has not reported; and that it does not verify."""
    reports = stored_reports(c, row.id)
    if not reports:
        return None, []
    try:
        return open_statement(reports[0].envelope, reports[0].delegation, keys_of(c, node))[1], []
    except VerificationError as error:
        return None, [f"its statement does not verify: {error.what}"]


def _signed(statement: Statement | None, stream: str) -> str:
    if statement is None:
        return ""
    return statement.stdout_sha256 if stream == "stdout" else statement.stderr_sha256


def _unread_notes(c: Coordinator, node: Node, name: str, known: set[bytes]) -> list[tuple[int | None, bytes]]:
    """Return None and each note of a replica that lies in its node's segments and was not taken in, as far as seen."""
    begin = f'{{"trail":"{name}",'.encode()
    found: list[tuple[int | None, bytes]] = []
    with suppress(NexapodError, OSError):
        for path, position, _ in unread(c, node):
            for block in blocks(path, position, Budget(_UNREAD)):
                found += [(None, line) for line in _lines(block) if line.startswith(begin) and line not in known]
    return found


def _lines(block: Block) -> Iterator[bytes]:
    with careful.stream(block.path) as stream:
        stream.seek(block.start)
        while stream.tell() < block.end and (line := stream.readline(MAX_LINE)):
            yield line.removesuffix(b"\n")


def _log(notes: Sequence[Note], stream: str, source: BinaryIO, signed: str) -> dict[str, Any]:
    """Compare one log with its notes, and with what was signed of it, where it has ended."""
    chunks, problems = _expected(notes, stream)
    whole, position = hashlib.sha256(), 0
    for chunk in chunks:
        position += _read(source, chunk.start - position, whole)[1]
        digest, size = _read(source, chunk.end - chunk.start, whole)
        position += size
        if position < chunk.end:
            problems.append(f"it has {position} bytes, and had {chunk.end} at {_when(chunk)}: it was cut")
            break
        if digest != chunk.sha256:
            problems.append(f"bytes {chunk.start} to {chunk.end} are not what they were at {_when(chunk)}")
    position += _read(source, None, whole)[1]
    if signed and not problems and whole.hexdigest() != signed:
        problems.append("it is not what was signed in the end")
    return {"stream": stream, "bytes": position, "noted": chunks[-1].end if chunks else 0, "problems": problems}


def _expected(notes: Sequence[Note], stream: str) -> tuple[list[_Chunk], list[str]]:
    """Return the parts that a log is to have now, and where it was cut meanwhile: then it began again."""
    chunks: list[_Chunk] = []
    problems, end = [], 0
    for note in notes:
        new = note.chunk(stream)
        chunk = _Chunk(new.start, new.end, new.sha256, note.number, note.at_ms)
        if new.start < end:
            problems.append(f"it was cut from {end} bytes before {_when(chunk)}; `> /dev/stdout` in a script does that")
            chunks.clear()
        if new.end > new.start:
            chunks.append(chunk)
        end = new.end
    return chunks, problems


def _when(chunk: _Chunk) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(chunk.at_ms // 1000))
    return f"note {chunk.note} ({at} UTC)"


def _read(source: BinaryIO, size: int | None, whole: Any) -> tuple[str, int]:  # noqa: ANN401 - a hash
    """Read so many bytes, or all; return their digest and how many there were."""
    digest, done = hashlib.sha256(), 0
    while size is None or done < size:
        data = source.read(_BLOCK if size is None else min(_BLOCK, size - done))
        if not data:
            break
        digest.update(data)
        whole.update(data)
        done += len(data)
    return digest.hexdigest(), done

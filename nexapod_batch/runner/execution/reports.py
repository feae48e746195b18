"""The report of a replica: outputs and logs digested, the statement signed, the line left to the segment.

What is small travels with the line and lies nowhere else; the rest stays where it is, under the replica's name, and is
durable before the line is.
"""

from __future__ import annotations

import time
from binascii import b2a_base64
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.machine_id import identity
from nexapod_batch.runner.execution.folders.disk_space import room
from nexapod_batch.runner.execution.folders.work_dirs import is_empty
from nexapod_batch.runner.execution.outputs import Produced, stdout_only
from nexapod_batch.trust.dsse import seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, normalizers_of
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from nexapod_batch.runner.execution.folders.work_dirs import Folders
    from nexapod_batch.runner.execution.logs import Logs
    from nexapod_batch.runner.execution.replica import Replica
    from nexapod_batch.spool.node_config import NodeConfig
    from nexapod_batch.spool.segment_writer import Segment

__all__ = ["Reports"]

CARRY_BYTES = 4096  # files of one replica that are together no larger travel with its report
_BLOCK = 1 << 20
_MAX_DETAIL = 1000  # characters
_TASK_FAULTS = frozenset({Outcome.FAILED, Outcome.TIME, Outcome.MEMORY, Outcome.DISK, Outcome.OUTPUT})


class Reports:
    """Reports replicas of one executor."""

    def __init__(self, node: NodeConfig, native_id: str, logs: Logs, folders: Folders, segment: Segment) -> None:
        """Remember who signs, and where logs, work folders and lines are; `native_id` is what a scheduler calls us."""
        self._node, self._native_id = node, native_id
        self._logs, self._folders, self._segment = logs, folders, segment

    def add(self, replica: Replica) -> None:
        """Digest, sign, and leave to the segment; small files travel in the line and are removed here.

        OSError when something cannot be read or written.
        """
        logs = self._logs
        if replica.outcome is Outcome.NODE and room(str(self._node.work)).full:
            logs.shorten(CARRY_BYTES // 2)  # it is run again: its logs would keep the disk full
        out, err = logs.digests()
        produced = replica.produce(out)
        total = produced.size + out[1] + err[1]
        try:
            payload = encode(self._statement(replica, produced, out, err))
        except ValueError as error:  # a name or a value that no statement can hold
            replica.fail(Outcome.OUTPUT, f"the outputs cannot be signed: {error}")
            produced = stdout_only(*out)
            payload = encode(self._statement(replica, produced, out, err))
        signer = replica.launch.signer
        line = seal(signer, PAYLOAD_TYPE, payload)[:-1] + b',"key":"%b"' % _base64(signer.public).encode()
        carried = None
        if total <= CARRY_BYTES and not _worth_keeping(replica):
            carried = self._carry(replica, produced, out[1], err[1])
        if carried is not None:
            self._folders.discard(replica.root, known_empty=replica.left_nothing)
            logs.clear()
            self._segment.add(line + b',"carried":' + orjson.dumps(carried) + b"}", [])
            return
        files = [Path(replica.root, name) for name in produced.names]
        if produced.manifest is not None:
            manifest = self._node.work / f"{replica.name}.manifest"
            atomic.write(manifest, produced.manifest, durable=False)
            files.append(manifest)
        logs.publish(str(replica.name))
        files += logs.release()
        self._segment.add(line + b"}", files)

    def _statement(self, replica: Replica, produced: Produced, out: tuple[str, int], err: tuple[str, int]) -> Statement:
        """Return what is signed; `out` and `err` are digest and size of the logs."""
        assignment = replica.launch.bundle.replicas[replica.index]
        job, result, wrapped = replica.launch.job, replica.result, replica.wrapped
        cpu_ms, max_rss_kib = _used(replica)
        return Statement(
            job_uuid=replica.launch.bundle.job_uuid,
            job_digest=replica.launch.job_digest,
            replica=replica.name,
            nonce=assignment.nonce,
            agree=job.quorum.agree,
            distinct=tuple([field.value for field in job.quorum.distinct]),
            backend=self._node.backend,
            native_id=self._native_id,
            host=self._node.host,
            isolation=wrapped.isolation if wrapped else "none",
            classes=dict(self._node.classes),
            outcome=replica.outcome,
            detail=_printable(replica.detail),
            exit_code=result.status if result else replica.exit_code,
            wall_ms=result.wall_ms if result else 0,
            cpu_ms=cpu_ms,
            max_rss_kib=max_rss_kib,
            output_bytes=produced.size + out[1] + err[1],
            started_ms=round(replica.started * 1000),
            finished_ms=round(max(time.time(), replica.started) * 1000),
            builder=replica.launch.bundle.audience,
            subjects=produced.subjects,
            manifest=produced.manifest is not None,
            inputs=tuple([(item.target, item.sha256) for item in replica.inputs]),
            stdout_sha256=out[0], stderr_sha256=err[0],
            vote=produced.vote,
            container=wrapped.container if wrapped else None,
            gpus=replica.gpus,
            passed=replica.passed, program=replica.program,
            trail=replica.trail, possession=self._possession(replica, produced, out[1]),
            normalizers=normalizers_of(job) if replica.outcome is Outcome.OK else (),
            machine=identity(replica.launch.bundle.job_uuid),
            continues=replica.continues, saved=replica.saved,
        )  # fmt: skip

    def _possession(self, replica: Replica, produced: Produced, out: int) -> str:
        """Return the tag of what a replica produced, where its node is asked for it: only a result needs one."""
        if not self._node.possession or replica.outcome is not Outcome.OK:
            return ""
        from nexapod_batch.trust import possession  # noqa: PLC0415 - most nodes are not asked

        key = possession.key_for(replica.launch.bundle.replicas[replica.index].nonce, replica.launch.bundle.audience)
        tags = []
        for name in produced.names:
            with careful.stream(Path(replica.root, name)) as stream:
                _, (tag,) = possession.tags_of([key], iter(partial(stream.read, _BLOCK), b""))
            tags.append((name, tag))
        if not produced.names:
            _, (tag,) = possession.tags_of([key], self._logs.stdout(out))
            tags.append(("stdout", tag))
        return possession.combined(tags)

    def _carry(self, replica: Replica, produced: Produced, out: int, err: int) -> dict[str, str] | None:
        """Return the content of every file of a replica; None when it must stay on disk."""
        if produced.manifest is not None:
            return None
        carried = {name: _base64(careful.read(Path(replica.root, name), CARRY_BYTES)) for name in produced.names}
        carried["stdout"], carried["stderr"] = map(_base64, self._logs.read(out, err))
        return carried


def _used(replica: Replica) -> tuple[int | None, int | None]:
    """Return CPU time in ms and peak memory in KiB; None for what nobody knows."""
    if replica.launched:
        return replica.used_by_ranks
    if replica.result is None:
        return 0, 0
    return replica.result.cpu_ms, replica.result.max_rss_kib


def _worth_keeping(replica: Replica) -> bool:
    """Say whether a replica that failed left files, which somebody may want to look at.

    Not what was lost: it is run again, and where a disk was full its files would keep it full.
    """
    return replica.outcome in _TASK_FAULTS and replica.result is not None and not is_empty(replica.root)


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _printable(text: str) -> str:
    """Return the text as a statement may hold it: one line, printable, not too long."""
    clean = "".join([char if char.isprintable() else " " for char in text])
    if len(clean) <= _MAX_DETAIL:
        return clean
    return clean[: _MAX_DETAIL - 3] + "..."

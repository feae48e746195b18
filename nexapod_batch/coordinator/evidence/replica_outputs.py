"""The outputs of one replica, wherever they are: carried with its report, or in its work folder.

Names come from the verified statement; what is read is compared with the digest that was signed while it is copied.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Protocol

import orjson
from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.compare.stores import StoreFiles, content
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import output_files
from nexapod_batch.model.placeholders import expand, task_values
from nexapod_batch.trust.statement import sizes_of
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nexapod_batch.compare.stores import Store
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import CompareRule, Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.trust.statement import Statement

__all__ = [
    "OpenFiles", "Outputs", "opened_store", "outputs_of", "read_signed", "rule_for", "saved_files_of", "statement_of",
]  # fmt: skip

_CHUNK = 1024 * 1024
#: What logs may have beyond the size of the outputs before they are looked at twice.
_LOGS = 1 << 30


class OpenFiles(Protocol):
    """The outputs of one run, wherever they are."""

    @property
    def files(self) -> Mapping[str, str]:
        """Return the hex SHA-256 of each by name, as it was signed."""

    def open(self, name: str) -> BinaryIO:
        """Return an open stream of one; UnsafeOutputError when it is not what it was."""


class Outputs(Struct, frozen=True, kw_only=True):
    """Where the files of one reported replica are."""

    statement: Statement
    files: dict[str, str]  # name -> hex SHA-256 as signed
    logs: dict[str, str]  # stdout and stderr -> hex SHA-256 as signed
    sizes: dict[str, int | None]  # name -> bytes as signed, of what is listed one by one
    carried: dict[str, str] | None  # name -> base64
    folder: Path  # the work folder; logs lie beside it
    max_bytes: int  # bytes that one file can have had, by the job's limit and the statement

    def open(self, name: str) -> BinaryIO:
        """Return an open stream of an output or log; UnsafeOutputError when it is not a plain file any more."""
        if self.carried is not None:
            return io.BytesIO(base64.b64decode(self.carried[name]))
        suffix = {"stdout": ".out", "stderr": ".err"}.get(name)
        is_log = suffix is not None and name in self.logs
        path = self.folder.with_name(self.folder.name + str(suffix)) if is_log else self.folder / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UnsafeOutputError(f"output {name!r} cannot be read", got=error.strerror, wanted="a file") from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > self.max_bytes:
            os.close(fd)
            raise UnsafeOutputError(
                f"output {name!r} changed after it was signed",
                got=f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "no plain file",
                wanted=f"a file of at most {self.max_bytes} bytes",
            )
        return os.fdopen(fd, "rb")

    def copy(self, name: str, target: Path) -> None:
        """Copy one file, hashing what is copied; UnsafeOutputError when it is not what was signed."""
        digest, length = hashlib.sha256(), 0
        with self.open(name) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                length += len(chunk)
                sink.write(chunk)
        wanted = self.files.get(name) or self.logs[name]
        if digest.hexdigest() != wanted:
            raise UnsafeOutputError(
                f"{name!r} changed after it was signed", got=f"sha256 {digest.hexdigest()}", wanted=wanted
            )
        size = self.sizes.get(name)
        if size is not None and size != length:  # the digest agrees, so it was never as long as its node said
            raise UnsafeOutputError(f"{name!r} is not as long as was signed", got=f"{length} bytes", wanted=size)


def outputs_of(c: Coordinator, node: Node, replica: VotingReplica) -> Outputs:
    """Return the outputs of a reported replica; UnsafeOutputError when they cannot be found.

    SchedulerError when the node's machine cannot be reached now.
    """
    statement = statement_of(c, replica.id)
    files = {subject.name: subject.sha256 for subject in statement.subjects}
    outputs = _where(c, node, replica.id, statement, files, None if statement.manifest else list(files))
    if statement.manifest:
        files = _from_manifest(c.job(replica.job_id), statement, outputs.folder)
        return replace(outputs, files=files)
    return outputs


def _where(
    c: Coordinator, node: Node, replica: int, statement: Statement, files: dict[str, str], names: list[str] | None
) -> Outputs:
    """Return where the files of a statement are; those of these names, or all, are brought here if need be."""
    carried = c.store.reports.carried(replica)
    context = c.context(node)
    disk = c.job(statement.replica.job).resources.disk_mib * 2**20
    if carried is None:
        c.backend(node).fetch(context, str(statement.replica), names=names, max_bytes=disk + _LOGS)
    return Outputs(
        statement=statement,
        files=files,
        logs={"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256},
        sizes=sizes_of(statement),
        carried=orjson.loads(carried) if carried is not None else None,
        folder=context.work / str(statement.replica),
        max_bytes=min(disk, _largest(statement)),
    )


def saved_files_of(c: Coordinator, node: Node, replica: int) -> Outputs:
    """Return the files of the state that a stopped replica, by its row id, signed; errors as of `outputs_of`."""
    statement = statement_of(c, replica)
    files = {file.name: file.sha256 for file in statement.saved}
    return _where(c, node, replica, statement, files, list(files))


def statement_of(c: Coordinator, replica: int) -> Statement:
    """Return the one statement of a replica, by its row id; UnsafeOutputError where it signed several, or none."""
    reports = stored_reports(c, replica)
    if len(reports) != 1:
        raise UnsafeOutputError("it has no one statement", got=f"{len(reports)} of them")
    return decode(reports[0].payload)  # it was verified before it was stored


def _largest(statement: Statement) -> int:
    """Return how many bytes one file can have had: logs are not in `output_bytes`, so they get their own allowance."""
    return statement.output_bytes + _LOGS


def rule_for(job: Job, task: int, name: str) -> CompareRule:
    """Return the comparison rule of one output name: that of the first `[[outputs]]` whose pattern takes it."""
    from nexapod_batch.model.job import CompareRule as Rule  # noqa: PLC0415 - only where a default is needed

    values = task_values(job, task, job.parameters(task))
    for output in job.outputs:
        if output_files.matches(name, expand(output.path, values)):
            return output.rule
    return Rule()


def opened_store(
    store: Store, outputs: OpenFiles, read: Callable[[OpenFiles, str], bytes] | None = None
) -> StoreFiles:
    """Return the files of a store, each of which is held to its digest when it is read: by `read_signed`, or `read`.

    Errors are those of `read_signed`.
    """
    size = sum(_length(outputs, name) for name in store.members)
    return StoreFiles(store, partial(read or read_signed, outputs), size)


def read_signed(outputs: OpenFiles, name: str) -> bytes:
    """Return a file of a store; UnsafeOutputError where it is not what was signed, OSError."""
    with outputs.open(name) as stream:
        data = content(stream, name)
    if hashlib.sha256(data).hexdigest() != outputs.files[name]:
        raise UnsafeOutputError(f"{name!r} changed after it was signed", wanted=f"sha256 {outputs.files[name]}")
    return data


def _length(outputs: OpenFiles, name: str) -> int:
    with outputs.open(name) as stream:
        return stream.seek(0, os.SEEK_END)


def _from_manifest(job: Job, statement: Statement, folder: Path) -> dict[str, str]:
    """Digest the outputs again where only their manifest was signed, and compare with it."""
    values = task_values(job, statement.replica.task, job.parameters(statement.replica.task))
    names: set[str] = set()
    for output in job.outputs:
        found = output_files.find(folder, [expand(output.path, values)], optional=output.optional)
        names.update(one.name for one in found)
    entries = output_files.digest_tree(folder, sorted(names))
    manifest = output_files.manifest([(name, digest) for name, digest, _ in entries])
    if hashlib.sha256(manifest).hexdigest() != statement.subjects[0].sha256:
        raise UnsafeOutputError("the outputs are not those of the signed manifest", got=str(folder))
    return {name: digest for name, digest, _ in entries}

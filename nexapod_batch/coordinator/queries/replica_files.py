"""What single replicas wrote, accepted or not: where it is, and copies of it.

A command that failed, or a rival of an accepted result, is looked into when something is wrong. Its folder was written
by a command that may be hostile: nothing is followed, nothing but plain files is copied, and what is left out is named.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from itertools import islice
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.errors import ConfigError, NotFoundError
from nexapod_batch.files.careful import open_plain
from nexapod_batch.lifecycle import OUT, Execution
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReplicaRow

__all__ = ["copy", "listed"]

#: Files of one replica that are copied, at most.
MAX_FILES = 200_000
_BLOCK = 1 << 20
#: What logs may have beyond the disk that the job asked for.
_LOGS = 1 << 30
_SUFFIXES = {"stdout": ".out", "stderr": ".err"}


class _Copied(Struct):
    """What was copied, and what was not."""

    files: list[dict[str, Any]]
    left_out: list[dict[str, str]]
    room: int  # bytes that may still be copied


class _Kept(Struct, frozen=True):
    """What is kept of what one replica wrote."""

    row: ReplicaRow
    name: str
    node: Node
    files: bytes | None  # that came with its report, as JSON: name -> base64
    folder: Path  # its work folder, if that is here

    @property
    def ended(self) -> bool:
        """Say whether the replica is not out any more."""
        return Execution(self.row.execution) not in OUT

    @property
    def there(self) -> bool:
        """Say whether anything can be copied."""
        return self.ended and (self.files is not None or not self.row.cleaned)

    def document(self) -> dict[str, Any]:
        """Return it as `listed` shows it."""
        folder = None
        if self.there and self.files is None and self.folder.is_dir():
            folder = str(self.folder)
        return {
            "replica": self.name,
            "node": self.node.name,
            "execution": self.row.execution,
            "kept": self.there,
            "folder": folder,
        }


def _kept(c: Coordinator, job: int, task: int, number: int | None) -> list[_Kept]:
    """Return what is kept of a task's replicas, or of one; NotFoundError when there is no such replica."""
    rows = [row for row in c.store.replicas.of_task(job, task) if number in {None, row.number}]
    if number is not None and not rows:
        raise NotFoundError(f"there is no replica {job}_{task}.{number}", hint=f"nexapod-batch show {job}_{task}")
    nodes = c.nodes_by_id()
    found = []
    for row in rows:
        name, node = f"{job}_{task}.{row.number}", nodes[row.node_id]
        files = c.store.reports.carried(row.id)
        found.append(_Kept(row=row, name=name, node=node, files=files, folder=c.context(node).work / name))
    return found


def listed(c: Coordinator, job: int, task: int, number: int | None = None) -> list[dict[str, Any]]:
    """Return where the files of a task's replicas are, one object each; NotFoundError when there is no such replica."""
    return [kept.document() for kept in _kept(c, job, task, number)]


def copy(c: Coordinator, job: int, task: int, number: int, target: Path) -> dict[str, Any]:
    """Copy what a replica wrote into a new folder: `stdout`, `stderr`, and its files under `work`.

    Each file says whether it is what the replica's node signed: yes, no (another digest), or unsigned. NotFoundError
    when nothing is kept, ConfigError when the folder is there already, SchedulerError when the machine of the files
    cannot be reached now.
    """
    (kept,) = _kept(c, job, task, number)
    if not kept.there:
        raise _nothing_kept(kept, f"{job}_{task}")
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise ConfigError(f"{target} is there already", wanted="a folder that can be made") from None
    signed = _signed(c, kept.row)
    copied = _Copied(files=[], left_out=[], room=c.job(job).resources.disk_mib * 2**20 + _LOGS)
    if kept.files is not None:
        _write_carried(orjson.loads(kept.files), target, signed, copied)
    else:
        _copy_folder(c, kept.row, kept.name, target, signed, copied)
    return {"replica": kept.name, "folder": str(target), "files": copied.files, "left_out": copied.left_out}


def _nothing_kept(kept: _Kept, task: str) -> NotFoundError:
    if kept.ended:
        got, hint = "its folder was removed", "the settings of [retention] say how long it stays"
    else:
        got, hint = "it has not ended", f"nexapod-batch logs {task}"
    return NotFoundError(f"nothing is kept of what {kept.name} wrote", got=got, hint=hint)


def _signed(c: Coordinator, row: ReplicaRow) -> dict[str, str]:
    """Return the digests that the replica's node signed, by the name of the copy; empty where it signed nothing."""
    reports = stored_reports(c, row.id)
    if len(reports) != 1:  # none, or two that contradict each other
        return {}
    statement = decode(reports[0].payload)
    digests = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
    if row.execution == Execution.REPORTED and not statement.manifest:
        outputs = [subject for subject in statement.subjects if subject.name != "stdout"]
        digests.update({f"work/{output.name}": output.sha256 for output in outputs})
    return digests


def _write_carried(files: dict[str, str], target: Path, signed: dict[str, str], copied: _Copied) -> None:
    """Write what came with the report; names and digests were checked before it was stored."""
    for name, text in files.items():
        as_name = name if name in _SUFFIXES else f"work/{name}"
        path = target / as_name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = base64.b64decode(text)
        path.write_bytes(data)
        _note(copied, as_name, len(data), hashlib.sha256(data).hexdigest(), signed)


def _copy_folder(
    c: Coordinator, row: ReplicaRow, name: str, target: Path, signed: dict[str, str], copied: _Copied
) -> None:
    """Copy logs and work folder, which are brought here first where they lie elsewhere."""
    node = c.nodes_by_id()[row.node_id]
    context, backend = c.context(node), c.backend(node)
    backend.fetch(context, name, logs=True)
    backend.fetch(context, name, max_bytes=copied.room)
    for log, suffix in _SUFFIXES.items():
        path = context.work / f"{name}{suffix}"
        if path.exists() and not path.is_symlink():
            parent = os.open(context.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _copy_file(parent, path.name, target / log, log, signed, copied)
            finally:
                os.close(parent)
    root = context.work / name
    if not root.is_dir() or root.is_symlink():
        return
    for folder, entry, parent in islice(_plain(root, copied), MAX_FILES):
        inner = target / "work" / folder
        inner.mkdir(mode=0o700, parents=True, exist_ok=True)
        relative = f"{folder}/{entry}" if folder else entry
        _copy_file(parent, entry, inner / entry, f"work/{relative}", signed, copied)


def _plain(root: Path, copied: _Copied) -> Iterator[tuple[str, str, int]]:
    """Yield (folder below the root, name, descriptor of that folder) of every plain file."""
    for path, _, names, descriptor in os.fwalk(root, follow_symlinks=False):
        folder = os.path.relpath(path, root)
        folder = "" if folder == "." else folder
        for name in sorted(names):
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                yield folder, name, descriptor
            else:
                copied.left_out.append({"name": os.path.join(folder, name), "why": "no plain file"})


def _copy_file(parent: int, name: str, target: Path, shown: str, signed: dict[str, str], copied: _Copied) -> None:
    """Copy one file as far as there is room for it."""
    try:
        source = open_plain(name, dir_fd=parent)
    except OSError as error:
        copied.left_out.append({"name": shown, "why": error.strerror or "it cannot be read"})
        return
    with os.fdopen(source, "rb") as stream:
        size = os.fstat(source).st_size
        if size > copied.room:
            copied.left_out.append({"name": shown, "why": f"{size} bytes are more than the job may have written"})
            return
        digest, left = hashlib.sha256(), size
        with target.open("xb") as sink:
            while left and (block := stream.read(min(_BLOCK, left))):
                digest.update(block)
                sink.write(block)
                left -= len(block)
    _note(copied, shown, size - left, digest.hexdigest(), signed)


def _note(copied: _Copied, name: str, size: int, digest: str, signed: dict[str, str]) -> None:
    word = "unsigned"
    if name in signed:
        word = "yes" if signed[name] == digest else "no"
    copied.files.append({"name": name, "bytes": size, "sha256": digest, "signed": word})
    copied.room -= size

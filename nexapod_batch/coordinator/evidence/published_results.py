"""What lies in a folder of published results, against what was signed: every file, and no other.

Nothing in the folder is believed: links and what is no plain file are named, and sizes are looked at before anything
is read.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from itertools import chain, combinations
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nexapod_batch.coordinator.evidence.possession import had_none
from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import atomic, careful, output_files, umask
from nexapod_batch.trust.statement import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.trust.statement import Statement

__all__ = [
    "DigestedResults", "PublishedFiles", "ResultsFolder", "faults_of", "listed", "manifest_beside", "pack_manifest",
    "unpack_manifest", "write_manifest",
]  # fmt: skip

_EMPTY = hashlib.sha256(b"").hexdigest()
#: Files that are read between two words on how far it is.
_BATCH = 256
#: Differences that are named; more say no more.
_NAMED = 5


def pack_manifest(files: Mapping[str, str]) -> bytes:
    """Return the manifest of (name, digest) as it is stored."""
    return zlib.compress(output_files.manifest(files.items()), 1)


def manifest_beside(folder: Path) -> Path:
    """Return where, for people, the manifest of what is published in a folder lies: it is none of the outputs."""
    return folder.with_name(f"{folder.name}.manifest")


def write_manifest(folder: Path, packed: bytes) -> None:
    """Write the manifest of what is published in a folder beside it; `sha256sum --check` reads it. OSError."""
    with umask.as_given():
        atomic.write(manifest_beside(folder), zlib.decompress(packed), 0o666)


def _manifest_faults(folder: Path, statement: Statement) -> list[str]:
    """Return that the manifest beside a folder is not the signed one; results of before had none there."""
    path = manifest_beside(folder)
    if not statement.manifest or not os.path.lexists(path):
        return []
    (subject,) = statement.subjects
    try:
        text = careful.read(path, subject.size or 1 << 30)
    except OSError:
        text = b""
    if hashlib.sha256(text).hexdigest() == subject.sha256:
        return []
    return [f"{path.name} beside it is not the manifest that was signed"]


def unpack_manifest(packed: bytes, statement: Statement) -> dict[str, str] | None:
    """Return the (name, digest) of a stored manifest; None when it is not the one that was signed."""
    (subject,) = statement.subjects
    try:
        text = zlib.decompressobj().decompress(packed, (subject.size or 1 << 30) + 1)
    except zlib.error:
        return None
    if hashlib.sha256(text).hexdigest() != subject.sha256:
        return None
    lines = (line.split("  ", 1) for line in text.decode().split("\n")[:-1])
    return {name: digest for digest, name in lines}


def listed(statement: Statement, manifest: bytes | None) -> dict[str, str] | None:
    """Return (name, digest) of the outputs that a statement stands for; None where only their manifest is known."""
    if not statement.manifest:
        return {subject.name: subject.sha256 for subject in statement.subjects}
    if manifest is None:
        return None
    return unpack_manifest(manifest, statement)


def faults_of(
    folder: Path, statement: Statement, files: Mapping[str, str] | None, advance: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Return what in a folder is not as it was signed, in sentences; an empty list when every file is, and no other.

    `files` are the outputs by name, None where only the digest of their manifest is known. Logs that are empty are not
    published. `advance` hears of the bytes that were read.
    """
    try:
        sizes = {file.name: file.size for file in output_files.find(folder, ["**"])}
    except (UnsafeOutputError, OSError) as error:
        return [_unusable(folder, error)]
    logs = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
    if files is None:
        return _other_manifest(dict(_digests(folder, sorted(sizes), sizes, advance)), statement)
    wanted = {name: digest for name, digest in logs.items() if digest != _EMPTY}
    wanted.update(files)
    faults = _manifest_faults(folder, statement) + _other_names(wanted, sizes)
    faults += _changed(folder, wanted, sizes, sizes_of(statement), advance)
    if len(faults) > _NAMED:
        return [*faults[:_NAMED], f"and {len(faults) - _NAMED} more"]
    if not faults and had_none({1: statement}, files, lambda name: careful.stream(folder / name)):
        return ["its node never had these files: the possession tag is not theirs"]
    return faults


class PublishedFiles(Protocol):
    """The published files of a job, wherever they are."""

    def has(self, folder: str) -> bool:
        """Say whether there is anything in the folder of a task, or of a second verdict on it."""

    def faults(
        self, folder: str, statement: Statement, files: Mapping[str, str] | None, advance: Callable[[int], None]
    ) -> list[str]:
        """Return what in a folder is not as it was signed; as `faults_of`."""


class ResultsFolder(NamedTuple):
    """A folder with one of its own for each task."""

    path: Path

    def has(self, folder: str) -> bool:
        """Say whether there is anything in a folder."""
        return os.path.lexists(self.path / folder)

    def faults(
        self, folder: str, statement: Statement, files: Mapping[str, str] | None, advance: Callable[[int], None]
    ) -> list[str]:
        """Return what in a folder is not as it was signed; as `faults_of`."""
        return faults_of(self.path / folder, statement, files, advance)


class DigestedResults(NamedTuple):
    """Files that were digested already, by folder."""

    digests: Mapping[str, Mapping[str, str]]  # hex SHA-256 by name
    sizes: Mapping[str, int]  # bytes of all of them

    def has(self, folder: str) -> bool:
        """Say whether there is anything in a folder."""
        return folder in self.digests

    def faults(
        self, folder: str, statement: Statement, files: Mapping[str, str] | None, advance: Callable[[int], None]
    ) -> list[str]:
        """Return what in a folder is not as it was signed; as `faults_of`."""
        found = self.digests.get(folder, {})
        if files is None and statement.manifest:
            return _other_manifest(found, statement)
        wanted = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
        wanted = {name: digest for name, digest in wanted.items() if digest != _EMPTY} | dict(files or {})
        faults = _other_names(wanted, found)
        for name in sorted(wanted.keys() & found.keys()):
            if found[name] != wanted[name]:
                faults.append(f"{name} is not what was signed: got sha256 {found[name]}, wanted {wanted[name]}")
        advance(self.sizes.get(folder, 0))
        if len(faults) > _NAMED:
            return [*faults[:_NAMED], f"and {len(faults) - _NAMED} more"]
        return faults


def _unusable(folder: Path, error: Exception) -> str:
    """Return why nothing in a folder can be looked at."""
    if not folder.is_dir():
        return f"{folder} is gone"
    if not folder.is_symlink() and not any(folder.iterdir()):
        return f"{folder} is empty"
    return f"{folder} cannot be trusted: {error}"


def _changed(
    folder: Path,
    wanted: Mapping[str, str],
    sizes: Mapping[str, int],
    signed_sizes: Mapping[str, int | None],
    advance: Callable[[int], None],
) -> Iterator[str]:
    """Yield which files are not what was signed; what has another size is not read."""
    right_size = []
    for name in sorted(wanted.keys() & sizes.keys()):
        size = signed_sizes.get(name)
        if size is None or size == sizes[name]:
            right_size.append(name)
        else:
            yield f"{name} is not what was signed: got {sizes[name]} bytes, wanted {size}"
    for name, digest in _digests(folder, right_size, sizes, advance):
        if digest != wanted[name]:
            yield f"{name} is not what was signed: got sha256 {digest or 'none'}, wanted {wanted[name]}"


def _other_names(wanted: Mapping[str, str], sizes: Mapping[str, object]) -> list[str]:
    """Return which files are gone, and which are there that nobody signed."""
    gone = [f"{name} is gone" for name in sorted(wanted.keys() - sizes.keys())]
    return gone + [f"{name!a} was not signed" for name in sorted(sizes.keys() - wanted.keys())]


def _other_manifest(found: Mapping[str, str], statement: Statement) -> list[str]:
    """Return that files are not those of a manifest of which the digest alone is known: then none can be named."""
    logs = {"stdout": statement.stdout_sha256, "stderr": statement.stderr_sha256}
    signed_logs = {name: digest for name, digest in logs.items() if digest != _EMPTY}
    own = [name for name, digest in signed_logs.items() if found.get(name) == digest]
    if _has_digest(found, own, statement.subjects[0].sha256):
        return [f"{name} is gone" for name in signed_logs if name not in found]
    return [f"its {len(found)} files are not those of the signed manifest"]


def _has_digest(digests: Mapping[str, str], logs: Sequence[str], digest: str) -> bool:
    """Say whether the manifest of the files, without some of the logs or with all of them, has this digest.

    An output may be called as a log is, and then stands in its place.
    """
    for left_out in chain.from_iterable(combinations(logs, n) for n in range(len(logs), -1, -1)):
        entries = [(name, digest) for name, digest in digests.items() if name not in left_out]
        if hashlib.sha256(output_files.manifest(entries)).hexdigest() == digest:
            return True
    return False


def _digests(
    folder: Path, names: Sequence[str], sizes: Mapping[str, int], advance: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """Yield (name, hex SHA-256), "" for what cannot be read."""
    for start in range(0, len(names), _BATCH):
        part = names[start : start + _BATCH]
        try:
            yield from [(name, digest) for name, digest, _ in output_files.digest_tree(folder, part)]
        except UnsafeOutputError:
            for name in part:
                try:
                    yield from [(one, digest) for one, digest, _ in output_files.digest_tree(folder, [name])]
                except UnsafeOutputError:
                    yield name, ""
        advance(sum(sizes[name] for name in part))

"""Writing an archive, into a folder or one tar file: each file is digested while it is copied, and none is trusted.

What is under way has a name of its own beside the archive and gets the archive's name when it is whole; what ends early
is removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from nexapod_batch.coordinator.archives.tar_form import end_of, headers, padding
from nexapod_batch.errors import UnsafeOutputError, UsageError
from nexapod_batch.files import careful
from nexapod_batch.files.shares import Sized, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.archives.contents import Item

__all__ = ["TarWriter", "appended", "copied", "made_whole", "packed", "refuse_existing", "tar_file"]

_BLOCK = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def refuse_existing(out: Path) -> None:
    """UsageError where there is something already, or nothing can be made."""
    if os.path.lexists(out) and not (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        raise UsageError(f"{out} is there already", wanted="a new name", hint="give another --out")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out.parent} is no folder", wanted="one that is there", hint=f"mkdir -p {out.parent}")


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """Yield a new folder beside `out`, removed in the end if it is still there."""
    stage = out.absolute().with_name(f".{out.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}")
    stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def copied(items: Sequence[Item], folder: Path) -> list[str]:
    """Write files into a folder; return their hex SHA-256. UnsafeOutputError for one that is not what was signed."""
    by_name = {item.name: item for item in items}
    for parent in sorted({folder / item.name.rpartition("/")[0] for item in items}):
        parent.mkdir(parents=True, exist_ok=True)

    def work(files: Sequence[Sized]) -> list[str]:
        return [_copy(by_name[file.name], folder) for file in files]

    return shared(work, [Sized(item.name, item.size) for item in items])


def _copy(item: Item, folder: Path) -> str:
    target = os.open(folder / item.name, _NEW, 0o666)
    try:
        return _pour(item, lambda data: _write(target, data))
    finally:
        os.close(target)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _pour(item: Item, write: Callable[[bytes], object]) -> str:
    """Write what is in a file; return its hex SHA-256, which is the one that it must have."""
    if isinstance(item.source, bytes):
        write(item.source)
        return hashlib.sha256(item.source).hexdigest()
    digest, size, fd = hashlib.sha256(), 0, careful.open_plain(item.source)
    try:
        while data := os.read(fd, min(_BLOCK, item.size - size + 1)):
            digest.update(data)
            size += len(data)
            if size > item.size:
                break
            write(data)
    finally:
        os.close(fd)
    found = digest.hexdigest()
    if size != item.size or (item.sha256 and found != item.sha256):
        raise UnsafeOutputError(
            f"{item.name!a} is not what was signed", got=f"{size} bytes, sha256 {found}",
            wanted=f"{item.size} bytes, sha256 {item.sha256 or 'as it was'}",
            hint="nexapod-batch verify ID says what else is not as it was signed",
        )  # fmt: skip
    return found


class _Counting:
    """A stream that knows how much was written to it."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self.size = stream, size

    def write(self, data: bytes) -> None:
        """Write all of it."""
        self._stream.write(data)
        self.size += len(data)


class TarWriter:
    """A tar file that grows, with one folder at its top."""

    def __init__(self, stream: IO[bytes], top: str, size: int = 0) -> None:
        """Write to a file that has so many bytes already."""
        self._sink, self._top = _Counting(stream, size), top

    def add(self, item: Item) -> str:
        """Write a file; return its hex SHA-256. UnsafeOutputError for one that is not what was signed."""
        self._sink.write(headers(f"{self._top}/{item.name}", item.size))
        found = _pour(item, self._sink.write)
        self._sink.write(padding(item.size))
        return found

    def end(self) -> None:
        """Write what closes a tar."""
        self._sink.write(end_of(self._sink.size))


def appended(path: Path, end: int, item: Item) -> None:
    """Put a file behind the last member of a tar, which ends at `end`, in one step; OSError where that cannot be."""
    stage = path.with_name(f".{path.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with path.open("rb") as old, os.fdopen(os.open(stage, _NEW, 0o666), "wb") as new:
            left = end
            while left:
                data = old.read(min(_BLOCK, left))
                new.write(data)
                left -= len(data)
            new.write(headers(item.name, item.size))
            _pour(item, new.write)
            new.write(padding(item.size))
            new.write(end_of(new.tell()))
            new.flush()
            os.fsync(new.fileno())
        stage.replace(path)
    finally:
        stage.unlink(missing_ok=True)


def packed(items: Sequence[Item], path: Path, top: str) -> tuple[list[str], int]:
    """Write files into a new tar, several at once; return their hex SHA-256, and where the next one begins.

    UnsafeOutputError for one that is not what was signed. The tar is not closed yet: `tar_file` goes on with it.
    """
    starts, place = dict[str, int](), 0
    by_name = {item.name: item for item in items}
    for item in items:
        starts[item.name] = place
        content = place + len(headers(f"{top}/{item.name}", item.size))
        place = content + item.size + len(padding(item.size))
    tar = os.open(path, _NEW, 0o666)

    def work(files: Sequence[Sized]) -> list[str]:
        return [_pack(tar, by_name[file.name], starts[file.name], top) for file in files]

    try:
        return shared(work, [Sized(item.name, item.size) for item in items]), place
    finally:
        os.close(tar)


def _pack(tar: int, item: Item, place: int, top: str) -> str:
    """Write one file at its place in a tar; what lies between files stays zero."""

    def write(data: bytes) -> None:
        nonlocal place
        view = memoryview(data)
        while view:
            count = os.pwrite(tar, view, place)
            place, view = place + count, view[count:]

    write(headers(f"{top}/{item.name}", item.size))
    return _pour(item, write)


@contextmanager
def tar_file(path: Path, top: str, begun: int | None = None) -> Iterator[TarWriter]:
    """Yield a tar file that is written, and closed in the end: a new one, or one of which so many bytes are there."""
    flags = _NEW if begun is None else os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o666), "wb", _BLOCK) as stream:
        stream.seek(begun or 0)
        writer = TarWriter(stream, top, begun or 0)
        yield writer
        writer.end()

"""Files on the other side, by SFTP: many requests under way at once, little in memory, names taken as bytes.

A connection that ends in the middle is never taken for the end of a listing or of a file. What the other side says is
not trusted: a name that is a path is left out, and so is everything that is neither a plain file nor a folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from nexapod_backends.slurm.ssh.paramiko_internals import Attributes, Requests
from nexapod_backends.slurm.ssh.sftp_folders import Status
from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from paramiko import SFTPClient  # type: ignore[import-untyped]

__all__ = ["Files", "Tree", "is_here", "partial"]

#: Bytes in one request; servers must take that much.
_CHUNK = 32_768
#: Requests under way at once.
_AHEAD = 64
#: What a folder that is fetched may hold.
_DEPTH, _ENTRIES = 64, 200_000

T = TypeVar("T")


class Tree(NamedTuple):
    """What a folder holds, by path below it."""

    folders: list[str]  # each behind the one that it is in, the folder itself as ""
    files: dict[str, Attributes]


class Files:
    """The file system behind one SFTP session."""

    def __init__(self, session: SFTPClient) -> None:
        """Use an open session."""
        self._requests = Requests(session)
        self._syncs = True

    def entries(self, folder: str) -> Iterator[tuple[bytes, Attributes]]:
        """Yield what is in a folder, by name; FileNotFoundError when there is none."""
        requests = self._requests
        handle = requests.handle(requests.open_folder(folder), folder)
        ahead = 2  # what a small folder holds, and that it is all
        found: list[tuple[bytes, Attributes]] = []
        try:
            ended = False
            while not ended:
                for number in [requests.list_some(handle) for _ in range(ahead)]:
                    try:
                        found += requests.names(number, folder)
                    except EOFError:
                        ended = True
                ahead = min(_AHEAD, 4 * ahead)
        finally:
            self._close(handle)
        yield from found

    def stat(self, path: str) -> Attributes:
        """Return what a path is, a link as such; FileNotFoundError when there is nothing."""
        return self._requests.attributes(self._requests.status(path), path)

    def stamps(self, paths: Sequence[str]) -> list[tuple[int, int]]:
        """Return size and time of change of each path, in seconds; zeros for what is not there."""
        found = [one or Attributes() for one in self._look(paths)]
        return [(one.size, one.changed_s) for one in found]

    def read(self, path: str, start: int, max_bytes: int) -> bytes:
        """Return bytes of a file, from its end for a negative start."""
        handle = self._requests.handle(self._requests.open_to_read(path), path)
        try:
            size = self._size(handle, path)
            first = max(0, size + start) if start < 0 else start
            return b"".join(self._blocks(handle, path, first, min(size, first + max_bytes)))
        finally:
            self._close(handle)

    def write(self, path: str, blocks: Iterable[bytes], size: int) -> None:
        """Put a file in place as a whole, durably where the server knows how, for this account only.

        Raises:
            OSError: Not all of it arrived, or the server refused.

        """
        temporary = _temporary(path)
        handle = self._requests.handle(self._requests.create(temporary, 0o600), temporary)
        try:
            try:
                written = self._fill(handle, temporary, blocks)
                if written != size or self._size(handle, temporary) != size:
                    raise OSError(errno.EIO, f"{written} bytes arrived, not {size}", path)
                if self._syncs:
                    self._answered(self._requests.sync(handle), "")
            finally:
                self._close(handle)
            self._requests.answer(self._requests.rename(temporary, path), path)
        except BaseException as error:  # noqa: BLE001 - raised again
            with suppress(Exception):
                self.remove_all([temporary])
            raise _told(error, path) from None

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put many small files in place, each as a whole, in three round trips for every few dozen of them."""
        for batch in _batches(list(contents.items())):
            names = {path: _temporary(path) for path, _ in batch}
            try:
                self._write_batch(batch, names)
            except BaseException as error:  # noqa: BLE001 - raised again
                with suppress(Exception):
                    self.remove_all(names.values())
                raise _told(error, batch[0][0]) from None

    def _write_batch(self, batch: Sequence[tuple[str, bytes]], names: Mapping[str, str]) -> None:
        """Write files under temporary names, then give them theirs."""
        requests = self._requests
        opened = [(path, requests.create(names[path], 0o600)) for path, _ in batch]
        handles = [requests.handle(number, path) for path, number in opened]
        asked: list[tuple[str, int]] = []
        for handle, (path, data) in zip(handles, batch, strict=True):
            # what concerns one file is done in the order in which it is asked for
            asked += [
                (path, requests.write(handle, first, data[first : first + _CHUNK]))
                for first in range(0, len(data), _CHUNK)
            ]
            if self._syncs:
                asked.append(("", requests.sync(handle)))
            asked.append((path, requests.close(handle)))
        for path, number in asked:
            self._answered(number, path)
        renamed = [(path, requests.rename(names[path], path)) for path, _ in batch]
        for path, number in renamed:
            requests.answer(number, path)

    def look(self, paths: Sequence[str]) -> list[Status | None]:
        """Return whose each path is and its mode, of a link itself; None for what is not there."""
        return [None if one is None else Status(one.uid, one.mode or 0) for one in self._look(paths)]

    def _look(self, paths: Sequence[str]) -> list[Attributes | None]:
        found: list[Attributes | None] = []
        for batch in _batches(list(paths)):
            asked = [(path, self._requests.status(path)) for path in batch]
            for path, number in asked:
                try:
                    found.append(self._requests.attributes(number, path))
                except FileNotFoundError:
                    found.append(None)
        return found

    def target(self, path: str) -> str:
        """Return where a link leads."""
        ((name, _),) = self._requests.names(self._requests.read_link(path), path)
        return os.fsdecode(name)

    def add(self, path: str) -> None:
        """Make a folder, for this account only; FileExistsError when there is one.

        Raises:
            OSError: The server refused.

        """
        try:
            self._requests.answer(self._requests.make_folder(path, 0o700), path)
        except OSError as error:
            if self.look([path]) != [None]:  # servers say no more than that it failed
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
            raise OSError(error.errno, f"no folder can be made: {error.strerror}", path) from error

    def close_to_others(self, path: str, mode: int) -> None:
        """Give a folder its mode."""
        self._requests.answer(self._requests.set_mode(path, mode), path)

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Rename files; those that are not there are no error."""
        self._each(list(names), lambda path: self._requests.rename(path, names[path]))

    def remove_all(self, paths: Iterable[str]) -> None:
        """Remove files; those that are not there are no error."""
        self._each(list(paths), self._requests.remove)

    def _each(self, paths: list[str], ask: Callable[[str], int]) -> None:
        """Ask for something to be done to each file, in few round trips; the first fault is raised when all were."""
        for batch in _batches(paths):
            asked = [(path, ask(path)) for path in batch]
            faults = []
            for path, number in asked:
                try:
                    self._requests.answer(number, path)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    if isinstance(error, TimeoutError):
                        raise
                    faults.append(error)
            if faults:
                raise faults[0]

    def get(self, path: str, target: Path, known: Attributes | None = None) -> None:
        """Copy a plain file here, going on where an earlier attempt ended; done when there is one of this size.

        Raises:
            OSError: It is no plain file.
            SchedulerError: It changed while it was copied.

        """
        known = known or self.stat(path)
        size, mode = known.size, known.mode
        if mode is None or not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "no plain file", path)
        if is_here(target, size):
            return
        beginning = partial(target)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(beginning, flags, 0o600), "wb", buffering=0) as sink:
            have = os.fstat(sink.fileno()).st_size
            if have > size:
                os.ftruncate(sink.fileno(), have := 0)
            sink.seek(have)
            if have < size:
                handle = self._requests.handle(self._requests.open_to_read(path), path)
                try:
                    for block in self._blocks(handle, path, have, size):
                        have += _write_all(sink.write, block)
                finally:
                    self._close(handle)
        if have != size:
            beginning.unlink()
            hint = "it is tried again"
            raise SchedulerError(f"{path} changed while it was copied", got=f"{have} bytes", wanted=size, hint=hint)
        os.replace(beginning, target)

    def get_all(self, path: str, target: Path, files: Mapping[str, Attributes]) -> None:
        """Copy files of a folder as `get` does each; the folders are there."""
        for name, known in files.items():
            self.get(f"{path}/{name}", target / name, known)

    def tree(self, path: str, names: Collection[str] | None = None) -> Tree:
        """Return what a folder holds, or which of some names, links and what is no file left out.

        Raises:
            OSError: It is too deep, or holds too much.

        """
        wanted = None if names is None else _with_folders(names)
        folders, files, waiting, count = list[str](), dict[str, Attributes](), [""], 0
        while waiting:
            folder = waiting.pop()
            folders.append(folder)
            for name, found in self._plain_entries(posixpath.join(path, folder) if folder else path):
                inner = posixpath.join(folder, name)
                count += 1
                if count > _ENTRIES or inner.count("/") > _DEPTH:
                    raise OSError(errno.EFBIG, f"more than {_ENTRIES} entries, or deeper than {_DEPTH}", path)
                if wanted is not None and inner not in wanted:
                    continue
                if stat.S_ISDIR(found.mode or 0):
                    waiting.append(inner)
                elif stat.S_ISREG(found.mode or 0):
                    files[inner] = found
        return Tree(folders, files)

    def _plain_entries(self, folder: str) -> Iterator[tuple[str, Attributes]]:
        """Yield what is in a folder under a name that is one, and of which the server says what it is."""
        for raw, found in list(self.entries(folder)):
            if raw not in {b"", b".", b".."} and b"/" not in raw and b"\0" not in raw and found.mode is not None:
                yield os.fsdecode(raw), found

    # ---- of one file

    def _close(self, handle: bytes) -> None:
        """Close, and wait for nothing: what was written is checked by other means."""
        with suppress(OSError):  # the connection is gone, as whoever opened it will hear
            self._requests.ignore(self._requests.close(handle))

    def _size(self, handle: bytes, path: str) -> int:
        return self._requests.attributes(self._requests.status_of(handle), path).size

    def _blocks(self, handle: bytes, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from start to end, in order; fewer when the file ends before."""
        asked: list[tuple[int, int, int]] = []  # request, position, length
        position = start
        while asked or position < end:
            while position < end and len(asked) < _AHEAD:
                length = min(_CHUNK, end - position)
                asked.append((self._requests.read(handle, position, length), position, length))
                position += length
            number, where, length = asked.pop(0)
            try:
                data = self._requests.data(number, path)[:length]
            except EOFError:
                data = b""
            if not data:
                for left, _, _ in asked:
                    with suppress(EOFError):
                        self._requests.answer(left, path)
                return
            yield data
            if len(data) < length:  # the rest of it, then what was asked for after it
                number = self._requests.read(handle, where + len(data), length - len(data))
                asked.insert(0, (number, where + len(data), length - len(data)))

    def _fill(self, handle: bytes, path: str, blocks: Iterable[bytes]) -> int:
        asked: list[int] = []
        position = 0
        for block in blocks:
            for first in range(0, len(block), _CHUNK):
                piece = block[first : first + _CHUNK]
                asked.append(self._requests.write(handle, position, piece))
                position += len(piece)
                if len(asked) >= _AHEAD:
                    self._requests.answer(asked.pop(0), path)
        for number in asked:
            self._requests.answer(number, path)
        return position

    def _answered(self, number: int, path: str) -> None:
        """Wait for an answer; without a path it is one of fsync, which not every server knows."""
        try:
            self._requests.answer(number, path)
        except OSError as error:
            if path or "unsupported" not in str(error.strerror).lower():  # a quota may be noticed only now
                raise
            self._syncs = False


def _told(error: BaseException, path: str) -> BaseException:
    """Return the error of a write; where the server says no more than `Failure`, it has most likely no room."""
    if isinstance(error, OSError) and error.errno == errno.EIO and error.strerror == "Failure":
        return OSError(errno.EIO, "cannot be written: is there room, or is the quota used up?", path)
    return error


def partial(target: Path) -> Path:
    """Return where the beginning of a file lies that is on its way here."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.partial")


def is_here(target: Path, size: int) -> bool:
    """Say whether there is a plain file of this size."""
    try:
        here = os.lstat(target)
    except OSError:
        return False
    return stat.S_ISREG(here.st_mode) and here.st_size == size


def _with_folders(names: Collection[str]) -> frozenset[str]:
    """Return names, and the folders that they lie in."""
    found = set(names)
    for name in names:
        while name := posixpath.dirname(name).rstrip("/"):
            found.add(name)
    return frozenset(found)


def _temporary(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name[:50]}.{secrets.token_hex(6)}"


def _batches(items: list[T]) -> Iterator[list[T]]:
    for first in range(0, len(items), _AHEAD):
        yield items[first : first + _AHEAD]


def _write_all(write: Callable[[memoryview], int], data: bytes) -> int:
    rest = memoryview(data)
    while rest:
        rest = rest[write(rest) :]
    return len(data)

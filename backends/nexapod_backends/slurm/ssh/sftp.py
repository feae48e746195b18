"""Files on the other side, by SFTP: many requests under way at once, little in memory, names taken as bytes.

A connection that ends in the middle is never taken for the end of a listing or of a file. What the other side says is
not trusted: a name that is a path is left out, and so is everything that is neither a plain file nor a folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from paramiko.sftp import (  # type: ignore[import-untyped]
    CMD_CLOSE,
    CMD_EXTENDED,
    CMD_FSTAT,
    CMD_HANDLE,
    CMD_LSTAT,
    CMD_MKDIR,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READDIR,
    CMD_READLINK,
    CMD_REMOVE,
    CMD_SETSTAT,
    CMD_STATUS,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_READ,
    SFTP_FLAG_WRITE,
    int64,
)
from paramiko.sftp_attr import SFTPAttributes  # type: ignore[import-untyped]

from nexapod_backends.slurm.ssh.sftp_folders import Status
from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from paramiko import SFTPClient  # type: ignore[import-untyped]

__all__ = ["Attributes", "Files"]

#: Bytes in one request; servers must take that much.
_CHUNK = 32_768
#: Requests under way at once.
_AHEAD = 64
#: What a folder that is fetched may hold.
_DEPTH, _ENTRIES = 64, 200_000

T = TypeVar("T")
Attributes = tuple[int, int | None]  # size and mode


class _Replies:
    """Answers that came while another one was waited for."""

    def __init__(self) -> None:
        self.came: dict[int, tuple[int, Any]] = {}
        self.unwanted: set[int] = set()

    def _async_response(self, kind: int, message: Any, number: int) -> None:  # noqa: ANN401
        """Keep an answer: paramiko calls this."""
        if number in self.unwanted:
            self.unwanted.discard(number)
        else:
            self.came[number] = (kind, message)


class Files:
    """The file system behind one SFTP session."""

    def __init__(self, session: SFTPClient) -> None:
        """Use an open session."""
        self._sftp = session
        self._replies = _Replies()
        self._syncs = True

    def entries(self, folder: str) -> Iterator[tuple[bytes, Attributes]]:
        """Yield name, size and mode of what is in a folder; FileNotFoundError when there is none."""
        handle = self._handle(self._ask(CMD_OPENDIR, os.fsencode(folder)), folder)
        ahead, found = 2, []  # what a small folder holds, and that it is all
        try:
            ended = False
            while not ended:
                asked = [self._ask(CMD_READDIR, handle) for _ in range(ahead)]
                for number in asked:
                    try:
                        _, message = self._answer(number, folder)
                    except EOFError:
                        ended = True
                        continue
                    for _ in range(message.get_int()):
                        name = message.get_string()
                        message.get_string()  # as `ls -l` shows it
                        attributes = SFTPAttributes._from_msg(message)  # noqa: SLF001
                        found.append((name, (attributes.st_size or 0, attributes.st_mode)))
                ahead = min(_AHEAD, 4 * ahead)
        finally:
            self._close(handle)
        yield from found

    def stat(self, path: str) -> Attributes:
        """Return size and mode, of a link itself; FileNotFoundError when there is nothing."""
        _, message = self._answer(self._ask(CMD_LSTAT, os.fsencode(path)), path)
        attributes = SFTPAttributes._from_msg(message)  # noqa: SLF001
        return attributes.st_size or 0, attributes.st_mode

    def stamps(self, paths: Sequence[str]) -> list[tuple[int, int]]:
        """Return size and time of change of each path, in seconds; zeros for what is not there."""
        asked = [(path, self._ask(CMD_LSTAT, os.fsencode(path))) for path in paths]
        found = []
        for path, number in asked:
            try:
                attributes = SFTPAttributes._from_msg(self._answer(number, path)[1])  # noqa: SLF001
                found.append((attributes.st_size or 0, attributes.st_mtime or 0))
            except FileNotFoundError:
                found.append((0, 0))
        return found

    def read(self, path: str, start: int, most: int) -> bytes:
        """Return bytes of a file, from its end for a negative start."""
        handle = self._open(path, SFTP_FLAG_READ)
        try:
            size = self._size(handle, path)
            first = max(0, size + start) if start < 0 else start
            return b"".join(self._blocks(handle, path, first, min(size, first + most)))
        finally:
            self._close(handle)

    def write(self, path: str, blocks: Iterable[bytes], size: int) -> None:
        """Put a file in place as a whole, durably where the server knows how, for this account only."""
        temporary = _temporary(path)
        handle = self._open(temporary, SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL, mode=0o600)
        try:
            try:
                written = self._fill(handle, temporary, blocks)
                if written != size or self._size(handle, temporary) != size:
                    raise OSError(errno.EIO, f"{written} bytes arrived, not {size}", path)
                if self._syncs:
                    self._answered(self._extended(b"fsync@openssh.com", handle), "")
            finally:
                self._close(handle)
            self._answer(self._rename(temporary, path), path)
        except BaseException as error:  # noqa: BLE001 - raised again
            with suppress(Exception):
                self.remove_all([temporary])
            raise _told(error, path) from None

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put many small files in place, each as a whole, in three round trips for every few dozen of them."""
        for batch in _batches(list(contents.items())):
            names = {path: _temporary(path) for path, _ in batch}
            try:
                flags = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL
                opened = [self._ask_open(names[path], flags, 0o600) for path, _ in batch]
                handles = [self._handle(number, path) for number, (path, _) in zip(opened, batch, strict=True)]
                asked: list[tuple[str, int]] = []
                for handle, (path, data) in zip(handles, batch, strict=True):
                    # what concerns one file is done in the order in which it is asked for
                    pieces = [(first, data[first : first + _CHUNK]) for first in range(0, len(data), _CHUNK)]
                    asked += [(path, self._ask(CMD_WRITE, handle, int64(first), piece)) for first, piece in pieces]
                    if self._syncs:
                        asked.append(("", self._extended(b"fsync@openssh.com", handle)))
                    asked.append((path, self._ask(CMD_CLOSE, handle)))
                for path, number in asked:
                    self._answered(number, path)
                renamed = [(path, self._rename(names[path], path)) for path, _ in batch]
                for path, number in renamed:
                    self._answer(number, path)
            except BaseException as error:  # noqa: BLE001 - raised again
                with suppress(Exception):
                    self.remove_all(names.values())
                raise _told(error, batch[0][0]) from None

    def look(self, paths: Sequence[str]) -> list[Status | None]:
        """Return whose each path is and its mode, of a link itself; None for what is not there."""
        found: list[Status | None] = []
        for batch in _batches(list(paths)):
            asked = [(path, self._ask(CMD_LSTAT, os.fsencode(path))) for path in batch]
            for path, number in asked:
                try:
                    attributes = SFTPAttributes._from_msg(self._answer(number, path)[1])  # noqa: SLF001
                    found.append(Status(attributes.st_uid or 0, attributes.st_mode or 0))
                except FileNotFoundError:
                    found.append(None)
        return found

    def target(self, path: str) -> str:
        """Return where a link leads."""
        _, message = self._answer(self._ask(CMD_READLINK, os.fsencode(path)), path)
        message.get_int()
        return os.fsdecode(message.get_string())

    def add(self, path: str) -> None:
        """Make a folder, for this account only; FileExistsError when there is one."""
        attributes = SFTPAttributes()
        attributes.st_mode = 0o700
        try:
            self._answer(self._ask(CMD_MKDIR, os.fsencode(path), attributes), path)
        except OSError as error:
            if self.look([path]) != [None]:  # servers say no more than that it failed
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
            raise OSError(error.errno, f"no folder can be made: {error.strerror}", path) from error

    def close_to_others(self, path: str, mode: int) -> None:
        """Give a folder its mode."""
        attributes = SFTPAttributes()
        attributes.st_mode = mode
        self._answer(self._ask(CMD_SETSTAT, os.fsencode(path), attributes), path)

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Rename files; those that are not there are no error."""
        self._each(list(names), lambda path: self._rename(path, names[path]))

    def remove_all(self, paths: Iterable[str]) -> None:
        """Remove files; those that are not there are no error."""
        self._each(list(paths), lambda path: self._ask(CMD_REMOVE, os.fsencode(path)))

    def _each(self, paths: list[str], ask: Callable[[str], int]) -> None:
        """Ask for something to be done to each file, in few round trips; the first fault is raised when all were."""
        for batch in _batches(paths):
            asked = [(path, ask(path)) for path in batch]
            faults = []
            for path, number in asked:
                try:
                    self._answer(number, path)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    if isinstance(error, TimeoutError):
                        raise
                    faults.append(error)
            if faults:
                raise faults[0]

    def get(self, path: str, target: Path, known: Attributes | None = None) -> None:
        """Copy a plain file here, going on where an earlier attempt ended; done when there is one of this size."""
        size, mode = known or self.stat(path)
        if mode is None or not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "no plain file", path)
        with suppress(OSError):
            here = os.lstat(target)
            if stat.S_ISREG(here.st_mode) and here.st_size == size:
                return
        partial = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.partial")
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(partial, flags, 0o600), "wb", buffering=0) as sink:
            have = os.fstat(sink.fileno()).st_size
            if have > size:
                os.ftruncate(sink.fileno(), have := 0)
            sink.seek(have)
            if have < size:
                handle = self._open(path, SFTP_FLAG_READ)
                try:
                    for block in self._blocks(handle, path, have, size):
                        have += _write_all(sink.write, block)
                finally:
                    self._close(handle)
        if have != size:
            partial.unlink()
            hint = "it is tried again"
            raise SchedulerError(f"{path} changed while it was copied", got=f"{have} bytes", wanted=size, hint=hint)
        os.replace(partial, target)

    def get_tree(self, path: str, target: Path) -> None:
        """Copy a folder here, links and what is no file left out; OSError when it is too deep or holds too much."""
        waiting, count = [(path, target, 0)], 0
        while waiting:
            folder, here, depth = waiting.pop()
            here.mkdir(mode=0o700, parents=depth == 0, exist_ok=True)
            for raw, (size, mode) in list(self.entries(folder)):
                if raw in {b"", b".", b".."} or b"/" in raw or b"\0" in raw or mode is None:
                    continue
                count += 1
                if count > _ENTRIES or depth > _DEPTH:
                    raise OSError(errno.EFBIG, f"more than {_ENTRIES} entries, or deeper than {_DEPTH}", path)
                name = os.fsdecode(raw)
                if stat.S_ISDIR(mode):
                    waiting.append((f"{folder}/{name}", here / name, depth + 1))
                elif stat.S_ISREG(mode):
                    self.get(f"{folder}/{name}", here / name, (size, mode))

    # ---- requests

    def _ask(self, kind: Any, *words: Any) -> int:  # noqa: ANN401 - numbers, bytes and attributes
        return int(self._sftp._async_request(self._replies, kind, *words))  # noqa: SLF001

    def _extended(self, name: bytes, *words: bytes) -> int:
        return self._ask(CMD_EXTENDED, name, *words)

    def _answer(self, number: int, path: str) -> tuple[int, Any]:
        """Wait for one answer; OSError with the path for a refusal, EOFError for the end of a file or folder."""
        while number not in self._replies.came:
            self._sftp._read_response()  # noqa: SLF001
        kind, message = self._replies.came.pop(number)
        if kind == CMD_STATUS:
            try:
                self._sftp._convert_status(message)  # noqa: SLF001
            except OSError as error:
                text = error.strerror or str(error)
                raise OSError(error.errno or errno.EIO, text, path) from None
        return kind, message

    def _handle(self, number: int, path: str) -> bytes:
        kind, message = self._answer(number, path)
        if kind != CMD_HANDLE:
            raise SchedulerError("the SFTP server answers out of turn", got=kind, wanted="a handle")
        return bytes(message.get_binary())

    def _ask_open(self, path: str, flags: int, mode: int | None = None) -> int:
        attributes = SFTPAttributes()
        attributes.st_mode = mode
        return self._ask(CMD_OPEN, os.fsencode(path), flags, attributes)

    def _open(self, path: str, flags: int, mode: int | None = None) -> bytes:
        return self._handle(self._ask_open(path, flags, mode), path)

    def _close(self, handle: bytes) -> None:
        """Close, and wait for nothing: what was written is checked by other means."""
        with suppress(OSError):  # the connection is gone, as whoever opened it will hear
            self._replies.unwanted.add(self._ask(CMD_CLOSE, handle))

    def _size(self, handle: bytes, path: str) -> int:
        _, message = self._answer(self._ask(CMD_FSTAT, handle), path)
        return int(SFTPAttributes._from_msg(message).st_size or 0)  # noqa: SLF001

    def _blocks(self, handle: bytes, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from start to end, in order; fewer when the file ends before."""
        asked: list[tuple[int, int, int]] = []  # request, position, length
        position = start
        while asked or position < end:
            while position < end and len(asked) < _AHEAD:
                length = min(_CHUNK, end - position)
                asked.append((self._ask(CMD_READ, handle, int64(position), length), position, length))
                position += length
            number, where, length = asked.pop(0)
            try:
                _, message = self._answer(number, path)
                data = bytes(message.get_binary())[:length]
            except EOFError:
                data = b""
            if not data:
                for left, _, _ in asked:
                    with suppress(EOFError):
                        self._answer(left, path)
                return
            yield data
            if len(data) < length:  # the rest of it, then what was asked for after it
                number = self._ask(CMD_READ, handle, int64(where + len(data)), length - len(data))
                asked.insert(0, (number, where + len(data), length - len(data)))

    def _fill(self, handle: bytes, path: str, blocks: Iterable[bytes]) -> int:
        asked: list[int] = []
        position = 0
        for block in blocks:
            for first in range(0, len(block), _CHUNK):
                piece = block[first : first + _CHUNK]
                asked.append(self._ask(CMD_WRITE, handle, int64(position), piece))
                position += len(piece)
                if len(asked) >= _AHEAD:
                    self._answer(asked.pop(0), path)
        for number in asked:
            self._answer(number, path)
        return position

    def _rename(self, path: str, new: str) -> int:
        return self._extended(b"posix-rename@openssh.com", os.fsencode(path), os.fsencode(new))

    def _answered(self, number: int, path: str) -> None:
        """Wait for an answer; without a path it is one of fsync, which not every server knows."""
        try:
            self._answer(number, path)
        except OSError as error:
            if path or "unsupported" not in str(error.strerror).lower():  # a quota may be noticed only now
                raise
            self._syncs = False


def _told(error: BaseException, path: str) -> BaseException:
    """Return the error of a write; where the server says no more than `Failure`, it has most likely no room."""
    if isinstance(error, OSError) and error.errno == errno.EIO and error.strerror == "Failure":
        return OSError(errno.EIO, "cannot be written: is there room, or is the quota used up?", path)
    return error


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

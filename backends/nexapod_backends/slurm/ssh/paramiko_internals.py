"""Everything that we use of paramiko and that it does not promise to keep: private methods, attributes without words.

Its own SFTP calls wait for one answer each; with these many requests are under way at once. `check` says clearly that a
paramiko is not one that we know; a test calls it with the installed one.
"""

from __future__ import annotations

import errno
import inspect
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import paramiko  # type: ignore[import-untyped]
from msgspec import Struct
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

from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.requirements import install_command

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Attributes", "Requests", "check", "exit_status", "has_ended", "shut"]

#: Of each class, what is used: of a method the names of its parameters, None for an attribute of objects.
_USED: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (paramiko.SFTPClient, "_async_request", ("self", "fileobj", "t", "args")),
    (paramiko.SFTPClient, "_read_response", ("self", "waitfor")),
    (paramiko.SFTPClient, "_convert_status", ("self", "msg")),
    (SFTPAttributes, "_from_msg", ("msg", "filename", "longname")),
)
_CREATED = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL


def check() -> None:
    """ConfigError when the installed paramiko has not what is used of it."""
    for owner, name, wanted in _USED:
        method = getattr(owner, name, None)
        got = () if method is None else tuple(inspect.signature(method).parameters)
        if got != wanted:
            raise ConfigError(
                f"paramiko {paramiko.__version__} is not one that nexapod-batch knows",
                got=f"{owner.__name__}.{name}({', '.join(got)})" if method else f"no {owner.__name__}.{name}",
                wanted=f"{owner.__name__}.{name}({', '.join(wanted)})",
                hint=f"{install_command(['paramiko'])}, which brings one that fits",
            )


def has_ended(channel: Any) -> bool:  # noqa: ANN401 - paramiko has no types
    """Say whether nothing more will come through a channel."""
    return bool(channel.eof_received or channel.closed)


def exit_status(channel: Any, timeout_s: float) -> int:  # noqa: ANN401 - paramiko has no types
    """Return the exit code of a channel's command, waiting for it so long; -1 when it was not told."""
    if not channel.status_event.wait(timeout_s):
        return -1
    return int(channel.recv_exit_status())


def shut(link: paramiko.Transport) -> None:
    """Close a connection, and wait for its thread, which looks up at once and not a tenth of a second later."""
    with suppress(Exception):
        link.sock.shutdown(socket.SHUT_RDWR)
    with suppress(Exception):
        link.close()
    with suppress(Exception):
        link.sock.close()
    link.join(5)


class Attributes(Struct, frozen=True):
    """What a server says of a file."""

    size: int = 0
    mode: int | None = None
    uid: int = 0
    changed_s: int = 0


class Requests:
    """Requests of one SFTP session, each with the number by which its answer is waited for."""

    def __init__(self, session: paramiko.SFTPClient) -> None:
        """Use an open session."""
        self._session = session
        self._came: dict[int, tuple[int, Any]] = {}
        self._unwanted: set[int] = set()

    def _async_response(self, kind: int, message: Any, number: int) -> None:  # noqa: ANN401
        """Keep an answer: paramiko calls this."""
        if number in self._unwanted:
            self._unwanted.discard(number)
        else:
            self._came[number] = (kind, message)

    # ---- what is asked

    def open_folder(self, path: str) -> int:
        """Ask for a handle of a folder."""
        return self._ask(CMD_OPENDIR, os.fsencode(path))

    def list_some(self, handle: bytes) -> int:
        """Ask for some entries of an open folder."""
        return self._ask(CMD_READDIR, handle)

    def status(self, path: str) -> int:
        """Ask what a path is, a link as such."""
        return self._ask(CMD_LSTAT, os.fsencode(path))

    def status_of(self, handle: bytes) -> int:
        """Ask what an open file is."""
        return self._ask(CMD_FSTAT, handle)

    def read_link(self, path: str) -> int:
        """Ask where a link leads."""
        return self._ask(CMD_READLINK, os.fsencode(path))

    def open_to_read(self, path: str) -> int:
        """Ask for a handle of a file that is there."""
        return self._ask(CMD_OPEN, os.fsencode(path), SFTP_FLAG_READ, SFTPAttributes())

    def create(self, path: str, mode: int) -> int:
        """Ask for a handle of a file that is not there yet."""
        return self._ask(CMD_OPEN, os.fsencode(path), _CREATED, _with_mode(mode))

    def read(self, handle: bytes, position: int, length: int) -> int:
        """Ask for bytes of an open file."""
        return self._ask(CMD_READ, handle, int64(position), length)

    def write(self, handle: bytes, position: int, data: bytes) -> int:
        """Ask for bytes to be written."""
        return self._ask(CMD_WRITE, handle, int64(position), data)

    def close(self, handle: bytes) -> int:
        """Ask for a handle to be closed."""
        return self._ask(CMD_CLOSE, handle)

    def make_folder(self, path: str, mode: int) -> int:
        """Ask for a folder to be made."""
        return self._ask(CMD_MKDIR, os.fsencode(path), _with_mode(mode))

    def set_mode(self, path: str, mode: int) -> int:
        """Ask for a mode to be set."""
        return self._ask(CMD_SETSTAT, os.fsencode(path), _with_mode(mode))

    def remove(self, path: str) -> int:
        """Ask for a file to be removed."""
        return self._ask(CMD_REMOVE, os.fsencode(path))

    def rename(self, path: str, new: str) -> int:
        """Ask for a file to be given another name, in the place of what has it."""
        return self._ask(CMD_EXTENDED, b"posix-rename@openssh.com", os.fsencode(path), os.fsencode(new))

    def sync(self, handle: bytes) -> int:
        """Ask for what was written to be made durable, which not every server knows."""
        return self._ask(CMD_EXTENDED, b"fsync@openssh.com", handle)

    def ignore(self, number: int) -> None:
        """Wait for no answer to a request."""
        self._unwanted.add(number)

    # ---- what is answered

    def answer(self, number: int, path: str) -> tuple[int, Any]:
        """Wait for one answer; OSError with the path for a refusal, EOFError for the end of a file or folder."""
        while number not in self._came:
            self._session._read_response()  # noqa: SLF001
        kind, message = self._came.pop(number)
        if kind == CMD_STATUS:
            try:
                self._session._convert_status(message)  # noqa: SLF001
            except OSError as error:
                text = error.strerror or str(error)
                raise OSError(error.errno or errno.EIO, text, path) from None
        return kind, message

    def handle(self, number: int, path: str) -> bytes:
        """Wait for a handle; SchedulerError when something else is answered."""
        kind, message = self.answer(number, path)
        if kind != CMD_HANDLE:
            raise SchedulerError("the SFTP server answers out of turn", got=kind, wanted="a handle")
        return bytes(message.get_binary())

    def attributes(self, number: int, path: str) -> Attributes:
        """Wait for what a file is; FileNotFoundError when there is none."""
        return _attributes(self.answer(number, path)[1])

    def names(self, number: int, path: str) -> Iterator[tuple[bytes, Attributes]]:
        """Wait for entries of a folder, or the target of a link; EOFError when there are no more."""
        _, message = self.answer(number, path)
        for _ in range(message.get_int()):
            name = message.get_string()
            message.get_string()  # as `ls -l` shows it
            yield name, _attributes(message)

    def data(self, number: int, path: str) -> bytes:
        """Wait for bytes of a file; EOFError at its end."""
        return bytes(self.answer(number, path)[1].get_binary())

    def _ask(self, kind: Any, *words: Any) -> int:  # noqa: ANN401 - numbers, bytes and attributes
        return int(self._session._async_request(self, kind, *words))  # noqa: SLF001


def _attributes(message: Any) -> Attributes:  # noqa: ANN401 - paramiko has no types
    found = SFTPAttributes._from_msg(message)  # noqa: SLF001
    return Attributes(found.st_size or 0, found.st_mode, found.st_uid or 0, found.st_mtime or 0)


def _with_mode(mode: int) -> SFTPAttributes:
    attributes = SFTPAttributes()
    attributes.st_mode = mode
    return attributes

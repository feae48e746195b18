"""Files that are either there whole or not at all, also after a crash."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

__all__ = ["FULL", "is_full", "sync_files", "write", "write_all"]

#: What the system says where there is no room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

#: Up to this many files are synced one by one; a flood of small ones costs less as one sync of the file system.
_SINGLE = 8
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def is_full(error: BaseException) -> bool:
    """Say whether an error, or what it comes from, says that there is no room."""
    return any(getattr(one, "errno", None) in FULL for one in (error, error.__cause__))


def write(path: Path, data: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Replace `path` by `data` in one step; with `durable` it survives a power cut. OSError when it cannot be."""
    temporary = _temporary(path)
    fd = os.open(temporary, _NEW, mode)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync(path.parent)


def write_all(contents: Mapping[Path, bytes], mode: int = 0o644) -> None:
    """Replace many files, one after the other in this order; none of them before the content of all is durable.

    Raises:
        OSError: They cannot be written, or not be made durable; of those that were replaced the content is.

    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            temporary = _temporary(path)
            fd = os.open(temporary, _NEW, mode)
            temporaries[path] = temporary
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
        if len(temporaries) <= _SINGLE:
            _sync_each(temporaries.values())
        else:
            _sync_file_systems({path.parent for path in contents})
        for path, temporary in temporaries.items():
            temporary.replace(path)
    except BaseException:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in contents}:
        _sync(folder)


def _temporary(path: Path) -> Path:
    """Return a name beside a file that nothing else has."""
    return path.with_name(f".{path.name[:50]}.{os.getpid()}.{os.urandom(4).hex()}")


def sync_files(paths: Iterable[Path | str], *, below: Collection[Path | str] = ()) -> None:
    """Make files and their folders durable: each by itself when they are few, else the file systems they lie on.

    Where all of them lie `below` some folders, on the file systems of these, many need not be looked at one by one.

    Raises:
        OSError: Something could not be made durable.

    """
    listed = list(map(str, paths))
    if len(listed) <= _SINGLE:
        _sync_each([*listed, *_folders_of(listed)])
    else:
        _sync_file_systems(below or _folders_of(listed))


def _folders_of(paths: Iterable[str]) -> set[str]:
    return {os.path.dirname(path) or "." for path in paths}


def _sync_each(paths: Iterable[Path | str]) -> None:
    for path in paths:
        _sync(path)


def _sync_file_systems(folders: Iterable[Path | str]) -> None:
    """Make everything durable that lies on the file systems of these folders."""
    import ctypes  # noqa: PLC0415 - only floods of files pay for it

    libc = ctypes.CDLL(None, use_errno=True)
    devices = {os.stat(folder).st_dev: str(folder) for folder in folders}
    for folder in devices.values():
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.syncfs(fd):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
        finally:
            os.close(fd)


def _sync(path: Path | str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a fifo must not stop us
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

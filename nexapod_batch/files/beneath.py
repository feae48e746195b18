"""Opening what a descriptor names: beneath its own folder, unless a person allowed what lies elsewhere.

Who submits a stranger's descriptor reads files for the stranger. Guarantees: a name, a link or `..` leads out of the
folder only where that is allowed; links of the kernel's own (`/proc/self/root`) are never followed; only plain files of
real file systems are opened, and no open waits. The kernel decides (openat2), in one step with the open; where it is
too old for that, no link is followed at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from nexapod_batch.files.careful import NotPlainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["STATE", "Looks", "OutsideError", "is_local", "open_beneath"]

_OPENAT2 = 437
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08
_LOOK = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: File systems whose files are the kernel speaking: proc, sysfs, cgroup and cgroup2, debugfs, tracefs, securityfs,
#: selinuxfs, bpf, efivarfs, pstore, configfs, devpts, mqueue, hugetlbfs, nsfs, binfmt_misc.
_KERNELS = frozenset({
    0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xF97CFF8C, 0xCAFE4A11, 0xDE5E81E4,
    0x6165676C, 0x62656570, 0x1CD1, 0x19800202, 0x958458F6, 0x6E736673, 0x42494E4D,
})  # fmt: skip
#: File systems that this kernel alone writes, so that it knows how each file is: ext2 to ext4, XFS, Btrfs, tmpfs, ZFS,
#: F2FS, bcachefs, overlayfs.
_LOCAL = frozenset({
    0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x2FC12FC1, 0xF2F52010, 0xCA451A4E, 0x794C7630,
})  # fmt: skip


#: What a state is made of, as `Looks.states` says it.
_FIELDS = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode")
_fields_of = attrgetter(*_FIELDS)
STATE = struct.Struct("=6q")
#: Files whose states are lists of numbers at a time: the same memory serves the next ones.
_AT_ONCE = 1_000


class OutsideError(OSError):
    """It lies outside the folder."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: Path, name: str, *, outside: bool = False) -> int:
    """Return a descriptor of a plain file; with `outside` it may lie anywhere but in the kernel's own file systems.

    OutsideError when it lies elsewhere, NotPlainError when it is no plain file, OSError when it cannot be opened.
    """
    base = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        looked = _look(base, _inside(folder, name), outside=outside)
    finally:
        os.close(base)
    try:
        seen = os.fstat(looked)
        if not stat.S_ISREG(seen.st_mode):
            kind = "a folder" if stat.S_ISDIR(seen.st_mode) else "a special file"
            raise NotPlainError(errno.EINVAL, f"is {kind}", name)
        if _is_kernels(looked, seen.st_dev):
            raise NotPlainError(errno.EINVAL, "is no file but the kernel's word", name)
        return os.open(f"/proc/self/fd/{looked}", _READ)
    finally:
        os.close(looked)


def _inside(folder: Path, name: str) -> str:
    """Return a name relative to the folder where it is spelled as an absolute path to below it."""
    whole = os.fspath(folder if folder.is_absolute() else folder.absolute()).rstrip("/")
    if name == whole:
        return "."
    if name.startswith(f"{whole}/"):
        return name.removeprefix(f"{whole}/").lstrip("/")
    return name


def _look(base: int, name: str, *, outside: bool) -> int:
    try:
        return _openat2(base, name, _BENEATH | _NO_MAGICLINKS)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM}:  # an older kernel, or a sandbox that does not know the call
            return _walk(base, name, outside=outside)
        if error.errno != errno.EXDEV:
            raise
    if not outside:
        raise OutsideError(errno.EXDEV, "lies outside the folder of the descriptor", name)
    return _openat2(base, name, _NO_MAGICLINKS)


def _openat2(base: int, name: str, resolve: int) -> int:
    how = _How(_LOOK, 0, resolve)
    found = int(_libc().syscall(_OPENAT2, base, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how)))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return found


def _walk(base: int, name: str, *, outside: bool) -> int:
    """Open without following any link, part by part."""
    parts = [one for one in name.split("/") if one not in {"", "."}]
    if (name.startswith("/") or ".." in parts) and not outside:
        raise OutsideError(errno.EXDEV, "lies outside the folder of the descriptor", name)
    fd = os.open("/", _LOOK | os.O_DIRECTORY) if name.startswith("/") else os.dup(base)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        try:
            inner = os.open(part, _LOOK | os.O_NOFOLLOW | (0 if last else os.O_DIRECTORY), dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OutsideError(errno.ELOOP, "is a link, which this kernel cannot follow safely", name)
    return fd


def _is_kernels(fd: int, device: int) -> bool:
    """Say whether a file is the kernel speaking, by the kind of its file system, or as it lies in /dev itself."""
    return _kind(fd) in _KERNELS or device == _device_of_devices()


def is_local(fd: int) -> bool:
    """Say whether a file lies on a file system that no other host writes."""
    return _kind(fd) in _LOCAL


def _kind(fd: int) -> int:
    """Return the magic number of the file system of an open file; 0 where it cannot be told."""
    buffer = (ctypes.c_long * 64)()
    if _libc().fstatfs(fd, ctypes.byref(buffer)):
        return 0
    return buffer[0] & 0xFFFFFFFF


class Looks:
    """What the file system says of many files beneath a folder, without opening each."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet."""
        self._folder = folder
        self._base = self._parent = -1
        self._name: str | None = None  # of the folder that is open now
        self._device = 0

    def at(self, name: str) -> os.stat_result | None:
        """Return the state of a plain file; None for whatever must be opened to be judged.

        That is all that is no plain file, that a link leads to, or that lies outside or where other hosts write.
        `name` is relative to the folder, without empty parts and dots.
        """
        parent, _, last = name.rpartition("/")
        if parent != self._name and not self._enter(parent):
            return None
        try:
            found = os.stat(last, dir_fd=self._parent, follow_symlinks=False)
        except (OSError, ValueError):
            return None
        if found.st_dev != self._device or not stat.S_ISREG(found.st_mode):
            return None
        return found

    def states(self, runs: Iterable[tuple[str, Sequence[str]]]) -> bytes | None:
        """Return the states of files, folder by folder, packed as `STATE`; None where one must be opened to be judged.

        Names are as of `at`, without the folder. What kind of file each is, its mode says.
        """
        from array import array  # noqa: PLC0415 - only for thousands of files

        found = array("q")
        for parent, names in runs:
            if parent != self._name and not self._enter(parent):
                return None
            before = len(found)
            try:  # by functions in C from end to end: a loop in Python takes twice as long
                with _standing_in(self._parent) as look:
                    for start in range(0, len(names), _AT_ONCE):
                        states = map(_fields_of, map(look, names[start : start + _AT_ONCE]))
                        found.fromlist(list(chain.from_iterable(states)))
            except (OSError, ValueError, OverflowError):
                return None
            if found[before :: len(_FIELDS)].count(self._device) != len(names):
                return None
        return found.tobytes()

    def _enter(self, parent: str) -> bool:
        """Open another folder; say whether what is in it can be judged by a look."""
        self.close()
        try:
            self._base = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._parent = _openat2(self._base, parent or ".", _BENEATH | _NO_MAGICLINKS)
            about = os.fstat(self._parent)
            if stat.S_ISDIR(about.st_mode) and is_local(self._parent):
                self._name, self._device = parent, about.st_dev
        except (OSError, ValueError):
            return False
        return self._name is not None

    def close(self) -> None:
        """Close what is open; another look opens it again."""
        for fd in (self._base, self._parent):
            if fd >= 0:
                os.close(fd)
        self._base = self._parent = -1
        self._name = None


@contextmanager
def _standing_in(folder: int) -> Iterator[Callable[[str], os.stat_result]]:
    """Yield what looks at a name in an open folder; links are not followed.

    A process of one thread goes there meanwhile: a look by a name alone takes a third less than one by folder and name.
    """
    if threading.active_count() > 1:
        yield partial(os.stat, dir_fd=folder, follow_symlinks=False)
        return
    back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(folder)
        yield os.lstat
    finally:
        os.fchdir(back)
        os.close(back)


@cache
def _device_of_devices() -> int | None:
    """Return the file system of /dev; None where it is none of its own."""
    try:
        device = os.stat("/dev").st_dev
        return None if device == os.stat("/").st_dev else device
    except OSError:
        return None


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

"""`$TMPDIR`: a folder for temporary files on the node's own disk, empty when a replica starts and gone after it.

Its path is short, since a socket's may have 107 bytes and programs put many of them below `$TMPDIR`. What lies in it is
no output, and counts as disk. It is looked for in this order: where the site says, where the scheduler says, `/tmp`,
`/var/tmp`; one that lies in memory is used when the site or the scheduler names it. Where all of them do, the folder
lies beside the work folders, and its short path is a link in `/tmp`.

A folder is held by a lock as long as its executor lives, so that the next runner of this account on this machine knows
which ones nobody will remove, and does it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import time
from contextlib import suppress
from stat import S_IMODE, S_ISDIR, S_ISVTX
from typing import TYPE_CHECKING

from nexapod_batch import birth
from nexapod_batch.runner.execution.folders.work_dirs import empty, is_empty, remove_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Temporary", "base", "describe"]

#: Bytes of a path in which these folders may be made: ours and what programs add to it must fit a socket's 107.
_LONGEST = 50
#: What Python's multiprocessing adds, which is more than others do.
_ADDED = 32
_PREFIX, _DIGITS = "nxtmp-", 8
_USUAL = ("/tmp", "/var/tmp")  # noqa: S108 - every level is checked, and each folder is made exclusively
_LINK = "t"
#: What statfs(2) calls the file systems that lie in memory.
_MEMORY = frozenset({0x01021994, 0x858458F6})
_MODE = 0o700
_SURE_S = 0.1  # for which a folder that was looked at is believed to be there: programs that clear /tmp come seldom


class Temporary:
    """The folder of one executor, for one replica after the other."""

    def __init__(self, wanted: str, spare: str, usual: Sequence[str] = _USUAL) -> None:
        """Make nothing yet. `wanted` is where the site says; `spare` a name beside the work folders, of nobody else."""
        self._wanted, self._spare, self._usual = wanted, spare, usual
        self._folder, self._lock = "", -1  # of the folder with a short path, while there is one
        self._linked = False  # the files lie in the spare folder
        self._swept = False
        self._sure_until = 0.0  # the folder was looked at a moment ago, and nothing ran since
        self.files = ""  # where the files of the last replica lie, without a link in the path

    def take(self, *, shared: bool = False) -> str:
        """Return the path of the empty folder for the replica that starts.

        One that all hosts of a replica share lies beside the work folders, and so does one for which no other place
        can be found.
        """
        if shared:
            return self._make_spare()
        sure, self._sure_until = time.monotonic() < self._sure_until, 0.0
        if not sure and not self._still_there() and not self._make():
            return self._make_spare()
        if self._linked:
            self._make_spare()
            return f"{self._folder}/{_LINK}"
        self.files = self._folder
        return self._folder

    def clear(self, *, known_empty: bool = False) -> None:
        """Remove what the replica left."""
        if not self.files:
            return
        files, self.files = self.files, ""
        if files == self._spare:
            remove_tree(files)
        elif not self._still_there() or not (known_empty or is_empty(files) or empty(files)):
            self.remove()
        else:
            self._sure_until = time.monotonic() + _SURE_S

    def remove(self) -> None:
        """Remove the folder."""
        self._sure_until = 0.0
        if self._folder:
            remove_tree(self._folder)
            os.close(self._lock)
            self._folder, self._lock = "", -1

    def _still_there(self) -> bool:
        """Say whether the folder is the one that was made, and as it was made: commands may do to it what they like."""
        if not self._folder:
            return False
        try:
            found = os.lstat(self._folder)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._lock)) and S_IMODE(found.st_mode) == _MODE

    def _make(self) -> bool:
        """Make a folder; False where there is no place for one."""
        self.remove()
        try:
            where, self._linked = base(self._wanted, self._usual)
        except FileNotFoundError:
            return False
        if not self._swept:
            self._swept = True
            sweep(where)
        for _ in range(100):  # a name is taken, or somebody sweeps
            path = f"{where}/{_new_name()}"
            with suppress(FileExistsError, FileNotFoundError, BlockingIOError):
                os.mkdir(path, _MODE)
                self._lock = _locked(path)
                self._folder = path
                if self._linked:
                    os.symlink(self._spare, f"{path}/{_LINK}")
                return True
        return False

    def _make_spare(self) -> str:
        with suppress(FileExistsError):
            os.mkdir(self._spare, _MODE)
        self.files = self._spare
        return self._spare


def base(wanted: str = "", usual: Sequence[str] = _USUAL) -> tuple[str, bool]:
    """Return where folders are made, and whether files are better put elsewhere; OSError when there is none.

    Raises:
        FileNotFoundError: None of the folders can be used.

    """
    given = birth.given.get("TMPDIR", "") if "SLURM_JOB_ID" in birth.given else ""
    for path in (wanted, given):
        if path and _usable(path):
            return path, False
    found = [path for path in usual if _usable(path)]
    on_disk = next((path for path in found if not _in_memory(path)), "")
    if on_disk:
        return on_disk, False
    if found:
        return found[0], True
    raise FileNotFoundError(f"no folder for temporary files can be used: {', '.join(filter(None, (wanted, *usual)))}")


def sweep(where: str) -> None:
    """Remove the folders of this account in which nothing runs any more."""
    for name in os.listdir(where):
        if _is_ours(name):
            path = f"{where}/{name}"
            with suppress(OSError):  # another's, still held, or just gone
                lock = _locked(path)
                remove_tree(path)
                os.close(lock)


def describe(wanted: str = "") -> str:
    """Say for `site check` where temporary files lie here, and try a socket as programs make them."""
    import socket  # noqa: PLC0415 - a runner has no use for it

    where, elsewhere = base(wanted)
    path = f"{where}/{_new_name()}"
    os.mkdir(path, _MODE)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"{path}/{'s' * (_ADDED - 1)}")
    finally:
        remove_tree(path)
    if elsewhere:
        return f"{where}, in memory: files lie in the work folder"
    return where


def _new_name() -> str:
    return _PREFIX + os.urandom(_DIGITS // 2).hex()


def _is_ours(name: str) -> bool:
    digits = name.removeprefix(_PREFIX)
    return digits != name and len(digits) == _DIGITS and not digits.strip("0123456789abcdef")


def _locked(path: str) -> int:
    """Return a descriptor of a folder of this account that holds its lock; OSError when it is not ours to have."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            raise PermissionError(path)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.lstat(path), os.fstat(fd)):
            raise FileNotFoundError(path)
        os.fchmod(fd, _MODE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _usable(path: str) -> bool:
    """Say whether folders may be made there: absolute and short, and nobody else can put another in their place."""
    if not path.startswith("/") or len(os.fsencode(path)) > _LONGEST:
        return False
    try:
        found = os.stat(path)
    except OSError:
        return False
    safe = found.st_uid in {0, os.geteuid()} and (not found.st_mode & 0o022 or found.st_mode & S_ISVTX)
    return bool(S_ISDIR(found.st_mode) and safe and os.access(path, os.W_OK | os.X_OK))


def _in_memory(path: str) -> bool:
    """Say whether a folder lies in memory; no where the kernel does not tell."""
    told_of = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None).statfs(os.fsencode(path), told_of) != 0:
        return False
    return int.from_bytes(told_of.raw[:4], sys.byteorder) in _MEMORY

"""One writer at a time on one host: a lock file beside the database.

`flock` decides: it is free again at once when its holder is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import BusyError, ConfigError
from nexapod_batch.store.faults import disk_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Holder", "exclusive"]


_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
_POLL_S = 0.01
_TEXT = 200  # bytes of what the holder leaves


class Holder(NamedTuple):
    """A process that may write: its host, the host's boot, and its number there."""

    host: str
    boot: str
    pid: int

    @classmethod
    def here(cls) -> Holder:
        """Return this process."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
                boot = stream.read().strip()
        except OSError:
            boot = ""  # not Linux: the host's name alone must do
        return cls(os.uname().nodename, boot, os.getpid())


@contextmanager
def exclusive(path: Path | str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file beside the database at `path`; BusyError names the holder after `wait_s` seconds."""
    name = f"{path}.lock"
    with disk_faults(name):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, path, wait_s)
        holder = Holder.here()
        # For people and messages only: the lock counts, not the text. A full disk must not keep anybody out. It is
        # written over what was there: file systems bring a file that is cut and written anew to the disk at once.
        with suppress(OSError):
            os.pwrite(descriptor, f"process {holder.pid} on {holder.host}\n".encode()[:_TEXT].ljust(_TEXT), 0)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # said aloud: a forked child may still hold the descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path | str, wait_s: float) -> None:
    """Take the lock, trying until `wait_s` is over."""
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                who = os.pread(descriptor, _TEXT, 0).decode(errors="replace").strip()
                raise BusyError(
                    f"another nexapod-batch is writing to {path}",
                    got=who or "a process that did not say its name",
                    hint="it ends by itself; run the same command again in a moment",
                ) from None
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            raise ConfigError(
                f"the file system of {path} has no file locks",
                got=error.strerror,
                hint="set NEXAPOD_HOME to a folder on a local disk or on a file system that is mounted with locks",
            ) from error
        else:
            return

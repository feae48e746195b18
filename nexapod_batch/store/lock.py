"""Who writes: one lock for one host, and one lease row for many.

Inside a host `flock` decides: it is free again at once when its holder is killed. Between hosts that share a file
system it cannot be trusted (some mounts keep locks local), so the holder also writes a lease row, and gives it back
when it is done. A lease of another host that was not given back is respected until somebody says `steal`; a writer
whose lease was stolen finds out at its next transaction, which is rolled back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import BusyError, ConfigError, TryAgainError
from nexapod_batch.store.faults import disk_faults

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Protocol

    class Leasable(Protocol):
        """What a lease asks of the store."""

        lease: Lease | None

        @property
        def path(self) -> Path: ...
        def one(self, name: str, /, **params: str | float | None) -> sqlite3.Row | None: ...
        def run(self, name: str, /, **params: str | float | None) -> int: ...
        def atomic(self) -> AbstractContextManager[None]: ...

__all__ = ["Holder", "Lease", "exclusive", "writer"]

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
_POLL_S = 0.01


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


class Lease(NamedTuple):
    """A lease that this process took."""

    holder: Holder
    taken_at: int  # milliseconds since 1970

    def check(self, store: Leasable) -> None:
        """Raise BusyError when the row names somebody else by now."""
        row = store.one("lease")
        if row is None or (row["host"], row["boot"], row["pid"]) != self.holder or row["taken_at"] != self.taken_at:
            by = "nobody" if row is None else f"process {row['pid']} on {row['host']}"
            raise BusyError(
                f"the lease on {store.path} was taken over",
                got=by,
                wanted=f"process {self.holder.pid} on {self.holder.host}",
                hint="nothing of this transaction was kept; run the same command again",
            )


@contextmanager
def exclusive(path: Path | str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file beside the database at `path`; BusyError names the holder after `wait_s` seconds."""
    name = f"{path}.lock"
    with disk_faults(name):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, path, wait_s)
        holder = Holder.here()
        # For people and messages only: the lock counts, not the text. A full disk must not keep anybody out.
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {holder.pid} on {holder.host}\n".encode(), 0)
        except OSError:
            pass
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
                who = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
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


@contextmanager
def writer(
    store: Leasable,
    *,
    wait_s: float = 0.0,
    steal: bool = False,
    holder: Holder | None = None,
    now_ms: int | None = None,
) -> Iterator[Lease]:
    """Be the only writer until the block ends: take the lock and the lease, and give both back.

    Raises BusyError when somebody else writes (after `wait_s` seconds), or when another host holds the lease and
    did not give it back, unless `steal`. Holders of this host that died are taken over at once.
    """
    lease = Lease(holder or Holder.here(), now_ms if now_ms is not None else time.time_ns() // 1_000_000)
    with exclusive(store.path, wait_s=wait_s):
        with store.atomic():
            _refuse_other_host(store, lease, steal=steal)
            store.run("lease_take", **lease.holder._asdict(), taken_at=lease.taken_at)
        store.lease = lease
        try:
            yield lease
        finally:
            store.lease = None
            # On a full disk it stays: this host takes it over, and what the block stored must not look undone.
            with suppress(TryAgainError):
                store.run("lease_release", **lease.holder._asdict(), taken_at=lease.taken_at)


def _refuse_other_host(store: Leasable, lease: Lease, *, steal: bool) -> None:
    """Raise BusyError when the lease row belongs to another host that did not give it back."""
    row = store.one("lease")
    if row is None or row["released"] or steal:
        return
    # The same name is this host, perhaps after a reboot; the same boot is this host under another name, or a container
    # on it. In both cases the lock, which we hold, has already shown that the holder is gone.
    if row["host"] == lease.holder.host or (row["boot"] and row["boot"] == lease.holder.boot):
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["taken_at"] / 1000))
    raise BusyError(
        f"{store.path} is coordinated from another host",
        got=f"process {row['pid']} on {row['host']}, since {since} UTC",
        wanted=f"this host ({lease.holder.host})",
        hint=f"run the command on {row['host']}; when nothing runs there any more: nexapod-batch reconcile --steal",
    )

"""One writer at a time among many hosts: a lease row beside the lock.

Inside a host the lock decides. Between hosts that share a file system it cannot be trusted (some mounts keep locks
local), so the holder also writes a lease row, and gives it back when it is done. A lease of another host that was not
given back is respected until somebody says `steal`; a writer whose lease was stolen finds out at its next transaction,
which is rolled back.

A power cut ends whoever holds a lease. So taking it and giving it back waits for no disk where one host alone has the
database, and what is stored under it is durable together with it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import BusyError, TryAgainError
from nexapod_batch.store.lock import Holder, exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Protocol

    from nexapod_batch.store.repositories.operations import Operations

    class Leasable(Protocol):
        """What a lease asks of the store."""

        lease: Lease | None

        @property
        def path(self) -> Path: ...
        @property
        def is_replaced(self) -> bool: ...
        @property
        def operations(self) -> Operations: ...
        def passing(self) -> AbstractContextManager[None]: ...

__all__ = ["Lease", "refuse_other_host", "writer"]


class Lease(NamedTuple):
    """A lease that this process took."""

    holder: Holder
    taken_at: int  # milliseconds since 1970

    def check(self, store: Leasable) -> None:
        """Raise BusyError when the row names somebody else by now."""
        row = store.operations.lease()
        if row is None or (row.host, row.boot, row.pid) != self.holder or row.taken_at != self.taken_at:
            by = "nobody" if row is None else f"process {row.pid} on {row.host}"
            raise BusyError(
                f"the lease on {store.path} was taken over",
                got=by,
                wanted=f"process {self.holder.pid} on {self.holder.host}",
                hint="nothing of this transaction was kept; run the same command again",
            )


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
    did not give it back, unless `steal`; TryAgainError when the database was replaced since it was opened. Holders of
    this host that died are taken over at once.
    """
    lease = Lease(holder or Holder.here(), now_ms if now_ms is not None else time.time_ns() // 1_000_000)
    with exclusive(store.path, wait_s=wait_s):
        if store.is_replaced:
            raise TryAgainError(
                f"another database was put in the place of {store.path} meanwhile",
                hint="nothing was written; run the same command again",
            )
        with store.passing():
            _refuse_other_host(store, lease, steal=steal)
            store.operations.take_lease(**lease.holder._asdict(), taken_at=lease.taken_at)
        store.lease = lease
        try:
            yield lease
        finally:
            store.lease = None
            # On a full disk it stays: this host takes it over, and what the block stored must not look undone.
            with suppress(TryAgainError), store.passing():
                store.operations.release_lease(**lease.holder._asdict(), taken_at=lease.taken_at)


def refuse_other_host(store: Leasable) -> None:
    """Raise BusyError when another host holds the lease; for who removes files and writes no row."""
    _refuse_other_host(store, Lease(Holder.here(), 0), steal=False)


def _refuse_other_host(store: Leasable, lease: Lease, *, steal: bool) -> None:
    """Raise BusyError when the lease row belongs to another host that did not give it back."""
    row = store.operations.lease()
    if row is None or row.released or steal:
        return
    # The same name is this host, perhaps after a reboot; the same boot is this host under another name, or a container
    # on it. In both cases the lock, which we hold, has already shown that the holder is gone.
    if row.host == lease.holder.host or (row.boot and row.boot == lease.holder.boot):
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row.taken_at / 1000))
    raise BusyError(
        f"{store.path} is coordinated from another host",
        got=f"process {row.pid} on {row.host}, since {since} UTC",
        wanted=f"this host ({lease.holder.host})",
        hint=f"run the command on {row.host}; when nothing runs there any more: nexapod-batch reconcile --steal",
    )

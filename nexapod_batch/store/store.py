"""The coordinator's database as its use cases see it: repositories, and transactions over them.

A second kind of database provides the same repositories; `tests/conformance/test_store.py` says what each promises.
A repository is imported when it is asked for first: a listing pays for no other.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Self

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.store.database import Database
from nexapod_batch.store.file_header import BUSY_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from nexapod_batch.store.database import Filesystem
    from nexapod_batch.store.lease import Lease
    from nexapod_batch.store.migrations import Migration
    from nexapod_batch.store.repositories.accounting import Accounting
    from nexapod_batch.store.repositories.commitments import Commitments
    from nexapod_batch.store.repositories.continuations import Continuations
    from nexapod_batch.store.repositories.deliveries import Deliveries
    from nexapod_batch.store.repositories.jobs import Jobs
    from nexapod_batch.store.repositories.launches import Launches
    from nexapod_batch.store.repositories.ledger import Ledger
    from nexapod_batch.store.repositories.nodes import Nodes
    from nexapod_batch.store.repositories.operations import Operations
    from nexapod_batch.store.repositories.people import People
    from nexapod_batch.store.repositories.replicas import Replicas
    from nexapod_batch.store.repositories.reports import Reports
    from nexapod_batch.store.repositories.tasks import Tasks
    from nexapod_batch.store.repositories.trails import Trails
    from nexapod_batch.store.repositories.usage import Usage
    from nexapod_batch.store.repositories.verdicts import Verdicts
    from nexapod_batch.store.repositories.views import Views

__all__ = ["Store", "check_file"]


class Store:
    """The database of one coordinator. Use `Store.open`."""

    def __init__(self, database: Database) -> None:
        """Wrap a database that is open."""
        self._database = database
        self._lease: Lease | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        write: bool = True,
        create: bool = False,
        filesystem: Filesystem | None = None,
        migrations: Sequence[Migration] | None = None,
        busy_s: float = BUSY_S,
    ) -> Self:
        """Open `path`, bringing an older database up to date; `create` makes it and its folder where there is none.

        `filesystem` tells what the path lies on; `busy_s` is how long another connection's transaction is waited for.

        Raises NotFoundError (no database), CorruptStoreError (damaged, newer, or not ours), ConfigError (folder or
        file unusable), TryAgainError (disk full, or in use for longer than the busy time).
        """
        return cls(
            Database.open(
                path, write=write, create=create, filesystem=filesystem, migrations=migrations, busy_s=busy_s
            )
        )

    @classmethod
    def in_memory(cls) -> Self:
        """Return an empty database that lies nowhere, and is gone when it is closed."""
        return cls(Database.in_memory())

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Repositories ----------------------------------------------------------------------------------------------

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs."""
        from nexapod_batch.store.repositories.jobs import Jobs  # noqa: PLC0415

        return Jobs(self._database)

    @cached_property
    def deliveries(self) -> Deliveries:
        """The results that are wanted elsewhere."""
        from nexapod_batch.store.repositories.deliveries import Deliveries  # noqa: PLC0415

        return Deliveries(self._database)

    @cached_property
    def tasks(self) -> Tasks:
        """The tasks of all jobs."""
        from nexapod_batch.store.repositories.tasks import Tasks  # noqa: PLC0415

        return Tasks(self._database)

    @cached_property
    def replicas(self) -> Replicas:
        """The replicas of all tasks."""
        from nexapod_batch.store.repositories.replicas import Replicas  # noqa: PLC0415

        return Replicas(self._database)

    @cached_property
    def launches(self) -> Launches:
        """The launches of all jobs, and the delegations of their keys."""
        from nexapod_batch.store.repositories.launches import Launches  # noqa: PLC0415

        return Launches(self._database)

    @cached_property
    def nodes(self) -> Nodes:
        """The registry of nodes."""
        from nexapod_batch.store.repositories.nodes import Nodes  # noqa: PLC0415

        return Nodes(self._database)

    @cached_property
    def reports(self) -> Reports:
        """What nodes reported."""
        from nexapod_batch.store.repositories.reports import Reports  # noqa: PLC0415

        return Reports(self._database)

    @cached_property
    def ledger(self) -> Ledger:
        """What happened, in an append-only tree."""
        from nexapod_batch.store.repositories.ledger import Ledger  # noqa: PLC0415

        return Ledger(self._database)

    @cached_property
    def trails(self) -> Trails:
        """The notes of what replicas wrote to their logs while they ran."""
        from nexapod_batch.store.repositories.trails import Trails  # noqa: PLC0415

        return Trails(self._database)

    @cached_property
    def continuations(self) -> Continuations:
        """Which replicas go on from what an earlier one left."""
        from nexapod_batch.store.repositories.continuations import Continuations  # noqa: PLC0415

        return Continuations(self._database)

    @cached_property
    def commitments(self) -> Commitments:
        """What nodes committed themselves to report."""
        from nexapod_batch.store.repositories.commitments import Commitments  # noqa: PLC0415

        return Commitments(self._database)

    @cached_property
    def usage(self) -> Usage:
        """What replicas used, added up."""
        from nexapod_batch.store.repositories.usage import Usage  # noqa: PLC0415

        return Usage(self._database)

    @cached_property
    def accounting(self) -> Accounting:
        """What the jobs of each user used."""
        from nexapod_batch.store.repositories.accounting import Accounting  # noqa: PLC0415

        return Accounting(self._database)

    @cached_property
    def operations(self) -> Operations:
        """The lease, the coordinator's key, standing faults, checks."""
        from nexapod_batch.store.repositories.operations import Operations  # noqa: PLC0415

        return Operations(self._database)

    @cached_property
    def people(self) -> People:
        """People who use the coordinator from elsewhere."""
        from nexapod_batch.store.repositories.people import People  # noqa: PLC0415

        return People(self._database)

    @cached_property
    def verdicts(self) -> Verdicts:
        """Verdicts as they were signed."""
        from nexapod_batch.store.repositories.verdicts import Verdicts  # noqa: PLC0415

        return Verdicts(self._database)

    @cached_property
    def views(self) -> Views:
        """What people are shown."""
        from nexapod_batch.store.repositories.views import Views  # noqa: PLC0415

        return Views(self._database)

    # Transactions ----------------------------------------------------------------------------------------------

    def atomic(self) -> AbstractContextManager[None]:
        """Make everything inside one transaction; any exception, KeyboardInterrupt too, rolls it back.

        Inside another one it is a savepoint: only its own changes are undone when it fails. BusyError when the lease
        was taken over meanwhile.
        """
        return self._database.atomic()

    def passing(self) -> AbstractContextManager[None]:
        """Do as `atomic` for what a power cut may take back: nobody waits for the disk where that can be."""
        return self._database.passing()

    def view(self) -> AbstractContextManager[None]:
        """Let all reads inside see one moment of the database, whatever is written meanwhile."""
        return self._database.view()

    @property
    def lease(self) -> Lease | None:
        """The lease under which this process writes: every transaction checks that it still holds."""
        return self._lease

    @lease.setter
    def lease(self, lease: Lease | None) -> None:
        self._lease = lease
        self._database.guard = None if lease is None else partial(lease.check, self)

    # Upkeep ----------------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Where the database lies."""
        from pathlib import Path  # noqa: PLC0415 - who only looks something up does without

        return Path(self._database.file)

    @property
    def is_replaced(self) -> bool:
        """Say whether another database was put in the place of this one since it was opened."""
        return self._database.is_replaced

    @property
    def journal(self) -> str:
        """The journal mode in use: `wal`, or `delete` on a network file system."""
        return self._database.journal

    def backup(self, destination: Path) -> None:
        """Write a complete, checked copy to `destination`, which must not exist; the store may be in use meanwhile.

        UsageError when it exists, TryAgainError or ConfigError when it cannot be written, CorruptStoreError for damage.
        """
        from nexapod_batch.store import maintenance  # noqa: PLC0415 - never on a hot path

        maintenance.backup(self._database.connection, destination)

    def check(self) -> list[str]:
        """Return what is wrong with the database, in words; an empty list when all is well."""
        from nexapod_batch.store import maintenance  # noqa: PLC0415

        return maintenance.check(self.operations, self._database.connection)

    def optimise(self) -> None:
        """Refresh the query planner's statistics and give free pages back to the disk; BusyError, TryAgainError."""
        from nexapod_batch.store import maintenance  # noqa: PLC0415

        maintenance.optimise(self._database.connection, self.path)


def check_file(path: Path | str) -> list[str]:
    """Return the damage of the database at `path`, also of one that `Store.open` refuses as damaged."""
    try:
        with Store.open(path, write=False) as store:
            return store.check()
    except CorruptStoreError as error:
        return [str(error).splitlines()[0]]

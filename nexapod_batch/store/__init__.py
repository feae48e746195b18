"""The only user of sqlite3: the coordinator's database, its lock, its migrations and its upkeep.

SQL lives in `sql/schema` and `sql/queries` and is called by name. Everything else in the package knows rows and
names, never statements. What only maintenance needs is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.database import Filesystem, Row, Store, Value, check_file

if TYPE_CHECKING:
    from nexapod_batch.store.lock import Holder, Lease, writer

__all__ = ["Filesystem", "Holder", "Lease", "Row", "Store", "Value", "check_file", "writer"]

_LATER = {"Holder": "lock", "Lease": "lock", "writer": "lock"}


def __getattr__(name: str) -> object:
    """Import what readers do without when somebody asks for it."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)

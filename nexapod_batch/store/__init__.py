"""The only user of sqlite3: the coordinator's database, its lock, its migrations and its upkeep.

Outside this package there are repositories with typed methods, and rows that are typed values (`repositories/`).
Inside, SQL lives in `sql/schema` and `sql/queries` and is called by name. What only maintenance needs is imported when
it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.database import Filesystem, Value
from nexapod_batch.store.store import Store, check_file

if TYPE_CHECKING:
    from nexapod_batch.store.lease import Lease, writer
    from nexapod_batch.store.lock import Holder

__all__ = ["Filesystem", "Holder", "Lease", "Store", "Value", "check_file", "writer"]

_LATER = {"Holder": "lock", "Lease": "lease", "writer": "lease"}


def __getattr__(name: str) -> object:
    """Import what readers do without when somebody asks for it."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)

"""What of a damaged database can still be read, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.store.salvage.readable import load, read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TableState", "survey"]


class TableState(NamedTuple):
    """How much of a table can be read."""

    name: str
    rows: int  # that can be read
    lost_pages: int  # that were cut off or overwritten; how many rows each had is not known
    bad_rows: int  # out of order, on pages that can be read


def survey(path: Path) -> list[TableState]:
    """Return what can be read, table by table; OSError when the file cannot be read at all.

    The list of tables is one of them. Rows whose way is lost are counted under "(loose)".
    """
    found = read(load(path))
    states = [TableState(name, len(table.records), len(table.lost), table.bad) for name, table in found.tables.items()]
    loose = sum(len(page) for page in found.loose)
    if loose:
        return [*states, TableState("(loose)", loose, 0, 0)]
    return states

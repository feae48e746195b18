"""How the rows of each table are stored, and where its tree begins, as the schema itself says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from nexapod_batch.store.migrations import MIGRATIONS, bring_up

if TYPE_CHECKING:
    from nexapod_batch.store.salvage.file_format import Record, Value

__all__ = ["Root", "Shape", "first_roots", "shapes_of"]


class Root(NamedTuple):
    """Where the tree of a table or an index begins."""

    name: str
    page: int
    is_table: bool
    is_index: bool = False  # its pages are those of an index: so are those of tables without row ids
    least: int = 0  # values of a row, at least and at most; 0 for an index
    most: int = 0


class Shape(Struct):
    """How the rows of one table are stored."""

    columns: list[str]  # in the order of a record
    rowid_at: int | None  # which column is the row id, and stored as NULL
    is_index: bool  # it has no row ids
    least: int  # values of its oldest rows: columns that came later are at the end

    def values(self, record: Record) -> list[Value] | None:
        """Return the values of a record, one for each of the first columns; None where it is not of this table."""
        if (record.rowid is None) != self.is_index or not self.least <= len(record.values) <= len(self.columns):
            return None
        values = list(record.values)
        if self.rowid_at is not None:
            if self.rowid_at >= len(values) or values[self.rowid_at] is not None:
                return None
            values[self.rowid_at] = record.rowid
        return values


def shapes_of(connection: sqlite3.Connection) -> dict[str, Shape]:
    """Return the tables of the schema and how their rows are stored."""
    found = {}
    least = _first_widths()
    for table, without_rowid in _tables(connection).items():
        columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
        names = [column[1] for column in columns]
        keys = [column[1] for column in sorted(columns, key=lambda one: one[5]) if column[5]]
        rowid_at = None
        if without_rowid:
            names = [*keys, *(name for name in names if name not in keys)]
        elif len(keys) == 1 and next(column[2] for column in columns if column[1] == keys[0]) == "INTEGER":
            rowid_at = names.index(keys[0])
        found[table] = Shape(
            columns=names, rowid_at=rowid_at, is_index=without_rowid, least=least.get(table, len(names))
        )
    return found


@cache
def _first_widths() -> dict[str, int]:
    """Return how many columns each table had when it was made."""
    found: dict[str, int] = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for count in range(1, len(MIGRATIONS) + 1):
            bring_up(connection, ":memory:", MIGRATIONS[:count])
            for table in _tables(connection):
                columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
                found.setdefault(table, len(columns))
    return found


def _tables(connection: sqlite3.Connection) -> dict[str, bool]:
    """Return the tables, and whether each is without row ids."""
    listed = connection.execute("PRAGMA table_list").fetchall()
    return {row[1]: bool(row[4]) for row in listed if row[2] == "table" and not row[1].startswith("sqlite_")}


def first_roots(version: int) -> list[Root]:
    """Return where the trees begin of a database that was made with this version of the schema."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        bring_up(connection, ":memory:", MIGRATIONS[:version])
        shapes = shapes_of(connection)
        listed = connection.execute("SELECT type, name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
    found = []
    for kind, name, page in listed:
        shape = shapes.get(name)
        if shape is not None:
            width = len(shape.columns)
            found.append(Root(name, page, is_table=True, is_index=shape.is_index, least=shape.least, most=width))
        else:
            found.append(Root(name, page, is_table=kind == "table", is_index=kind == "index"))
    return found

"""The named statements of one subject, run on one connection: rows come out as typed values.

A row is a `Row` whose fields are the columns of the query, in their order; a query that gives other columns is a
mistake of the program, and is told as one when it is first run. What SQLite keeps as 0 and 1 comes out as `bool` where
the field says so.
"""

from __future__ import annotations

import sqlite3
from itertools import starmap
from typing import TYPE_CHECKING, Any, TypeVar

from nexapod_batch.store import queries
from nexapod_batch.store.faults import raise_explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nexapod_batch.store.database import Database, Value
    from nexapod_batch.store.row import Row

    R = TypeVar("R", bound=Row)

__all__ = ["Statements"]

T = TypeVar("T")


class Statements:
    """The statements of the file `sql/queries/<subject>.sql`, by name."""

    __slots__ = ("_database", "_makers", "_sql")

    def __init__(self, database: Database, subject: str) -> None:
        """Read the file of a subject, once in the life of the process."""
        self._database = database
        self._sql = queries.load(subject)
        self._makers: dict[tuple[str, type], Callable[[Iterable[Any]], Iterator[Any]]] = {}

    def find(self, kind: type[R], name: str, /, **params: Value) -> R | None:
        """Return the first row of a query, or None."""
        rows = self.all(kind, name, **params)
        if rows:
            return rows[0]
        return None

    def all(self, kind: type[R], name: str, /, **params: Value) -> list[R]:
        """Return all rows of a query."""
        cursor = self._execute(name, params)
        return list(self._maker(kind, name, cursor)(self._database.fetch(cursor)))

    def each(self, kind: type[R], name: str, /, **params: Value) -> Iterator[R]:
        """Yield the rows of a query one by one; for results that need not fit in memory."""
        cursor = self._execute(name, params)
        try:
            yield from self._maker(kind, name, cursor)(cursor)
        except sqlite3.Error as error:
            raise_explained(error, self._database.file)

    def stream(self, name: str, /, **params: Value) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query one by one, as they are."""
        cursor = self._execute(name, params)
        try:
            yield from cursor
        except sqlite3.Error as error:
            raise_explained(error, self._database.file)

    def value(self, kind: type[T], name: str, /, **params: Value) -> T | None:
        """Return the first column of the first row, which is a `kind`; None where there is no row, or NULL."""
        found: list[T] = self.values(kind, name, **params)
        if found:
            return found[0]
        return None

    def values(self, kind: type[T], name: str, /, **params: Value) -> list[T]:  # noqa: ARG002 - for the reader
        """Return the first column of every row, each a `kind`."""
        return [row[0] for row in self.tuples(name, **params)]

    def tuples(self, name: str, /, **params: Value) -> list[tuple[Any, ...]]:
        """Return all rows as they are; for pairs that the caller names."""
        return self._database.fetch(self._execute(name, params))

    def documents(self, name: str, /, **params: Value) -> list[dict[str, Any]]:
        """Return all rows by column name; for what becomes a JSON document, where no class need be made."""
        cursor = self._execute(name, params)
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in self._database.fetch(cursor)]

    def run(self, name: str, /, **params: Value) -> int:
        """Run a statement and return how many rows it changed: 0 when a compare-and-set did not apply."""
        return self._execute(name, params).rowcount

    def many(self, name: str, rows: Iterable[Mapping[str, Value] | Sequence[Value]], /) -> int:
        """Run a statement for every row, all or none; return how many rows changed in all."""
        return self._database.execute_many(self._sql[name], rows)

    def _execute(self, name: str, params: Mapping[str, Value]) -> sqlite3.Cursor:
        return self._database.execute(self._sql[name], params)

    def _maker(self, kind: type[R], name: str, cursor: sqlite3.Cursor) -> Callable[[Iterable[Any]], Iterator[R]]:
        """Return what makes rows of a query's tuples; it is looked up once for each query."""
        maker = self._makers.get((name, kind))
        if maker is None:
            columns = tuple([column[0] for column in cursor.description])
            maker = self._makers[name, kind] = _maker(kind, name, columns)
        return maker


def _maker(kind: type[R], name: str, columns: tuple[str, ...]) -> Callable[[Iterable[Any]], Iterator[R]]:
    """Return what makes rows of tuples; TypeError where the columns of a query are not the fields of the row."""
    fields = kind.__struct_fields__
    if columns != fields:
        raise TypeError(f"query {name} gives {', '.join(columns)}; {kind.__name__} has {', '.join(fields)}")
    flags = [index for index, field in enumerate(fields) if field in kind.flags()]
    if not flags:
        return lambda rows: starmap(kind, rows)

    def with_flags(rows: Iterable[Any]) -> Iterator[R]:
        for row in rows:
            values = list(row)
            for index in flags:
                values[index] = values[index] == 1
            yield kind(*values)

    return with_flags

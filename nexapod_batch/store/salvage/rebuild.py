"""A sound database made of the rows that can still be read of a damaged one.

The schema itself says which tables there are, what their rows look like and where a loose row belongs: a row goes where
types and constraints take it. Nothing is invented but what follows from other rows; what cannot be placed is handed
back, so that nothing that was signed is thrown away.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

from nexapod_batch.store.migrations import MIGRATIONS, bring_up
from nexapod_batch.store.salvage.mend import mend
from nexapod_batch.store.salvage.shapes import shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.store.salvage.file_format import Record, Value
    from nexapod_batch.store.salvage.mend import IsIntact
    from nexapod_batch.store.salvage.readable import Readable
    from nexapod_batch.store.salvage.replicas import ColumnsOf
    from nexapod_batch.store.salvage.shapes import Shape

    LostRow: TypeAlias = tuple[str, dict[str, Value]]

__all__ = ["Salvaged", "rebuild"]


class Salvaged(Struct):
    """What became of a damaged database."""

    rows: dict[str, int] = field(default_factory=dict)  # in the new database, by table
    lost: list[LostRow] = field(default_factory=list)  # without a place, by table; "?" for an unknown one
    reopened: list[tuple[int, int]] = field(default_factory=list)  # (job, task) whose verdict has lost what it rests on
    jobs_lost: list[int] = field(default_factory=list)  # jobs of which too little is left


def rebuild(
    readable: Readable, target: Path, names: Mapping[str, str], is_intact: IsIntact, columns_of: ColumnsOf
) -> Salvaged:
    """Make a database of what was found at `target`, which is empty or not there.

    `names` are those of nodes by the ids of their keys, for nodes whose rows are lost; `is_intact` says whether a
    statement is the one that was stored, and `columns_of` what it makes of its replica. sqlite3.Error where it cannot
    be written.
    """
    done = Salvaged()
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = OFF")
        version = readable.version if 0 < readable.version <= len(MIGRATIONS) else len(MIGRATIONS)
        bring_up(connection, target, MIGRATIONS[:version])
        triggers = _take_triggers(connection)
        connection.execute("BEGIN")
        _fill(connection, readable, done)
        connection.execute("COMMIT")
        _put_triggers(connection, triggers)
        bring_up(connection, target, MIGRATIONS)
        triggers = _take_triggers(connection)
        connection.execute("BEGIN")
        done.reopened, done.jobs_lost, orphans = mend(connection, names, is_intact, columns_of)
        done.lost += orphans
        connection.execute("COMMIT")
        _put_triggers(connection, triggers)
        for table in shapes_of(connection):
            done.rows[table] = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608
    finally:
        connection.close()
    return done


def _take_triggers(connection: sqlite3.Connection) -> list[str]:
    """Drop the triggers, which would act on rows that come as they were; return what makes them again."""
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in found:
        connection.execute(f'DROP TRIGGER "{name}"')
    return [sql for _, sql in found]


def _put_triggers(connection: sqlite3.Connection, triggers: Iterable[str]) -> None:
    for sql in triggers:
        connection.execute(sql)


def _fill(connection: sqlite3.Connection, found: Readable, done: Salvaged) -> None:
    """Put every row that can be placed into its table; the others are lost."""
    shapes = shapes_of(connection)
    for table in shapes:
        connection.execute(f'DELETE FROM "{table}"')  # noqa: S608 - of the schema
    for table, shape in shapes.items():
        for record in found.tables[table].records if table in found.tables else ():
            if _insert(connection, table, shape, record) is None:
                done.lost.append((table, _named(shape, record)))
    for page in found.loose:
        # What is left unplaced of an index is in its table as well.
        if not _place(connection, shapes, page) and page[0].rowid is not None:
            done.lost += [("?", {str(index): value for index, value in enumerate(one.values)}) for one in page]
    _set_sequences(connection, found)


def _insert(connection: sqlite3.Connection, table: str, shape: Shape, record: Record) -> bool | None:
    """Insert a row: True when it is new, False when its key is there already, None when it cannot be of this table."""
    values = shape.values(record)
    if values is None:
        return None
    columns = ", ".join(f'"{name}"' for name in shape.columns[: len(values)])
    marks = ", ".join("?" * len(values))
    try:
        connection.execute(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', values)  # noqa: S608 - of the schema
    except sqlite3.IntegrityError as error:
        return False if "UNIQUE constraint" in str(error) else None
    except (sqlite3.Error, OverflowError):
        return None
    return True


def _place(connection: sqlite3.Connection, shapes: Mapping[str, Shape], page: Sequence[Record]) -> bool:
    """Put the rows of a loose page where all of them fit; False where they fit nowhere, or in several tables.

    What is there already was moved by SQLite to another page, and this one is what was left of it.
    """
    fitting = []
    for table, shape in shapes.items():
        connection.execute("SAVEPOINT trial")
        placed = [_insert(connection, table, shape, record) for record in page]
        connection.execute("ROLLBACK TO trial")
        connection.execute("RELEASE trial")
        if None not in placed:
            fitting.append((-len(shape.columns) if len(shape.columns) == len(page[0].values) else 0, table))
    if not fitting:
        return False
    fitting.sort()
    if len(fitting) > 1 and fitting[0][0] == fitting[1][0]:
        return False
    _, table = fitting[0]
    for record in page:
        _insert(connection, table, shapes[table], record)
    return True


def _named(shape: Shape, record: Record) -> dict[str, Value]:
    names = [*shape.columns, *(f"column {index}" for index in range(len(shape.columns), len(record.values)))]
    row = dict(zip(names, record.values, strict=False))
    if record.rowid is None:
        return row
    return {"rowid": record.rowid, **row}


def _set_sequences(connection: sqlite3.Connection, found: Readable) -> None:
    """Let no number be given out again."""
    if "sqlite_sequence" not in found.tables:
        return
    for record in found.tables["sqlite_sequence"].records:
        if len(record.values) == 2 and isinstance(record.values[1], int):
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ? AND seq < ?", record.values)
            connection.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2"
                " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
                record.values,
            )

"""SQLite: tables by name, columns in their order, rows as their tables keep them: by rowid, or by primary key.

The file is opened as one that nobody changes: no journal beside it is read or made. Nothing that its schema names is
run: views, triggers and virtual tables count by their text, and generated columns, indexes and what SQLite keeps for
itself do not. Other pages, free ones, and the version that wrote it do not count either.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.named import is_ignored, part, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Batch, Token

__all__ = ["batches"]

_BATCH = 4_096  # rows that are sent together
_MOST_OBJECTS = 100_000
_LONGEST = 64 << 20  # bytes of a value
_SHOWN = 64  # bytes up to which a blob is sent as it is
#: What SQLite may do: read tables, and say which columns they have.
_ALLOWED = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_PRAGMA})


class _Text(bytes):
    """Text as it lies in the file, whatever its encoding: blobs come as plain bytes."""

    __slots__ = ()


class _Budget:
    """What may come out of a file: no row takes less than a byte of it, and nothing in it is packed."""

    def __init__(self, size: int) -> None:
        self._rows = self._bytes = size

    def take(self, row: tuple[object, ...]) -> None:
        """Count a row; ValueError where pages must have been read again and again."""
        self._rows -= 1
        self._bytes -= sum(len(value) for value in row if isinstance(value, bytes))
        if self._rows < 0 or self._bytes < 0:
            raise ValueError("more rows than the file has bytes: its pages lead back to each other")


def batches(path: str, ignored: frozenset[str]) -> Iterator[Batch]:
    """Yield the text of what is run by nobody, then every table.

    Raises:
        ValueError: There is more in it than there can be.
        sqlite3.Error: The file is damaged.

    """
    budget = _Budget(Path(path).stat().st_size)
    database = _opened(path)
    objects = database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchmany(_MOST_OBJECTS)
    if len(objects) == _MOST_OBJECTS:
        raise ValueError(f"more than {_MOST_OBJECTS} tables and views")
    for kind, name, sql in ((_word(kind), _word(name), _word(sql)) for kind, name, sql in objects):
        if name.startswith("sqlite_") or kind == "index" or is_ignored(ignored, name):
            continue
        if kind != "table" or sql.upper().startswith("CREATE VIRTUAL"):
            yield [part(f"{kind} {name}"), text(" ".join(sql.split()))]
        else:
            yield from _table(database, name, ignored, budget)


def _opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    database.text_factory = _Text
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")
    database.set_authorizer(_authorizer)
    return database


def _authorizer(action: int, first: str | None, *others: str | None) -> int:
    """Allow to read columns of tables; nothing that a view or a trigger, which is named last, asks for."""
    if action not in _ALLOWED or others[-1] is not None:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and first != "table_info":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _word(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(database: sqlite3.Connection, name: str, ignored: frozenset[str], budget: _Budget) -> Iterator[Batch]:
    described = database.execute(f"PRAGMA table_info({_quoted(name)})")
    columns = [(_word(column), _word(kind)) for _, column, kind, *_ in described]
    kept = [each for each in columns if not is_ignored(ignored, each[0], f"{name}:{each[0]}")]
    yield [part(name, columns=[column for column, _ in kept], types=[kind for _, kind in kept])]
    if not kept:
        return
    # Another index than the table itself would bring its own order.
    named = ", ".join(_quoted(column) for column, _ in kept)
    cursor = database.execute(f"SELECT {named} FROM {_quoted(name)} NOT INDEXED")  # noqa: S608 - quoted names
    while rows := cursor.fetchmany(_BATCH):
        tokens: list[Token] = []
        for row in rows:
            budget.take(row)
            tokens += map(_token, row)
            tokens.append(b"\n")
        yield tokens


def _token(value: object) -> Token:
    """Return a value as a token."""
    if value is None:
        return b"null"
    if isinstance(value, int | float):
        return value
    if isinstance(value, _Text):
        return text(_word(value))
    assert isinstance(value, bytes)  # noqa: S101 - there is no other kind
    shown = value.hex() if len(value) <= _SHOWN else f"{len(value)} bytes, {hashlib.sha256(value).hexdigest()}"
    return b"blob" + json.dumps(shown).encode()

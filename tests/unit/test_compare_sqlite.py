"""Databases of SQLite: what of them counts, and that nothing in one is run."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import struct
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.compare.formats.foreign.sqlite import batches
from nexapod_batch.compare.registry import first_difference
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.compare.numbers import Token

TABLE = "CREATE TABLE run (name TEXT, energy REAL)"


def made(path: Path, *statements: str) -> Path:
    """Write a database."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path


def tokens(path: Path, *ignored: str) -> list[Token]:
    """Return everything that counts."""
    return [token for batch in batches(str(path), frozenset(ignored)) for token in batch]


def test_rows_come_as_the_table_keeps_them(tmp_path: Path) -> None:
    """An index that holds all columns has no say in it; each kind of value is told from the others."""
    rows = "INSERT INTO run VALUES ('b', 2.5), ('a', 1), (NULL, '1'), (x'31', 1e400)"
    found = tokens(made(tmp_path / "a", TABLE, "CREATE INDEX i ON run (name, energy)", rows))
    line = [b"\n"]
    assert found[1:] == [b'"b"', 2.5, *line, b'"a"', 1.0, *line, b"null", 1.0, *line, b'blob"31"', float("inf"), *line]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (TABLE, "CREATE TABLE run (name TEXT, energy REAL, more TEXT)"),
        (TABLE, "CREATE TABLE run (name TEXT, energy INTEGER)"),
        (TABLE, "CREATE TABLE other (name TEXT, energy REAL)"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW v AS SELECT 2"),
        ("CREATE TABLE a (x); ", "CREATE VIEW a AS SELECT 1 AS x"),
    ],
)
def test_other_schemas_differ(tmp_path: Path, left: str, right: str) -> None:
    """Names, types, columns, and the text of views."""
    assert tokens(made(tmp_path / "a", left)) != tokens(made(tmp_path / "b", right))


@pytest.mark.parametrize(
    "more", ["CREATE INDEX i ON run (name)", "ANALYZE", "DELETE FROM run WHERE name = 'never'", "PRAGMA user_version = 7"]
)
def test_what_is_no_content_does_not_count(tmp_path: Path, more: str) -> None:
    """Indexes, statistics, free pages, numbers in the head of the file."""
    start = (TABLE, "INSERT INTO run VALUES ('a', 1.5)", "CREATE INDEX j ON run (energy)")
    assert tokens(made(tmp_path / "a", *start)) == tokens(made(tmp_path / "b", *start, more))


def test_columns_and_tables_are_ignored_by_name(tmp_path: Path) -> None:
    """A column of every table, one of a single table, or a table."""
    path = made(tmp_path / "a", TABLE, "CREATE TABLE log (name TEXT)", "INSERT INTO run VALUES ('a', 1.5)")
    assert tokens(path, "energy", "log")[1:] == [b'"a"', b"\n"]
    assert b'@{"name": "log", "columns": ["name"], "types": ["TEXT"]}' in tokens(path, "run:name")
    assert b'"a"' not in tokens(path, "run:name")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    """Views and virtual tables count by their text; generated columns are not worked out."""
    path = made(
        tmp_path / "a", "CREATE TABLE t (x, y AS (abs(x)), z DEFAULT (random()))",
        "INSERT INTO t (x) VALUES (1)", "CREATE VIEW v AS SELECT load_extension('/tmp/x')",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT load_extension('/tmp/x'); END",
        "CREATE VIRTUAL TABLE f USING fts5(body)",
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE t SET x = 1, z = 7")
        database.commit()
    found = tokens(path)
    assert [b"@" in token for token in found if isinstance(token, bytes) and b"load_ext" in token] == [False, False]
    assert b'@{"name": "table f"}' in found
    at = next(i for i, token in enumerate(found) if isinstance(token, bytes) and token.startswith(b'@{"name": "t"'))
    assert found[at + 1 : at + 4] == [1, 7, b"\n"]


def interior_pages(data: bytes | bytearray, size: int) -> list[int]:
    """Return the numbers of pages of tables that lead to others."""
    return [at // size + 1 for at in range(size, len(data), size) if data[at] == 5]


def led(data: bytearray, size: int, page: int, target: int) -> None:
    """Let everything that a page leads to be one page."""
    start = (page - 1) * size
    struct.pack_into(">I", data, start + 8, target)
    (count,) = struct.unpack_from(">H", data, start + 3)
    for number in range(count):
        (cell,) = struct.unpack_from(">H", data, start + 12 + 2 * number)
        struct.pack_into(">I", data, start + cell, target)


@pytest.mark.parametrize("levels", [1, 5])
def test_pages_that_lead_back_end(tmp_path: Path, levels: int) -> None:
    """A page that leads to itself, and few pages that would give more rows than there are atoms."""
    size = 512
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 15000) INSERT INTO run SELECT 'a', i FROM n"
    path = made(tmp_path / "a", f"PRAGMA page_size = {size}", TABLE, many)
    data = bytearray(path.read_bytes())
    root, *inner = interior_pages(data, size)
    chain = [root, *inner[: levels - 1]]
    last = root if levels == 1 else next(at // size + 1 for at in range(size, len(data), size) if data[at] == 13)
    for page, target in zip(chain, [*chain[1:], last], strict=True):
        led(data, size, page, target)
    path.write_bytes(data)
    with pytest.raises((sqlite3.DatabaseError, ValueError), match=r"malformed|lead back"):
        tokens(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 3],
        lambda data: data[:100],
        lambda data: data[:16] + b"\xff" * 84 + data[100:],
        lambda data: data[:100] + bytes(500) + data[600:],
        lambda data: data.replace(b"CREATE TABLE", b"CREATE TRIGG"),
        lambda data: data[:4096] + b"\x0d" + b"\xff" * (len(data) - 4097),
    ],
    ids=["a third", "its head", "an absurd head", "no schema", "a schema of nonsense", "an absurd page"],
)
def test_damaged_files_are_refused(tmp_path: Path, change: object) -> None:
    """By the error of whoever reads it."""
    path = made(tmp_path / "a", TABLE, *["INSERT INTO run VALUES ('a', 1.5)"] * 300)
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator] # a function
    with pytest.raises((sqlite3.DatabaseError, ValueError)):
        tokens(path)


def test_a_damaged_file_is_refused_by_its_comparator(tmp_path: Path) -> None:
    """What reads it is another process, whose error becomes ours."""
    data = made(tmp_path / "a", TABLE, *["INSERT INTO run VALUES ('a', 1.5)"] * 300).read_bytes()[:5000]
    with pytest.raises(CompareError, match="not a table"):
        first_difference(io.BytesIO(data), io.BytesIO(data + b" "), "a.sqlite", CompareRule(comparator=Comparator.CONTENT))

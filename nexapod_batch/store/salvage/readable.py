"""Which rows of a damaged database can still be read, table by table.

The trees of its tables are walked from their roots; what lies below a lost page is found among the pages that nothing
leads to any more. To which table such a page belongs, `rebuild` finds out by the schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.store.migrations import MIGRATIONS
from nexapod_batch.store.salvage.file_format import (
    Record,
    free_pages,
    page_size_of,
    read_page,
    user_version_of,
    with_log,
)
from nexapod_batch.store.salvage.shapes import Root, first_roots

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Readable", "Table", "load", "read"]


class Table(Struct):
    """What can be read of one table."""

    records: list[Record] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # pages that are lost: cut off, or overwritten
    bad: int = 0  # cells of other pages that are out of order


class Readable(Struct):
    """What can be read of a database."""

    version: int  # of its schema; 0: unknown
    tables: dict[str, Table]  # empty where the list of tables is lost
    loose: list[list[Record]]  # rows of pages that nothing leads to, page by page
    pages: int

    @property
    def whole(self) -> bool:
        """Say whether no page is lost or out of order."""
        return bool(self.tables) and not any(table.lost or table.bad for table in self.tables.values())


def load(path: Path) -> bytes:
    """Return a database with what its write-ahead log holds; OSError when it cannot be read. Nothing is written."""
    data = path.read_bytes()
    try:
        log = Path(f"{path}-wal").read_bytes()
    except FileNotFoundError:
        return data
    return with_log(data, log)


def read(data: bytes) -> Readable:
    """Return what can be read of a database file; never an error: of rubbish nothing can be read."""
    size = page_size_of(data)
    found = Readable(user_version_of(data), {}, [], len(data) // size)
    seen: set[int] = set()
    schema = Table()
    _walk(data, size, 1, schema, seen)
    roots = {root.name: root for root in _roots(schema)}
    if schema.lost or schema.bad or not roots:
        found.tables["sqlite_schema"] = schema
        roots = _supposed(data, size, found.version, {root.page for root in roots.values()}) | roots
    for root in roots.values():
        table = Table()
        _walk(data, size, root.page, table, seen)
        if root.is_table:
            found.tables[root.name] = table
    if not found.whole:
        found.loose = list(_loose(data, size, seen | free_pages(data, size)))
    return found


def _roots(schema: Table) -> Iterator[Root]:
    """Yield where everything begins that has a tree, by the database's own list."""
    for record in schema.records:
        if len(record.values) != 5:
            continue
        kind, name, _, page, _ = record.values
        if kind in {"table", "index"} and isinstance(name, str) and isinstance(page, int) and page > 1:
            yield Root(name, page, is_table=kind == "table")


def _supposed(data: bytes, size: int, version: int, taken: set[int]) -> dict[str, Root]:
    """Return where trees begin that the list has lost, as far as what is there looks like it."""
    version = version if 0 < version <= len(MIGRATIONS) else len(MIGRATIONS)
    found = {}
    for root in first_roots(version):
        page = None if root.page in taken else read_page(data, size, root.page)
        if page is None or page.is_index != root.is_index:
            continue
        widths = {len(record.values) for record in page.records}
        if not root.most or all(root.least <= width <= root.most for width in widths):
            found[root.name] = root
    return found


def _walk(data: bytes, size: int, root: int, table: Table, seen: set[int]) -> None:
    """Read the tree below a page, each page of it once."""
    waiting = [root]
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        page = read_page(data, size, number)
        if page is None:
            table.lost.append(number)
            continue
        table.records.extend(page.records)
        table.bad += page.bad
        seen.update(page.overflow)
        waiting.extend(reversed(page.children))


def _loose(data: bytes, size: int, known: set[int]) -> Iterator[list[Record]]:
    """Yield the rows of each page that nothing leads to."""
    for number in range(2, len(data) // size + 1):
        if number not in known:
            page = read_page(data, size, number)
            if page is not None and page.records:
                yield list(page.records)

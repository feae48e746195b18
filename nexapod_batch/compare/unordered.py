"""Lines, rows and documents in any order: a file is the multiset of them.

Its digest is a sum of digests, modulo 2^2048: it takes no memory for the order, and whoever wants two files of one
digest would have to solve a subset sum of that size.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.named import is_part
from nexapod_batch.compare.ports import Difference
from nexapod_batch.compare.shown import printable
from nexapod_batch.errors import CompareError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.formats.reading import Reading
    from nexapod_batch.compare.numbers import Token

__all__ = ["UNORDERED", "difference", "form"]

#: Formats that are a sequence of lines, rows or documents.
UNORDERED = frozenset({"text", "free", "pdb", "csv", "json", "sqlite", "parquet"})
#: Of these, those whose rows are of tables with names: a row of one is none of another.
_OF_TABLES = frozenset({"sqlite", "parquet"})
_BYTES = 256
_OPEN, _CLOSE = frozenset((b"{", b"[")), frozenset((b"}", b"]"))
#: Records that are told apart where two files differ, and tokens of one record.
_MOST_SHOWN, _LONGEST = 200_000, 1 << 20


def _records(reading: Reading) -> Iterator[list[Token]]:
    """Yield lines, rows or documents, each as its tokens; CompareError for a format that has none."""
    if reading.format not in UNORDERED:
        raise CompareError(
            "unordered is for lines, rows and documents", got=f"a file of format {reading.format}",
            wanted="text, CSV, JSON Lines, SQLite or Parquet", hint="leave unordered out",
        )  # fmt: skip
    if reading.format in _OF_TABLES:
        yield from _rows_of_tables(reading)
        return
    ends = _documents if reading.format == "json" else _lines
    record: list[Token] = []
    depth = 0
    for batch in reading.batches:
        for token in batch:
            record.append(token)
            depth = ends(token, depth)
            if depth == 0:
                yield record
                record = []
            elif len(record) > _LONGEST:
                raise CompareError("a line is too long", got=f"more than {_LONGEST} words", wanted="shorter lines")
    if record:
        yield record


def _rows_of_tables(reading: Reading) -> Iterator[list[Token]]:
    """Yield how each table begins, and each row behind that."""
    table: list[Token] = []
    record: list[Token] = []
    for batch in reading.batches:
        for token in batch:
            if is_part(token):
                table = [token]
                yield table
            elif token == b"\n":
                yield table + record
                record = []
            else:
                record.append(token)
    if record:  # the text of a view
        yield table + record


def _lines(token: Token, depth: int) -> int:  # noqa: ARG001
    """Return 0 behind the last token of a line."""
    return 0 if token == b"\n" else 1


def _documents(token: Token, depth: int) -> int:
    """Return 0 behind the last token of a document."""
    if token in _OPEN:
        return depth + 1
    return depth - 1 if token in _CLOSE else depth


def form(reading: Reading, normal: Callable[[Token], bytes]) -> bytes:
    """Return what is the same for files with the same records, in whatever order.

    Raises CompareError for a format that has no records, and one that is too long.
    """
    total = count = 0
    for record in _records(reading):
        digest = hashlib.shake_256(b" ".join(map(normal, record))).digest(_BYTES)
        total += int.from_bytes(digest, "big")
        count += 1
    return f"unordered {count}\n".encode() + (total % (1 << 8 * _BYTES)).to_bytes(_BYTES, "big")


def difference(left: Reading, right: Reading, name: str, normal: Callable[[Token], bytes]) -> Difference | None:
    """Return a record that one file has more often than the other; None when there is none.

    Raises CompareError for a format that has no records, and one that is too long.
    """
    counts: dict[bytes, int] = {}
    shown: dict[bytes, str] = {}
    for reading, sign in ((left, 1), (right, -1)):
        for number, record in enumerate(_records(reading), 1):
            text = b" ".join(map(normal, record))
            key = hashlib.sha256(text).digest()
            counts[key] = counts.get(key, 0) + sign
            if not counts[key]:
                del counts[key]
            elif key not in shown and len(shown) < _MOST_SHOWN:
                line = printable(text.removesuffix(b" \n"))
                shown[key] = f"{number}: {line}"
    only = {sign: [key for key, count in counts.items() if count * sign > 0] for sign in (1, -1)}
    if not counts:
        return None
    sides = [shown.get(keys[0], "another line") if keys else "(no such line)" for keys in (only[1], only[-1])]
    return Difference(name=name, where="in any order, line", left=sides[0], right=sides[1])

"""PDB: lines of fixed columns, of which neighbours touch where numbers are large: `-100.123-200.4561000.789`.

Where a number stands is what its record says, as the format has it (wwPDB, version 3.3). Serial numbers, names and
charges are text; blanks around a field do not count, and neither do those at the end of a line. Lines of other records
are words between blanks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.lines import Lines, without_last_blank_lines
from nexapod_batch.compare.formats.named import text
from nexapod_batch.compare.numbers import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.blocks import Block
    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read"]

_BATCH = 1 << 14
#: Where fields begin and end; those that begin at these columns are numbers.
_ATOM = (0, 6, 11, 16, 17, 21, 22, 26, 30, 38, 46, 54, 60, 66, 76, 78)
_ATOM_NUMBERS = frozenset((30, 38, 46, 54, 60))
_ANISOU = (0, 6, 11, 16, 17, 21, 22, 26, 28, 35, 42, 49, 56, 63, 70, 76, 78)
_ROTATION = ((0, 6, 10, 20, 30, 40, 55), frozenset((10, 20, 30, 40)))
#: Record -> where its fields begin, and which of them are numbers.
_RECORDS: dict[bytes, tuple[tuple[int, ...], frozenset[int]]] = {
    b"ATOM": (_ATOM, _ATOM_NUMBERS),
    b"HETATM": (_ATOM, _ATOM_NUMBERS),
    b"CRYST1": ((0, 6, 15, 24, 33, 40, 47, 54, 66), frozenset((6, 15, 24, 33, 40, 47))),
    b"ANISOU": (_ANISOU, frozenset(_ANISOU[8:14])),
    **dict.fromkeys((b"ORIGX1", b"ORIGX2", b"ORIGX3"), _ROTATION),
    **dict.fromkeys((b"SCALE1", b"SCALE2", b"SCALE3"), _ROTATION),
    **dict.fromkeys((b"MTRIX1", b"MTRIX2", b"MTRIX3"), _ROTATION),
}  # fmt: skip


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token] | Block]]:  # noqa: ARG001
    """Return the place and the batches of a structure."""
    return Lines("line", "field", first=0), without_last_blank_lines(_batches(source))


def _batches(source: Source) -> Iterator[list[Token] | Block]:
    batch: list[Token] = []
    for line in source.lines():
        batch += _tokens(line.rstrip())
        batch.append(b"\n")
        if len(batch) > _BATCH:
            yield batch
            batch = []
    yield batch


def _tokens(line: bytes) -> Iterator[Token]:
    fields = _RECORDS.get(line[:6].rstrip())
    if fields is None:
        for word in line.split():
            yield word if value_of(word) is not None else _text(word)
        return
    begins, numbers = fields
    for begin, end in zip(begins, (*begins[1:], None), strict=True):
        cell = line[begin:end].strip()
        if begin in numbers and value_of(cell) is not None:
            yield cell
        else:
            yield _text(cell)


def _text(cell: bytes) -> Token:
    return text(cell.decode("latin-1"))

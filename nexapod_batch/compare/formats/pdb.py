"""PDB: lines of fixed columns, of which neighbours touch where numbers are large: `-100.123-200.4561000.789`.

Where a number stands is what its record says, as the format has it (wwPDB, version 3.3). Serial numbers, names and
charges are text; blanks around a field do not count, and neither do those at the end of a line. Lines of other records
are words between blanks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.compare.blocks import significant_digits
from nexapod_batch.compare.field_forms import Field, form_of_fields
from nexapod_batch.compare.formats.lines import Lines, parts_of, without_last_blank_lines
from nexapod_batch.compare.formats.named import text
from nexapod_batch.compare.numbers import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.blocks import Known, Together
    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read"]

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




def _fields(begins: tuple[int, ...], numbers: frozenset[int]) -> list[Field]:
    """Return where fields begin and end, of which those that begin at certain columns are numbers."""
    return [Field(begin, end, begin in numbers) for begin, end in zip(begins, (*begins[1:], None), strict=True)]


#: Records of which many stand below one another.
_TABLES = {name.ljust(6): _fields(*_RECORDS[name]) for name in (b"ATOM", b"HETATM", b"ANISOU")}
_NAMES = b"|".join(_TABLES)
_RUNS = re.compile(rb"((?:(?:" + _NAMES + rb")[^\n]*\n)++)|(?:(?!" + _NAMES + rb")[^\n]*\n)++")
#: Bytes; fewer are not worth loading NumPy for.
_MANY = 1 << 13
#: A line longer than this is none of a structure.
_LONGEST_LINE = 1 << 20


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token] | Together]]:  # noqa: ARG001
    """Return the place and the batches of a structure."""
    return Lines("line", "field", first=0), without_last_blank_lines(_batches(source))


def _batches(source: Source) -> Iterator[list[Token] | Together]:
    rest = b""
    for chunk in source.text_chunks():
        text = rest + chunk
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        if len(rest) > _LONGEST_LINE:
            source.refuse(f"a line of more than {_LONGEST_LINE} bytes", "a table", line=source.line_behind(chunk))
        for part in parts_of(text[:end]):
            yield from _runs(part)
    if rest:
        yield _lines(rest)


def _runs(lines: bytes) -> Iterator[list[Token] | Together]:
    """Yield whole lines, those of atoms together."""
    for run in _RUNS.finditer(lines):
        if run[1] and len(run[1]) >= _MANY:
            yield Atoms(run[1].replace(b"\r\n", b"\n")[:-1])
            yield [b"\n"]
        else:
            yield _lines(run[0][:-1])


def _lines(lines: bytes) -> list[Token]:
    """Return the tokens of lines, of which the last one has no end."""
    tokens: list[Token] = []
    for line in lines.split(b"\n"):
        tokens += _tokens(line.rstrip())
        tokens.append(b"\n")
    return tokens


class Atoms(NamedTuple):
    """Lines of atoms without the end of the last one."""

    raw: bytes

    def tokens(self) -> list[Token]:
        """Return the fields."""
        return _lines(self.raw)[:-1]

    def form(self, style: bytes, exact_integers: bool, known: Known) -> bytes | None:
        """Return the normal form; None where it must be read field by field."""

        def asked(text: bytes, start: int, end: int) -> bytes:
            cell = text[start:end]
            return known.normal(cell if value_of(cell) is not None else _text(cell))

        return form_of_fields(self.raw, _TABLES, significant_digits(style), exact_integers, asked)


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


@lru_cache(maxsize=8_192)
def _text(cell: bytes) -> Token:
    return text(cell.decode("latin-1"))

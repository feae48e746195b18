"""Places in files as data: the words of `Place` taken apart."""

from __future__ import annotations

import re

__all__ = ["place_of"]

_LINE = re.compile(r"line (?P<line>\d+)(?:, word (?P<word>\d+))?")
_ROW = re.compile(r"row (?P<row>\d+)(?:, column (?P<column>\d+))?")
_BYTE = re.compile(r"byte (?P<byte>\d+) \(line (?P<line>\d+)\)")
_INDEX = re.compile(r"(?P<part>.*), index \((?P<index>\d+(?:, \d+)*)\)", re.DOTALL)
_HDU = re.compile(r"HDU (\d+)")
_ELEMENT = re.compile(r"element (?P<index>\d+(?:, \d+)*)")


def place_of(where: str) -> dict[str, str | int | list[int]]:
    """Return a place as numbers and names: `line` and `word`, `row` and `column`, `part` and `index`, `key`, `byte`.

    Lines, words, rows and columns are counted from 1, bytes and indexes from 0. A part is an array, an attribute, a
    card or a cell of a table (`hdu`: where in FITS); a key is the path of a value in JSON. Other places are empty.
    """
    for pattern in (_BYTE, _LINE, _ROW):
        if match := pattern.fullmatch(where):
            return {name: int(number) for name, number in match.groupdict().items() if number is not None}
    for pattern in (_INDEX, _ELEMENT):
        if match := pattern.fullmatch(where):
            index: list[int] = [int(number) for number in match["index"].split(",")]
            part = match.groupdict().get("part")
            return {**_part(part), "index": index} if part else {"index": index}
    if where.startswith((".", "[", "$")):
        return {"key": where}
    return _part(where) if where not in {"", "bytes alone", "the beginning"} else {}


def _part(name: str) -> dict[str, str | int | list[int]]:
    """Return the name of a part, and in FITS the number of its HDU, which is counted from 0."""
    hdu = _HDU.match(name)
    return {"part": name} if hdu is None else {"part": name, "hdu": int(hdu[1])}

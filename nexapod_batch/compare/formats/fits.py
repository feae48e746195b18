"""FITS: cards and data of each HDU, read in one pass and without a library.

What tells when a file was written does not count (DATE, CHECKSUM, DATASUM); neither do comments behind values, nor how
a value is spelled. Images are their physical values (BZERO, BSCALE); binary tables go row by row, and what their rows
point to byte by byte.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.compare.formats.named import Parts, is_ignored, part, text
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source

__all__ = ["MAGIC", "read"]

MAGIC = b"SIMPLE  ="
_BLOCK, _CARD = 2880, 80
_MOST_CARDS = 36 * 10_000
_MOST_HDUS = 10_000
_MOST_BYTES = 1 << 46
#: Fields that are about the file, and not about what is in it.
_UNCOUNTED = frozenset({"DATE", "CHECKSUM", "DATASUM"})
#: Fields that tell how the data lie in the file, and words that are no fields.
_COMMENTARY = frozenset({"COMMENT", "HISTORY", ""})
#: BITPIX -> code of `array`, bytes
_PIXELS = {8: ("B", 1), 16: ("h", 2), 32: ("i", 4), 64: ("q", 8), -32: ("f", 4), -64: ("d", 8)}
#: letter of TFORM -> codes of `struct` for one value
_FIELDS = {
    "L": "B", "B": "B", "I": "h", "J": "i", "K": "q", "E": "f", "D": "d", "C": "ff", "M": "dd", "P": "ii", "Q": "qq",
}  # fmt: skip
_TFORM = re.compile(r"(\d{0,6})([LXBIJKAEDCMPQ])(\(?.*)")
_MOST_FIELDS = 100_000


class _Card(NamedTuple):
    """One card of a header."""

    key: str
    value: str  # as it stands: quoted, a number, T or F; of commentary its text


def read(source: Source, suffix: str) -> tuple[Parts, Iterator[Batch]]:  # noqa: ARG001
    """Return the place and the batches of all HDUs."""
    return Parts(), _batches(source)


def _batches(source: Source) -> Iterator[Batch]:
    ignored = names(source.rule.ignore) | _UNCOUNTED
    for number in range(_MOST_HDUS):
        cards = _header(source, first=number == 0)
        if cards is None:
            return
        fields = {card.key: card.value for card in cards}
        name = f"HDU {number}"
        yield list(_header_tokens(name, cards, ignored))
        yield from _data(source, name, fields)
    source.refuse(f"more than {_MOST_HDUS} HDUs", "fewer")


def _header(source: Source, *, first: bool) -> list[_Card] | None:  # noqa: RET503 - refuse raises
    """Return the cards of the next header; None at the end of the file."""
    cards: list[_Card] = []
    while len(cards) < _MOST_CARDS:
        block = source.read(_BLOCK)
        if not cards and not first and not block.strip(b"\0 "):
            return None
        if len(block) < _BLOCK:
            source.refuse("the end in a header", "END")
        for at in range(0, _BLOCK, _CARD):
            card = block[at : at + _CARD].decode("latin-1")
            if card[:8].rstrip() == "END":
                return cards
            cards.append(_card(card))
    source.refuse(f"more than {_MOST_CARDS} cards", "END")


def _card(line: str) -> _Card:
    key = line[:8].rstrip()
    if line[8:10] != "= " or key in _COMMENTARY:
        return _Card(key, line[8:].rstrip())
    value = line[10:].strip()
    if value.startswith("'"):
        match = re.match(r"'((?:[^']|'')*+)'", value)
        return _Card(key, match[0].rstrip() if match else value)
    return _Card(key, value.partition("/")[0].strip())


def _header_tokens(name: str, cards: list[_Card], ignored: frozenset[str]) -> Iterator[Token]:
    for card in cards:
        if is_ignored(ignored, card.key):
            continue
        yield part(f"{name}:{card.key}")
        if card.key in _COMMENTARY or card.value.startswith("'") or not card.value:
            yield text(card.value.strip("'").rstrip())
        else:
            yield from _value(card.value)


def _value(value: str) -> Iterator[Token]:
    """Yield a value: a number, two of a complex one, T or F."""
    for word in re.findall(r"[^\s(),]+", value):
        spelled = word.encode("latin-1").replace(b"d", b"E").replace(b"D", b"E")
        yield re.sub(rb"E(\d)", rb"E+\1", spelled)  # `1E5` is a number here


def _whole(source: Source, fields: Mapping[str, str], key: str, default: int | None = None) -> int:
    said = fields.get(key, "" if default is None else str(default))
    try:
        value = int(said)
    except ValueError:
        value = -1 if key != "BITPIX" else 0
    if (key != "BITPIX" and not 0 <= value < _MOST_BYTES) or (key == "BITPIX" and value not in _PIXELS):
        source.refuse(f"{key} = {said[:40]!r}", "a whole number as FITS has it")
    return value


def _data(source: Source, name: str, fields: Mapping[str, str]) -> Iterator[Batch]:
    """Yield the data behind a header."""
    bitpix = _whole(source, fields, "BITPIX")
    axes = _whole(source, fields, "NAXIS")
    if axes > 999:
        source.refuse(f"NAXIS = {axes}", "at most 999")
    shape = [_whole(source, fields, f"NAXIS{axis}") for axis in range(axes, 0, -1)]
    code, width = _PIXELS[bitpix]
    extra = _whole(source, fields, "PCOUNT", 0)
    size = prod(shape) * width if axes else 0
    if size + extra >= _MOST_BYTES or _whole(source, fields, "GCOUNT", 1) != 1:
        source.refuse(f"{size + extra} bytes of data", f"less than {_MOST_BYTES}, in one group")
    if fields.get("GROUPS", "") == "T":
        source.refuse("random groups", "an image or a table")
    kind = fields.get("XTENSION", "").strip("' ")
    if kind == "BINTABLE" and len(shape) == 2:
        yield from _table(source, name, fields, shape[0], shape[1])
    elif size:
        yield [part(f"{name}, pixel", shape)]
        yield from _pixels(source, code, width, size, _scaling(source, fields))
    if kind == "BINTABLE" and extra:
        yield [part(f"{name}, heap")]
        yield from _pixels(source, "B", 1, extra, (0.0, 1.0))
    padding = -(size + extra) % _BLOCK
    if len(source.read(padding)) != padding:
        source.refuse("the end behind the data", "whole blocks")


def _scaling(source: Source, fields: Mapping[str, str]) -> tuple[float, float]:
    zero, scale = fields.get("BZERO", "0"), fields.get("BSCALE", "1")
    try:
        return float(zero.replace("D", "E")), float(scale.replace("D", "E"))
    except ValueError:
        source.refuse(f"BZERO = {fields.get('BZERO')!r}, BSCALE = {fields.get('BSCALE')!r}", "numbers")


def _pixels(source: Source, code: str, width: int, size: int, scaling: tuple[float, float]) -> Iterator[Batch]:
    zero, scale = scaling
    while size:
        data = source.read(min(size, CHUNK))
        if len(data) != min(size, CHUNK):
            source.refuse("the end in the data", f"{size} bytes more")
        size -= len(data)
        values = array(code, data)
        if width > 1 and sys.byteorder == "little":
            values.byteswap()
        if scale != 1.0:
            yield array("d", [zero + scale * value for value in values])
        elif zero and code not in "fd":
            yield [value + int(zero) for value in values] if zero == int(zero) else [value + zero for value in values]
        else:
            yield values


def _table(source: Source, name: str, fields: Mapping[str, str], rows: int, width: int) -> Iterator[Batch]:
    """Yield the cells of a binary table, row by row."""
    columns = _whole(source, fields, "TFIELDS")
    if columns > _MOST_FIELDS:
        source.refuse(f"TFIELDS = {columns}", f"at most {_MOST_FIELDS}")
    code, texts = _row_code(source, fields, columns)
    decoder = struct.Struct(code)
    if decoder.size != width or not width:
        source.refuse(f"rows of {width} bytes", f"{decoder.size}, as TFORM has it")
    yield [part(f"{name}, cell", [rows, len(texts)])]
    step = max(1, CHUNK // max(width, len(texts)))  # some values take no bytes
    for start in range(0, rows, step):
        wanted = min(step, rows - start) * width
        data = source.read(wanted)
        if len(data) != wanted:
            source.refuse("the end in a table", f"{rows} rows")
        tokens: list[Token] = []
        for row in decoder.iter_unpack(data):
            tokens += [_cell(value, is_text) for value, is_text in zip(row, texts, strict=True)]
        yield tokens


def _cell(value: Token, is_text: bool) -> Token:
    if isinstance(value, bytes):
        return text(value.decode("latin-1").rstrip("\0 ") if is_text else value.hex())
    return value


def _row_code(source: Source, fields: Mapping[str, str], columns: int) -> tuple[str, list[bool]]:
    """Return the `struct` code of a row, and which of its values are text."""
    code, texts = [">"], []
    for number in range(1, columns + 1):
        said = fields.get(f"TFORM{number}", "").strip("' ")
        match = _TFORM.fullmatch(said)
        if match is None:
            source.refuse(f"TFORM{number} = {said[:40]!r}", "a format of binary tables")
        repeat, letter = int(match[1] or 1), match[2]
        if letter in "AX":
            size = repeat if letter == "A" else -(-repeat // 8)
            code.append(f"{size}s")
            texts.append(letter == "A")
        else:
            code.append(_FIELDS[letter] * repeat)
            texts += [False] * (repeat * len(_FIELDS[letter]))
        if len(texts) > _MOST_FIELDS:
            source.refuse("a row of too many values", f"at most {_MOST_FIELDS}")
    return "".join(code), texts

"""Lines of numbers alone, read and rounded together: the fast way for large tables, which decides nothing by itself.

A block is made only of what the slow way would read in the same way, word by word: numbers with a point, spelled as
JSON has them, one or more blanks between them. `rounded` gives the very bytes that rounding word by word gives; a
property test holds both to it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token

__all__ = ["Block", "block_of", "rounded"]

_WORDS = b"0123456789+-.eE"
#: Every character of a word as an x.
_MASK = bytes.maketrans(_WORDS, b"x" * len(_WORDS))
#: What could be a number that a double holds as 0 alone.
_MAY_UNDERFLOW = re.compile(rb"[eE]-[0-9]{3}|[0-9]{90}")
_BETWEEN = bytes.maketrans(b" \n", b",,")
#: Digits up to which a product of doubles tells on which side of a border a number lies, but for those next to one.
_SURE_DIGITS = 11
_NEXT_TO = 1e-3
#: Numbers of fewer than this are not worth loading NumPy for.
_MANY = 4_096
_LOW, _HIGH = 1e-290, 1e290


class Block:
    """Lines of numbers, without the end of the last one."""

    __slots__ = ("_tokens", "raw", "shape", "values")

    def __init__(self, raw: bytes, values: list[float], shape: bytes, tokens: Callable[[bytes], list[Token]]) -> None:
        """Take the text, its numbers, its tokens with `#` for each number, and what reads them word by word."""
        self.raw, self.values, self.shape = raw, values, shape
        self._tokens = tokens

    def tokens(self) -> list[Token]:
        """Return the words."""
        return self._tokens(self.raw)


def block_of(lines: bytes, tokens: Callable[[bytes], list[Token]]) -> Block | None:
    """Return whole lines, without the end of the last one, as a block; None where they must be read word by word.

    `tokens` reads lines word by word.
    """
    between = lines.translate(None, _WORDS)
    if between.strip(b" \n") or not lines.strip():
        return None
    plain = not (b"  " in lines or b"\n " in lines or b" \n" in lines or lines[:1] in b" \n" or lines[-1:] == b" ")
    numbers = lines.translate(_BETWEEN) if plain else b",".join(lines.split())
    try:
        values = orjson.loads(b"[%b]" % numbers)
    except orjson.JSONDecodeError:
        return None
    if lines.count(b".") != len(values):
        return None  # a whole number, which is exact
    if 0.0 in values and _MAY_UNDERFLOW.search(lines):
        return None
    if plain:
        return Block(lines, values, between.replace(b" ", b"# ").replace(b"\n", b"# \n ") + b"# ", tokens)
    return Block(lines, values, _shape(lines, tokens), tokens)


def _shape(lines: bytes, tokens: Callable[[bytes], list[Token]]) -> bytes:
    """Return the shape of lines with gaps: most have that of an earlier one."""
    known: dict[bytes, bytes] = {}
    parts = []
    for line in lines.translate(_MASK).split(b"\n"):
        shape = known.get(line)
        if shape is None:
            words = [word for word in tokens(line) if isinstance(word, bytes)]  # all are
            shape = known[line] = b"".join(b"# " if word[:1] == b"x" else word + b" " for word in words)
        parts.append(shape)
    return b"\n ".join(parts)


def rounded(block: Block, style: bytes, zero: bytes) -> bytes:
    """Return the normal form of a block: each number by printf's style, and a blank behind each token."""
    digits = _significant(style)
    many = len(block.values) >= _MANY and b":" not in block.shape
    if 0 < digits <= _SURE_DIGITS and many and (numpy := _numpy()) is not None:
        return _by_numpy(numpy, block, style, digits)
    text = block.shape.replace(b"#", style) % tuple(block.values)
    return text.replace(b"-" + zero + b" ", zero + b" ")


def _significant(style: bytes) -> int:
    """Return how many digits a style such as `%.7e` keeps; 0 for another one."""
    return int(style[2:-1]) + 1 if style[-1:] == b"e" else 0


@cache
def _numpy() -> Any | None:  # noqa: ANN401 - a module that may be missing
    try:
        import numpy as np  # noqa: PLC0415 - it takes long to load, and may be missing
    except ImportError:
        return None
    return np


@cache
def _powers() -> Any:  # noqa: ANN401 - an array of NumPy
    """Return 10^-330 to 10^330, zero and infinity where doubles end."""
    return _numpy().array([float(f"1e{exponent}") for exponent in range(-330, 331)])  # type: ignore[union-attr]


def _by_numpy(np: Any, block: Block, style: bytes, digits: int) -> bytes:  # noqa: ANN401
    """Return the normal form, with what lies next to a border of rounding done one by one."""
    values = np.array(block.values)
    size = np.abs(values)
    usual = (size > _LOW) & (size < _HIGH)
    size[~usual] = 1.0
    exponent = np.floor(np.log10(size)).astype(np.int64)
    scaled = size * _powers()[digits - 1 - exponent + 330]
    whole = np.rint(scaled)
    usual &= (np.abs(scaled - np.floor(scaled) - 0.5) > _NEXT_TO) & (whole >= 10 ** (digits - 1)) & (whole < 10**digits)
    width = digits + 12
    cells = np.zeros((width, len(values)), np.uint8)  # a row for each character: those are written at once
    kind = np.uint32 if digits < 10 else np.int64
    _write(np, cells, values < 0, whole.astype(kind), exponent, digits)
    for at in np.flatnonzero(~usual).tolist():
        text = style % block.values[at]
        if not text.strip(b"-0.e+"):
            text = text.removeprefix(b"-")
        cells[: width - 3, at] = 0
        cells[: len(text), at] = np.frombuffer(text, np.uint8)
    ends = np.frombuffer(block.shape.replace(b"# \n ", b"\n").replace(b"# ", b"#"), np.uint8) == ord("\n")
    cells[width - 3] = ord(" ")
    cells[width - 2] = np.where(ends, ord("\n"), 0)
    cells[width - 1] = np.where(ends, ord(" "), 0)
    return bytes(np.ascontiguousarray(cells.T).tobytes().translate(None, b"\0"))


def _write(np: Any, cells: Any, negative: Any, whole: Any, exponent: Any, digits: int) -> None:  # noqa: ANN401
    """Write numbers as `-d.ddde+dd` into rows of cells; a cell that is 0 is left out later."""
    cells[0] = np.where(negative, ord("-"), 0)
    rest = whole
    for column in range(digits + 1, 2, -1):
        less = rest // 10
        cells[column] = rest - less * 10 + ord("0")
        rest = less
    cells[1] = rest + ord("0")
    if digits > 1:
        cells[2] = ord(".")
    behind = digits + 2
    cells[behind] = ord("e")
    cells[behind + 1] = np.where(exponent < 0, ord("-"), ord("+"))
    size = np.abs(exponent).astype(np.uint16)
    cells[behind + 2] = np.where(size > 99, size // 100 + ord("0"), 0)
    cells[behind + 3] = size // 10 % 10 + ord("0")
    cells[behind + 4] = size % 10 + ord("0")

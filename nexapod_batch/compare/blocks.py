"""Whole lines of a table, read and rounded together: the fast way for large ones, which decides nothing by itself.

`rounded` gives the very bytes that rounding word by word gives; a property test holds it to that. With NumPy it takes
nearly every line of a table (`block_forms`), without it lines of numbers alone.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

from nexapod_batch.compare.block_forms import form_of
from nexapod_batch.compare.word_arrays import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token

__all__ = ["Block", "Known", "Layout", "Together", "by_arrays", "by_printf", "rounded", "significant_digits"]

_WORDS = b"0123456789+-.eE"
#: Bytes; fewer are not worth loading NumPy for, and fewer of a large file not worth calling it.
_MANY, _SOME = 1 << 15, 1 << 12
#: Every character of a word as an x.
_MASK = bytes.maketrans(_WORDS, b"x" * len(_WORDS))
#: What could be a number that a double holds as 0 alone.
_MAY_UNDERFLOW = re.compile(rb"[eE]-[0-9]{3}|[0-9]{90}")
_BETWEEN = bytes.maketrans(b" \n", b",,")
#: Normal forms that are remembered, and bytes of the longest word of which one is.
_MOST_KNOWN, _LONGEST_KNOWN = 8_192, 64
#: Bytes before a cell that say how it is read.
_BEFORE_CELL = 2


class Together(Protocol):
    """A piece of a file whose tokens may be rounded together."""

    def tokens(self) -> list[Token]:
        """Return the tokens; CompareError for what is not of the format."""
        ...

    def form(self, style: bytes, exact_integers: bool, known: Known) -> bytes | None:
        """Return the normal form, a blank behind each token; None where it must be read token by token.

        `style` is printf's for numbers, and `known` has the normal forms of words.
        """
        ...


class Block(NamedTuple):
    """Whole lines, without the end of the last one."""

    raw: bytes
    layout: Layout
    read: Callable[[bytes], list[Token]]  # returns the tokens of such lines
    word: Callable[[bytes, int, int], Token]  # returns one: a text, and where in it the word begins and ends
    of_many: bool = False  # whether it is one of those into which a large piece was cut

    def tokens(self) -> list[Token]:
        """Return the words."""
        return self.read(self.raw)

    def form(self, style: bytes, exact_integers: bool, known: Known) -> bytes | None:
        """Return the normal form; None where it must be read word by word."""
        return rounded(self, style, exact_integers, known)


class Known:
    """Normal forms of words that came before: most words that are no plain numbers come again and again."""

    def __init__(self, normal: Callable[[Token], bytes]) -> None:
        """Take what returns the normal form of a token."""
        self.normal = normal
        self._forms: dict[bytes, bytes] = {}

    def form(self, block: Block, text: bytes, start: int, end: int) -> bytes:
        """Return the normal form of a word of a block, which stands in a text."""
        spelled = text[start - _BEFORE_CELL if block.layout.cells else start : end]
        form = self._forms.get(spelled)
        if form is None:
            form = self.normal(block.word(text, start, end))
            if len(spelled) <= _LONGEST_KNOWN:
                if len(self._forms) >= _MOST_KNOWN:
                    self._forms.clear()
                self._forms[spelled] = form
        return form


def rounded(block: Block, style: bytes, exact_integers: bool, known: Known) -> bytes | None:
    """Return the normal form of a block, a blank behind each token; None where it must be read word by word.

    `style` is printf's for numbers, and `known` has the normal forms of words.
    """
    if len(block.raw) >= (_SOME if block.of_many else _MANY):
        form = by_arrays(block, style, exact_integers, known)
        if form is not None:
            return form
    if block.layout.cells:
        return None
    return by_printf(block, style)


def by_arrays(block: Block, style: bytes, exact_integers: bool, known: Known) -> bytes | None:
    """Return what `rounded` returns, by NumPy; None without it, and for a style of decimal places."""
    digits = significant_digits(style)
    if not digits:
        return None
    return form_of(block.raw, block.layout, digits, exact_integers, partial(known.form, block))


def significant_digits(style: bytes) -> int:
    """Return how many digits a style such as `%.7e` keeps; 0 for another one."""
    return int(style[2:-1]) + 1 if style[-1:] == b"e" else 0


def by_printf(block: Block, style: bytes) -> bytes | None:
    """Return what `rounded` returns for lines that hold numbers with a point alone, and blanks; None for others."""
    lines = block.raw
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
    shape = between.replace(b" ", b"# ").replace(b"\n", b"# \n ") + b"# " if plain else _shape(block)
    zero = style % 0.0
    return (shape.replace(b"#", style) % tuple(values)).replace(b"-" + zero + b" ", zero + b" ")


def _shape(block: Block) -> bytes:
    """Return the tokens of lines with gaps, with `#` for each number: most lines have the shape of an earlier one."""
    known: dict[bytes, bytes] = {}
    parts = []
    for line in block.raw.translate(_MASK).split(b"\n"):
        shape = known.get(line)
        if shape is None:
            words = [word for word in block.read(line) if isinstance(word, bytes)]  # all are
            shape = known[line] = b"".join(b"# " if word[:1] == b"x" else word + b" " for word in words)
        parts.append(shape)
    return b"\n ".join(parts)

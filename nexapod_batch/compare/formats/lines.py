"""Places in files of rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.blocks import Together
    from nexapod_batch.compare.numbers import Batch, Lent, Token

__all__ = ["Lines", "is_position", "parts_of", "without_last_blank_lines"]

#: Bytes of lines that are looked at together: what is made of them stays in the processor's cache.
_TOGETHER = 1 << 17


class Lines:
    """A place in rows and columns, as `line 3, word 2`."""

    def __init__(self, row: str, column: str, *, first: int = 1) -> None:
        """Start in the first row, in a column before which nothing else is counted; a format has its own names."""
        self._names = (row, column)
        self._row, self._column = 1, first

    def passed(self, batch: Batch | Lent) -> None:
        """Move behind these tokens."""
        for token in batch:
            if token == b"\n":
                self._row, self._column = self._row + 1, 1
            elif not is_position(token):
                self._column += 1

    def __str__(self) -> str:
        """Return row and column."""
        return f"{self._names[0]} {self._row}, {self._names[1]} {self._column}"


def is_position(token: Token) -> bool:
    """Say whether a token of a text table is no word, but tells where the word before it stands: `:12`."""
    return isinstance(token, bytes) and token[:1] == b":" and len(token) > 1


def parts_of(text: bytes) -> Iterator[bytes]:
    """Yield whole lines in parts of a size that is read fast."""
    begin = 0
    while begin < len(text):
        end = text.find(b"\n", begin + _TOGETHER) + 1 or len(text)
        yield text[begin:end]
        begin = end


def without_last_blank_lines(batches: Iterator[list[Token] | Together]) -> Iterator[list[Token] | Together]:
    """Keep back line ends until something follows, and yield one for all at the end."""
    held = 0
    for batch in batches:
        if not isinstance(batch, list):
            yield [b"\n"] * held
            yield batch
            held = 0
            continue
        end = len(batch)
        while end and batch[end - 1] == b"\n":
            end -= 1
        if end:
            between: list[Token] = [b"\n"] * held
            yield between + batch[:end]
            held = 0
        held += len(batch) - end
    if held:
        yield [b"\n"]

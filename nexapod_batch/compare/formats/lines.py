"""Places in files of rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexapod_batch.compare.numbers import Batch, Token

__all__ = ["Lines", "is_position"]


class Lines:
    """A place in rows and columns, as `line 3, word 2`."""

    def __init__(self, row: str, column: str, *, first: int = 1) -> None:
        """Start in the first row, in a column before which nothing else is counted; a format has its own names."""
        self._names = (row, column)
        self._row, self._column = 1, first

    def passed(self, batch: Batch) -> None:
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

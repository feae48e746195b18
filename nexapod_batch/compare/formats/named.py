"""Files of named parts (arrays, tables, images, attributes): how a part begins, and what a place in one is called.

A part begins with one token, `@` and JSON: its name, its shape where it has one, and what else must be the same. Values
follow in C order, or with `fortran` in the other one. Text among them is quoted as JSON, so that no value is taken for
the beginning of a part.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.compare.numbers import Batch, Lent, Token

__all__ = ["Parts", "Rows", "is_ignored", "is_part", "part", "shown", "text"]


def part(name: str, shape: Sequence[int] | None = None, **more: object) -> Token:
    """Return the token with which a part begins."""
    document: dict[str, object] = {"name": name, **more}
    if shape is not None:
        document["shape"] = [int(size) for size in shape]
    return b"@" + json.dumps(document).encode()


def text(value: str) -> Token:
    """Return a text as a token that is no number."""
    return json.dumps(value).encode()


def shown(token: Token) -> str | None:
    """Return the beginning of a part in words, as `pressure, shape [3, 4]`; None for any other token."""
    if not isinstance(token, bytes) or not is_part(token):
        return None
    document = json.loads(token[1:])
    words = [str(document.pop("name"))]
    document.pop("fortran", None)
    words += [f"{key} {value}" for key, value in sorted(document.items()) if value not in ([], None)]
    return ", ".join(words)


def is_part(token: Token) -> bool:
    """Say whether a token of a file of named parts is the beginning of one."""
    return isinstance(token, bytes) and token[:1] == b"@"


def is_ignored(ignored: frozenset[str], *names: str) -> bool:
    """Say whether a part has, among its names, one that does not count."""
    return not ignored.isdisjoint(names)


class Parts:
    """A place in a part, as `temperature, index (3, 4)`."""

    def __init__(self) -> None:
        """Start before the first part."""
        self._name, self._count = "", 0
        self._shape: list[int] = []
        self._step = -1  # along the axes, beginning with the one whose index changes from value to value

    def passed(self, batch: Batch | Lent) -> None:
        """Move behind these tokens."""
        if not isinstance(batch, list):
            self._count += len(batch)
            return
        for token in batch:
            if isinstance(token, bytes) and is_part(token):
                begun = json.loads(token[1:])
                self._name, self._shape, self._count = str(begun["name"]), begun.get("shape", []), 0
                self._step = 1 if begun.get("fortran") else -1
            else:
                self._count += 1

    def __str__(self) -> str:
        """Return the name of the part, and the index in it where it has several values."""
        if not self._name:
            return "the beginning"
        if self._count >= max(1, prod(self._shape)):
            return f"behind {self._name}"
        if not self._shape or self._shape == [1]:
            return self._name
        index, rest = [], self._count
        for size in self._shape[:: self._step]:
            rest, at = divmod(rest, max(1, size))
            index.append(at)
        return f"{self._name}, index ({', '.join(map(str, index[:: self._step]))})"


class Rows:
    """A place in a table of a file that has several, as `energies:value, row 3`."""

    def __init__(self) -> None:
        """Start before the first table."""
        self._name, self._row, self._column = "", 1, 0
        self._columns: list[str] = []

    def passed(self, batch: Batch | Lent) -> None:
        """Move behind these tokens."""
        for token in batch:
            if isinstance(token, bytes) and is_part(token):
                begun = json.loads(token[1:])
                self._name, self._columns = str(begun["name"]), begun.get("columns", [])
                self._row, self._column = 1, 0
            elif token == b"\n":
                self._row, self._column = self._row + 1, 0
            else:
                self._column += 1

    def __str__(self) -> str:
        """Return the table with the column, and the row."""
        if not self._name:
            return "the beginning"
        if not self._columns:
            return self._name
        column = f":{self._columns[self._column]}" if self._column < len(self._columns) else ""
        return f"{self._name}{column}, row {self._row}"

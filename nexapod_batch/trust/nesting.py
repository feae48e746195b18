"""Parsing JSON that others wrote: its depth is bounded before any of it is parsed, and none of it is shown unbounded.

A parser refuses only what is too deep for itself. What is a little less deep is parsed, and then ends the first piece
of Python that goes through it: `repr`, a comparison, another parser.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson

__all__ = ["MAX_DEPTH", "depth_within", "loads", "quoted"]

#: Deepest nesting that is parsed. Nothing of ours has more than ten levels.
MAX_DEPTH = 64

_OPENING = (b"[", b"{")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ROUND = bytes.maketrans(b"{}", b"[]")


def loads(data: bytes) -> Any:  # noqa: ANN401 - whatever JSON spells
    """Return the value of a JSON text; ValueError for anything else, and for one that is nested too deeply."""
    if not depth_within(data):
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return orjson.loads(data)


def depth_within(data: bytes, max_depth: int = MAX_DEPTH) -> bool:
    """Say whether the values of a JSON text lie at most so deep in each other; for other texts the answer is any."""
    if data.count(b"[") + data.count(b"{") <= max_depth:  # nearly always
        return True
    left = _strings().sub(b"", data).translate(_ROUND, _NOT_BRACKETS)
    for _ in range(max_depth):  # each round takes the innermost pairs away
        shorter = left.replace(b"[]", b"")
        if len(shorter) == len(left):
            break
        left = shorter
    return not left


@cache
def _strings() -> re.Pattern[bytes]:
    """Return what matches a string, also one that never ends: each byte is looked at once."""
    return re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def quoted(value: object, max_length: int = 80) -> str:
    """Return a value that others chose as a person may see it: at most `most` characters of plain ASCII."""
    if isinstance(value, str | bytes):
        shown = ascii(value[: max_length + 1])
    elif value is None or isinstance(value, bool | float):
        shown = str(value)
    elif isinstance(value, int):
        shown = str(value) if value.bit_length() < 256 else f"a number of {value.bit_length()} bits"
    else:
        shown = f"a value of type {type(value).__name__}"[:max_length]
    if len(shown) <= max_length:
        return shown
    return f"{shown[: max_length - 3]}..."

"""The parameters of a task, read from the array of a job's document: listings need no nouns for that."""

from __future__ import annotations

from math import prod
from typing import Any

__all__ = ["matches", "parameters"]


def parameters(array: dict[str, Any] | None, index: int) -> dict[str, str]:
    """Return the named values of one task, as `Array.parameters` does; empty for ids and where there is no array."""
    if not array:
        return {}
    if array["values"]:
        if index < len(array["values"]):
            return dict(array["values"][index])
        return {}
    matrix = array["matrix"]
    if index >= prod(len(values) for _, values in matrix):
        return {}
    found: dict[str, str] = {}
    for name, values in reversed(matrix):
        index, position = divmod(index, len(values))
        found[name] = values[position]
    return {name: found[name] for name, _ in matrix}


def matches(values: dict[str, str], wanted: tuple[tuple[str, str], ...]) -> bool:
    """Say whether a task has all wanted values; numbers are equal however they are written (300, 300.0, 3e2)."""
    return all(name in values and _same(values[name], value) for name, value in wanted)


def _same(left: str, right: str) -> bool:
    if left == right:
        return True
    try:
        return float(left) == float(right)
    except ValueError:
        return False

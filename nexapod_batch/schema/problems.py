"""The faults of one file, collected; and values as messages show them. Nothing here raises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import Problem
from nexapod_batch.schema.literal import Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["BAD", "MAX_UNKNOWN", "REQUIRED", "Report", "Value", "nearest", "show", "show_name"]

Value = Any  # whatever TOML can hold


class _Sentinel:
    def __init__(self, name: str) -> None:
        self.name = name


#: Stands where a value was refused; the fault was reported.
BAD: Value = _Sentinel("BAD")
#: The default of a key that must be there.
REQUIRED: Value = _Sentinel("REQUIRED")


#: Unknown keys of one table that are told one by one, each with the one that is nearest; the rest is counted.
MAX_UNKNOWN = 20


class Report:
    """Collects the faults of one file."""

    def __init__(self, line_of: Callable[[str], int | None] = lambda _: None) -> None:
        """Keep how the line of a key path is found; it is asked only for faults."""
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._line_of = line_of

    def add(self, path: str, what: str, *, got: object = None, wanted: str = "", hint: str = "") -> Value:
        """Keep one fault, and return BAD. `got` is the offending value itself."""
        parts = [f"got {show(got)}"] if got is not None else []
        parts += [f"wanted {wanted}"] if wanted else []
        message = ": ".join(filter(None, (what, ", ".join(parts)))) + (f" ({hint})" if hint else "")
        self.problems.append(Problem(path, message, self._line_of(path)))
        return BAD


def show(value: object) -> str:
    """Return a value as a message shows it: short, on one line, and never failing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Literal):
        return value.text[:60]
    if isinstance(value, int):
        if value.bit_length() < 200:
            return str(value)
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if type(value).__module__ == "datetime":
        return f"{type(value).__name__} {value}"
    return str(value)


def show_name(name: str) -> str:
    """Return a key as TOML writes it, shortened."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name, re.ASCII):
        return name
    return show(name)


def nearest(value: object, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?`, or nothing when no known word is close."""
    if not isinstance(value, str) or len(value) > 60:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415 - only when something is wrong

    found = get_close_matches(value.lower(), list(known), 1)
    if found:
        return f"did you mean {found[0]!r}?"
    return ""

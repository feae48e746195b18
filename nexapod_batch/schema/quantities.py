"""Kinds of values with a unit: durations and sizes, as a number or as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.schema import units

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.schema.problems import Report, Value

__all__ = ["Duration", "Size"]


class _Unit:
    """A number or text with a unit, between two bounds in the settled unit."""

    words: str
    pattern: str
    read: Callable[[int | str], int]
    print: Callable[[int], str]

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the settled whole number."""
        if isinstance(value, bool) or not isinstance(value, int | str):
            hint = "put it in quotes" if type(value).__module__ == "datetime" else ""
            return report.add(path, "wrong type", got=value, wanted=self.words, hint=hint)
        if isinstance(value, int) and not 0 <= value <= 10**12:
            return report.add(path, "out of range", got=value, wanted=self.describe())
        try:
            settled = type(self).read(value)
        except ValueError as cause:
            return report.add(path, str(cause), got=value, wanted=self.words)
        if not self.low <= settled <= self.high:
            return report.add(path, "out of range", got=value, wanted=self.describe())
        return settled

    def schema(self) -> dict[str, Any]:
        """Return a schema for the number or the text."""
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^(?:{self.pattern})$"}]}

    def describe(self) -> str:
        """Return words and bounds."""
        return f"{self.words}; from {type(self).print(self.low)} to {type(self).print(self.high)}"


class Duration(_Unit):
    """A duration, settled as whole seconds."""

    words = 'minutes, or "D-HH:MM:SS", "1h30m"'
    pattern = units.DURATION
    read = staticmethod(units.duration)
    print = staticmethod(units.show_duration)


class Size(_Unit):
    """A size, settled as whole MiB."""

    words = 'MiB, or "4G", "512MiB"'
    pattern = units.SIZE
    read = staticmethod(units.size)
    print = staticmethod(units.show_size)

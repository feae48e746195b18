"""Kinds of values that people may write short: a job by its number or name, a table by its first key alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.schema.kinds import Text, Whole

if TYPE_CHECKING:
    from nexapod_batch.schema.kinds import Report, Schema, Table, Value

__all__ = ["JobName", "OrShort"]


class JobName:
    """A job: a whole number, or a text that is one, or a name."""

    def __init__(self, highest: int) -> None:
        """Keep the largest number."""
        self._number, self._name = Whole(1, highest), Text("the number or the name of a job", max_length=128)

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the number or the text."""
        return (self._name if isinstance(value, str) else self._number).check(value, path, report)

    def schema(self) -> Schema:
        """Return a schema of both."""
        return {"anyOf": [self._number.schema(), self._name.schema()]}

    def describe(self) -> str:
        """Return both in words."""
        return f"{self._number.describe()}, or the name of a job"


class OrShort:
    """A table; what is no table stands for one that has this under `key`, and nothing else."""

    def __init__(self, table: Table, key: str) -> None:
        """Keep the table and the key that a value alone means."""
        self._table, self._key = table, key

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the table, spelled out."""
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            value = {self._key: value}
        return self._table.check(value, path, report)

    def schema(self) -> Schema:
        """Return a schema of both."""
        return {"anyOf": [self._table.keys[self._key].kind.schema(), self._table.schema()]}

    def describe(self) -> str:
        """Return both in words."""
        return f"{self._table.keys[self._key].kind.describe()}, or {self._table.describe()}"

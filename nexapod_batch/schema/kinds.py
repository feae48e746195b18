"""What a TOML file may hold, said once: kinds of values, and tables of keys.

From one `Table` come the check of a document (`check`), its JSON Schema (`schema`) and the words for people
(`describe`). This is done by hand because a descriptor is checked in one millisecond this way, while importing a
validation library costs more than everything else that `submit` does.

Guarantees: `check` never raises, whatever the document holds; it reports every fault to the `Report` and returns BAD
in the place of what cannot be used.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from nexapod_batch.schema.literal import Literal
from nexapod_batch.schema.problems import BAD, MAX_UNKNOWN, REQUIRED, Report, Value, nearest, show, show_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BAD",
    "REQUIRED",
    "Choice",
    "Flag",
    "FlagBefore",
    "Key",
    "Kind",
    "ListOf",
    "MapOf",
    "Number",
    "Report",
    "Scalar",
    "Schema",
    "Table",
    "Text",
    "Value",
    "Whole",
    "nearest",
    "show",
]

Schema = dict[str, Any]


class Kind(Protocol):
    """One kind of value."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the value in its settled form, or BAD."""
        ...

    def schema(self) -> Schema:
        """Return the JSON Schema of the value."""
        ...

    def describe(self) -> str:
        """Return the kind in a few words."""
        ...


class Text:
    """A string; `pattern` must match all of it. Never NUL, control characters only where `multiline`."""

    def __init__(
        self,
        words: str = "text",
        *,
        pattern: str = "",
        max_length: int = 4_096,
        min_length: int = 1,
        multiline: bool = False,
    ) -> None:
        """Keep the bounds; `words` say what is wanted."""
        self.words, self.pattern = words, pattern
        self.min_length, self.max_length, self.multiline = min_length, max_length, multiline

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the string."""
        if not isinstance(value, str):
            return report.add(path, "wrong type", got=value, wanted=f"{self.words} in quotes")
        if not self.min_length <= len(value) <= self.max_length:
            bounds = f"{self.words} of {self.min_length} to {self.max_length} characters"
            return report.add(path, f"{len(value)} characters", wanted=bounds)
        if "\0" in value or (not self.multiline and not value.isprintable()):
            return report.add(path, "unprintable character", got=value, wanted=self.words)
        if any("\ud800" <= char <= "\udfff" for char in value):
            return report.add(path, "not valid UTF-8", got=value, wanted=self.words)
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            return report.add(path, "not accepted", got=value, wanted=self.words)
        return value

    def schema(self) -> Schema:
        """Return a string schema."""
        found: Schema = {"type": "string", "minLength": self.min_length, "maxLength": self.max_length}
        return found | ({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})

    def describe(self) -> str:
        """Return the words."""
        return self.words


class Choice:
    """One of a few words."""

    def __init__(self, choices: Iterable[str]) -> None:
        """Keep the words in their order."""
        self.choices = tuple(str(choice) for choice in choices)

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the word."""
        if isinstance(value, str) and value in self.choices:
            return value
        return report.add(path, "not accepted", got=value, wanted=self.describe(), hint=nearest(value, self.choices))

    def schema(self) -> Schema:
        """Return an enum schema."""
        return {"enum": list(self.choices)}

    def describe(self) -> str:
        """Return the words joined."""
        return "one of " + ", ".join(self.choices)


class FlagBefore(Choice):
    """One of a few words that was true or false once: `false` means the first, `true` the second."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the word."""
        return super().check(self.choices[value] if isinstance(value, bool) else value, path, report)


class Whole:
    """A whole number between two bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        """Keep the bounds."""
        self.low, self.high = low, high

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the number."""
        if isinstance(value, bool) or not isinstance(value, int):
            return report.add(path, "wrong type", got=value, wanted=self.describe())
        if not self.low <= value <= self.high:
            return report.add(path, "out of range", got=value, wanted=self.describe())
        return value

    def schema(self) -> Schema:
        """Return an integer schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def describe(self) -> str:
        """Return the bounds in words."""
        if self.low == self.high:
            return f"the number {self.low}"
        return f"a whole number from {self.low} to {self.high}"


class Number:
    """A finite number that is not negative."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the number as a plain float."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return report.add(path, "wrong type", got=value, wanted=self.describe())
        if not 0 <= value <= 1e308:  # also refuses nan and inf
            return report.add(path, "out of range", got=value, wanted=self.describe())
        return float(value) + 0.0  # + 0.0: no -0.0

    def schema(self) -> Schema:
        """Return a number schema."""
        return {"type": "number", "minimum": 0}

    def describe(self) -> str:
        """Return the words."""
        return "a number, 0 or more"


class Flag:
    """True or false."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the boolean."""
        return value if isinstance(value, bool) else report.add(path, "wrong type", got=value, wanted="true or false")

    def schema(self) -> Schema:
        """Return a boolean schema."""
        return {"type": "boolean"}

    def describe(self) -> str:
        """Return the words."""
        return "true or false"


class Scalar:
    """A string, number or boolean, settled as the text it was written with."""

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the text."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, Literal):
            return value.text
        if isinstance(value, int) and value.bit_length() <= 64:
            return str(value)
        if isinstance(value, str):
            return Text("a string without NUL", min_length=0, multiline=True).check(value, path, report)
        return report.add(path, "wrong type", got=value, wanted=self.describe())

    def schema(self) -> Schema:
        """Return a schema for the three types."""
        return {"type": ["string", "number", "boolean"]}

    def describe(self) -> str:
        """Return the words."""
        return "text, a number, or true or false"


#: Words of a text that are shown as a list.
_WORDS = 8


def _as_list(text: str) -> str:
    """Return the words of a text as a list in TOML, the first few of many: what was meant by it, most likely."""
    words = text.split()
    listed = [show(word) for word in words[:_WORDS]]
    if len(words) > _WORDS:
        listed.append("...")
    return f"[{', '.join(listed)}]"


class ListOf:
    """A list of one kind; with `alone`, a single value stands for a list of one."""

    def __init__(self, kind: Kind, low: int = 0, high: int = 10_000, *, alone: bool = False) -> None:
        """Keep the kind and how many there may be."""
        self.kind, self.low, self.high, self.alone = kind, low, high, alone

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the list, or BAD when any of it is."""
        if self.alone and not isinstance(value, list):
            found = self.kind.check(value, path, report)
            return BAD if found is BAD else [found]
        if not isinstance(value, list):
            wanted = self.describe()
            if isinstance(value, str) and isinstance(self.kind, Text):
                wanted = f"a list, as in {_as_list(value)}"
            return report.add(path, "wrong type", got=value, wanted=wanted)
        if not self.low <= len(value) <= self.high:
            wanted = f"{self.low} to {self.high} of: {self.kind.describe()}"
            return report.add(path, "wrong number of values", got=value, wanted=wanted)
        checked = [self.kind.check(one, f"{path}[{number}]", report) for number, one in enumerate(value)]
        return BAD if any(one is BAD for one in checked) else checked

    def schema(self) -> Schema:
        """Return an array schema."""
        found: Schema = {"type": "array", "items": self.kind.schema(), "minItems": self.low, "maxItems": self.high}
        return {"anyOf": [self.kind.schema(), found]} if self.alone else found

    def describe(self) -> str:
        """Return the kind in the plural, more or less."""
        return f"{self.kind.describe()}; or a list" if self.alone else f"a list: {self.kind.describe()}"


class MapOf:
    """A table whose keys are names that the author chooses."""

    def __init__(self, words: str, pattern: str, kind: Kind, high: int = 1_000) -> None:
        """Keep what a key must look like (`words` for people) and the kind of its value."""
        self.words, self.pattern, self.kind, self.high = words, pattern, kind, high

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return the dictionary, or BAD when any of it is."""
        if not isinstance(value, dict):
            return report.add(path, "wrong type", got=value, wanted=self.describe())
        if len(value) > self.high:
            return report.add(path, f"{len(value)} keys", wanted=f"at most {self.high}")
        checked = {}
        for name, one in value.items():
            if not re.fullmatch(self.pattern, name, re.ASCII):
                checked[name] = report.add(path, "name not accepted", got=name, wanted=self.words)
            else:
                checked[name] = self.kind.check(one, f"{path}.{name}", report)
        return BAD if any(one is BAD for one in checked.values()) else checked

    def schema(self) -> Schema:
        """Return an object schema with a pattern for its names."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.pattern})$"},
            "additionalProperties": self.kind.schema(),
        }

    def describe(self) -> str:
        """Return the words."""
        return f"a table: {self.words} = {self.kind.describe()}"


class Key:
    """One key of a table: its kind, its default (REQUIRED: none), and what it is for."""

    __slots__ = ("default", "kind", "shown", "text")

    def __init__(self, kind: Kind, text: str, default: Value = None, shown: str = "") -> None:
        """Keep the parts; `shown` is the default in words where it is not a constant."""
        self.kind, self.text, self.default, self.shown = kind, text, default, shown


class Table:
    """A table with known keys. Its settled form is a dict with every key."""

    def __init__(self, keys: Mapping[str, Key], text: str = "") -> None:
        """Keep the keys in their printed order."""
        self.keys, self.text = dict(keys), text

    def check(self, value: Value, path: str, report: Report) -> Value:
        """Return a dict with a value, a default or BAD for every key; BAD when it is no table."""
        if not isinstance(value, dict):
            return report.add(path, "wrong type", got=value, wanted="a table")
        unknown = [name for name in value if name not in self.keys]
        for name in unknown[:MAX_UNKNOWN]:
            self._refuse(name, path, report)
        if len(unknown) > MAX_UNKNOWN:
            report.add(path or "the rest", f"{len(unknown) - MAX_UNKNOWN} more unknown keys")
        checked = {}
        for name, key in self.keys.items():
            where = f"{path}.{name}" if path else name
            if name in value:
                checked[name] = key.kind.check(value[name], where, report)
            elif key.default is REQUIRED:
                checked[name] = report.add(where, "missing", wanted=key.kind.describe())
            elif isinstance(key.default, dict | list):  # an absent section has its keys' defaults
                checked[name] = key.kind.check(key.default, where, report)
            else:
                checked[name] = key.default
        return checked

    def _refuse(self, name: str, path: str, report: Report) -> None:
        """Report a key that the table does not have, with the one that is nearest or all of them."""
        where = f"{path}.{show_name(name)}" if path else show_name(name)
        hint = nearest(name, self.keys)
        wanted = "" if hint else f"one of {', '.join(self.keys)}"
        report.add(where, "unknown key", wanted=wanted, hint=hint)

    def schema(self) -> Schema:
        """Return an object schema that refuses unknown keys."""
        found: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
        for name, key in self.keys.items():
            entry: Schema = {"description": key.text} | key.kind.schema()
            if isinstance(key.default, str | int | float) and not key.shown:
                entry["default"] = key.default
            found["properties"][name] = entry
        required = [name for name, key in self.keys.items() if key.default is REQUIRED]
        return found | ({"required": required} if required else {})

    def describe(self) -> str:
        """Return the keys."""
        return f"a table with {', '.join(self.keys)}"

"""A document as TOML text: what a command or a script is read as, shown to people and parsed like any descriptor."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexapod_batch.schema.kinds import Value

__all__ = ["toml_text"]

_BARE_KEY = r"[A-Za-z0-9_-]+"
#: What a literal string of several lines cannot hold: control characters other than tab and newline.
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f]"


def toml_text(document: Mapping[str, Value]) -> str:
    """Return TOML that reads back as the document: tables, lists of tables, text, numbers, booleans and lists.

    Tables without a value are left out.
    """
    plain = [_pair(key, value) for key, value in document.items() if not _is_table(value)]
    sections = ["\n".join(plain)] if plain else []
    for key, value in document.items():
        if isinstance(value, dict):
            sections += _tables(_key(key), value)
        elif _is_table(value):
            for row in value:
                sections.append("\n".join([f"[[{_key(key)}]]", *(_pair(name, one) for name, one in row.items())]))
    return "\n\n".join(sections) + "\n"


def _is_table(value: Value) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, dict) for row in value)
    return isinstance(value, dict)


def _tables(path: str, table: Mapping[str, Value]) -> Iterator[str]:
    """Yield the section of a table; tables inside it stand in one line, but for those of a site."""
    inline = {key: value for key, value in table.items() if not (path.startswith("site") and isinstance(value, dict))}
    if inline:
        yield "\n".join([f"[{path}]", *(_pair(key, value) for key, value in inline.items())])
    for key, value in table.items():
        if key not in inline:
            yield from _tables(f"{path}.{_key(key)}", value)


def _pair(key: str, value: Value) -> str:
    return f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    if re.fullmatch(_BARE_KEY, key, re.ASCII):
        return key
    return _quoted(key)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        if value:
            return "true"
        return "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        pairs = ", ".join(_pair(key, one) for key, one in value.items())
        return f"{{ {pairs} }}"
    return _string(str(value))


def _string(text: str) -> str:
    plain = "'''" not in text and not text.endswith("'") and not re.search(_UNPRINTABLE, text)
    if "\n" in text and plain:
        return f"'''\n{text}'''"
    return _quoted(text)


def _quoted(text: str) -> str:
    """Return a basic string; JSON escapes all that TOML wants escaped, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

"""A rule of an output as people read it, in one line, and as a descriptor has it, each key in a line of its own."""

from __future__ import annotations

import json
import tomllib

__all__ = ["keys_of"]


def keys_of(line: str) -> list[str]:
    """Return `key = value` for each key of `compare = "significant", digits = 8`; what is no such line as it is."""
    try:
        rule = tomllib.loads(f"rule = {{ {line} }}")["rule"]
        return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in rule.items()]
    except (tomllib.TOMLDecodeError, TypeError):
        return [line]

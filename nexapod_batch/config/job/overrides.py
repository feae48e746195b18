"""Values from outside the descriptor: `--set key=value`, other options, and defaults from settings."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING

import tomli

from nexapod_batch.config.job.job_schema import JOB
from nexapod_batch.schema.kinds import Choice, Kind, ListOf, MapOf, Report, Table, Text, Value
from nexapod_batch.schema.literal import Literal
from nexapod_batch.schema.quantities import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["apply_sets", "merge_defaults", "put"]

_STEP = re.compile(r"([A-Za-z0-9_-]+)(?:\[(\d{1,4})\])?")


def apply_sets(document: dict[str, Value], sets: Sequence[str], report: Report) -> set[str]:
    """Put every `key=value` into the document and return the key paths; faults go to the report.

    A value is read as TOML, or as plain text where it is not TOML or where the key holds text.
    """
    changed = set()
    for group in sets:
        path, equals, text = group.partition("=")
        path = path.strip()
        if not equals or not path:
            report.add("", f"--set {group!r}"[:200], wanted="--set key=value, as in --set resources.mem=4G")
            continue
        put(document, path, _value(text.strip(), _kind_at(path)), report)
        changed.add(path)
    return changed


def merge_defaults(document: dict[str, Value], defaults: Mapping[str, Value]) -> set[str]:
    """Put values where the document has none; return the key paths that were put."""
    changed = set()
    for path, value in defaults.items():
        section, _, key = path.rpartition(".")
        table = document.setdefault(section, {})
        if isinstance(table, dict) and key not in table:
            table[key] = deepcopy(value)
            changed.add(path)
    return changed


def put(document: dict[str, Value], path: str, value: Value, report: Report) -> None:
    """Put one value at a key path such as `outputs[0].path`, making tables on the way."""
    steps = [_STEP.fullmatch(step) for step in path.split(".")]
    here: Value = document
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if step is None or not isinstance(here, dict):
            report.add("", f"key {path!r}"[:200], wanted="a key path, as in resources.mem or outputs[0].path")
            return
        name, position = step[1], step[2]
        if position is None:
            if last:
                here[name] = value
            else:
                here = here.setdefault(name, {})
            continue
        rows = here.get(name)
        if not isinstance(rows, list) or int(position) >= len(rows):
            report.add("", f"key {path!r}"[:200], wanted=f"{name}[{position}] in the descriptor")
            return
        if last:
            rows[int(position)] = value
        else:
            here = rows[int(position)]


def _kind_at(path: str) -> Kind | None:
    """Return what the descriptor holds at a key path; None where it holds nothing."""
    kind: Kind | None = JOB
    for step in path.split("."):
        match = _STEP.fullmatch(step)
        if match is None:
            return None
        if isinstance(kind, Table):
            key = kind.keys.get(match[1])
            kind = key.kind if key else None
        elif isinstance(kind, MapOf):
            kind = kind.kind
        else:
            return None
        if match[2] is not None:
            kind = kind.kind if isinstance(kind, ListOf) else None
    return kind


def _value(text: str, kind: Kind | None) -> Value:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    if isinstance(kind, Text | Choice | Duration | Size) and not quoted:
        return text
    try:
        document = tomli.loads(f"value = {text}", parse_float=Literal)
    except (ValueError, RecursionError):
        return text
    if document.keys() == {"value"}:
        return document["value"]
    return text

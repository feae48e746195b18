"""The named statements of `sql/queries/`.

A statement begins after a line `-- name: x` and ends before the next one. There is a file for each repository.
"""

from __future__ import annotations

import os

__all__ = ["load", "parse", "subjects"]

_HEADER = "\n-- name:"
_FOLDER = os.path.join(os.path.dirname(__file__), "sql", "queries")
_loaded: dict[str, dict[str, str]] = {}


def parse(text: str, source: str) -> dict[str, str]:
    """Return name -> SQL of one file; ValueError names `source` when a name is missing, odd or there twice."""
    found: dict[str, str] = {}
    for part in ("\n" + text).split(_HEADER)[1:]:
        head, _, body = part.partition("\n")
        name, sql = head.strip(), body.strip()
        if not name.isidentifier() or not sql or name in found:
            raise ValueError(f"{source}: query {name!r} has no usable name, no SQL, or is there twice")
        found[name] = sql
    return found


def subjects() -> list[str]:
    """Return the subjects that there are files of."""
    return sorted(file.removesuffix(".sql") for file in os.listdir(_FOLDER) if file.endswith(".sql"))


def load(subject: str) -> dict[str, str]:
    """Return the named statements of a subject; its file is read on the first call only."""
    if subject not in _loaded:
        file = f"{subject}.sql"
        with open(os.path.join(_FOLDER, file), encoding="utf-8") as stream:
            _loaded[subject] = parse(stream.read(), file)
    return _loaded[subject]

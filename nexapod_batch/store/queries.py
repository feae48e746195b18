"""The named statements of `sql/queries/`.

A statement begins after a line `-- name: x` and ends before the next one. Names are unique over all files.
"""

from __future__ import annotations

import os

__all__ = ["load", "parse"]

_HEADER = "\n-- name:"
_loaded: dict[str, str] = {}


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


def load() -> dict[str, str]:
    """Return every named statement; the files are read on the first call only."""
    if not _loaded:
        folder = os.path.join(os.path.dirname(__file__), "sql", "queries")
        found: dict[str, str] = {}
        for file in sorted(os.listdir(folder)):
            if not file.endswith(".sql"):
                continue
            with open(os.path.join(folder, file), encoding="utf-8") as stream:
                new = parse(stream.read(), file)
            if twice := found.keys() & new.keys():
                raise ValueError(f"{file}: named in another file as well: {', '.join(sorted(twice))}")
            found |= new
        _loaded.update(found)
    return _loaded

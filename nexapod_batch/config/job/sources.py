"""Where inputs come from: the table of schemes that a source may have. A plain path has none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexapod_batch.schema.kinds import Report

__all__ = ["SCHEME", "SOURCES", "Source", "local_path"]

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Source(NamedTuple):
    """One scheme."""

    example: str
    path: Callable[[str], str | None]  # of the file here that a URL names; None when it names none


def _behind_file(url: str) -> str | None:
    path = url[len("file://") :]
    if path.startswith("/"):
        return path
    return None


#: Scheme, in lower case -> what finds the file.
SOURCES: Mapping[str, Source] = {"file": Source("file:///path", _behind_file)}


def local_path(text: str, where: str, report: Report) -> str | None:
    """Return the path of a file here that a source names; report why there is none."""
    scheme = SCHEME.match(text)
    if scheme is None:
        return text
    source = SOURCES.get(scheme[1].lower())
    path = None if source is None else source.path(text)
    if path is None:
        known = ", or ".join(["a path", *[source.example for source in SOURCES.values()]])
        hint = "fetch it first and name the file"
        report.add(where, f"no plug-in can fetch {scheme[1]}://", got=text, wanted=known, hint=hint)
    return path

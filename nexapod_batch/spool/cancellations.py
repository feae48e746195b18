"""Cancellations in a spool: one file names everything that a person stops at once, so that nothing starts in between.

The file is put in place as a whole. It is called after its content: the same cancellation again is the same file.
Beside such lists lie empty files, each named after the replica or launch that is to stop.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch.spool import layout
from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["MAX_BYTES", "listing", "read"]

#: Bytes of the longest list that is read: a million replicas.
MAX_BYTES = 64 << 20


def listing(launches: Mapping[str, Sequence[str] | None]) -> tuple[str, bytes]:
    """Return name and content of the file that stops replicas by name, by launch key (None: the whole launch)."""
    content = orjson.dumps({key: None if names is None else sorted(names) for key, names in sorted(launches.items())})
    return layout.list_name(hashlib.sha256(content).hexdigest()[:32]), content


def read(content: bytes, launches: Collection[str] | None = None) -> dict[str, list[str] | None]:
    """Return what a list stops, by launch key, of these launches or of all; nothing where it makes no sense."""
    try:
        document: Any = nesting.loads(content)
        found = {str(key): None if names is None else [str(name) for name in names] for key, names in document.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
    if launches is None:
        return found
    return {key: names for key, names in found.items() if key in launches}

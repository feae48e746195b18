"""Whether nodes reported what nobody has taken in yet: a glance at their spools, without reading any report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexapod_batch.store import Store

__all__ = ["START_NOTES", "nodes_with_unread_reports"]

#: How the names of segments begin that hold notes of starts alone.
START_NOTES = "z"


def nodes_with_unread_reports(store: Store, home: str) -> list[str]:
    """Return the names of nodes whose report segments below `home` grew since they were read, in order.

    A spool on another machine, or in a site's own work folder, is not looked at.
    """
    read = store.views.segments()
    return [node for node, positions in sorted(read.items()) if _grew(f"{home}/spool/{node}/reports", positions)]


def _grew(folder: str, positions: dict[str, int]) -> bool:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(START_NOTES) or not entry.name.endswith(".jsonl"):
                    continue
                if entry.stat(follow_symlinks=False).st_size > positions.get(entry.name, 0):
                    return True
    except OSError:
        pass  # no spool yet, or one that only a pass can say something about
    return False

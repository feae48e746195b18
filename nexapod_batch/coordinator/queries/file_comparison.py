"""Two files or folders of this machine, compared as outputs are."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from nexapod_batch.compare.reporting import told
from nexapod_batch.errors import UsageError
from nexapod_batch.files import careful

if TYPE_CHECKING:
    from nexapod_batch.model.job import CompareRule

__all__ = ["compared"]


def compared(left: str, right: str, rule: CompareRule) -> list[dict[str, Any]]:
    """Return what `reporting.told` says of each file, those that only one folder has included.

    Raises UsageError for a file beside a folder; OSError.
    """
    if os.path.isdir(left) != os.path.isdir(right):
        raise UsageError("a file and a folder cannot be compared", got=f"{left} {right}", wanted="two of one kind")
    if not os.path.isdir(left):
        return [told(partial(careful.stream, left), partial(careful.stream, right), os.path.basename(left), rule)]
    ours, theirs = _names(left), _names(right)
    found: list[dict[str, Any]] = []
    for name in sorted(ours | theirs):
        if name not in ours or name not in theirs:
            found.append({"name": name, "agree": False, "only": left if name in ours else right})
            continue
        one, other = (partial(careful.stream, os.path.join(folder, name)) for folder in (left, right))
        found.append(told(one, other, name, rule))
    return found


def _names(folder: str) -> set[str]:
    """Return the files below a folder, links not followed."""
    return {
        os.path.relpath(os.path.join(here, name), folder) for here, _, files in os.walk(folder) for name in files
    }

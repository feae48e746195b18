"""Two files or folders of this machine, compared as outputs are."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from nexapod_batch.compare.reporting import told
from nexapod_batch.compare.stores import StoreFiles, content, stores
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
    sides = _Side(left, ours, rule), _Side(right, theirs, rule)
    for whole in sorted(sides[0].stores.keys() & sides[1].stores.keys()):
        one, other = (partial(side.opened, whole) for side in sides)
        found.append(told(one, other, whole, rule))
        ours, theirs = ours - sides[0].files_of(whole), theirs - sides[1].files_of(whole)
    for name in sorted(ours | theirs):
        if name not in ours or name not in theirs:
            found.append({"name": name, "agree": False, "only": left if name in ours else right})
            continue
        one, other = (partial(careful.stream, os.path.join(folder, name)) for folder in (left, right))
        found.append(told(one, other, name, rule))
    return found


class _Side:
    """The stores in a folder, which may be one itself."""

    def __init__(self, folder: str, names: set[str], rule: CompareRule) -> None:
        self._folder = os.path.normpath(folder)
        self._above = "it.zarr/" if self._folder.lower().endswith(".zarr") else ""
        found = stores({self._above + name: rule for name in names}, exact=True)
        self.stores = {store.name: store for store in found}

    def files_of(self, whole: str) -> set[str]:
        """Return the names of its files, as they are called in the folder."""
        return {name.removeprefix(self._above) for name in self.stores[whole].members}

    def opened(self, whole: str) -> BinaryIO:
        """Return the files of a store."""
        size = sum(os.lstat(self._path(name)).st_size for name in self.stores[whole].members)
        return cast("BinaryIO", StoreFiles(self.stores[whole], self._read, size))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name.removeprefix(self._above))

    def _read(self, name: str) -> bytes:
        with careful.stream(self._path(name)) as stream:
            return content(stream, name)


def _names(folder: str) -> set[str]:
    """Return the files below a folder, links not followed."""
    return {
        os.path.relpath(os.path.join(here, name), folder) for here, _, files in os.walk(folder) for name in files
    }

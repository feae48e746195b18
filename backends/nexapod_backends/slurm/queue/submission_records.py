"""What was handed to sbatch, or is about to be: one file for each call, written before the call.

A group is an array of Slurm jobs; each element runs some launches. The file is the intent: after a crash the job is
looked for by the name that the group's id gives it, and adopted, before anything is submitted again.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Group", "SubmissionRecords", "group_id", "halves"]


class Group(Struct, kw_only=True):
    """One call of sbatch."""

    id: str
    node: str
    partition: str
    elements: tuple[tuple[str, ...], ...]  # launch keys of each element
    replicas: tuple[int, ...]  # how many replicas each element has
    native: str = ""  # Slurm's job id, once it is known
    tried: float = 0  # when sbatch was called last, seconds since 1970; 0: never
    submitted: float = 0  # when the job was known to be in Slurm
    refused: str = ""  # why Slurm will never take it
    shape: str = ""  # what it has in common with others that Slurm's limits see
    spare: bool = False  # it asks for more time than one replica does
    narrow: str = ""  # why what it holds is to be packed less tightly, and placed anew
    trouble: str = ""  # why it was not taken yet
    bound: bool = False  # to a set of hosts: where it ran matters
    forgotten: tuple[str, ...] = ()  # launches that nobody asks about any more
    unsure: bool = False  # nobody saw the end of the last call: it may still be under way
    charged: str = ""  # to whom Slurm charges it: what it counts together
    full: float = 0  # when Slurm last said that there are too many jobs for now, seconds since 1970; 0: never
    split: bool = False  # two halves are to take its place, and nothing else may become of it

    def position(self, key: str) -> int:
        """Return which element a launch belongs to."""
        return next(index for index, keys in enumerate(self.elements) if key in keys)

    @property
    def size(self) -> int:
        """Return how many replicas its largest element holds; 0 for one that has no minute more than it asks for."""
        largest = max(self.replicas, default=1)
        return largest if largest > 1 or self.spare else 0

    @property
    def open(self) -> bool:
        """Say whether it still has to be submitted."""
        return not self.native and not self.refused and not self.split


def group_id(elements: Sequence[Sequence[str]]) -> str:
    """Return the id of a group: the same launches in the same elements give the same."""
    return hashlib.sha256(json.dumps(elements).encode()).hexdigest()[:16]


def halves(group: Group) -> tuple[Group, Group]:
    """Return two groups that share the elements of one that was never taken, in order: as if they were new."""
    middle = len(group.elements) // 2
    return _part(group, 0, middle), _part(group, middle, len(group.elements))


def _part(group: Group, first: int, end: int) -> Group:
    elements = group.elements[first:end]
    keys = {key for element in elements for key in element}
    return Group(
        id=group_id(elements), node=group.node, partition=group.partition, elements=elements,
        replicas=group.replicas[first:end], bound=group.bound, charged=group.charged,
        shape=group.shape, spare=group.spare,
        forgotten=tuple(key for key in group.forgotten if key in keys),
    )  # fmt: skip


class SubmissionRecords:
    """The groups of one site, as files; read once, written through."""

    def __init__(self, folder: Path) -> None:
        """Read them all; a file that cannot be read is left alone."""
        self._folder = folder
        self.by_id: dict[str, Group] = {}
        self._of: dict[str, tuple[Group, int]] = {}  # launch key -> group and element
        self._seen: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what another process wrote meanwhile."""
        try:
            with os.scandir(self._folder) as entries:
                files = {e.name: e.stat().st_mtime_ns for e in entries if e.name.endswith(".json")}
        except FileNotFoundError:
            files = {}
        for name in self._seen.keys() - files.keys():
            self._drop(name.removesuffix(".json"))
        for name, changed in files.items():
            if self._seen.get(name) != changed:
                self._read(name)
        self._seen = files

    def find(self, key: str) -> tuple[Group, int] | None:
        """Return the group of a launch, and its element in it."""
        return self._of.get(key)

    def of_node(self, node: str) -> Iterator[Group]:
        """Yield the groups of a node, oldest first."""
        yield from (group for group in list(self.by_id.values()) if group.node == node)

    def save(self, group: Group) -> None:
        """Write a group durably."""
        own_folder(self._folder, below=self._folder.parents[1])
        path = self._folder / f"{group.id}.json"
        atomic.write(path, json.dumps({"schema": 1, **asdict(group)}).encode(), mode=0o600)
        self._seen[path.name] = path.stat().st_mtime_ns
        self._add(group)

    def remove(self, group: Group) -> None:
        """Forget a group."""
        (self._folder / f"{group.id}.json").unlink(missing_ok=True)
        self._seen.pop(f"{group.id}.json", None)
        self._drop(group.id)

    def _read(self, name: str) -> None:
        try:
            document: dict[str, Any] = careful.load(self._folder / name)
            if document.pop("schema") != 1:
                return
            document.pop("level", None)  # of a version that knew three sizes only
            document["elements"] = tuple(map(tuple, document["elements"]))
            document["replicas"], document["forgotten"] = tuple(document["replicas"]), tuple(document["forgotten"])
            self._add(Group(**document))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return

    def _add(self, group: Group) -> None:
        self.by_id[group.id] = group
        for index, keys in enumerate(group.elements):
            for key in keys:
                if not group.split or key not in self._of:  # what took its place counts
                    self._of[key] = (group, index)

    def _drop(self, group: str) -> None:
        gone = self.by_id.pop(group, None)
        for keys in gone.elements if gone else ():
            for key in keys:
                if key in self._of and self._of[key][0].id == group:
                    del self._of[key]

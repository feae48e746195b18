"""Stores of Zarr: folders of many files of which each says little, and which have one answer together.

Each file of a store is an output as others are, by name and digest in the statement; what is compared is the store. The
file that describes its root stands for it and has the normalised digest of all of it; the others have no vote. Which
files are a store's is told by their names alone, so that whoever reads a statement sees what its signer saw. What else
lies in such a folder is an output of its own.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Agreement, CompareRule
from nexapod_batch.trust.statement import NO_VOTE, unread_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

__all__ = ["LONGEST", "Store", "StoreFiles", "content", "normalized_of", "stores"]

#: Bytes of one file of a store, at most: each is read at once.
LONGEST = 256 << 20
_ROOT = re.compile(r"\.zarr/", re.IGNORECASE)
#: What files that describe nodes, attributes or the whole, and chunks, are called.
_MEMBER = re.compile(r"\.z(?:array|group|attrs|metadata)|zarr\.json|c|(?:c\.)?\d+(?:\.\d+)*")
_DESCRIBES = frozenset({"zarr.json", ".zarray", ".zgroup"})


class Store(NamedTuple):
    """A folder whose files are compared as one thing."""

    name: str  # of the folder
    head: str  # the file that stands for it
    members: tuple[str, ...]  # names of all of its files, sorted
    rule: CompareRule


def stores(rules: Mapping[str, CompareRule], *, exact: bool = False) -> list[Store]:
    """Return the stores among outputs, by their names and rules: those that a comparator looks into.

    With `exact` those whose bytes must be equal as well, to be told what they differ in.
    """
    found: dict[tuple[str, CompareRule], list[str]] = {}
    for name, rule in rules.items():
        if root := _root(name):
            found.setdefault((root, rule), []).append(name)
    looked_into = {Agreement.NORMAL_FORM, Agreement.TOLERANCE} | ({Agreement.BYTES} if exact else set())
    return [
        Store(name=root, head=head, members=tuple(sorted(names)), rule=rule)
        for (root, rule), names in sorted(found.items(), key=lambda entry: entry[0][0])
        if rule.agreement in looked_into and not rule.normalize and (head := _head(names))
    ]


def _root(name: str) -> str:
    """Return the folder of the store that a file is of; "" where it is of none."""
    match = _ROOT.search(name)
    if match is None or not _MEMBER.fullmatch(name.rpartition("/")[2]):
        return ""
    return name[: match.end() - 1]


def _head(names: list[str]) -> str:
    """Return the file that describes the root; "" where none describes anything."""
    describing = [name for name in names if name.rpartition("/")[2] in _DESCRIBES]
    return min(describing, key=lambda name: (name.count("/"), name), default="")


def normalized_of(store: Store, normal: str | None, digests: Mapping[str, str]) -> dict[str, str]:
    """Return the normalised digest of each file, by name, where that of the whole is `normal`.

    None: it cannot be read, and agrees with the same bytes alone. `digests` are those of the files.
    """
    if normal is None:
        return {name: unread_digest(digests[name]) for name in store.members}
    return {name: normal if name == store.head else NO_VOTE for name in store.members}


class StoreFiles:
    """The files of a store, each read when it is asked for; as a stream, the lines of `sha256sum` for them."""

    def __init__(self, store: Store, read: Callable[[str], bytes], size: int) -> None:
        """Read nothing yet. `read` returns a file by its name in `store`; `size` is how many bytes they have."""
        self._folder, self._read, self.size = f"{store.name}/", read, size
        self.names = [name.removeprefix(self._folder) for name in store.members]
        self._known = frozenset(self.names)
        self._lines, self._rest = self._manifest(), b""

    def __enter__(self) -> Self:
        """Return itself: a file is open while it is read."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Keep nothing open."""

    def close(self) -> None:
        """Keep nothing open."""

    def member(self, name: str) -> bytes | None:
        """Return a file by its name in the folder; None where there is none. Errors are those of `read`."""
        return self._read(self._folder + name) if name in self._known else None

    def read(self, size: int) -> bytes:
        """Return the next bytes of the stream."""
        while len(self._rest) < size and (line := next(self._lines, b"")):
            self._rest += line
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _manifest(self) -> Iterator[bytes]:
        for name in self.names:
            digest = hashlib.sha256(self._read(self._folder + name)).hexdigest()
            yield f"{digest}  {name}\n".encode()


def content(stream: BinaryIO, name: str) -> bytes:
    """Return all of a file of a store; CompareError where it is longer than such a file may be."""
    parts, left = [], LONGEST
    while part := stream.read(min(left + 1, 1 << 20)):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise CompareError(f"{name} cannot be read", got=f"more than {LONGEST} bytes", wanted="smaller chunks")
    return b"".join(parts)

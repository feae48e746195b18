"""What was made of a list of files that are all still what they were, so that none of them is looked up by itself.

One file for each list, beside the digests of its folder: the names, a digest of what the file system said of the
files, and what was made of them. It is whole or not used, as those are, and only a list of files that are all known is
kept: it is as good as their digests. Without it each file is looked up, no more.
"""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.files import atomic, careful

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from nexapod_batch.files.beneath import Looks

__all__ = ["KnownList", "read", "runs_of", "write"]

_MAGIC = b"nexapod-batch list 1\n"
#: Bytes of the names, and of what was made of them; SHA-256 of the states.
_HEAD = struct.Struct("<QQ32s")
_DIGEST = 32
#: Bytes of one list, at most.
_MAX = 32 << 20

#: Files of one folder, in their order: the folder, and their names in it.
Run = tuple[str, "Sequence[str]"]


class KnownList(NamedTuple):
    """Files, and what was made of them."""

    runs: list[Run]
    states: bytes  # SHA-256 of what `Looks.states` said of all of them
    made: bytes | memoryview

    def is_unchanged(self, looks: Looks) -> bool:
        """Say whether every file is still what it was."""
        states = looks.states(self.runs)
        return states is not None and hashlib.sha256(states).digest() == self.states


def runs_of(names: Iterable[str]) -> list[Run]:
    """Return plain names below a folder, one after the other, by the folders that they are in."""
    parted = ((parent, last) for parent, _, last in (name.rpartition("/") for name in names))
    return [(parent, [last for _, last in run]) for parent, run in groupby(parted, key=lambda one: one[0])]


def write(path: Path, known: KnownList) -> None:
    """Keep a list; OSError where it cannot be written. What is too long is not kept.

    Raises:
        OSError: It cannot be written.

    """
    text = "\n".join(" ".join([parent, *names]) for parent, names in known.runs).encode()  # plain names have no blanks
    body = b"".join([_MAGIC, _HEAD.pack(len(text), len(known.made), known.states), text, known.made])
    if len(body) <= _MAX:
        atomic.write(path, body + hashlib.sha256(body).digest(), 0o600, durable=False)


def read(path: Path) -> KnownList | None:
    """Return a list that was kept; None where there is none, or it is not whole."""
    try:
        data = careful.read(path, _MAX + _DIGEST)
    except OSError:
        return None
    whole = memoryview(data)
    body, start = whole[:-_DIGEST], len(_MAGIC) + _HEAD.size
    if not data.startswith(_MAGIC) or len(body) < start or hashlib.sha256(body).digest() != whole[-_DIGEST:]:
        return None
    names, made, states = _HEAD.unpack_from(data, len(_MAGIC))
    if start + names + made != len(body):
        return None
    with suppress(OSError):
        os.utime(path)  # those that are used stay
    lines = str(whole[start : start + names], "ascii", "replace").split("\n")
    runs: list[Run] = [(parent, last.split(" ")) for parent, _, last in (line.partition(" ") for line in lines)]
    return KnownList(runs, states, body[start + names :])

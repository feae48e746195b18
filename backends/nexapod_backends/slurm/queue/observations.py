"""What Slurm said of our jobs, and when, kept in a file between two looks at the queue and between two processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Memory", "MemoryFile", "Observation"]


class Observation(Struct, frozen=True, array_like=True):
    """One element as Slurm last told; in the file it is a list of these fields."""

    state: str  # Slurm's word
    reason: str = ""  # Slurm's word, while it is pending
    start_s: int | None = None  # estimated, while it is pending; seconds since 1970
    hosts: str = ""  # host list, not expanded
    at: float = 0.0  # when it was told, seconds since 1970
    exit_code: int | None = None  # of an end, where the accounting told
    exit_signal: int | None = None


class Memory(Struct):
    """What is known of all jobs of a site."""

    at: float = 0.0  # when the queue was last looked at, seconds since 1970
    failures: int = 0  # looks that failed in a row
    trouble: str = ""  # why the last one did
    seen: dict[str, dict[str, Observation]] = field(default_factory=dict)  # group id -> element -> what was told
    #: Group id -> the first and the last of the looks, in an unbroken row, that did not find all of it anywhere.
    silent: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Group id -> looks out of turn that it caused.
    early: dict[str, int] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)  # words for states that nobody knows; each was told of


class MemoryFile:
    """The file that holds a `Memory`; one that cannot be read is an empty one, and Slurm is asked again."""

    def __init__(self, file: Path) -> None:
        """Read nothing yet."""
        self._file = file
        self._changed = -1  # when the file was changed that was read or written last, in ns

    def read(self, known: Memory) -> Memory:
        """Return what the file holds now; what is known already where nobody has written to it since."""
        try:
            changed = self._file.stat().st_mtime_ns
            if changed == self._changed:
                return known
            memory = msgspec.convert(careful.load(self._file), Memory)
        except FileNotFoundError:
            return known
        except (OSError, ValueError):
            return Memory()
        self._changed = changed
        return memory

    def write(self, memory: Memory) -> None:
        """Put it there."""
        own_folder(self._file.parent, below=self._file.parents[1])
        atomic.write(self._file, msgspec.json.encode(memory), mode=0o600, durable=False)
        self._changed = os.stat(self._file).st_mtime_ns

"""The files of thousands of tasks, as an earlier submit found them: remembered whole where each has one of its own.

What is remembered holds for the very words of the descriptor that it was made of, for this version of the program, and
while every file is what it was (`files.known_lists`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from nexapod_batch import __version__
from nexapod_batch.model.job import Input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.config.job.pins import Pins
    from nexapod_batch.model.job import Job

__all__ = ["key_of", "recalled", "remember"]

#: Fewer files are looked up one by one in a moment.
_MANY = 256


def key_of(job: Job, job_input: Input, folder: Path) -> str:
    """Return a digest of all that decides which files the tasks of a job get by an input, and where they are put."""
    said = (__version__, str(folder), job_input.source, job_input.target, job.name, job.resources, job.array)
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def recalled(pins: Pins, key: str) -> list[Input] | None:
    """Return the inputs that were remembered under a key; None unless all their files are what they were."""
    made = pins.recalled(key)
    if made is None:
        return None
    try:
        return msgspec.msgpack.decode(made, type=list[Input])
    except msgspec.DecodeError:  # of another version
        return None


def remember(pins: Pins, key: str, names: Sequence[str], inputs: Sequence[Input]) -> None:
    """Remember the inputs of tasks whose sources are these names, task by task, if each is that very file."""
    if len(inputs) < _MANY or len(inputs) != len(names):
        return
    if all(one.source == pins.path(name) for one, name in zip(inputs, names, strict=True)):
        pins.remember(key, names, [one.sha256 for one in inputs], msgspec.msgpack.encode(inputs))

"""A key file that another one takes the place of, so that a process that dies leaves the old key or the new one.

The new key is made beside the old one; then whoever keeps which key is in force (a database) is told; then the file
takes its place. Killed before the middle step the old key is in force, and after it the new one, which is looked for
beside the old one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.errors import KeyFileError
from nexapod_batch.files import keyfile

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.trust.dsse import Signer

__all__ = ["begin", "in_force"]


def begin(path: Path, comment: str, given: Signer | None = None) -> Signer:
    """Make a new key beside the one at `path`, in place of one that was never put in force.

    `given` is one that lies in ssh-agent, and is taken instead.

    Raises:
        KeyFileError: None can be written there.
        TryAgainError: The disk is full.

    """
    for stale in (_new(path), _public(_new(path))):
        stale.unlink(missing_ok=True)
    if given is None:
        return keyfile.create(_new(path), comment)
    keyfile.refer(_new(path), given, comment)
    return given


def in_force(path: Path, wanted: str, *, write: bool = True) -> Signer:
    """Return the key with the id `wanted`, put in its place where that was not done; else the key that is there.

    Without `write` nothing is moved.

    Raises:
        KeyFileError: There is no key, or it cannot be read.

    """
    new = _new(path)
    made = None
    if os.path.lexists(new):
        with suppress(KeyFileError):  # another process may have put it in its place by now
            made = keyfile.load(new)
    if made is None or made.key_id != wanted:
        return keyfile.load(path)
    if write:
        with suppress(FileNotFoundError):  # likewise
            _put(path)
    return made


def _put(path: Path) -> None:
    """Put a new key in its place: last, what tells that this is still to be done."""
    new = _new(path)
    if _public(new).exists():
        _public(new).replace(_public(path))
    new.replace(path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")

"""The umask: what is ours is made for this account alone, what people asked for as they are used to.

Nobody but its owner may ever write to what is made here, whatever the umask says.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["as_given", "folder_mode", "private"]

_given: list[int] = []  # what this process was started with, while it is changed


@contextmanager
def private() -> Iterator[None]:
    """Make files and folders inside for this account alone."""
    before = os.umask(0o077)
    _given.append(before)
    try:
        yield
    finally:
        _given.pop()
        os.umask(before)


@contextmanager
def as_given() -> Iterator[None]:
    """Make files inside as the umask says that this process was started with; others never get to write."""
    before = os.umask(0o077)
    os.umask((_given[0] if _given else before) | 0o022)
    try:
        yield
    finally:
        os.umask(before)


def folder_mode() -> int:
    """Return the mode of a folder that is made as this process was told to."""
    with as_given():
        mask = os.umask(0o077)
    return 0o777 & ~mask

"""The key of a launch on its way to the runner: a file beside the bundle in the inbox, until the launch is claimed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ENDING", "as_text", "read"]

#: What the file's name ends in, behind the launch key.
ENDING = ".key"


def as_text(seed: bytes) -> bytes:
    """Return the content of the file: the seed in hex."""
    return seed.hex().encode() + b"\n"


def read(path: Path) -> bytes:
    """Return the seed in a file; b"" where there is none, or something else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return bytes.fromhex(os.read(fd, 100).decode("ascii"))
    except (OSError, ValueError):
        return b""
    finally:
        os.close(fd)

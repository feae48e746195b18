"""The key of a launch on its way to the runner: a file beside the bundle in the inbox, until the launch is claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.files import careful

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["as_text", "read"]

_MAX_BYTES = 100


def as_text(seed: bytes) -> bytes:
    """Return the content of the file: the seed in hex."""
    return seed.hex().encode() + b"\n"


def read(path: Path) -> bytes:
    """Return the seed in a file; b"" where there is none, or something else."""
    try:
        return bytes.fromhex(careful.read(path, _MAX_BYTES).decode("ascii"))
    except (OSError, ValueError):
        return b""

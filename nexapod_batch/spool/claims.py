"""Claims: files that say who runs, or ran, a launch. Whoever creates one runs the launch, and nobody else ever does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import orjson

from nexapod_batch.files import careful

__all__ = ["UNREAD", "Claim", "boot_id", "claim", "read"]

#: Stands for who claimed, where the file does not say it: the runner that lives is writing it, or died of a crash.
UNREAD = "?"
_MAX_BYTES = 64 * 1024


class Claim(NamedTuple):
    """Who claimed a launch."""

    incarnation: str  # of the runner
    host: str  # as statements name it
    boot: str = ""  # the kernel's id of that host's boot; "" where there is none
    pid: int = 0
    native: str = ""  # what a scheduler calls the runner's place


def boot_id() -> str:
    """Return the kernel's id of this boot, so that a claim from before a reboot can be told; "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def claim(path: Path, claimant: Claim) -> bool:
    """Create a claim durably; False when there is one already. OSError when it cannot be."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(fd, orjson.dumps(claimant._asdict()))
        os.fsync(fd)
    finally:
        os.close(fd)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def read(path: Path) -> str | None:
    """Return the incarnation that claimed, `UNREAD` while the claim has no content (yet), None without a claim."""
    try:
        return str(careful.load(path, _MAX_BYTES)["incarnation"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return UNREAD

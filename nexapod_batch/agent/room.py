"""Whether a node that joined has room on its disk: without some it takes no work, and says so.

What it has runs on. Its runner sees a disk that fills up under a command, and keeps reports until they can be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import TryAgainError, VerificationError
from nexapod_batch.files.atomic import is_full
from nexapod_batch.local_nodes import owner_policy
from nexapod_batch.runner.execution.folders.disk_space import room

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.agent.home import AgentHome

__all__ = ["NoRoomError", "is_refusal", "paused", "take"]

#: Bytes that are left free for reports and for what the node keeps of launches.
SPARE = 64 << 20


class NoRoomError(TryAgainError):
    """The disk of this node is full."""


def take(folder: Path, size: int) -> None:
    """Say nothing where so many bytes more have room below a folder.

    Raises:
        NoRoomError: They have none.

    """
    free = room(str(folder)).free
    if free - size < SPARE:
        hint = "the owner of the node must make room on it"
        raise NoRoomError(
            "the disk of the node has no room for the inputs", got=f"{free >> 20} MiB free: {folder}",
            wanted=f"{(size + SPARE) >> 20} MiB", hint=hint,
        )  # fmt: skip


def paused(home: AgentHome) -> str:
    """Return why nothing may start on a node: its owner's word, or a disk without room; "" where it may."""
    said = owner_policy.paused(home.spool)[0]
    if said:
        return said
    for folder in (home.work, home.spool, home.inputs):
        if room(str(folder)).free < SPARE:
            return f"has less than {SPARE >> 20} MiB left on the disk of {folder}"
    return ""


def is_refusal(error: Exception) -> bool:
    """Say whether a launch that met with this error is not for this node: others are to have it."""
    return isinstance(error, (VerificationError, NoRoomError)) or is_full(error)

"""What may be said of the owner of nodes that joined."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["OwnerState"]


class OwnerState(StrEnum):
    """Whether the nodes of an owner get work."""

    WAITS = "waits"  # nobody who runs the coordinator has said so yet
    APPROVED = "approved"
    SUSPENDED = "suspended"

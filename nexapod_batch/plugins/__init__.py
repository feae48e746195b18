"""The doors for plug-ins: `backend` and `runtimes`, and their loading by `entry_points`."""

from __future__ import annotations

from nexapod_batch.entry_points import load, names, targets
from nexapod_batch.plugins.backend import MOVES_FILES, Administration, Backend, Files, Launching, methods
from nexapod_batch.plugins.backend_nouns import (
    HOPELESS,
    BackendState,
    Finding,
    Launch,
    LaunchStatus,
    Mark,
    NodeContext,
    Probing,
    Sending,
)
from nexapod_batch.runtimes import Device, Execution, Fact, Runtime, RuntimeSettings, Wrapped

__all__ = [
    "HOPELESS",
    "MOVES_FILES",
    "Administration",
    "Backend",
    "BackendState",
    "Device",
    "Execution",
    "Fact",
    "Files",
    "Finding",
    "Launch",
    "LaunchStatus",
    "Launching",
    "Mark",
    "NodeContext",
    "Probing",
    "Runtime",
    "RuntimeSettings",
    "Sending",
    "Wrapped",
    "load",
    "methods",
    "names",
    "targets",
]

"""The doors for plug-ins: `backend` and `runtimes`, and their loading by `entry_points`."""

from __future__ import annotations

from nexapod_batch.entry_points import load, names, targets
from nexapod_batch.plugins.backend import (
    HOPELESS,
    MOVES_FILES,
    Administration,
    Backend,
    BackendState,
    Files,
    Finding,
    Launch,
    Launching,
    LaunchStatus,
    Mark,
    NodeContext,
    Probing,
    methods,
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
    "Wrapped",
    "load",
    "methods",
    "names",
    "targets",
]

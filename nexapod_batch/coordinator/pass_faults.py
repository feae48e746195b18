"""Faults of one pass, by key: what a backend could not do, one line each; a site out of reach is told of once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError, PluginFaultError, UnreachableError

if TYPE_CHECKING:
    from nexapod_batch.model.node import Node

__all__ = ["note", "told"]


def note(faults: dict[str, str], step: str, node: Node, error: Exception, what: str = "") -> None:
    """Note that a step failed on a node. What keeps a whole site away does so at every step: the first one counts."""
    if isinstance(error, OSError) and f"site:{node.site}" in faults:
        return  # its files are away with the rest of it
    if not isinstance(error, UnreachableError | ConfigError | PluginFaultError):
        text = f"{what}: {error}" if what else str(error)
        faults[f"{step}:{node.name}"] = f"node {node.name}: {text}"
    elif not told(faults, error):
        faults.setdefault(f"site:{node.site}", str(error))


def told(faults: dict[str, str], error: Exception) -> bool:
    """Say whether some step failed with this very error before."""
    return any(str(error) in text for text in faults.values())

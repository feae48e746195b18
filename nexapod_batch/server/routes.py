"""The table of all routes. See the docstring of the package for how one is added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.server.endpoints import blobs, files, jobs, metrics, nodes, nodes_channel, people, system

if TYPE_CHECKING:
    from nexapod_batch.server.calls import Route

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = (
    *system.ROUTES, *jobs.ROUTES, *files.ROUTES, *nodes.ROUTES, *people.ROUTES, *metrics.ROUTES, *nodes_channel.ROUTES,
    *blobs.ROUTES,
)  # fmt: skip

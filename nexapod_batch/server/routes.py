"""The table of all routes. See the docstring of the package for how one is added."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from nexapod_batch.server.endpoints import (
    blobs,
    evidence,
    files,
    inputs,
    jobs,
    ledger,
    metrics,
    nodes,
    nodes_channel,
    people,
    roster,
    system,
    witness,
)

if TYPE_CHECKING:
    from nexapod_batch.server.calls import Route

__all__ = ["ROUTES"]

_MODULES = (
    system, jobs, inputs, files, evidence, ledger, nodes, people, metrics, nodes_channel, blobs, roster, witness,
)  # fmt: skip

ROUTES: tuple[Route, ...] = tuple(chain.from_iterable(module.ROUTES for module in _MODULES))

"""How much of a job's inputs has to travel, and where: told when it is submitted, and before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from nexapod_batch.errors import NexapodError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node

__all__ = ["Travel", "travel_of"]

#: Less than this is there in a moment: nobody is asked, and nothing is told.
FILES, BYTES = 100, 16 << 20


class Travel(Struct, frozen=True):
    """What one node has, and needs, of the inputs of a job."""

    node: str
    files: int  # all inputs, each content once
    size: int  # of all of them, in bytes
    files_to_send: int
    size_to_send: int

    def as_document(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def travel_of(c: Coordinator, job: Job, nodes: Sequence[Node]) -> tuple[Travel, ...]:
    """Return what has to travel to each node that does not see the files here.

    Nothing is said of little, of a node that cannot be asked (now), or of inputs that nobody has yet.
    """
    far = [node for node in nodes if _is_far(c, node)]
    sizes = _sizes(c, job) if far else {}
    whole = sum(sizes.values())
    if len(sizes) < FILES and whole < BYTES:
        return ()
    found = []
    for node in far:
        try:
            absent = c.backend(node).absent(c.context(node), sizes)
        except (NexapodError, OSError):  # the pass that places the job tells of it
            continue
        if absent is None:  # its backend knows only when it sends them
            continue
        found.append(Travel(node.name, len(sizes), whole, len(absent), sum(sizes[digest] for digest in absent)))
    return tuple(found)


def _is_far(c: Coordinator, node: Node) -> bool:
    """Say whether a node has a spool of its own somewhere else."""
    context = c.context(node)
    return context.remote_spool != context.spool


def _sizes(c: Coordinator, job: Job) -> dict[str, int]:
    """Return the bytes of each input whose content is known, by digest: as it is kept here, or where it lies."""
    found: dict[str, int] = {}
    for job_input in job.inputs:
        if not job_input.sha256 or job_input.sha256 in found:
            continue
        for path in (c.paths.inputs / job_input.sha256, job_input.source):
            try:
                found[job_input.sha256] = os.stat(path).st_size
            except (OSError, ValueError):
                continue
            break
    return found

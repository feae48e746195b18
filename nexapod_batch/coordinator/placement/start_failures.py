"""Nodes that end every launch before anything of it begins, as where a module does not load: they get a rest.

The same would befall the next launch, and the one after it. A node is tried again when its rest is over, when somebody
waits for a job or asks for a retry, and goes on as before with the first launch that ends as it should.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.plugins import BackendState
from nexapod_batch.wording import pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.plugins import LaunchStatus

__all__ = ["ALIKE", "REST_MS", "note", "resting"]

#: Launches in a row after which a node rests, and for how long, in milliseconds.
ALIKE, REST_MS = 4, 600_000
_WHY_MAX = 500  # characters that are kept


def note(c: Coordinator, launch: int, status: LaunchStatus) -> None:
    """Keep that a launch ended before it began, or that one of its node did as it should."""
    if status.never_began:
        why = " ".join(status.never_began.split())[:_WHY_MAX]
        c.store.nodes.start_failed(launch, why=why, pattern=pattern(why), now=c.now())
    elif status.state is BackendState.COMPLETED:
        c.store.nodes.started(launch)


def resting(c: Coordinator) -> Mapping[int, Reason]:
    """Return why nodes get nothing now, by their ids."""
    since = c.now() - REST_MS
    found = {}
    for row in c.store.nodes.start_failures():
        if row.alike >= ALIKE and row.at > since:
            parameters = {"alike": row.alike, "text": row.why}
            found[row.node_id] = Reason(code=Code.NODE_RESTS, parameters=parameters)
    return found

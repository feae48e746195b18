"""The end of a launch: what its backend says becomes the word on every replica of it that never reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.lifecycle import Execution

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.plugins import LaunchStatus

__all__ = ["end_launch"]


def end_launch(c: Coordinator, launch: int, status: LaunchStatus) -> int:
    """End a launch; return how many of its replicas never reported."""
    reason = status.reason or f"the runner ended without a report ({status.native or status.state.value})"
    execution = (Execution.ERRORED if status.task_fault else Execution.LOST).value
    with c.store.atomic():
        if status.anew:
            gone = c.store.launches.take_back(launch, reason=reason, now=c.now())
        else:
            gone = c.store.launches.lose(launch, execution=execution, reason=reason, now=c.now())
        c.store.tasks.note_news(sorted(set(gone)))
        if status.reason and not status.anew:
            c.store.launches.explain_lost(launch, status.reason)
        c.store.launches.end(launch, status.reason)
    log.debug(
        __name__, "launch ended", launch=launch, state=status.state.value,
        native=status.native, silent=len(gone), reason=reason,
    )  # fmt: skip
    return len(gone)

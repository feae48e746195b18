"""The end of a launch: what its backend says becomes the word on every replica of it that never reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.placement import start_failures
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.plugins import BackendState
from nexapod_batch.store.repositories.launches import LaunchReason

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.plugins import LaunchStatus
    from nexapod_batch.store.repositories.launches import OpenLaunch

__all__ = ["awaits_host", "end_launch", "launch_reason", "reason_of"]


def awaits_host(row: OpenLaunch, status: LaunchStatus) -> bool:
    """Say whether all of a launch is there but its backend's word on where it ran, which matters."""
    return row.host_set >= 0 and not row.hosts and status.state is BackendState.COMPLETED and status.hosts is None


def end_launch(c: Coordinator, launch: int, status: LaunchStatus) -> int:
    """End a launch; return how many of its replicas never reported."""
    told = reason_of(status)
    reason = told or Reason(code=Code.NO_REPORT, parameters={"native": status.native or status.state.value})
    stored = reason.stored()
    execution = (Execution.ERRORED if status.task_fault else Execution.LOST).value
    with c.store.atomic():
        if status.anew:
            gone = c.store.launches.take_back(launch, reason=stored, now=c.now())
        else:
            gone = c.store.launches.lose(launch, execution=execution, reason=stored, now=c.now())
        c.store.tasks.note_news(sorted(set(gone)))
        if told is not None and not status.anew:
            c.store.launches.explain_lost(launch, stored, status.reason)
        c.store.launches.end(launch_reason(launch, told, status))
        start_failures.note(c, launch, status)
    log.debug(
        __name__, "launch ended", launch=launch, state=status.state.value,
        native=status.native, silent=len(gone), reason=status.reason,
    )  # fmt: skip
    return len(gone)


def launch_reason(launch: int, reason: Reason | None, status: LaunchStatus | None = None) -> LaunchReason:
    """Return what is stored of why a launch is as it is; without a status the scheduler said nothing."""
    stored = "" if reason is None else reason.stored()
    if status is None:
        return LaunchReason(stored, "", "", launch)
    return LaunchReason(stored, status.native_state, status.native_reason, launch)


def reason_of(status: LaunchStatus) -> Reason | None:
    """Return what a backend says of a launch; None where it says nothing."""
    if not status.reason:
        return None
    return Reason(code=status.code or Code.BACKEND, parameters={"text": status.reason})

"""How a launch ended, by what lies in the spool of its worker, and by what the scheduler says of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.plugins import BackendState, LaunchStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_backends.dask.launch_records import Record
    from nexapod_backends.dask.scheduler.agent_protocol import Spool

__all__ = ["TASK_ENDED", "ended_by_scheduler", "ended_in", "was_lost", "with_host"]

#: Dask's words for a task that is over.
TASK_ENDED = ("memory", "erred")


def ended_in(record: Record, spool: Spool, native: str, why_gone: Callable[[], str]) -> LaunchStatus | None:
    """Return how a launch ended; None where its spool does not say that it has.

    `native` is what Dask calls its place; `why_gone` says why its worker left the cluster, "" while it is there.
    """
    key = record.key
    if key in spool.refused:
        reason = spool.refused[key]
        cancelled = bool(record.over) or reason.startswith("cancelled")
        state = BackendState.CANCELED if cancelled else BackendState.FAILED
        return LaunchStatus(state=state, native=native, reason=reason, code="worker.refused")
    if key not in spool.claims:
        return None
    if key not in spool.inbox:
        why = why_gone()
        reason = f"worker {record.address} left the cluster: {why}" if why else ""
        return LaunchStatus(state=BackendState.COMPLETED, native=native, reason=reason, code="dask.worker_left")
    if not spool.runs(key):
        reason = f"its runner on {native} died"
        return LaunchStatus(state=BackendState.FAILED, native=native, reason=reason, code="dask.runner_died")
    return None


def ended_by_scheduler(record: Record, state: str | None, *, untraced: bool) -> LaunchStatus | None:
    """Return how a launch ended by Dask's word for its task; None where it goes on, or was lost.

    `untraced`: the task is over, and its worker's spool never had the launch.
    """
    if record.over and state in (None, "released", "forgotten"):
        return LaunchStatus(state=BackendState.CANCELED, native=record.address, reason=record.over)
    if untraced:
        reason = f"its task on {record.address} ended without a trace: see that worker's log"
        return LaunchStatus(state=BackendState.FAILED, native=record.address, reason=reason, code="dask.no_trace")
    return None


def was_lost(state: str | None, spool: Spool | None) -> bool:
    """Say whether a scheduler has lost the task of a launch that goes on, or calls it over while no runner has it."""
    if state is None:
        return True
    return state in TASK_ENDED and spool is not None and spool.holder is None


def with_host(status: LaunchStatus, record: Record) -> LaunchStatus:
    """Return a status with the host of a launch that was bound to a set of hosts."""
    if not record.host_set:
        return status
    return replace(status, hosts=(record.host,) if record.host else ())

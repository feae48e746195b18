"""What a person says about a job: cancel, hold, release, retry. The caller passes (job, task or None)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.placement.kept_inputs import keep_again
from nexapod_batch.errors import NexapodError
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.model.reason import Code
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.reason import Reason
    from nexapod_batch.store.repositories.replicas import OwedStop

__all__ = ["cancel", "hold", "release", "retry", "stop_owed"]

#: Names in one log line.
_LISTED = 20
Target = tuple[int, int | None]


def cancel(c: Coordinator, targets: Sequence[Target]) -> tuple[list[str], list[Reason]]:
    """Cancel jobs or single tasks; return the names of those that were open, and what could not be told to a backend.

    That stays owed: every pass tells it again, until the backend has heard it or nothing is left to stop.
    """
    changed: list[str] = []
    faults = Faults()
    with writer(c.store, wait_s=PATIENCE_S):
        for job, task in targets:
            _known(c, job, task)
            with c.store.atomic():
                out = [replica.id for replica in c.store.replicas.out(job, task)]
                if tasks := c.store.tasks.cancel(job, task):
                    changed.append(_name(job, task))
                    c.store.ledger.append([event(Kind.CANCELLED, c.now(), id=_name(job, task), tasks=tasks)])
                c.store.replicas.cancel(out, c.now())
                c.store.replicas.owe_stops(out)
                c.store.jobs.finish(job, c.now())
        stop_owed(c, faults)
    log.info(__name__, "cancelled", tasks=_listed(changed), faults=len(faults))
    return changed, list(faults.by_key().values())


def hold(c: Coordinator, targets: Sequence[Target]) -> list[str]:
    """Keep jobs from being dispatched; what is out goes on."""
    return _hold(c, targets, held=True)


def release(c: Coordinator, targets: Sequence[Target]) -> list[str]:
    """Let held jobs be dispatched."""
    return _hold(c, targets, held=False)


def retry(c: Coordinator, targets: Sequence[Target]) -> dict[str, int]:
    """Reopen failed, inconclusive and cancelled tasks; return how many more replicas each may use at least, by name.

    Replicas that reported keep their votes; those that errored, were lost or cancelled no longer count. Where less is
    left of `max_replicas` than a new answer would need to win by itself, the task is allowed that much. How many are
    placed is then decided as for any task. They run the inputs of the submit: NotFoundError where these are gone.
    """
    changed = {}
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for job, task in targets:
            _known(c, job, task)
            keep_again(c, job)
            quorum = c.job(job).quorum
            c.store.replicas.set_aside(job, task)
            c.store.tasks.allow_more(job, task, agree=quorum.agree, max_replicas=quorum.max_replicas)
            if tasks := c.store.tasks.retry(job, task):
                changed[_name(job, task)] = quorum.agree
                c.store.ledger.append([event(Kind.RETRIED, c.now(), id=_name(job, task), tasks=tasks)])
            c.store.jobs.reopen(job)
    log.info(__name__, "reopened", tasks=_listed(changed))
    return changed


def stop_owed(c: Coordinator, faults: Faults) -> None:
    """Ask the backends to stop what is to stop; what they do not hear stays owed, and changes no verdict."""
    by_node: dict[int, list[OwedStop]] = defaultdict(list)
    for row in c.store.replicas.owed_stops():
        by_node[row.node_id].append(row)
    for node_id, rows in by_node.items():
        if _told(c, node_id, [row for row in rows if row.open], faults):
            with c.store.atomic():
                c.store.replicas.stopped([row.id for row in rows])


def _told(c: Coordinator, node_id: int, rows: Sequence[OwedStop], faults: Faults) -> bool:
    """Tell a node's backend to stop replicas; say whether it heard it."""
    launches: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        launches[row.key].append(f"{row.job_id}_{row.task}.{row.number}")
    if not launches:
        return True
    node = c.nodes_by_id()[node_id]
    try:
        c.backend(node).cancel(c.context(node), launches)
    except (NexapodError, OSError) as error:
        faults.of_node(Code.CANCEL_FAULT, node, error)
        return False
    return True


def _hold(c: Coordinator, targets: Sequence[Target], *, held: bool) -> list[str]:
    changed = []
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for job, _ in targets:
            _known(c, job, None)
            if c.store.jobs.hold(job, held=held):
                changed.append(str(job))
    log.info(__name__, "held" if held else "released", jobs=_listed(changed))
    return changed


def _known(c: Coordinator, job: int, task: int | None) -> None:
    """Raise NotFoundError for a job or task that is not there."""
    c.job(job)
    if task is not None:
        c.task(job, task)


def _listed(names: Iterable[str]) -> str:
    """Return a few names for a log line."""
    every = list(names)
    left = len(every) - _LISTED
    return ",".join(every[:_LISTED]) + (f",+{left}" if left > 0 else "")


def _name(job: int, task: int | None) -> str:
    if task is None:
        return str(job)
    return f"{job}_{task}"

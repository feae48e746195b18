"""What a person says about a job: cancel, hold, release, retry. The caller passes (job, task or None)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.faults import note
from nexapod_batch.errors import NexapodError
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store import Row

__all__ = ["cancel", "hold", "release", "retry", "stop_replicas"]

Target = tuple[int, int | None]


def cancel(c: Coordinator, targets: Sequence[Target]) -> list[str]:
    """Cancel jobs or single tasks; return the names of those that were open."""
    changed: list[str] = []
    faults: dict[str, str] = {}
    with writer(c.store, wait_s=PATIENCE_S):
        for job, task in targets:
            _known(c, job, task)
            with c.store.atomic():
                out = c.store.all("replicas_out", job=job, task=task)
                if c.store.run("task_cancel", job=job, task=task):
                    changed.append(_name(job, task))
                c.store.many("replica_cancel", [(c.now(), row["id"]) for row in out])
                c.store.run("job_finished", job=job, now=c.now())
            _tell(c, out, faults)
    return changed


def hold(c: Coordinator, targets: Sequence[Target]) -> list[str]:
    """Keep jobs from being dispatched; what is out goes on."""
    return _hold(c, targets, held=1)


def release(c: Coordinator, targets: Sequence[Target]) -> list[str]:
    """Let held jobs be dispatched."""
    return _hold(c, targets, held=0)


def retry(c: Coordinator, targets: Sequence[Target]) -> dict[str, int]:
    """Reopen failed, inconclusive and cancelled tasks; return how many more replicas each may use at least, by name.

    Replicas that reported keep their votes; those that errored, were lost or cancelled no longer count. Where less is
    left of `max_replicas` than a new answer would need to win by itself, the task is allowed that much. How many are
    placed is then decided as for any task.
    """
    changed = {}
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for job, task in targets:
            _known(c, job, task)
            quorum = c.job(job).quorum
            c.store.run("replicas_set_aside", job=job, task=task)
            c.store.run("task_allowance", job=job, task=task, agree=quorum.agree, max_replicas=quorum.max_replicas)
            if c.store.run("task_retry", job=job, task=task, want=0):
                changed[_name(job, task)] = quorum.agree
            c.store.run("job_reopened", job=job)
    return changed


def stop_replicas(c: Coordinator, replica_ids: Iterable[int], faults: dict[str, str]) -> None:
    """Ask the backends to stop replicas that are no longer needed; whether they heard does not change a verdict."""
    rows = [row for row in (c.store.one("replica", id=one) for one in replica_ids) if row is not None]
    _tell(c, rows, faults)


def _tell(c: Coordinator, rows: Sequence[Row], faults: dict[str, str]) -> None:
    by_node: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_node[row["node_id"]][row["key"]].append(f"{row['job_id']}_{row['task']}.{row['number']}")
    nodes = c.nodes_by_id()
    for node_id, launches in by_node.items():
        node = nodes[node_id]
        try:
            c.backend(node).cancel(c.context(node), launches)
        except (NexapodError, OSError) as error:
            note(faults, "cancel", node, error, "cancelling failed")


def _hold(c: Coordinator, targets: Sequence[Target], *, held: int) -> list[str]:
    changed = []
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for job, _ in targets:
            _known(c, job, None)
            if c.store.run("job_hold", job=job, held=held):
                changed.append(str(job))
    return changed


def _known(c: Coordinator, job: int, task: int | None) -> None:
    """Raise NotFoundError for a job or task that is not there."""
    c.job(job)
    if task is not None:
        c.task(job, task)


def _name(job: int, task: int | None) -> str:
    return str(job) if task is None else f"{job}_{task}"

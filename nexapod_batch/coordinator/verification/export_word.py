"""What the coordinator says of a job beside what was signed, for an export: the facts that no statement can hold.

With them, and with the statements, a verdict can be worked out again where there is no database.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec

from nexapod_batch.coordinator.evidence.export_format import ExportedReplica, ExportedTask, ExportedVerdict
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.steps.votes import Places, every_vote
from nexapod_batch.model.reason import Reason
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.quorum import Vote
    from nexapod_batch.store.repositories.jobs import JobRow
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["coordinators_word"]


def coordinators_word(
    c: Coordinator, job: JobRow, rows: Iterable[ReplicaRow], counts: Mapping[int, int], nodes: Mapping[int, Node]
) -> bytes:
    """Return `verdict.json` on the tasks of some replicas, of which `counts` statements have come in, by row id."""
    by_task: dict[int, list[ReplicaRow]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    places = Places(c.job(job.id), nodes)
    keys = {node_id: list(keys_of(c, node)) for node_id, node in nodes.items()}
    tasks = []
    for index, replicas in by_task.items():
        task = c.store.tasks.get(job.id, index)
        exported = _task(task)
        exported.judged = len(c.store.verdicts.of_task(job.id, index, again=True))
        votes = every_vote(c, places, task.numeric_class, replicas)
        for row, vote in zip(replicas, votes, strict=True):
            replica = _replica(job.uuid, row, vote, nodes[row.node_id], keys[row.node_id])
            replica.statements = counts[row.id]
            exported.replicas.append(replica)
        tasks.append(exported)
    word = ExportedVerdict(job=job.id, uuid=job.uuid, digest=job.digest, tasks=tasks)
    return msgspec.json.format(msgspec.json.encode(word), indent=1) + b"\n"


def _task(task: TaskRow) -> ExportedTask:
    """Return what is exported of a task; its replicas are added."""
    reason, doubt = Reason.parse(task.reason), Reason.parse(task.doubt)
    return ExportedTask(
        task=task.idx,
        state=task.state,
        reason=sentence(reason),
        why=_data(reason),
        agree=task.agree,
        published_from=task.published_from,
        doubt=sentence(doubt),
        doubt_why=_data(doubt),
        extra=task.extra,
        basis=task.basis,
        measured=json.loads(task.measured) if task.measured else None,
        numeric_class=task.numeric_class,
    )


def _replica(uuid: str, row: ReplicaRow, vote: Vote, node: Node, keys: list[str]) -> ExportedReplica:
    """Return what is exported of a replica; how many statements it has is added."""
    reason = Reason.parse(row.reason)
    run_by = hashlib.sha256(f"{uuid} {vote.run_by}".encode()).hexdigest()[:16] if vote.run_by else ""
    return ExportedReplica(
        number=row.number,
        node=node.name,
        site=node.site,
        owner=node.owner,
        key=node.key_id,
        keys=keys,
        execution=row.execution,
        validation=row.validation,
        reason=sentence(reason),
        why=_data(reason),
        statements=0,
        domain={str(name): value for name, value in vote.domain.items()},
        account=vote.account,
        beside=vote.beside,
        run_by=run_by,
        no_vote=_data(vote.no_vote),
    )


def _data(reason: Reason | None) -> dict[str, Any] | None:
    return None if reason is None else reason.document()

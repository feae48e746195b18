"""In what outputs of two replicas differ, as JSON types: the same whether it is asked now or was kept at a decision."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import orjson

from nexapod_batch.compare.budget import Budget, within
from nexapod_batch.compare.stores import stores
from nexapod_batch.coordinator.evidence.closeness import tolerant
from nexapod_batch.coordinator.evidence.replica_outputs import opened_store, outputs_of, rule_for
from nexapod_batch.errors import ConfigError, SchedulerError, UnsafeOutputError
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.job import Agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from nexapod_batch.compare.stores import Store
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.replica_outputs import OpenFiles, Outputs
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReplicaRow

__all__ = ["differences_of", "different_files", "put_differences"]

_SIDES = ("left", "right")
#: Seconds of processor time for what differs in a task, in a pass or while somebody waits.
_SECONDS = 60.0


def differences_of(c: Coordinator, job_id: int, task: int) -> list[dict[str, Any]]:
    """Return where replicas of a task differ, a document for each two that were compared; empty where nobody lost.

    A document has what was found as lines (`text`) where an earlier version kept no more.
    """
    known = c.store.tasks.difference(job_id, task)
    if known is None:
        if c.store.tasks.get(job_id, task).state != TaskState.INCONCLUSIVE:
            return []
        with within(Budget(_SECONDS, grows=False)):
            return _disagreement(c, job_id, task)
    if not known.startswith("["):
        return [{"text": known.split("\n")}]
    documents: list[dict[str, Any]] = orjson.loads(known)
    return documents


def put_differences(
    c: Coordinator, nodes: Mapping[int, Node], replicas: Sequence[ReplicaRow], winner: Outputs
) -> None:
    """Keep where each loser's files differ from the accepted ones, while they are there."""
    said = winner.statement.replica
    losers = [replica for replica in replicas if replica.validation == "invalid"]
    documents = []
    with within(Budget(_SECONDS, grows=False)):
        for replica in losers:
            document = _document(nodes, replica, str(said), accepted=True)
            hosts = [r.host for r in replicas if r.number in {replica.number, said.number}]
            documents.append(_filled(document, c, nodes, lambda: winner, replica, hosts))
    with c.store.atomic():
        c.store.tasks.put_difference(said.job, said.task, orjson.dumps(documents).decode())


def _disagreement(c: Coordinator, job_id: int, task: int) -> list[dict[str, Any]]:
    """Compare the first replica of a task without a result with those that said something else.

    Within tolerances digests say nothing: all are looked at.
    """
    nodes, job = c.nodes_by_id(), c.job(job_id)
    reported = [r for r in c.store.replicas.of_task(job_id, task) if r.execution == "reported"]
    documents = []
    for replica in reported[1:]:
        first = reported[0]
        if replica.vote == first.vote and not tolerant(job):
            continue
        document = _document(nodes, replica, f"{job_id}_{task}.{first.number}", accepted=False)
        hosts = [first.host, replica.host]
        opened = partial(outputs_of, c, nodes[first.node_id], first)
        try:
            document = _filled(document, c, nodes, opened, replica, hosts)
        except SchedulerError as error:  # of a machine that cannot be reached now
            document["problem"] = str(error)
        if document["files"] or document["problem"]:
            documents.append(document)
    return documents


def _document(
    nodes: Mapping[int, Node], replica: ReplicaRow, against: str, *, accepted: bool
) -> dict[str, Any]:
    """Return what two replicas are of which nothing was compared yet."""
    node = nodes[replica.node_id]
    return {
        "replica": f"{replica.job_id}_{replica.task}.{replica.number}", "node": node.name, "owner": node.owner,
        "node_key": node.key_id, "against": against, "accepted": accepted, "files": [], "problem": None,
    }  # fmt: skip


def _filled(
    document: dict[str, Any], c: Coordinator, nodes: Mapping[int, Node], left: Callable[[], Outputs],
    replica: ReplicaRow, hosts: Sequence[str],
) -> dict[str, Any]:
    """Add what differs, or why it cannot be said."""
    try:
        other = outputs_of(c, nodes[replica.node_id], replica)
        document["files"] = list(different_files(c.job(replica.job_id), replica.task, left(), other, hosts))
    except (UnsafeOutputError, OSError, ValueError) as error:
        document["problem"] = str(error)
    return document


def different_files(
    job: Job, task: int, left: OpenFiles, right: OpenFiles, hosts: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield what `compare.reporting.told` says of each output that differs, those of one side included (`only_of`).

    `hosts` are names of the machines on which they were written. Raises OSError.
    """
    from nexapod_batch.compare.reporting import told  # noqa: PLC0415 - seldom, and knows many formats

    rules = {name: rule_for(job, task, name) for name in sorted({*left.files, *right.files})}
    ours, theirs = (
        {store.name: store for store in stores({name: rules[name] for name in side.files}, exact=True)}
        for side in (left, right)
    )
    both = ours.keys() & theirs.keys()
    of_stores = {name for whole in both for name in (*ours[whole].members, *theirs[whole].members)}
    for whole in sorted(both):
        yield from _different_stores((ours[whole], left), (theirs[whole], right), hosts)
    for name, rule in rules.items():
        if rule.agreement is Agreement.NOTHING or name in of_stores:
            continue
        if name not in right.files or name not in left.files:
            yield {"name": name, "agree": False, "only_of": _SIDES[name in right.files]}
        elif left.files[name] != right.files[name]:
            try:
                found = told(partial(left.open, name), partial(right.open, name), name, rule, hosts)
            except (ConfigError, UnsafeOutputError) as error:
                found = {"name": name, "agree": False, "unreadable": str(error)}
            if not found["agree"]:
                yield found | ({"printed_by": rule.normalize[0]} if rule.normalize else {})


def _different_stores(
    one: tuple[Store, OpenFiles], other: tuple[Store, OpenFiles], hosts: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield what is said of two stores of one name that differ."""
    from nexapod_batch.compare.reporting import told  # noqa: PLC0415 - as above

    ours, theirs = ({name: files.files[name] for name in store.members} for store, files in (one, other))
    if ours == theirs:
        return
    left, right = (cast("Callable[[], BinaryIO]", partial(opened_store, *side)) for side in (one, other))
    name = one[0].name
    try:
        found = told(left, right, name, one[0].rule, hosts)
    except (ConfigError, UnsafeOutputError) as error:
        found = {"name": name, "agree": False, "unreadable": str(error)}
    if not found["agree"]:
        yield found

"""What becomes of a replica whose node signed digests of outputs that it never had: no vote, and the blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.evidence.possession import had_none
from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.files import careful
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.trust.statement import Statement

__all__ = ["withdraw", "withdraw_copies"]


def withdraw(c: Coordinator, replica: VotingReplica) -> None:
    """Take the vote from a replica, and blame its node: the same again changes nothing."""
    reason = Reason(code=Code.NOT_POSSESSED).stored()
    with c.store.atomic():
        changed = c.store.replicas.withdraw(replica.id, reason)
        if changed:
            c.store.nodes.blame(replica.node_id)
            c.store.tasks.note_news(changed)
            log.warning(__name__, "outputs that were never there", replica=f"{replica.task}.{replica.number}")


def withdraw_copies(
    c: Coordinator, nodes: Mapping[int, Node], replicas: Sequence[VotingReplica], number: int, folder: Path
) -> set[int]:
    """Withdraw the replicas of a task that signed the digests of these files, and never had them; return their numbers.

    `folder` holds the outputs of the replica with a `number`; who agrees byte for byte is held to the same bytes.
    OSError where they cannot be read.
    """
    joined = [r for r in replicas if nodes[r.node_id].joined and r.validation == "valid" and r.execution == "reported"]
    if not joined:
        return set()
    statements = {r.number: statement_of(c, r.id) for r in joined}
    published = next(statement_of(c, r.id) for r in replicas if r.number == number)
    same = {n: said for n, said in statements.items() if _raw(said) == _raw(published)}
    first = replicas[0]
    files = listed(published, c.store.tasks.manifest(first.job_id, first.task))
    if files is None or not same:
        return set()
    liars = had_none(same, files, lambda name: careful.stream(folder / name))
    for replica in joined:
        if replica.number in liars:
            withdraw(c, replica)
    return liars


def _raw(said: Statement) -> frozenset[tuple[str, str]]:
    return frozenset((subject.name, subject.sha256) for subject in said.subjects)

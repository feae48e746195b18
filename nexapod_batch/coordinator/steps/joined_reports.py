"""What a report of a node that joined must be beside those of others: committed to, by who had the outputs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

import orjson

from nexapod_batch.coordinator.evidence.possession import had_none
from nexapod_batch.coordinator.steps.commitments import take_again
from nexapod_batch.lifecycle import OUT
from nexapod_batch.mesh.commitment import commitment_to
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.report_reader import Report
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReportedReplica

__all__ = ["NotTaken", "commitments_of", "not_taken"]


class NotTaken(NamedTuple):
    """Why a report is not taken in."""

    reason: Reason
    blamed: bool  # no honest node does this


def commitments_of(c: Coordinator, nodes: Iterable[Node], rows: Iterable[ReportedReplica]) -> dict[int, bytes]:
    """Return what nodes that joined committed themselves to report of replicas, by row id."""
    joined = {node.id: node for node in nodes if node.joined}
    ids = {row.id: row.node_id for row in rows if row.node_id in joined}
    if not ids:
        return {}
    found = c.store.commitments.of(ids)
    lacking = {ids[row] for row in ids.keys() - found.keys()}
    for node in lacking:
        take_again(c, joined[node])
    return c.store.commitments.of(ids) if lacking else found


def not_taken(node: Node, row: ReportedReplica, report: Report, committed: bytes | None) -> NotTaken | None:
    """Return why a report of a node that joined is not taken in; None where it may be.

    Two different reports of one replica void it, as always: then it does not matter which one was committed to.
    """
    said, names = report.statement, {"replica": str(report.statement.replica), "node": node.name}
    if committed is None:
        return NotTaken(Reason(code=Code.REPORT_UNCOMMITTED, parameters=names), blamed=False)
    if committed != commitment_to(report.payload, report.signature) and row.execution in OUT:
        return NotTaken(Reason(code=Code.REPORT_OTHER_THAN_COMMITTED, parameters=names), blamed=True)
    if said.outcome is not Outcome.OK:
        return None
    if not said.possession:
        return NotTaken(Reason(code=Code.REPORT_WITHOUT_POSSESSION, parameters=names), blamed=False)
    if report.carried is not None and not _possessed(report, report.carried):
        why = {**names, "contradiction": Reason(code=Code.OTHER_POSSESSION)}
        return NotTaken(Reason(code=Code.REPORT_CONTRADICTS, parameters=why), blamed=True)
    return None


def _possessed(report: Report, carried: bytes) -> bool:
    """Say whether the outputs that came with a report are those of its possession tag."""
    files = orjson.loads(carried)
    signed = {subject.name: subject.sha256 for subject in report.statement.subjects}
    return not had_none({1: report.statement}, signed, lambda name: io.BytesIO(base64.b64decode(files[name])))

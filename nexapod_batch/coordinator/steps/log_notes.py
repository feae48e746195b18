"""Notes of logs that nodes write while replicas run: checked, and kept as they came.

One that does not follow the one before is kept as well, and told in quarantine: that something was left out in between
is what the notes are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.report_reader import Refused
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.spool.segment_reader import KEEP
from nexapod_batch.trust.nesting import loads
from nexapod_batch.trust.trail import FIRST, decode_note, noted, replica_key

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.report_reader import Trailed
    from nexapod_batch.model.node import Node

__all__ = ["take_note"]


def take_note(c: Coordinator, node: Node, line: Trailed) -> Refused | None:
    """Keep a note; return what goes to quarantine of it, where it is no good or does not follow the one before.

    The same note again is no event. One of a launch of a version without is passed over.
    """
    note = decode_note(loads(line.note))
    row = c.store.trails.replica(*line.replica)
    parameters = {"replica": note.replica, "node": node.name, "number": note.number}
    if row is None:
        return _refused(line, Code.REPORT_OF_NO_REPLICA, parameters)
    if row.node_id != node.id:
        return _refused(line, Code.REPORT_OF_OTHER_NODE, parameters)
    if row.secret is None or c.store.trails.note(row.id, note.number) == line.note:
        return None
    if noted(replica_key(row.secret, row.nonce), note) != note:
        return _refused(line, Code.NOTE_FORGED, parameters)
    newest = c.store.trails.newest(row.id)
    number, head = 0, FIRST
    if newest is not None:
        last = decode_note(loads(newest))
        number, head = last.number, last.mac
    c.store.trails.insert(row.id, note.number, line.note)
    if (note.number, note.before) != (number + 1, head):
        return _refused(line, Code.NOTE_OUT_OF_CHAIN, parameters)
    return None


def _refused(line: Trailed, code: str, parameters: dict[str, object]) -> Refused:
    return Refused(line.position, Reason(code=code, parameters=parameters).stored(), line.note[:KEEP])

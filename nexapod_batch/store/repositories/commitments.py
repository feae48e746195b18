"""What nodes committed themselves to report, before they did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.store.database import Database

__all__ = ["Commitments"]


class Commitments:
    """The commitments to reports of all replicas on nodes that joined."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "commitments")

    def keep(self, replica: tuple[int, int, int], node: int, sha256: bytes, now: int) -> None:
        """Keep a node's commitment to a replica (job, task, number) that it has; the first one stays."""
        job, task, number = replica
        self._sql.run("commitment_insert", job=job, task=task, number=number, node=node, sha256=sha256, now=now)

    def of(self, replicas: Iterable[int]) -> dict[int, bytes]:
        """Return the commitments to replicas, by row id, as far as there are any."""
        return dict(self._sql.tuples("commitments_of", replicas=json.dumps(list(replicas))))

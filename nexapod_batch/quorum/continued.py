"""Whether replicas that go on from a saved state go on from one that was signed, by the node that signed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.trust.statement import Statement

__all__ = ["broken_chains"]


def broken_chains(statements: Mapping[int, Statement]) -> list[str]:
    """Return which replicas of one task go on from what nobody saved, or another node did.

    `statements` are those of the task by the number of their replica, one for each.
    """
    faults = []
    for number, statement in sorted(statements.items()):
        if statement.continues is None:
            continue
        before = statements.get(statement.continues.number)
        if before is None:
            faults.append(f"replica {number} goes on from replica {statement.continues.number}, which signed nothing")
        elif before.builder != statement.builder:
            faults.append(f"replica {number} goes on from replica {statement.continues.number} of another node")
        elif tuple([(file.name, file.sha256) for file in before.saved]) != statement.continues.files:
            faults.append(f"replica {number} goes on from another state than replica {before.replica.number} saved")
    return faults

"""`none`: published, digested and signed, and nothing has to agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare.ports import Comparison

if TYPE_CHECKING:
    from nexapod_batch.compare.ports import Difference
    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON"]


class Uncompared(Comparison):
    """Files whose content has no vote."""

    def first_difference(self, left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:  # noqa: ARG002
        """Return None: nothing of them has to agree."""
        return None


COMPARISON = Uncompared()

"""Normalisers and comparators of outputs: pure, on streams, in bounded memory, and the same on every node.

`normalized_digest` turns equality up to rounding into equality of digests, so that a quorum is a grouping.
`allclose` and `first_difference` compare two streams. All three read a file as a sequence of tokens (`formats`), and
agree on which of them are numbers (`numbers`).
"""

from __future__ import annotations

from nexapod_batch.compare.difference import Difference, allclose, first_difference
from nexapod_batch.compare.normalize import normalized_digest

__all__ = ["Difference", "allclose", "first_difference", "normalized_digest"]

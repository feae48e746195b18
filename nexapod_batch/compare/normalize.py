r"""The normalised digest: two files that are equal after rounding have the same one.

It is the SHA-256 of `nexapod-normalized:2 <comparator> <digits> <format>\n` followed by the normal forms of the file's
tokens, each with one blank behind it. The number is that of the rules: 1 had others for what is a number.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare.formats import Reading
from nexapod_batch.compare.numbers import normalizer
from nexapod_batch.model.job import Comparator

if TYPE_CHECKING:
    from nexapod_batch.model.job import CompareRule

__all__ = ["normalized_digest"]


def normalized_digest(stream: BinaryIO, name: str, rule: CompareRule) -> str | None:
    """Return the hex digest of the file's normal form; None for `exact` and `allclose`, which have none.

    `name` decides the format (see `formats`). Raises CompareError for a file that is not of it.
    """
    if rule.comparator in (Comparator.EXACT, Comparator.ALLCLOSE):
        return None
    normal = normalizer(rule)
    reading = Reading(stream, name)
    digest = hashlib.sha256(f"nexapod-normalized:2 {rule.comparator} {rule.digits} {reading.format}\n".encode())
    for batch in reading.batches:
        if batch:
            digest.update(b" ".join(map(normal, batch)) + b" ")
    return digest.hexdigest()

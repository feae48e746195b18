"""Programs that read files of a kind, kept until a test module ends: each takes long to start, beside what it reads."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.foreign.asking import Bounds
from nexapod_batch.compare.formats.foreign.programs import read_by

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kept"]


@contextmanager
def kept(*kinds: str) -> Iterator[None]:
    """Keep the programs of these kinds: each has a reading, of nothing, that nobody ends."""
    with ExitStack() as stack, open(os.devnull, "rb") as nothing:
        for kind in kinds:
            stack.enter_context(read_by(kind, "batches", [], nothing, Bounds(60)))
        yield

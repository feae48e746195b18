"""The parts of a file that a node sends: whatever was read ahead, a part is what the file has at that place."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.agent.parts import Parts
from nexapod_batch.errors import TryAgainError
from nexapod_batch.mesh.blobs import PART
from nexapod_batch.mesh.signatures import content_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[tuple[int, Parts]]:
    """Yield a descriptor of a file with these bytes, and its parts."""
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    try:
        with Parts(fd) as parts:
            yield fd, parts
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (0, (0,)),
        (1, (0, 0)),
        (PART, (0, 17, 0)),
        (PART + 1, (0, PART, 0)),
        (2 * PART + 5, (0, PART, 2 * PART)),
        (2 * PART + 5, (0, 0, PART, 0)),
        (2 * PART + 5, (PART + 3, 7, 2 * PART + 4, PART)),
    ],
    ids=["empty", "one byte", "one part", "a byte more", "in order", "sent again", "anywhere"],
)
def test_a_part_is_what_the_file_has_there(tmp_path: Path, size: int, places: tuple[int, ...]) -> None:
    """In order, once more, and from any byte on, as far as a coordinator that lost some says."""
    data = hashlib.shake_128(b"parts").digest(size)
    with opened(tmp_path / "file", data) as (_, parts):
        assert (parts.total, parts.sha256()) == (size, hashlib.sha256(data).hexdigest())
        for at in places:
            part = parts.begins(at)
            assert (part.at, bytes(part.data)) == (at, data[at : at + PART])
            assert part.digest == content_digest(data[at : at + PART])


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    """Nobody sends nothing for ever."""
    with opened(tmp_path / "file", b"x" * (PART + 5)) as (fd, parts):
        os.truncate(fd, 5)
        assert bytes(parts.begins(0).data) == b"x" * 5
        with pytest.raises(TryAgainError, match="became shorter"):
            parts.begins(5)

"""The parts of a file that a node sends: a part is what the file has at that place, and is signed as what it was."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.agent.parts import Parts
from nexapod_batch.errors import TryAgainError
from nexapod_batch.mesh.blobs import PART
from nexapod_batch.mesh.signatures import content_digest, so_far_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[tuple[int, Parts]]:
    """Yield a descriptor of a file with these bytes, and its parts."""
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    try:
        yield fd, Parts(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (0, (0,)),
        (1, (0, 0, 1)),
        (PART, (0, 17, 0, PART)),
        (PART + 1, (0, PART, 0)),
        (2 * PART + 5, (0, PART, 2 * PART)),
        (2 * PART + 5, (0, 0, PART, 0)),
        (2 * PART + 5, (PART + 3, 7, 2 * PART + 4, PART)),
    ],
    ids=["empty", "one byte", "one part", "a byte more", "in order", "sent again", "anywhere"],
)
def test_a_part_is_what_the_file_has_there(tmp_path: Path, size: int, places: tuple[int, ...]) -> None:
    """In order, once more, and from any byte on that a coordinator says: up to where the next part begins."""
    data = hashlib.shake_128(b"parts").digest(size)
    with opened(tmp_path / "file", data) as (_, parts):
        assert (parts.total, parts.sha256) == (size, hashlib.sha256(data).hexdigest())
        for at in places:
            part, end = parts.begins(at), min(size, at - at % PART + PART)
            for _ in range(2):
                assert (part.at, len(part), b"".join(map(bytes, part))) == (at, end - at, data[at:end])
            assert parts.content_digest(part, so_far=False) == content_digest(data[at:end])
            so_far = so_far_of(parts.content_digest(part, so_far=True))
            assert so_far == hashlib.sha256(data[:end]).digest()


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    """Nobody sends nothing for ever."""
    with opened(tmp_path / "file", b"x" * (PART + 5)) as (fd, parts):
        os.truncate(fd, 5)
        for at in (0, PART):
            with pytest.raises(TryAgainError, match="became shorter"):
                list(parts.begins(at))

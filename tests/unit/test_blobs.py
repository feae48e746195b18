"""Blobs on their way: whatever the file system and the place of a part in memory, the file has what was sent."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nexapod_batch.mesh.blobs import PART, Upload

#: Folders of a disk, and of a file system that may have no writes past its cache.
PLACES = ("/var/tmp", "/dev/shm")  # noqa: S108 - both are made anew
SIZES = (0, 1, PART - 1, PART, PART + 1, 2 * PART + 4096, 3 * PART)


def on_pages(data: bytes) -> memoryview:
    """Return the same bytes at the beginning of a page, as a server has them."""
    place = mmap.mmap(-1, max(len(data), 1))
    place[: len(data)] = data
    return memoryview(place)[: len(data)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("whole_pages", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_sent_is_there(place: str, whole_pages: bool, size: int) -> None:
    """Part by part; and again by somebody who goes on behind a byte in the middle of a page."""
    content = hashlib.shake_128(b"blob").digest(size)
    for first in (0, min(size, 4099)):
        with TemporaryDirectory(dir=place) as folder:
            upload, at = Upload(Path(folder), hashlib.sha256(content).hexdigest()), 0
            while at < size:
                piece = content[at : at + (first if first and not at else PART)]
                at = upload.append(at, on_pages(piece) if whole_pages else piece)
            upload.finish()
            assert upload.target.read_bytes() == content

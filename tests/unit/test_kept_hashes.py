"""Hashes that are kept of blobs that grow: they count for the file as it was left, and for nothing else."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import TryAgainError, VerificationError
from nexapod_batch.mesh import kept_hashes
from nexapod_batch.mesh.blobs import OffsetError, PartError, Upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = b"0123456789" * 1000


def left(path: Path) -> None:
    """Leave a file as it is."""


def rewritten(path: Path) -> None:
    """Write other bytes into it, as many, at another time."""
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, (1, 1))


def replaced(path: Path) -> None:
    """Put another file with other bytes in its place."""
    other = path.with_name("other")
    other.write_bytes(b"x" * path.stat().st_size)
    other.replace(path)


def restarted(path: Path) -> None:
    """Forget what is kept, as a process does that ends."""
    kept_hashes.take(path, path.stat())


def partial(folder: Path) -> Path:
    """Return the only file of a folder."""
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("between", [left, restarted])
@pytest.mark.parametrize("cut", [0, 1, 5000, len(DATA)])
def test_a_blob_that_grew_undisturbed_gets_its_name(tmp_path: Path, between: Callable[[Path], None], cut: int) -> None:
    """Whether its hash was kept all the time, or the process began anew in between."""
    upload = Upload(tmp_path, hashlib.sha256(DATA).hexdigest())
    upload.append(0, DATA[:cut])
    between(partial(tmp_path))
    upload.append(cut, DATA[cut:])
    between(partial(tmp_path))
    upload.finish()
    assert upload.target.read_bytes() == DATA


@pytest.mark.parametrize("between", [rewritten, replaced])
@pytest.mark.parametrize("at_end", [True, False], ids=["at the end", "between two parts"])
def test_a_blob_that_somebody_changed_is_noticed(
    tmp_path: Path, between: Callable[[Path], None], *, at_end: bool
) -> None:
    """What is in the file counts, not what was sent: it is gone, as everything is that is not what it claims."""
    upload = Upload(tmp_path, hashlib.sha256(DATA).hexdigest())
    upload.append(0, DATA[:5000])
    if not at_end:
        between(partial(tmp_path))
    upload.append(5000, DATA[5000:])
    if at_end:
        between(partial(tmp_path))
    with pytest.raises(VerificationError, match="another one"):
        upload.finish()
    assert os.listdir(tmp_path) == []


def test_a_part_that_is_refused_changes_no_hash(tmp_path: Path) -> None:
    """A part at the wrong place, and the same part twice, leave the blob as it was."""
    upload = Upload(tmp_path, hashlib.sha256(DATA).hexdigest())
    upload.append(0, DATA[:5000])
    for _ in range(2):
        with pytest.raises(OffsetError, match="does not begin"):
            upload.append(0, DATA[:5000])
    upload.append(5000, DATA[5000:])
    upload.finish()
    assert upload.complete()


def so_far(size: int) -> bytes:
    """Return the SHA-256 of so many first bytes."""
    return hashlib.sha256(DATA[:size]).digest()


def test_a_part_that_makes_another_blob_is_refused(tmp_path: Path) -> None:
    """What was there stays, and the right part goes on from it."""
    upload = Upload(tmp_path, hashlib.sha256(DATA).hexdigest())
    upload.append(0, DATA[:5000], so_far(5000))
    for _ in range(2):
        with pytest.raises(PartError, match="another one"):
            upload.append(5000, b"x" * (len(DATA) - 5000), so_far(len(DATA)))
        assert (upload.size(), upload.is_hashed()) == (5000, True)
    upload.append(5000, DATA[5000:], so_far(len(DATA)))
    upload.finish()
    assert upload.target.read_bytes() == DATA


def test_what_nobody_hashed_is_not_read_for_one_part(tmp_path: Path) -> None:
    """A small part would cost as much as the blob: it is checked by its own SHA-256, and the whole at the end."""
    upload = Upload(tmp_path, hashlib.sha256(DATA).hexdigest())
    assert upload.is_hashed()
    upload.append(0, DATA[:5000], so_far(5000))
    restarted(partial(tmp_path))
    assert not upload.is_hashed()
    with pytest.raises(TryAgainError, match="must be read first"):
        upload.append(5000, DATA[5000:], so_far(len(DATA)))
    upload.append(5000, DATA[5000:])
    upload.finish()
    assert upload.target.read_bytes() == DATA

"""Hashes that are kept of blobs that grow: they count for the file as it was left, and for nothing else."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh import kept_hashes
from nexapod_batch.mesh.blobs import OffsetError, Upload

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

"""Whether a disk takes anything, as its file system says when it is tried."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.runner.execution.folders.disk_space import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a disk in memory, or skip."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    ("options", "fill", "wanted"),
    [
        ("size=8m", 0, 0),
        ("size=8m", 9 << 20, errno.ENOSPC),
        ("size=8m,nr_inodes=1", 0, errno.ENOSPC),
        ("size=8m,ro", 0, errno.EROFS),
    ],
    ids=["room", "full", "no names", "read-only"],
)
def test_a_disk_that_takes_nothing_says_why(tmp_path: Path, options: str, fill: int, wanted: int) -> None:
    """In the kernel's words; a disk with room says nothing, and keeps nothing."""
    with disk(tmp_path, options) as folder:
        if fill:
            with pytest.raises(OSError, match="space"):
                (folder / "big").write_bytes(bytes(fill))
        names = os.listdir(folder)
        assert refusal(str(folder)) == (os.strerror(wanted) if wanted else "")
        assert os.listdir(folder) == names


def test_a_folder_that_is_gone_is_no_disk_that_is_full(tmp_path: Path) -> None:
    """What cannot be tried says nothing of the disk."""
    assert refusal(str(tmp_path / "gone")) == ""

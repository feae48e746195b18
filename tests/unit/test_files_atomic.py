"""Atomic writes, syncing, and what kind of file system it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nexapod_batch.files import atomic
from nexapod_batch.files.filesystem_type import filesystem_of, parse_mountinfo

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / {home} rw - nfs4 server:/home rw,vers=4.2
31 30 0:41 / {home}/scratch\\040disk rw master:3 propagate_from:2 - lustre mgs@tcp:/s rw
32 30 0:42 / {home}/local rw - xfs /dev/sdb rw
33 30 0:43 / {home}/local rw - fuse.sshfs host: rw
a line of another shape
"""


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, *, durable: bool) -> None:
    """New content and mode; readers of the old file keep it; nothing temporary is left."""
    path = tmp_path / "file"
    atomic.write(path, b"old", durable=durable)
    with path.open("rb") as reader:
        atomic.write(path, b"new", 0o600, durable=durable)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """The file behind a link keeps its content."""
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("target")
    atomic.write(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"kept"
    assert not (tmp_path / "link").is_symlink()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A folder in the way: OSError, and no temporary file stays."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        atomic.write(tmp_path / "folder", b"x")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("count", [0, 1, 8, 30])
def test_many_files_are_replaced(tmp_path: Path, count: int) -> None:
    """New content and mode in several folders; nothing temporary is left."""
    contents = {}
    for number in range(count):
        folder = tmp_path / str(number % 3)
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_bytes(b"old")
        contents[folder / f"{number}"] = b"new" * number
    atomic.write_all(contents, 0o600)
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == contents
    assert {stat.S_IMODE(path.stat().st_mode) for path in contents} <= {0o600}


@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("at", [0, 1])
def test_of_many_files_none_is_replaced_after_one_that_cannot_be(tmp_path: Path, count: int, at: int) -> None:
    """A folder in the way, or a folder that is missing: OSError, what comes before is whole, nothing temporary stays."""
    paths = [tmp_path / str(number) for number in range(count)]
    paths[at].mkdir()
    with pytest.raises(OSError, match=str(paths[at])):
        atomic.write_all(dict.fromkeys(paths, b"x"))
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in paths[: at + 1])
    with pytest.raises(FileNotFoundError):
        atomic.write_all({tmp_path / "new": b"x", tmp_path / "missing" / "file": b"x"})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("count", [0, 1, 8, 30])
def test_few_and_many_files_are_synced(tmp_path: Path, count: int) -> None:
    """One by one and by file system: both ways work, and a missing file is an error in the first."""
    paths = [tmp_path / str(number) for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
    atomic.sync_files(paths)
    with pytest.raises(FileNotFoundError):
        atomic.sync_files([tmp_path / "none"])


def test_the_innermost_mount_decides(tmp_path: Path) -> None:
    """Longest mount point, the later one of two on the same point, escaped blanks, paths that do not exist yet."""
    home = tmp_path.resolve()
    (tmp_path / "mountinfo").write_text(MOUNTS.format(home=home))
    expected = {
        "/": ("ext4", False),
        f"{home}": ("nfs4", True),
        f"{home}/new/deep/state.db": ("nfs4", True),
        f"{home}/scratch disk/x": ("lustre", True),
        f"{home}/local/x": ("fuse.sshfs", True),
        f"{home}2": ("ext4", False),
    }
    found = {path: filesystem_of(Path(path), tmp_path / "mountinfo") for path in expected}
    assert found == expected


def test_links_are_followed_to_the_mount(tmp_path: Path) -> None:
    """A link from a local disk to a network file system counts as what it points to."""
    home = (tmp_path / "home").resolve()
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "mountinfo").write_text(MOUNTS.format(home=home))
    assert filesystem_of(tmp_path / "link" / "x", tmp_path / "mountinfo") == ("nfs4", True)


def test_without_mountinfo_nothing_is_known(tmp_path: Path) -> None:
    """Unknown counts as local; the real file of this machine can be read."""
    assert filesystem_of(tmp_path, tmp_path / "none") == ("unknown", False)
    assert parse_mountinfo("") == []
    assert filesystem_of(Path("/proc"))[0] == "proc"

"""Mountinfo: what the kernel escapes, what a later mount hides, and files that make no sense."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.files.filesystem_type import NETWORK, filesystem_of, parse_mountinfo


def mounts(*lines: tuple[int, int, str, str]) -> str:
    """Return mountinfo of (number, parent, point, type) with the escapes of the kernel."""
    escaped = str.maketrans({char: f"\\{ord(char):03o}" for char in " \t\n\\#"})
    text = "{} {} 0:{} / {} rw,relatime shared:1 - {} source rw\n"
    return "".join(text.format(number, up, number, point.translate(escaped), kind) for number, up, point, kind in lines)


def kind_of(path: str, folder: Path, text: str) -> str:
    """Return the type found for a path that exists nowhere on this machine."""
    (folder / "mountinfo").write_bytes(os.fsencode(text))
    return filesystem_of(Path(path), folder / "mountinfo")[0]


@pytest.mark.parametrize(
    "point", ["/nx a", "/nx\tb", "/nx\nc", "/nx\\d", "/nx#e", "/nx\x0bf", "/nx\x85g", "/nx\u2028h", "/nx\rj", "/nx\udcffk"]
)
def test_odd_mount_points_are_read(tmp_path: Path, point: str) -> None:
    """Blanks, ends of lines, back slashes and bytes that are no UTF-8."""
    text = mounts((1, 0, "/", "ext4"), (2, 1, point, "nfs4"))
    assert [one.point for one in parse_mountinfo(text)] == ["/", point]
    assert kind_of(f"{point}/file", tmp_path, text) == "nfs4"


def test_a_mount_hidden_by_a_later_one_does_not_count(tmp_path: Path) -> None:
    """What lies below /nx/a was mounted first; then /nx was mounted over it."""
    hidden = [(1, 0, "/", "ext4"), (2, 1, "/nx/a", "nfs4"), (3, 1, "/nx", "xfs")]
    for lines in (hidden, hidden[::-1]):
        assert kind_of("/nx/a/file", tmp_path, mounts(*lines)) == "xfs"


def test_the_same_points_in_the_other_order_do(tmp_path: Path) -> None:
    """/nx/a lies on /nx: the parent says so, not the order of the lines."""
    visible = [(1, 0, "/", "ext4"), (3, 2, "/nx/a", "nfs4"), (2, 1, "/nx", "xfs")]
    for lines in (visible, visible[::-1]):
        assert kind_of("/nx/a/file", tmp_path, mounts(*lines)) == "nfs4"


def test_a_mount_on_top_of_another_counts(tmp_path: Path) -> None:
    """The same point three times, each on the one before; also on the root itself."""
    text = mounts((1, 1, "/", "rootfs"), (2, 1, "/", "ext4"), (3, 2, "/nx", "nfs"), (4, 3, "/nx", "lustre"), (5, 4, "/nx", "xfs"))
    assert kind_of("/nx", tmp_path, text) == "xfs"
    assert kind_of("/other", tmp_path, text) == "ext4"


def test_a_name_that_only_begins_alike_is_elsewhere(tmp_path: Path) -> None:
    """/nxb is not on /nx."""
    assert kind_of("/nxb/file", tmp_path, mounts((1, 0, "/", "ext4"), (2, 1, "/nx", "nfs"))) == "ext4"


def test_mounts_that_go_in_circles_end(tmp_path: Path) -> None:
    """No kernel writes this, and it must not hang us."""
    assert kind_of("/nx", tmp_path, mounts((1, 2, "/", "ext4"), (2, 1, "/", "nfs"))) in {"unknown", "ext4", "nfs"}


@pytest.mark.parametrize("kind", sorted(NETWORK))
def test_network_file_systems_are_known(tmp_path: Path, kind: str) -> None:
    """Each type of the list counts."""
    (tmp_path / "mountinfo").write_text(mounts((1, 0, "/", kind)))
    assert filesystem_of(tmp_path, tmp_path / "mountinfo") == (kind, True)


@given(st.text(max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    """Whatever the file holds, lines of another shape are left out."""
    assert all(mount.fstype == mount.fstype.split(" ")[0] for mount in parse_mountinfo(text))

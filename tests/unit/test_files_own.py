"""Folders and files that are an account's own at every level: what is made, what is mended, what is refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import ForeignPathError
from nexapod_batch.files import own, umask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def mode(path: Path) -> int:
    """Return the mode of what is there, a link as such."""
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def with_umask(mask: int) -> Iterator[None]:
    """Run with another umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
@pytest.mark.parametrize("parent", [0o700, 0o2755, 0o1777, 0o3777])
def test_what_is_made_is_ours_alone(tmp_path: Path, mask: int, parent: int) -> None:
    """Every level that was missing gets 0700, whatever the umask, set-group-id bits and sticky bits above say."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(parent)
    with with_umask(mask):
        own.own_folder(above / "a" / "b" / "c", "x", "y")
    made = [above / "a", above / "a/b", above / "a/b/c", above / "a/b/c/x", above / "a/b/c/y"]
    assert [mode(one) for one in made] == [0o700] * 5
    assert parent == mode(above)


def acl(*words: str) -> None:
    """Set an ACL; a machine or file system without them has nothing to show."""
    if shutil.which("setfacl") is None:
        pytest.skip("no setfacl here: apt-get install acl")
    done = subprocess.run(["setfacl", *words], capture_output=True, text=True, check=False)
    if done.returncode and "not supported" in done.stderr:
        pytest.skip("this file system knows no ACLs")
    assert done.returncode == 0, done.stderr


def test_default_acls_decide_nothing(tmp_path: Path) -> None:
    """A folder made where a default ACL lets others in inherits none of it, and so do files in it."""
    acl("-d", "-m", f"u:{NOBODY}:rwx,g::rwx,o::rwx", str(tmp_path))
    with with_umask(0):
        own.own_folder(tmp_path / "a" / "b")
        (tmp_path / "a/b/f").touch(0o600)
    shown = subprocess.run(["getfacl", "-cnR", "a"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert str(NOBODY) not in shown
    assert [mode(tmp_path / one) for one in ("a", "a/b", "a/b/f")] == [0o700, 0o700, 0o600]


def test_an_acl_that_lets_somebody_write_is_seen(tmp_path: Path) -> None:
    """Rights by ACL show in the group bits, so that a folder which one other account may change is not ours."""
    folder = tmp_path / "home"
    folder.mkdir(0o700)
    acl("-m", f"u:{NOBODY}:rwx", str(folder))
    with pytest.raises(ForeignPathError, match="can be changed by its group"):
        own.own_folder(folder)


def foreign(path: Path) -> None:
    """Give something to another account."""
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def shared(path: Path) -> None:
    """Let a group that others are in write to it."""
    os.chown(path, -1, NOBODY)
    path.chmod(0o2775)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "the folder is another account's": (lambda p: foreign(p / "a/b"), "belongs to somebody else"),
    "and sticky as well": (lambda p: (foreign(p / "a/b"), (p / "a/b").chmod(0o1777))[0], "belongs to somebody else"),
    "one above is another account's": (lambda p: foreign(p / "a"), "belongs to somebody else"),
    "one above is another's, and sticky": (
        lambda p: (foreign(p / "a"), (p / "a").chmod(0o1777))[0], "belongs to somebody else",
    ),
    "the group can write to it": (lambda p: shared(p / "a/b"), "chmod go-w"),
    "the group can write above": (lambda p: shared(p / "a"), "chmod go-w"),
    "all can write above": (lambda p: (p / "a").chmod(0o777), "chmod go-w"),
    "all can write to it, sticky": (lambda p: (p / "a/b").chmod(0o1777), "chmod go-w"),
    "another's link above": (
        lambda p: ((p / "a").rename(p / "z"), (p / "a").symlink_to("z"), foreign(p / "a"))[0], "is a link",
    ),
    "another's link in its place": (
        lambda p: ((p / "a/b").rename(p / "z"), (p / "a/b").symlink_to(p / "z"), foreign(p / "a/b"))[0], "is a link",
    ),
    "a link to where the group can write": (
        lambda p: ((p / "s").mkdir(), shared(p / "s"), (p / "a/b").rename(p / "s/b"), (p / "a/b").symlink_to("../s/b"))[
            0
        ],
        "chmod go-w",
    ),
}  # fmt: skip


@as_root
@pytest.mark.parametrize("kind", BAD)
def test_what_others_can_change_is_refused(tmp_path: Path, kind: str) -> None:
    """Every way in which a folder, or one above it, can be somebody else's to change is refused with what helps."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    spoil, words = BAD[kind]
    spoil(tmp_path)
    with pytest.raises(ForeignPathError, match=words):
        own.own_folder(tmp_path / "a" / "b")


def test_links_of_ours_are_followed(tmp_path: Path) -> None:
    """Homes lie behind links on many machines: those that we or root made lead on, also relative ones and to `..`."""
    (tmp_path / "disk" / "me").mkdir(parents=True)
    (tmp_path / "home").symlink_to("disk/../disk")
    own.own_folder(tmp_path / "home" / "me" / "new")
    assert mode(tmp_path / "disk/me/new") == 0o700


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """A link to itself is an error of the file system."""
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        own.own_folder(tmp_path / "a" / "b")


@as_root
def test_ours_is_closed_again(tmp_path: Path) -> None:
    """What an earlier version left open below a folder is closed; the folder itself, and what a link leads to, is not."""
    for name in ("home", "home/spool", "home/spool/n", "home/spool/n/inbox", "else"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    for name in ("home/spool", "home/spool/n", "home/spool/n/inbox"):
        shared(tmp_path / name)
    own.own_folder(tmp_path / "home/spool/n", "inbox", below=tmp_path / "home")
    assert [mode(tmp_path / f"home/spool{one}") for one in ("", "/n", "/n/inbox")] == [0o700] * 3
    (tmp_path / "home/work").symlink_to("../else")
    own.own_folder(tmp_path / "home/work", below=tmp_path / "home")
    assert [mode(tmp_path / one) for one in ("home", "else")] == [0o755, 0o755]


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another account's": (foreign, "belongs to somebody else"),
    "the group can write to it": (shared, "chmod go-w"),
    "all can write to it": (lambda p: p.chmod(0o666), "chmod go-w"),
    "its folder is another account's": (lambda p: foreign(p.parent), "belongs to somebody else"),
    "the group can write to its folder": (lambda p: shared(p.parent), "chmod go-w"),
    "a link of another account": (
        lambda p: (p.rename(p.with_name("g")), p.symlink_to("g"), foreign(p))[0], "is a link",
    ),
}  # fmt: skip


@as_root
@pytest.mark.parametrize("kind", FILES)
def test_files_that_others_can_change_are_refused(tmp_path: Path, kind: str) -> None:
    """A file that configures is read only when nobody else can have written it."""
    folder = tmp_path / "sites.d"
    folder.mkdir()
    file = folder / "one.toml"
    file.write_text("x = 1\n")
    assert own.read(file, 100) == b"x = 1\n"
    spoil, words = FILES[kind]
    spoil(file)
    with pytest.raises(ForeignPathError, match=words):
        own.read(file, 100)


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to a device", "large"])
def test_files_that_are_none_are_refused(tmp_path: Path, kind: str) -> None:
    """What is no plain file of at most so many bytes is an error at once."""
    file = tmp_path / "f"
    make: dict[str, Callable[[], object]] = {
        "folder": file.mkdir,
        "fifo": lambda: os.mkfifo(file),
        "link to a device": lambda: file.symlink_to("/dev/zero"),
        "large": lambda: file.write_bytes(b"x" * 101),
    }
    make[kind]()
    with pytest.raises(OSError, match=r"plain file|Larger than 100"):
        own.read(file, 100)


@pytest.mark.parametrize(("mask", "wanted"), [(0o000, 0o755), (0o002, 0o755), (0o022, 0o755), (0o077, 0o700)])
def test_results_are_as_the_umask_says(mask: int, wanted: int) -> None:
    """What people asked for gets the mode that they are used to, but nobody else ever gets to write."""
    with with_umask(mask):
        assert wanted == umask.folder_mode()


def test_base_of_a_corner() -> None:
    """Below the folder that a site file names all is ours; else below the home."""
    assert Path("/work/me") == own.base_of(Path("/work/me/nexapod-0123456789ab/node/spool"))
    assert Path("/work/me") == own.base_of(Path("/work/me/nexapod-0123456789ab"))
    assert Path("/home/me/.state") == own.base_of(Path("/home/me/.state/spool/node"))

"""Work folders of an executor: each replica finds one of its own, empty, and none keeps its name for long."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.runner.execution.folders.work_dirs import Folders

if TYPE_CHECKING:
    from collections.abc import Callable

SPARE = ".worker-0.d"


def leave_a_file(root: Path) -> None:
    """Write an output."""
    (root / "out").write_text("x")


def leave_a_hidden_folder(root: Path) -> None:
    """Make a folder that shells do not list."""
    (root / ".cache").mkdir()


def open_it_to_others(root: Path) -> None:
    """Let everybody in."""
    root.chmod(0o777)


def close_it(root: Path) -> None:
    """Let nobody in."""
    root.chmod(0)


def leave_nothing(root: Path) -> None:
    """Leave the folder as it was found."""


def take_it_away(root: Path) -> None:
    """Remove the folder itself."""
    root.rmdir()


def put_a_link_there(root: Path) -> None:
    """Put a link to another folder in its place."""
    root.rmdir()
    root.symlink_to("/")


LEFT = [leave_nothing, leave_a_file, leave_a_hidden_folder, open_it_to_others, close_it]


@pytest.mark.parametrize("settles", [False, True])
@pytest.mark.parametrize("leave", LEFT)
def test_the_next_replica_finds_an_empty_folder(tmp_path: Path, leave: Callable[[Path], None], *, settles: bool) -> None:
    """Whatever a replica left: the next one finds nothing, mode 0700, and the former name is gone."""
    folders = Folders(str(tmp_path / SPARE))
    roots = [tmp_path / f"1_{task}.1" for task in range(4)]
    for root, former in zip(roots, [None, *roots], strict=False):
        folders.take(str(root))
        assert os.listdir(root) == []
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert former is None or not former.exists()
        leave(root)
        folders.discard(str(root))
        if settles:
            folders.settle()
            assert not root.exists()
    folders.remove()
    assert os.listdir(tmp_path) == []


def test_a_name_is_gone_when_its_report_is_committed(tmp_path: Path) -> None:
    """`settle` leaves the spare folder only, however often; without a folder it does nothing."""
    folders = Folders(str(tmp_path / SPARE))
    folders.settle()
    folders.take(str(tmp_path / "1_0.1"))
    folders.settle()  # of a replica that runs
    assert os.listdir(tmp_path) == ["1_0.1"]
    folders.discard(str(tmp_path / "1_0.1"), known_empty=True)
    for _ in range(2):
        folders.settle()
        assert os.listdir(tmp_path) == [SPARE]


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_a_replica_whose_folder_is_there_is_not_run(tmp_path: Path, there: str, *, settled: bool) -> None:
    """A folder, a file or a broken link of its name: it ran before; the next replica still gets its folder."""
    folders = Folders(str(tmp_path / SPARE))
    folders.take(str(tmp_path / "1_0.1"))
    folders.discard(str(tmp_path / "1_0.1"))
    if settled:
        folders.settle()
    taken = tmp_path / "1_1.1"
    make: dict[str, Callable[[], object]] = {"folder": taken.mkdir, "file": taken.touch, "link": lambda: taken.symlink_to("nowhere")}
    make[there]()
    with pytest.raises(FileExistsError):
        folders.take(str(taken))
    folders.take(str(tmp_path / "1_2.1"))
    assert sorted(os.listdir(tmp_path)) == ["1_1.1", "1_2.1"]


@pytest.mark.parametrize("settled", [False, True])
def test_a_folder_that_somebody_cleared_away_is_made_anew(tmp_path: Path, *, settled: bool) -> None:
    """Before it is settled, and afterwards."""
    folders = Folders(str(tmp_path / SPARE))
    folders.take(str(tmp_path / "1_0.1"))
    folders.discard(str(tmp_path / "1_0.1"))
    if settled:
        folders.settle()
    for name in os.listdir(tmp_path):
        (tmp_path / name).rmdir()
    folders.settle()
    folders.take(str(tmp_path / "1_1.1"))
    assert os.listdir(tmp_path) == ["1_1.1"]


@pytest.mark.parametrize("change", [take_it_away, put_a_link_there])
def test_what_a_command_did_to_its_folder_itself_reaches_nobody_else(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """A folder that is gone, or is a link now: the next replica has a folder of its own."""
    folders = Folders(str(tmp_path / SPARE))
    root, following = tmp_path / "1_0.1", tmp_path / "1_1.1"
    folders.take(str(root))
    change(root)
    folders.discard(str(root))
    folders.take(str(following))
    assert os.listdir(following) == []
    assert not following.is_symlink()

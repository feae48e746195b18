"""A job that is somebody else's is known as such, from its descriptor on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home

if TYPE_CHECKING:
    from pathlib import Path

HELD = TRUE + "[schedule]\nhold = true\n"
STRANGER = 4321


def is_foreign(home: Home, path: Path, *options: str) -> bool:
    """Submit a held job; return whether it counts as somebody else's."""
    job = home.json("submit", path, *options)["job"]
    shown = home.call("show", job).out
    found = bool(home.json("show", job)["job"]["foreign"])
    assert ("somebody else's" in shown) is found
    return found


def test_whoever_owns_the_descriptor_decides(home: Home) -> None:
    """Mine is mine, a stranger's is not, by whatever link or name it is reached; an option may say so of mine."""
    mine = home.descriptor(HELD)
    assert not is_foreign(home, mine)
    assert is_foreign(home, mine, "--foreign")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    theirs = home.descriptor(HELD, "theirs.toml")
    os.chown(theirs, STRANGER, -1)
    assert is_foreign(home, theirs)
    assert "belongs to uid 4321: somebody else" in home.call("submit", theirs).err
    link = home.folder / "link.toml"
    link.symlink_to(theirs)
    assert is_foreign(home, link)
    folder = home.folder / "of a stranger"
    folder.mkdir()
    inside = folder / "mine.toml"
    inside.write_text(mine.read_text())
    os.chown(folder, STRANGER, -1)
    assert not is_foreign(home, inside)


def test_a_dry_run_says_so(home: Home) -> None:
    """Before anything is stored."""
    path = home.descriptor(HELD)
    assert "somebody else's" in home.call("submit", path, "--dry-run", "--foreign").out
    assert "somebody else's" not in home.call("submit", path, "--dry-run").out


def test_a_command_of_somebody_elses_job_is_confined(home: Home) -> None:
    """It sees the machine, and its own work folder; a job of one's own runs as ever."""
    path = home.descriptor(TRUE.replace('["true"]', '["sh", "-c", "echo x > f && ls / && ls $0"]').replace("$0", f"{home.path}/state.db"))
    for options, isolation, code in ((("--foreign",), "files", 1), ((), "none", 0)):
        job = home.json("submit", path, "--wait=90s", "--set", "quorum.max_errors=1", *options, code=code)["job"]
        replicas = [one for task in home.json("show", job, "--tasks", "0")["tasks"] for one in task["replicas"]]
        assert {one["isolation"] for one in replicas} == {isolation}


def test_where_it_cannot_be_confined_it_is_not_taken(home: Home, tmp_path: Path) -> None:
    """Said at submit, with what to do: several ranks, or no bubblewrap; unless the node says that it confines nothing."""
    path = home.descriptor(HELD)
    done = home.call("submit", path, "--foreign", "--set", "resources.ntasks=2")
    assert done.code == 65
    assert "cannot confine several ranks" in done.err
    assert "[container]" in done.err
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "uname"):
        (bare / name).symlink_to(f"/bin/{name}")
    nowhere = {"PATH": str(bare)}
    done = home.call("submit", path, "--foreign", env=nowhere)
    assert done.code == 65
    assert "install bubblewrap" in done.err
    other = Home(tmp_path, "other")
    assert other.call("node", "init", "--confine", "never").code == 0
    assert other.call("submit", path, "--foreign", env=nowhere).code == 0

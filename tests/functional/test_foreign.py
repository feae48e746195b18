"""A job that is somebody else's is known as such, from its descriptor on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELD = TRUE + "[schedule]\nhold = true\n"
STRANGER = 4321


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Give a home."""
    found = Home(tmp_path)
    yield found
    found.end()


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
    link = home.folder / "link.toml"
    link.symlink_to(theirs)
    assert is_foreign(home, link)
    os.chown(home.folder, STRANGER, -1)
    assert not is_foreign(home, mine)


def test_a_dry_run_says_so(home: Home) -> None:
    """Before anything is stored."""
    path = home.descriptor(HELD)
    assert "somebody else's" in home.call("submit", path, "--dry-run", "--foreign").out
    assert "somebody else's" not in home.call("submit", path, "--dry-run").out

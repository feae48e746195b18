"""What senders that never come back left on a server: it goes after a day, by `gc` and by the server itself."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from homes import Home
from joined_nodes import JoinedNode
from servers import running
from spools import until

from nexapod_batch.mesh.blobs import KEPT_S

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "d" * 64
#: Paths in a home, and whether they go when nothing was heard of them for a day.
LEFT = {
    f"server/inputs/person/.{DIGEST}.part": True,
    f"server/inputs/person/{DIGEST}": True,
    f"server/inputs/other/.{DIGEST}.part": True,
    "server/incoming/request/in.txt": True,
    "server/outgoing/request/proof.tar": True,
    f"spool/n/blobs/.{DIGEST}.part": True,
    f"spool/n/blobs/{DIGEST}": False,  # the pass that asked for it takes it
    "server/local.json": False,
}


def left_in(home: Path, *, age_s: float) -> None:
    """Put everything there, untouched for so long."""
    for name in LEFT:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text("x")
        for one in (path, path.parent):
            os.utime(one, (time.time() - age_s,) * 2)


def there(home: Path) -> dict[str, bool]:
    """Return which of it is gone."""
    return {name: not (home / name).exists() for name in LEFT}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with a node that joined."""
    made = Home(tmp_path)
    JoinedNode(made, "n")
    return made


def test_gc_removes_what_nobody_goes_on_with(home: Home) -> None:
    """It counts it before; what is of today stays."""
    left_in(home.path, age_s=60)
    assert home.json("gc")["uploads"] == 0
    assert not any(there(home.path).values())
    left_in(home.path, age_s=2 * KEPT_S)
    goes = sum(LEFT.values())
    assert home.json("gc", "--dry-run")["uploads"] == goes
    assert not any(there(home.path).values())
    assert home.json("gc")["uploads"] == goes
    assert there(home.path) == LEFT
    assert home.json("gc")["uploads"] == 0


def test_a_link_is_not_followed(home: Home, tmp_path: Path) -> None:
    """What lies elsewhere is not this server's to remove."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("x")
    os.utime(elsewhere / "mine", (0, 0))
    os.utime(elsewhere, (0, 0))
    for name in ("inputs", "incoming"):
        (home.path / "server" / name).mkdir(parents=True)
        (home.path / "server" / name / "link").symlink_to(elsewhere)
    home.call("gc")
    assert (elsewhere / "mine").exists()


def test_a_server_removes_it_by_itself(tmp_path: Path) -> None:
    """Nobody has to ask for it."""
    home = tmp_path / "home"
    with running(home):
        pass
    partial = home / f"server/inputs/person/.{DIGEST}.part"
    partial.parent.mkdir(parents=True, mode=0o700)
    partial.write_text("x")
    os.utime(partial, (0, 0))
    with running(home, init=False):
        until(lambda: not partial.exists(), "the server to remove what was left")

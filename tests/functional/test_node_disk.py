"""A disk of a volunteer's machine that is full: what is lost says so, nothing is taken, and it goes on by itself."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from functional.test_mesh import joined, working
from functional.test_standby import rows, until
from servers import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")]

HEAD = 'schema = 1\n[job]\nname = "full"\n'
TAIL = "[quorum]\nagree = 1\n"
#: What fills a disk of 110 MiB, of which 64 stay free; and what is told of it.
FILLERS = {
    "an input": (f'{HEAD}command = ["true"]\n[[inputs]]\nsource = "large"\n{TAIL}', "the disk of the node has no room for the inputs"),
    "an output": (f'{HEAD}command = ["head", "-c", "130M", "/dev/zero"]\n{TAIL}', "was full while this ran"),
    "a file that is none": (
        f'{HEAD}command = ["sh", "-c", "head -c 130M /dev/zero > x || true; rm x"]\n{TAIL}', "was full while this ran",
    ),
}  # fmt: skip


class Small(NamedTuple):
    """A server, and a node whose home lies on a small disk."""

    server: Running
    disk: Path

    def resize(self, size: str) -> None:
        """Give the disk another size."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.disk)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """Yield a server with one node, whose disk has 110 MiB."""
    folder, disk = tmp_path, tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=110m,mode=700", "none", str(disk)], check=True)
    try:
        with running(folder / "c") as server:
            joined(server, disk / "n", "--name", "small", "--owner", "ann")
            with working(disk / "n"):
                yield Small(server, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def submitted(small: Small, folder: Path, text: str) -> str:
    """Submit a job given as text; return its number."""
    (folder / "job.toml").write_text(text)
    with (folder / "large").open("wb") as file:
        file.truncate(60 << 20)
    return small.server.command("submit", str(folder / "job.toml"), "--parsable").stdout.strip().partition(";")[0]


@pytest.mark.parametrize("what", FILLERS)
def test_what_is_lost_to_a_full_disk_says_so(small: Small, tmp_path: Path, what: str) -> None:
    """Of an input that does not fit and of a command that fills it; the report comes, and is nobody's fault but the node's."""
    text, told = FILLERS[what]
    job = submitted(small, tmp_path, text)
    until("a loss", lambda: ("lost",) in rows(small.server.home, "SELECT execution FROM replica WHERE job_id = ?", job))
    said = small.server.command("explain", job).stdout
    assert told in said


def test_a_disk_without_room_takes_no_work_until_it_has_some(small: Small, tmp_path: Path) -> None:
    """The node says why it waits, to its owner and to who submits; with room it goes on by itself."""
    small.resize("60m")
    note = small.server.home / "spool/small/node-note.json"
    until("the node to say so", lambda: b"has less than 64 MiB left" in note.read_bytes())
    job = submitted(small, tmp_path, f'{HEAD}command = ["true"]\n{TAIL}')
    small.server.command("reconcile", check=False)
    said = small.server.command("explain", job).stdout
    assert "not on small: has less than 64 MiB left on the disk of " in said
    assert rows(small.server.home, "SELECT count(*) FROM replica WHERE job_id = ?", job) == [(0,)]
    small.resize("110m")
    until("the job to end", lambda: rows(small.server.home, "SELECT n_accepted FROM job WHERE id = ?", job) == [(1,)])


def test_work_that_finds_no_room_goes_elsewhere(small: Small, tmp_path: Path) -> None:
    """The launch returns at once, another node has the next replica, and the first gets none while its disk is full; all say why."""
    home = small.server.home
    by_node = "SELECT n.name, r.execution FROM replica r JOIN node n ON n.id = r.node_id WHERE r.job_id = ? ORDER BY r.id"
    job = submitted(small, tmp_path, f'{HEAD}command = ["true"]\n[[inputs]]\nsource = "large"\n{TAIL}')
    until("a loss", lambda: ("small", "lost") in rows(home, by_node, job))
    told = tmp_path / "disk/n.run.err"
    until("the node to say why", lambda: "given back: the disk of the node has no room for the inputs" in told.read_text())
    small.resize("60m")  # from here on nothing may start there at all
    until("the server to know", lambda: b"has less than 64 MiB left" in (home / "spool/small/node-note.json").read_bytes())
    tried = len(rows(home, by_node, job))
    joined(small.server, tmp_path / "big", "--name", "big", "--owner", "bob")
    with working(tmp_path / "big"):
        until("the job to end", lambda: rows(home, "SELECT n_accepted FROM job WHERE id = ?", job) == [(1,)])
        other = small.server.command("submit", "--agree", "1", "--wait", "--parsable", "--", "true").stdout.strip()
    said = small.server.command("explain", job).stdout
    assert rows(home, by_node, job)[tried:] == [("big", "reported")]
    assert rows(home, by_node, other.partition(";")[0]) == [("big", "reported")]
    assert "the disk of the node has no room for the inputs" in said

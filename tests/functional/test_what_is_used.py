"""What a replica uses is counted once: memory that processes share, files by many names, holes, files without a name."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from homes import Home
from spools import House

from nexapod_batch.model.job import Job, Output, Resources
from nexapod_batch.runner.processes.usage import occupied_bytes, tree_bytes
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORKED = """
import os, time
data = bytearray(200 << 20)
data[::4096] = bytes(len(data[::4096]))
for _ in range(4):
    if os.fork() == 0:
        sum(data[::4096])
        {own}
        time.sleep(3)
        os._exit(0)
for _ in range(4): os.wait()
"""
SHARED = """
import mmap, os, time
with open("{where}", "w+b") as file:
    file.truncate(200 << 20)
    data = mmap.mmap(file.fileno(), 0)
for _ in range(4):
    if os.fork() == 0:
        data[::4096] = bytes(len(data[::4096]))
        time.sleep(3)
        os._exit(0)
for _ in range(4): os.wait()
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node with two CPUs."""
    made = House(tmp_path)
    yield made
    made.end()


def python(code: str, **more: object) -> Job:
    """Return a job of Python code."""
    return Job(name="t", command=(sys.executable, "-c", code), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "mem", "wanted"),
    [
        (FORKED.format(own=""), 400, Outcome.OK),
        (SHARED.format(where="data"), 400, Outcome.OK),
        (FORKED.format(own="mine = bytearray(100 << 20); mine[::4096] = bytes(len(mine[::4096]))"), 400, Outcome.MEMORY),
    ],
    ids=["forked", "file", "own"],
)
def test_memory_that_processes_share_counts_once(house: House, code: str, mem: int, wanted: Outcome) -> None:
    """Five processes share 200 MiB, which fit into 400; what each has for itself counts for each."""
    (report,) = house.run(python(code, resources=Resources(mem_mib=mem)))
    said = report.statement
    assert said.max_rss_kib is not None
    assert (said.outcome, said.max_rss_kib < 400 << 10) == (wanted, wanted is Outcome.OK), said.detail
    assert said.max_rss_kib > 190 << 10


def test_shared_memory_is_reported_once_below_the_limit_too(house: House) -> None:
    """What is signed is what was used, whatever the limit: 200 MiB and five interpreters."""
    (report,) = house.run(python(FORKED.format(own=""), resources=Resources(mem_mib=4000)))
    assert report.statement.max_rss_kib is not None
    assert 190 << 10 < report.statement.max_rss_kib < 400 << 10


def _hole(folder: Path) -> None:
    with (folder / "hole").open("wb") as file:
        file.truncate(1 << 30)


def _names(folder: Path) -> None:
    (folder / "one").write_bytes(bytes(1 << 20))
    for number in range(20):
        (folder / f"name{number}").hardlink_to(folder / "one")


def _aside(folder: Path) -> None:
    (folder / "aside").touch()
    subprocess.run(["fallocate", "--keep-size", "-l", "8M", folder / "aside"], check=True)


def _small(folder: Path) -> None:
    for number in range(100):
        (folder / f"small{number}").write_bytes(b"12345")


def _mixed(folder: Path) -> None:
    with (folder / "mixed").open("wb") as file:
        file.seek(1 << 28)
        file.write(bytes(1 << 20))


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [
        (_hole, 0, 1 << 16),
        (_names, 1 << 20, (1 << 20) + 4096),
        (_aside, 8 << 20, (8 << 20) + 65536),
        (_small, 500, 500),
        (_mixed, 1 << 20, (1 << 20) + 65536),
    ],
)
def test_files_count_as_what_they_take(tmp_path: Path, make: Callable[[Path], None], least: int, most: int) -> None:
    """Holes take nothing, a second name neither; room set aside does; small files are as long as they are."""
    make(tmp_path)
    for file in tmp_path.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    assert least <= tree_bytes(str(tmp_path)) <= most


def test_a_file_counts_as_no_more_than_its_blocks_or_its_length(tmp_path: Path) -> None:
    """Whatever the file system's blocks are."""
    (tmp_path / "a").write_bytes(bytes(5000))
    found = (tmp_path / "a").stat()
    assert occupied_bytes(found) == 5000


@pytest.mark.parametrize(
    ("make", "after"),
    [
        ("open('a', 'wb')", "os.unlink('a')"),
        ("tempfile.TemporaryFile(dir='.')", ""),
        ("os.fdopen(os.open('.', os.O_TMPFILE | os.O_WRONLY), 'wb')", "os.fork()"),
    ],
)
def test_files_without_a_name_count(house: House, make: str, after: str) -> None:
    """Three of 2 MiB, removed or never named, and open in several processes, do not fit into 4 MiB."""
    code = f"""
import os, tempfile, time
kept = []
for _ in range(3):
    kept.append({make})
    {after or "pass"}
    kept[-1].write(bytes(2 << 20))
    kept[-1].flush()
time.sleep(60)
"""
    (report,) = house.run(python(code, resources=Resources(disk_mib=4, time_s=60)))
    assert report.statement.outcome is Outcome.DISK, report.statement.detail


def test_files_by_many_names_are_outputs(house: House) -> None:
    """Twenty names of one file of 1 MiB fit into 4 MiB of disk; as outputs each is as long as it is."""
    code = "import os; open('a0', 'wb').write(bytes(1 << 20)); [os.link('a0', 'b%d' % n) for n in range(20)]"
    job = python(code, outputs=(Output(path="a0"),), resources=Resources(disk_mib=4))
    (report,) = house.run(job)
    assert (report.statement.outcome, report.statement.detail) == (Outcome.OK, "")


def test_outputs_that_are_holes_are_bounded(house: House) -> None:
    """Files that take nothing are read and copied at their full length."""
    code = "[open('a%d' % n, 'wb').truncate(3 << 20) for n in range(3)]"
    (report,) = house.run(python(code, outputs=(Output(path="a*"),), resources=Resources(disk_mib=4)))
    assert (report.statement.outcome, "holes included" in report.statement.detail) == (Outcome.OUTPUT, True)


def test_what_failed_gives_no_advice(tmp_path: Path) -> None:
    """A replica that fails at once says nothing of what the job needs."""
    home = Home(tmp_path)
    try:
        text = '[job]\nname = "t"\ncommand = ["false"]\n[resources]\nmem = "1GiB"\ncpus_per_task = 2\n[quorum]\nagree = 1\nmax_errors = 0\n'
        home.json("node", "init", "a", "--cpus", "2")
        assert home.submit(text, "--wait").code == 1
        assert home.json("report", "1")["notes"] == []
        assert home.submit(text.replace("false", "true"), "--wait").code == 0
        assert any("resources.mem" in note for note in home.json("report", "2")["notes"])
    finally:
        home.end()

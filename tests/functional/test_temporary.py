"""`$TMPDIR`: short, on the node's own disk, empty at the start, counted, and gone afterwards, whoever is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home
from nexapod_backends.bubblewrap import PLACE
from spools import House, alive, until

from nexapod_batch.model.job import Job, Output, Resources
from nexapod_batch.runner.execution.folders.temporary import Temporary, base, describe, sweep
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

MANAGER = """
import multiprocessing, os, sys, tempfile
if __name__ == "__main__":
    before = len(os.listdir(os.environ["TMPDIR"]))
    with multiprocessing.Manager() as manager:
        shared = manager.list([before])
        print(shared[0], tempfile.gettempdir() == os.environ["TMPDIR"], os.environ["TMPDIR"])
"""
USUAL = ("/tmp", "/var/tmp")  # noqa: S108
MEMORY = "/dev/shm"  # noqa: S108
SHORT = r"(/var)?/tmp/nxtmp-[0-9a-f]{8}"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Yield a node whose folders have long names."""
    folder = tmp_path / ("deep-" * 20) / ("deeper-" * 15)
    folder.mkdir(parents=True)
    house = House(folder, cpus=1)  # one replica after another
    yield house
    house.end()


@pytest.fixture
def place(house: House) -> Iterator[Path]:
    """Yield the folder in which those of the node are made, which is no other's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as where:
        file = house.spool / "node.json"
        file.write_text(json.dumps({**json.loads(file.read_bytes()), "tmp": where}))
        yield Path(where)


def said(house: House, *jobs: Job) -> list[str]:
    """Run jobs, each in its turn; return what they printed."""
    out = []
    for number, job in enumerate(jobs, 1):
        house.put(house.launch(job, job_id=number))
    assert house.start().wait(timeout=120) == 0, house.log()
    for report in sorted(house.reports(), key=lambda one: one.statement.replica.job):
        assert report.statement.outcome is Outcome.OK, (report.statement.detail, report.carried)
        assert report.carried is not None
        out.append(report.carried["stdout"].decode().strip())
    return out


def test_programs_that_make_sockets_there_work_however_long_the_work_folder_is(house: House) -> None:
    """Python's multiprocessing puts a socket below it; the folder is empty, and gone at the end."""
    job = Job(name="t", command=("python3", "-c", MANAGER))
    (text,) = said(house, job)
    count, same, path = text.split()
    assert (count, same) == ("0", "True")
    assert re.fullmatch(SHORT, path)
    assert not os.path.lexists(path)


LEAVE = "ls -A $TMPDIR | wc -l; stat -c %a $TMPDIR; echo word > $TMPDIR/file; mkdir -p $TMPDIR/a/b; "
LEFTOVERS = {
    "files": "",
    "closed folders": "chmod 0 $TMPDIR/a/b $TMPDIR/a",
    "closed itself": "chmod 0 $TMPDIR",
    "opened to all": "chmod 777 $TMPDIR",
    "removed": "rm -r $TMPDIR",
    "another in its place": "mv $TMPDIR ./moved; mkdir -m 700 $TMPDIR; touch $TMPDIR/x",
    "a link in its place": "rm -r $TMPDIR; mkdir away; touch away/kept; ln -s $PWD/away $TMPDIR",
    "a link to elsewhere": "mkdir away; touch away/kept; ln -s $PWD/away $TMPDIR/away",
}


@pytest.mark.parametrize("how", LEFTOVERS.values(), ids=LEFTOVERS)
def test_the_next_replica_finds_nothing(house: House, place: Path, how: str) -> None:
    """Whatever a command leaves or does to it: the next one has an empty folder of mode 700, and nothing else is touched."""
    one = Job(name="t", command=("sh", "-c", LEAVE + how), outputs=(Output(path="away/kept"),) if "away" in how else ())
    two = Job(name="t", command=("sh", "-c", "ls -A $TMPDIR | wc -l; stat -c %a $TMPDIR"))
    for text in said(house, one, two, two):
        assert text.split() == ["0", "700"]
    assert list(place.iterdir()) == []


def test_what_lies_there_is_no_output_and_counts_as_disk(house: House) -> None:
    """`path = "*"` is about the work folder; the limit is about both."""
    every = Job(name="t", command=("sh", "-c", "echo 1 > $TMPDIR/t; echo 2 > mine"), outputs=(Output(path="*"),))
    (report,) = house.run(every)
    assert [one.name for one in report.statement.subjects] == ["mine"]
    fat = Job(
        name="t", command=("sh", "-c", "for i in 1 2 3 4; do head -c 4M /dev/zero > $TMPDIR/$i; done; sleep 0.1"),
        resources=Resources(disk_mib=10),
    )  # fmt: skip
    house.put(house.launch(fat, job_id=2))
    assert house.start().wait(timeout=120) == 0
    (last,) = [one.statement for one in house.reports() if one.statement.replica.job == 2]
    assert last.outcome is Outcome.DISK, last.detail


def test_what_a_killed_runner_left_goes_with_the_next_one(house: House, place: Path) -> None:
    """After kill -9 of the worker and of all that it started, the next worker of the account removes the folder."""
    gate = house.home / "path"
    house.put(house.launch(Job(name="t", command=("sh", "-c", f"touch $TMPDIR/x; echo $TMPDIR > {gate}; exec sleep 600"))))
    worker = house.start()
    until(lambda: gate.exists() and gate.read_text().strip(), "the command")
    path = gate.read_text().strip()
    children = [int(one) for one in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
    for pid in (worker.pid, *children):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    until(lambda: not any(map(alive, children)), "their end")
    assert os.path.exists(f"{path}/x")
    house.put(house.launch(Job(name="t", command=("true",)), job_id=2))
    assert house.start().wait(timeout=120) == 0
    assert list(place.iterdir()) == []


def test_a_folder_in_use_is_not_swept() -> None:
    """As long as its executor lives, nobody removes it; nor what is another's or no folder."""
    with tempfile.TemporaryDirectory(dir="/tmp") as where:
        held = Temporary(where, f"{where}/spare")
        path = held.take()
        Path(where, "nxtmp-00000000").write_text("no folder")
        Path(where, "nxtmp-11111111").symlink_to(path)
        Path(where, "nxtmp-other").mkdir()
        Path(where, "nxtmp-22222222").mkdir()
        sweep(where)
        assert {one.name for one in Path(where).iterdir()} == {"nxtmp-00000000", "nxtmp-11111111", "nxtmp-other", Path(path).name}
        held.remove()
        assert not os.path.exists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of others")
def test_places_where_others_could_interfere_are_not_used() -> None:
    """A folder of somebody else's, or one that others may write without the sticky bit, and one that is too long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as where:
        bad = {name: Path(where, name) for name in ("foreign", "open", "group", "x" * 60)}
        for folder in bad.values():
            folder.mkdir()
        os.chown(bad["foreign"], 12345, -1)
        bad["open"].chmod(0o777)
        bad["group"].chmod(0o770)
        good = Path(where, "good")
        good.mkdir()
        good.chmod(stat.S_ISVTX | 0o777)
        for folder in (*bad.values(), Path(where, "none"), Path("relative")):
            assert base(str(folder), [str(good)]) == (str(good), False)
        temporary = Temporary("", f"{where}/spare", [str(folder) for folder in bad.values()])
        assert temporary.take() == temporary.files == f"{where}/spare"  # no place at all
        temporary.clear()
        assert not os.path.exists(f"{where}/spare")


@pytest.mark.skipif(not os.path.isdir(MEMORY), reason="no memory that looks like a disk")
def test_where_there_is_only_memory_the_files_lie_in_the_work_folder() -> None:
    """The path is short all the same: a link in the folder that is in memory leads to them."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as memory, tempfile.TemporaryDirectory(dir="/tmp") as work:
        temporary = Temporary("", f"{work}/spare", [memory])
        for _ in range(2):
            path = temporary.take()
            assert re.fullmatch(re.escape(memory) + r"/nxtmp-[0-9a-f]{8}/t", path)
            assert os.path.realpath(path) == temporary.files == f"{work}/spare"
            Path(path, "file").touch()
            temporary.clear()
            assert os.listdir(work) == []
        temporary.remove()
        assert os.listdir(memory) == []
        assert describe(memory) == memory  # whom the site names is used
        assert base("", [memory, USUAL[0]]) == (USUAL[0], False)


def test_a_confined_command_has_it_as_well(tmp_path: Path) -> None:
    """Where /tmp is private and all else read-only, it can be written, is on the node's disk, and is short."""
    home = Home(tmp_path)
    code = "import os, tempfile; open(tempfile.mkstemp()[1], 'w').write('x'); print(os.environ['TMPDIR'], os.statvfs(os.environ['TMPDIR']).f_blocks)"
    try:
        path = home.descriptor(TRUE.replace('["true"]', json.dumps(["python3", "-c", code])))
        assert home.call("submit", path, "--wait=90s", "--foreign").code == 0
        assert {one["isolation"] for one in home.json("show", "last", "--tasks", "0")["tasks"][0]["replicas"]} == {"files"}
        where, blocks = home.call("logs", "last").out.split()
        assert where == f"{PLACE}/{'tmp'}"
        assert int(blocks) in {os.statvfs(one).f_blocks for one in USUAL}
    finally:
        home.end()

"""What the machine knows of a replica counts more than its exit code: processes killed by the kernel, full disks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cgroups import limited
from spools import House, until

from nexapod_batch.model.job import Array, Job, Output, Resources
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 150  # MiB that everything may have together
#: Children of 10, 400 and 10 MiB; the parent goes on without those that died, and writes what is left.
POOL = """
import os
done = []
for mib in (10, 400, 10):
    if (child := os.fork()) == 0:
        bytearray(mib << 20)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        done.append(mib)
open("table.txt", "w").write(repr(done))
"""
#: The same with a child that another child started and did not wait for.
ORPHAN = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        bytearray(400 << 20)
    os._exit(0)
os.wait()
open("table.txt", "w").write("nobody noticed")
"""
WORDS = "the kernel killed"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node with two CPUs."""
    made = House(tmp_path)
    yield made
    made.end()


def python(code: str, **more: object) -> Job:
    """Return a job that runs Python code and has a table as its output."""
    return Job(name="t", command=(sys.executable, "-c", code, "{task}"), outputs=(Output(path="table.txt"),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (POOL, Outcome.MEMORY),
        (ORPHAN, Outcome.MEMORY),
        ("bytearray(400 << 20)", Outcome.MEMORY),  # the command itself
        (POOL.replace("400", "20"), Outcome.OK),
    ],
    ids=["child", "orphan", "itself", "fits"],
)
def test_what_the_kernel_killed_is_no_success(house: House, code: str, wanted: Outcome) -> None:
    """A process of the replica is killed for memory, and the command ends with 0 or not: it is its own error."""
    with limited(LIMIT) as cgroup:
        house.before = cgroup.inside
        (report,) = house.run(python(code))
        killed = cgroup.killed()
    said = report.statement
    assert (said.outcome, said.detail.count(WORDS)) == (wanted, min(killed, 1))
    if killed:
        assert f"here is room for {LIMIT} MiB" in said.detail


def test_nobody_is_accused_of_what_a_neighbour_may_have_done(house: House) -> None:
    """Two run side by side and a child is killed: neither is believed, and what comes afterwards runs alone."""
    code = f"""
import sys, time
if sys.argv[1] != '1':
    time.sleep(3)
    open("table.txt", "w").write("{{}}")
else:
    time.sleep(1)
    {POOL.strip().replace(chr(10), chr(10) + "    ")}
"""
    with limited(LIMIT) as cgroup:
        house.before = cgroup.inside
        first = house.launch(python(code, array=Array(ranges=((0, 1, 1),))), 2)
        later = house.launch(python(POOL, array=Array(ranges=((0, 1, 1),))), 2, job_id=2)
        house.put(first)
        worker = house.start()
        until(lambda: len(house.reports()) == 2, "both reports")
        house.put(later)
        assert worker.wait(60) == 0
    found = {str(report.statement.replica): report.statement.outcome for report in house.reports()}
    assert found == {
        "1_0.1": Outcome.NODE,
        "1_1.1": Outcome.NODE,
        "2_0.1": Outcome.MEMORY,
        "2_1.1": Outcome.MEMORY,
    }
    assert "one replica at a time" in house.log()


def test_a_stranger_in_the_cgroup_may_have_been_the_victim(house: House, tmp_path: Path) -> None:
    """Programs of others live in the same cgroup: what ran is not believed, and not accused."""
    with limited(LIMIT) as cgroup, subprocess.Popen([*cgroup.inside, "sleep", "600"]) as stranger:
        until(lambda: str(stranger.pid) in (cgroup.folder / "cgroup.procs").read_text().split(), "the stranger")
        house.before = cgroup.inside
        (report,) = house.run(python(POOL))
        stranger.kill()
    assert (report.statement.outcome, WORDS in report.statement.detail) == (Outcome.NODE, True)


FILL = """
import errno, os, time
try:
    with open("big", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
            file.flush()
except OSError as error:
    assert error.errno == errno.ENOSPC
{after}
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    """Give a node whose work folders lie on a disk of 20 MiB."""
    made = House(tmp_path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=0700", "none", made.work], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield made
    made.end()
    subprocess.run(["umount", "-l", made.work], check=True)


@pytest.mark.parametrize(
    "after",
    [
        "open('table.txt', 'w')",  # full until the end, and the command does not mind
        "os.unlink('big'); open('table.txt', 'w').write('[]')",  # it makes room again
        "raise SystemExit(3)",
    ],
    ids=["ignored", "tidied", "failed"],
)
def test_a_full_disk_is_nobodys_result(small: House, after: str) -> None:
    """The work disk was full while the command ran: that is lost, whatever its exit code, and the disk is named."""
    (report,) = small.run(python(FILL.format(after=f"time.sleep(0.2)\n{after}"), resources=Resources(disk_mib=1000)))
    said = report.statement
    assert (said.outcome, str(small.work) in said.detail, "full" in said.detail) == (Outcome.NODE, True, True)


def test_what_fits_a_small_disk_is_a_result(small: House) -> None:
    """Nearly full is not full."""
    code = "open('table.txt', 'wb').write(bytes(16 << 20))"
    (report,) = small.run(python(code, resources=Resources(disk_mib=1000)))
    assert (report.statement.outcome, report.statement.detail) == (Outcome.OK, "")


@pytest.fixture
def rationed(tmp_path: Path) -> Iterator[House]:
    """Give a node whose work folders lie where 48 MiB may be written, of a disk with room for more.

    Less will not do: until its next commit, btrfs counts a MiB or more for each file that is made.
    """
    made, image = House(tmp_path), tmp_path / "disk"
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("btrfs-progs is not installed")
    with image.open("wb") as file:
        file.truncate(256 << 20)
    for command in (
        ("mkfs.btrfs", "-q", image),
        ("mount", "-o", "loop", image, made.work),
        ("btrfs", "quota", "enable", made.work),
        ("btrfs", "quota", "rescan", "-w", made.work),
        ("btrfs", "qgroup", "limit", "48M", made.work),
    ):
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("no disk with quotas can be mounted here")
    made.work.chmod(0o700)
    yield made
    made.end()
    subprocess.run(["umount", "-l", made.work], check=True)


@pytest.mark.parametrize(
    "after", ["open('table.txt', 'w')", "open('table.txt', 'w'); raise SystemExit(3)"], ids=["ignored", "failed"]
)
def test_a_quota_that_is_spent_is_nobodys_result(rationed: House, after: str) -> None:
    """No figure of the disk shows it, and the command does not mind: what was written is not believed."""
    code = FILL.format(after=after).replace("ENOSPC", "EDQUOT")
    found = rationed.run(python(code, resources=Resources(disk_mib=1000)))
    assert found, rationed.log()
    (report,) = found
    said = report.statement
    assert (said.outcome, os.strerror(errno.EDQUOT) in said.detail) == (Outcome.NODE, True)


def test_a_quota_that_was_spent_before_is_nobodys_result(rationed: House) -> None:
    """Not even the files of the logs can be made: each replica is reported as the node's fault, and the disk is named."""
    with (rationed.work / "of somebody else").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    reports = rationed.run(python("print(1)"), 2)
    assert [report.statement.outcome for report in reports] == [Outcome.NODE] * 2, rationed.log()
    assert all(os.strerror(errno.EDQUOT) in report.statement.detail for report in reports)
    assert "Traceback" not in rationed.log()


#: Writes 5 MiB and minds nothing.
CARELESS = """
with open("table.txt", "wb", buffering=0) as file:
    try:
        for _ in range(5):
            file.write(bytes(1 << 20))
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    ("disk_mib", "limit_kib", "wanted"),
    [(2, "unlimited", Outcome.DISK), (9, "3072", Outcome.NODE), (2, "3072", Outcome.DISK), (5, "unlimited", Outcome.OK), (9, "6000", Outcome.OK)],
    ids=["the job's", "the node's", "both", "just enough", "more than it needs"],
)
def test_what_a_limit_of_files_cut_off_is_no_result(
    house: House, disk_mib: int, limit_kib: str, wanted: Outcome
) -> None:
    """A file that ends at a limit was cut off, and the command did not mind: over the job's own it is its error."""
    house.before = ("/bin/bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "bash")
    (report,) = house.run(python(CARELESS, resources=Resources(disk_mib=disk_mib)))
    assert report.statement.outcome == wanted

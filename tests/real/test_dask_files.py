"""Large files where workers share no storage with the coordinator: in parts through Dask, and on after a cut."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest
from clusters.dask import DaskCluster
from homes import PROGRAM
from real.dask_homes import DaskHome

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

SIZE_MB = int(os.environ.get("NEXAPOD_DASK_MB", "200"))
#: What coordinator, workers and scheduler may need more of memory for that.
MOST_MB = 80

#: Writes argv[1] MB that no compression makes smaller, and their digest.
_WRITE = (
    "import hashlib, random, sys\\n"
    "chance, digest = random.Random(7), hashlib.sha256()\\n"
    "with open('big', 'wb') as stream:\\n"
    "    for _ in range(int(sys.argv[1])):\\n"
    "        part = chance.randbytes(1000000); digest.update(part); stream.write(part)\\n"
    "open('digest', 'w').write(digest.hexdigest())\\n"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler with two workers."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=2, threads=1) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, cluster: DaskCluster) -> Iterator[DaskHome]:
    """Yield a home whose site shares no files with it."""
    made = DaskHome(tmp_path)
    made.pool(cluster.address)
    yield made
    made.end()


def big(megabytes: int) -> str:
    """Return a job that writes so much."""
    code = f'''[job]\nname = "big"\ncommand = ["{sys.executable}", "-c", """{_WRITE}""", "{megabytes}"]\n'''
    return f'{code}[[outputs]]\npath = "big"\n[[outputs]]\npath = "digest"\n[quorum]\nagree = 1\ndistinct = "run"\n'


def peak(process: psutil.Process) -> int:
    """Return the most memory that a process has had since `reset`, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1000


def reset(process: psutil.Process) -> None:
    """Forget what a process has had at most."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def finished(home: DaskHome, megabytes: int) -> tuple[int, Path]:
    """Run a job to its end; return the most memory that the coordinator had, in MB, and where its results are."""
    argv = [PROGRAM, "submit", str(home.descriptor(big(megabytes))), "--wait"]
    child = subprocess.Popen(argv, env=home.env, stdout=DEVNULL, stderr=DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, home.describe()
    job = home.rows("SELECT max(id) FROM job")[0][0]
    return usage.ru_maxrss * 1024 // 1_000_000, home.path / "results" / str(job) / "0"


def test_a_large_output_is_never_whole_in_memory(home: DaskHome, cluster: DaskCluster) -> None:
    """Nobody on its way needs more memory for it than for a small one, and it arrives as it was signed."""
    idle, _ = finished(home, 0)
    processes = {name: cluster.process(name) for name in ("w1", "w2", "")}
    for one in processes.values():
        reset(one)
    before = {name: peak(one) for name, one in processes.items()}
    most, results = finished(home, SIZE_MB)
    more = {name or "scheduler": peak(one) - before[name] for name, one in processes.items()}
    more["coordinator"] = most - idle
    print(f"{SIZE_MB} MB: more memory at most, in MB: {more}")
    with (results / "big").open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == (results / "digest").read_text()
    assert (results / "big").stat().st_size == SIZE_MB * 1_000_000
    assert max(more.values()) < MOST_MB < SIZE_MB / 2, more

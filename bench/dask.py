"""A real Dask cluster, started here: against `client.map` of a function that runs the same command and reads its output.

Both on the same scheduler and workers, in turn. Dask's own side believes whatever comes back.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from clusters.dask import DaskCluster
from common import PROGRAM, fresh_home, header, line, seconds

TASKS, RUNS, WORKERS = 2_000, 3, 2

_JOB = f"""schema = 1
[job]
name = "true"
command = ["true"]
[array]
ids = "1-{TASKS}"
[quorum]
agree = 1
replicas = 1
"""
_SITE = """schema = 1
[site]
name = "pool"
[scheduler]
type = "dask"
[dask]
address = "{address}"
{more}
[[partitions]]
name = "all"
hosts = {workers}
max_cpus = 1
max_mem = "2000M"
"""

#: Runs argv[2] times `true` on the scheduler argv[1] and prints the seconds from submission to the last result.
_MAP = """
import subprocess, sys, time
from distributed import Client

def run(number):
    done = subprocess.run(["true"], capture_output=True)
    return done.returncode, done.stdout

with Client(sys.argv[1]) as client:
    client.submit(int, 1, pure=False).result()
    start = time.perf_counter()
    found = client.gather(client.map(run, range(int(sys.argv[2])), pure=False))
    print(time.perf_counter() - start)
    assert found == [(0, b"")] * int(sys.argv[2])
"""


def ours(folder: Path, cluster: DaskCluster, *, shared: bool) -> float:
    """Return the seconds from submit to everything accepted and published."""
    job = folder / "job.toml"
    job.write_text(_JOB)
    with fresh_home() as env:
        home = Path(env["NEXAPOD_HOME"])
        (home / "sites.d").mkdir(parents=True)
        more = f'[filesystem]\nwork_dir = "{home}/far"' if shared else f'local_dir = "{home}/local"'
        (home / "sites.d" / "pool.toml").write_text(_SITE.format(address=cluster.address, more=more, workers=WORKERS))
        return seconds([PROGRAM, "submit", str(job), "--wait"], env=env)


def theirs(cluster: DaskCluster) -> float:
    """Return the seconds of `client.map` and `gather`, connection and first call not counted."""
    argv = [sys.executable, "-c", _MAP, cluster.address, str(TASKS)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Start a cluster, measure in turn, stop it."""
    header()
    folder = Path(tempfile.mkdtemp(prefix="nxb", dir="/var/tmp"))
    try:
        with DaskCluster.start(folder, workers=WORKERS, threads=1) as cluster:
            runs = [(ours(folder, cluster, shared=True), ours(folder, cluster, shared=False), theirs(cluster)) for _ in range(RUNS)]
        shared, apart, plain = (statistics.median(side) for side in zip(*runs, strict=True))
        line(f"{TASKS} tasks on Dask, files shared", f"{shared:.1f} s", f"{plain:.1f} s (client.map)", shared / plain, "<= 1.2")
        line(f"{TASKS} tasks on Dask, nothing shared", f"{apart:.1f} s", f"{plain:.1f} s (client.map)", apart / plain, "<= 1.2")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

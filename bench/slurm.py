"""Two real Slurm clusters, started here: against plain sbatch, and against HyperQueue inside one Slurm job.

Packed and unpacked arrays of `true`, two clusters that must agree, and what `submit` itself costs. Makespans of plain
Slurm come from the accounting, whose clock has whole seconds; `sbatch --wait` looks too seldom.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from clusters.slurm import Cluster, Clusters
from common import PROGRAM, fresh_home, header, line, seconds
from throughput import HYPERQUEUE

TASKS = 1_000
_JOB = """schema = 1
[job]
name = "true"
command = ["true"]
[resources]
time = "00:01:00"
[array]
ids = "1-{tasks}"
[quorum]
agree = {agree}
replicas = {agree}
"""
_SITE = """schema = 1
[site]
name = "{name}"
[scheduler]
type = "slurm"
bin = "{bin}"
conf = "{conf}"
[limits]
poll_interval = "5s"
submit_rate = 20
max_array = 1000
max_jobs = 2000
pack.tasks = {pack}
[[partitions]]
name = "short"
hosts = 2
max_time = "1:00:00"
max_cpus = 8
max_mem = "16000M"
"""


def with_sites(env: dict[str, str], clusters: list[Cluster], pack: int = 2_000) -> None:
    """Put a site file for each cluster into the home of an environment."""
    folder = Path(env["NEXAPOD_HOME"]) / "sites.d"
    folder.mkdir(parents=True)
    for one in clusters:
        (folder / f"{one.name}.toml").write_text(_SITE.format(name=one.name, bin=one.bin, conf=one.conf, pack=pack))


def ours(folder: Path, clusters: list[Cluster], tasks: int, agree: int, pack: int = 2_000) -> float:
    """Return the seconds from submit to everything accepted and published."""
    job = folder / "job.toml"
    job.write_text(_JOB.format(tasks=tasks, agree=agree))
    with fresh_home() as env:
        with_sites(env, clusters, pack)
        return seconds([PROGRAM, "submit", str(job), "--wait"], env=env)


def plain(cluster: Cluster, tasks: int) -> float:
    """Return the seconds from submission to the last end of a plain array, by the accounting."""
    job = cluster.run("sbatch", "--parsable", f"--array=1-{tasks}", "--output=/dev/null", "--wrap=true").stdout.strip()
    fields = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,Submit,End")
    while True:
        time.sleep(2)
        rows = [row.split("|") for row in cluster.run(*fields).stdout.split()]
        if len(rows) == tasks and all(state == "COMPLETED" for state, _, _ in rows):
            first, last = min(submit for _, submit, _ in rows), max(end for _, _, end in rows)
            return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def hyperqueue(folder: Path, cluster: Cluster, executions: int) -> float:
    """Return the executions a second of HyperQueue with its worker inside one Slurm job of a whole host."""
    script, out = folder / "hq.py", folder / "hq.out"
    script.write_text(HYPERQUEUE)
    out.unlink(missing_ok=True)
    wrap = f"cd {folder} && TMPDIR={folder} {sys.executable} {script} {executions} 8"
    cluster.run("sbatch", "--wait", "--cpus-per-task=8", f"--output={out}", f"--wrap={wrap}")
    return float(out.read_text().split()[-1])


def submit_cost(folder: Path, cluster: Cluster) -> tuple[float, float]:
    """Return the seconds of a submit without sbatch's own, and of an interpreter that imports click."""
    job = folder / "one.toml"
    job.write_text(_JOB.format(tasks=1, agree=1))
    samples: list[float] = []
    sbatch = min(seconds([str(cluster.bin / "sbatch"), "--parsable", "--output=/dev/null", "--wrap=true"]) for _ in range(5))
    with fresh_home() as env:
        with_sites(env, [cluster])
        subprocess.run([PROGRAM, "submit", str(job)], env=env, check=True, capture_output=True)
        samples += [seconds([PROGRAM, "submit", str(job)], env=env) - sbatch for _ in range(7)]
        subprocess.run([PROGRAM, "wait", "all"], env=env, check=True, capture_output=True)
    click = statistics.median(seconds([sys.executable, "-c", "import click"]) for _ in range(7))
    return statistics.median(samples), click


def main() -> None:
    """Start the clusters, measure, stop them."""
    header()
    folder = Path(tempfile.mkdtemp(prefix="nxb", dir="/var/tmp"))
    try:
        with Clusters.start() as clusters:
            alpha, both = clusters.alpha, [clusters.alpha, clusters.beta]
            whole, click = submit_cost(folder, alpha)
            line("submit to one cluster, without sbatch", f"{whole * 1e3:.0f} ms", f"{click * 1e3:.0f} ms (import click)", whole / click, "<= 5")
            packed, unpacked, slurm = ours(folder, [alpha], TASKS, 1), ours(folder, [alpha], TASKS, 1, pack=1), plain(alpha, TASKS)
            line(f"{TASKS} tasks, packed", f"{packed:.1f} s", f"{slurm:.0f} s (sbatch --array)", packed / slurm, "<= 0.1")
            line(f"{TASKS} tasks, one Slurm job each", f"{unpacked:.1f} s", f"{slurm:.0f} s (sbatch --array)", unpacked / slurm, "<= 1.5")
            rate = 4 * TASKS / ours(folder, both, 2 * TASKS, 2)
            theirs = hyperqueue(folder, alpha, 2 * TASKS)
            line(f"{2 * TASKS} tasks, two clusters agree", f"{rate:.0f}/s", f"{theirs:.0f}/s (HyperQueue in one job)", rate / theirs, ">= 1.0")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""2,000 tasks `true` with agree = 2 (4,000 signed and verified executions) against HyperQueue running 4,000 `true`.

HyperQueue runs with one worker that has all cores, and believes whatever comes back.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import PROGRAM, array_of_true, fresh_home, header, line

TASKS, RUNS = 2_000, 5

#: Runs argv[1] times `true` on argv[2] cores and prints executions a second.
HYPERQUEUE = (
    "import sys, time\n"
    "from hyperqueue import Job, LocalCluster\n"
    "from hyperqueue.cluster import WorkerConfig\n"
    "count, cores = int(sys.argv[1]), int(sys.argv[2])\n"
    "with LocalCluster() as cluster:\n"
    "    cluster.start_worker(WorkerConfig(cores=cores))\n"
    "    client = cluster.client()\n"
    "    start = time.perf_counter()\n"
    "    job = Job()\n"
    "    for _ in range(count):\n"
    "        job.program(['true'])\n"
    "    assert client.wait_for_jobs([client.submit(job)])\n"
    "    print(count / (time.perf_counter() - start))\n"
)


def ours(folder: Path) -> float:
    """Return executions per second from submit to accepted."""
    job = folder / "job.toml"
    job.write_text(array_of_true(TASKS))
    with fresh_home() as env:
        subprocess.run([PROGRAM, "node", "init"], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start = time.perf_counter()
        subprocess.run([PROGRAM, "submit", str(job), "--wait"], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return 2 * TASKS / (time.perf_counter() - start)


def theirs(folder: Path) -> float:
    """Return HyperQueue's executions per second for the same number of executions."""
    argv = [sys.executable, "-c", HYPERQUEUE, str(2 * TASKS), str(os.cpu_count())]
    env = {**os.environ, "TMPDIR": str(folder)}  # it leaves its folders behind
    done = subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True, text=True, timeout=120)
    return float(done.stdout.split()[-1])


def turn(folder: Path) -> tuple[float, float]:
    """Run both, print what came out, and return it."""
    left, right = ours(folder), theirs(folder)
    print(f"one turn: {left:.0f}/s and {right:.0f}/s, {left / right:.2f}", file=sys.stderr, flush=True)
    return left, right


def main() -> None:
    """Run both in turn and print the medians."""
    header()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [turn(Path(folder)) for _ in range(RUNS)]
    left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
    line(f"{2 * TASKS} executions of `true`", f"{left:.0f}/s, signed and verified", f"{right:.0f}/s (HyperQueue)", left / right, ">= 2.0")


if __name__ == "__main__":
    main()

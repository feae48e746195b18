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

from common import PROGRAM, fresh_home, header, line

TASKS, RUNS = 2_000, 3
JOB = f"""schema = 1
[job]
name = "true"
command = ["true"]
[array]
ids = "1-{TASKS}"
[quorum]
agree = 2
distinct = "run"
"""


def ours(folder: Path) -> float:
    """Return executions per second from submit to accepted."""
    job = folder / "job.toml"
    job.write_text(JOB)
    with fresh_home() as env:
        subprocess.run([PROGRAM, "node", "init"], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start = time.perf_counter()
        subprocess.run([PROGRAM, "submit", str(job), "--wait"], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return 2 * TASKS / (time.perf_counter() - start)


def theirs(folder: Path) -> float:
    """Return HyperQueue's executions per second for the same number of executions."""
    hq = str(Path(sys.executable).with_name("hq"))
    server = folder / f"hq-{time.monotonic_ns()}"
    base = [hq, "--server-dir", str(server)]
    started = subprocess.Popen([*base, "server", "start"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker = None
    try:
        _until([*base, "server", "info"])
        worker = subprocess.Popen([*base, "worker", "start", "--cpus", str(os.cpu_count())], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until([*base, "worker", "wait", "1"])
        start = time.perf_counter()
        subprocess.run(
            [*base, "submit", "--wait", "--array", f"1-{2 * TASKS}", "--stdout", "none", "--stderr", "none", "true"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        return 2 * TASKS / (time.perf_counter() - start)
    finally:
        subprocess.run([*base, "server", "stop"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for process in (worker, started):
            if process is not None:
                process.wait(20)


def _until(argv: list[str]) -> None:
    end = time.monotonic() + 20
    while subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > end:
            sys.exit(f"{argv} did not succeed within 20 s")
        time.sleep(0.1)


def main() -> None:
    """Run both in turn and print the medians."""
    header()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(ours(Path(folder)), theirs(Path(folder))) for _ in range(RUNS)]
    left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
    line(f"{2 * TASKS} executions of `true`", f"{left:.0f}/s, signed and verified", f"{right:.0f}/s (HyperQueue)", left / right, ">= 2.0")


if __name__ == "__main__":
    main()

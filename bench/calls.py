"""How often Slurm is asked while many tasks run side by side for ten minutes: every command is counted.

The cluster is real, with as many CPUs as its configuration claims; the tasks sleep. Scripts stand before Slurm's
commands and note each call. `python bench/calls.py [MINUTES [TASKS]]`. A thousand tasks, each with an executor of its own
that watches it, keep two cores busy all the time; `bench/run` takes 200, about which Slurm is asked no less.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "real"))

from clusters.confs import Shape
from clusters.slurm import Clusters
from common import PROGRAM, fresh_home, header, line
from slurm_homes import Wrapped, queue, site_text

POLL_S = 60
WIDE = 50  # tasks side by side in one Slurm job
_JOB = """schema = 1
[job]
name = "sleep"
command = ["sleep", "{seconds}"]
[resources]
time = "00:30:00"
[array]
ids = "1-{tasks}"
[quorum]
agree = 1
"""


def main() -> None:
    """Let the tasks run side by side, and count."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    tasks = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    shape = Shape(name="alpha", nodes=("a1", "a2"), cpus=max(WIDE, tasks // 2), memory_mb=200 * tasks)
    with tempfile.TemporaryDirectory(prefix="nxb", dir="/var/tmp") as name, Clusters.start(shapes=(shape,)) as clusters:
        cluster, wrapped = clusters.alpha, Wrapped(Path(name), clusters.alpha)
        job = Path(name, "job.toml")
        job.write_text(_JOB.format(seconds=round(60 * minutes), tasks=tasks))
        with fresh_home() as env:
            sites = Path(env["NEXAPOD_HOME"], "sites.d")
            sites.mkdir(parents=True)
            limits = {"poll_interval": f"{POLL_S}s", "submit_rate": 10}
            partition = {"max_cpus": WIDE, "max_mem": "1000G"}
            (sites / "alpha.toml").write_text(site_text(cluster, bin_folder=wrapped.bin, limits=limits, partition=partition))
            began = time.monotonic()
            with subprocess.Popen([PROGRAM, "submit", str(job), "--wait"], env=env, stdout=subprocess.DEVNULL) as program:
                time.sleep(30 * minutes)  # the middle of it
                jobs = len(queue(cluster, "%T"))
                sleeping = subprocess.run(["pgrep", "--count", "--exact", "sleep"], capture_output=True, text=True, check=False)
                print(f"{jobs} Slurm jobs, {sleeping.stdout.strip()} processes called sleep", file=sys.stderr)
                code = program.wait()
            polls, calls = (time.monotonic() - began) / POLL_S, Counter(text.split()[0] for text in wrapped.calls())
    if code:
        sys.exit(f"submit --wait ended with {code}")
    said = ", ".join(f"{count} {command}" for command, count in sorted(calls.items()))
    header()
    line(f"{tasks} tasks side by side, {minutes:g} minutes", said, f"{polls:.1f} polls", calls.total() / polls, "<= 2")


if __name__ == "__main__":
    main()

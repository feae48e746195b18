"""How often Slurm is asked while many tasks run side by side for ten minutes: every command is counted.

The cluster is real, with as many CPUs as its configuration claims; the tasks sleep. Scripts stand before Slurm's
commands and note each call. `python bench/calls.py [MINUTES [TASKS [MIB]]]`; with MIB each task has a limit of memory, so
that its memory is looked at too. All tasks must run at once, each exactly once. What the runners use for that is measured for
a minute in the middle.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "real"))

from clusters.confs import Shape
from clusters.slurm import Clusters
from common import PROGRAM, fresh_home, header, line
from real.slurm_homes import Wrapped, queue, site_text

POLL_S = 60
MEASURED_S = 60
WIDE = 50  # tasks side by side in one Slurm job
_JOB = """schema = 1
[job]
name = "sleep"
command = ["sleep", "{seconds}"]
[resources]
time = "00:30:00"{mem}
[array]
ids = "1-{tasks}"
[quorum]
agree = 1
"""


class Runners(NamedTuple):
    """What the runners of a home, and their executors, have and used."""

    commands: int  # that run below them
    cpu_s: float  # since they started
    memory_mib: float  # what they share is counted once

    @classmethod
    def of(cls, home: str) -> Runners:
        """Look at all of them."""
        cpu_s, memory_kib, parents, ours = 0.0, 0, [], set()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if words.startswith("sleep\0"):
                    parents.append(int(fields[1]))
                elif f"\0{home}/" in words and "runner" in words and "slurmstepd" not in words:
                    ours.add(int(folder.name))
                    cpu_s += int((folder / "schedstat").read_text().split()[0]) / 1e9  # `stat` has 0.01 s at the finest
                    memory_kib += int((folder / "smaps_rollup").read_text().partition("Pss:")[2].split()[0])
        return cls(sum(parent in ours for parent in parents), cpu_s, memory_kib / 1024)


def main() -> None:
    """Let the tasks run side by side, and count."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    tasks = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    mib = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    shape = Shape(
        name="alpha",
        nodes=("a1", "a2"),
        cpus=tasks // 2 + 2 * WIDE,  # jobs are of whole launches: some are smaller
        memory_mb=max(200, mib) * (tasks + 4 * WIDE),
        extra={"JobAcctGatherFrequency": "task=30"},  # Slurm's own habit; with less each job looks at all processes all the time
    )
    with tempfile.TemporaryDirectory(prefix="nxb", dir="/var/tmp") as name, Clusters.start(shapes=(shape,)) as clusters:
        cluster, wrapped = clusters.alpha, Wrapped(Path(name), clusters.alpha)
        job = Path(name, "job.toml")
        mem = f'\nmem = "{mib}MiB"' if mib else ""
        job.write_text(_JOB.format(seconds=round(60 * minutes), tasks=tasks, mem=mem))
        with fresh_home() as env:
            sites = Path(env["NEXAPOD_HOME"], "sites.d")
            sites.mkdir(parents=True)
            limits = {"poll_interval": f"{POLL_S}s", "submit_rate": 10}
            partition = {"max_cpus": WIDE, "max_mem": "1000G"}
            (sites / "alpha.toml").write_text(site_text(cluster, bin_folder=wrapped.bin, limits=limits, partition=partition))
            began = time.monotonic()
            with subprocess.Popen([PROGRAM, "submit", str(job), "--wait"], env=env, stdout=subprocess.DEVNULL) as program:
                time.sleep(max(0, 30 * minutes - MEASURED_S / 2))
                jobs, before = len(queue(cluster, "%T")), Runners.of(env["NEXAPOD_HOME"])
                time.sleep(MEASURED_S)
                after = Runners.of(env["NEXAPOD_HOME"])
                code = program.wait()
            polls, calls = (time.monotonic() - began) / POLL_S, Counter(text.split()[0] for text in wrapped.calls())
    if code or before.commands != tasks or after.commands != tasks:
        sys.exit(f"submit --wait ended with {code}; {before.commands} of {tasks} tasks ran at once, later {after.commands}")
    used, each = after.cpu_s - before.cpu_s, after.memory_mib / tasks
    print(f"{jobs} Slurm jobs; runners: {used:.1f} CPU seconds a minute, {each:.1f} MiB for each task", file=sys.stderr)
    said = ", ".join(f"{count} {command}" for command, count in sorted(calls.items()))
    header()
    line(f"{tasks} tasks side by side, {minutes:g} minutes", said, f"{polls:.1f} polls", calls.total() / polls, "<= 2")


if __name__ == "__main__":
    main()

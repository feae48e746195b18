"""Archiving a job of 20,000 files and 1 GiB, and verifying the archive, against `sha256sum` over the same files."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common import PROGRAM, fresh_home, header, line

FILES, SIZE = 20_000, 53_687  # 1 GiB
RUNS = 3
WRITER = f"import os, hashlib\nblock = hashlib.shake_128(b'x').digest({SIZE})\nos.mkdir('d')\nfor n in range({FILES}):\n    open(f'd/{{n:05}}', 'wb').write(n.to_bytes(8, 'big') + block[8:])\n"
JOB = """schema = 1
[job]
name = "many"
command = ["python3", "write.py"]
[quorum]
distinct = "run"
[[inputs]]
source = "write.py"
target = "write.py"
[[outputs]]
path = "d/*"
"""


def measured(*argv: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> tuple[float, float, int]:
    """Run a command; return seconds, CPU seconds, and the KiB that its largest process had."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    watched = [sys.executable, "-c", "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"]
    done = subprocess.run([*watched, *map(str, argv)], env=env, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True)
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, int(done.stdout)


def digested(folder: Path) -> tuple[float, float, int]:
    """Run `sha256sum` over every file of a folder, in as many processes as there are CPUs."""
    command = f"find . -type f -print0 | xargs -0 -P {len(os.sched_getaffinity(0))} -n 1000 sha256sum"
    return measured("sh", "-c", command, cwd=folder)


def best(found: list[tuple[float, float, int]]) -> tuple[float, float, int]:
    """Return the least of each."""
    return min(one[0] for one in found), min(one[1] for one in found), max(one[2] for one in found)


def row(name: str, ours: list[tuple[float, float, int]], theirs: list[tuple[float, float, int]], bar: str) -> None:
    """Print one row of the table."""
    took, cpu, memory = best(ours)
    beside, beside_cpu, _ = best(theirs)
    text = f"{took:.2f} s, {cpu:.2f} s of CPU, {memory // 1024} MiB"
    line(name, text, f"{beside:.2f} s, {beside_cpu:.2f} s of CPU (sha256sum)", took / beside, bar)


def main() -> None:
    """Make the job, and measure in turn."""
    with fresh_home() as env:
        home = Path(env["NEXAPOD_HOME"])
        folder = home.parent / f"{home.name}-archives"
        folder.mkdir()
        (folder / "write.py").write_text(WRITER)
        (folder / "job.toml").write_text(JOB)
        try:
            subprocess.run([PROGRAM, "submit", "job.toml", "--wait"], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
            made: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ("folder", "tar", "over files", "verify folder", "verify tar", "over bag")}
            for run in range(RUNS):
                made["over files"].append(digested(home / "results/1"))
                made["folder"].append(measured(PROGRAM, "archive", 1, "--out", folder / f"bag{run}", env=env))
                made["tar"].append(measured(PROGRAM, "archive", 1, "--out", folder / f"bag{run}.tar", env=env))
                made["over bag"].append(digested(folder / f"bag{run}"))
                made["verify folder"].append(measured(PROGRAM, "verify", folder / f"bag{run}", env=env))
                made["verify tar"].append(measured(PROGRAM, "verify", folder / f"bag{run}.tar", env=env))
            header()
            row("archive 20,000 files, 1 GiB, as a folder", made["folder"], made["over files"], "<= 2.5")
            row("the same as a tar", made["tar"], made["over files"], "<= 2.5")
            row("verify the folder", made["verify folder"], made["over bag"], "<= 1.3")
            row("verify the tar", made["verify tar"], made["over bag"], "<= 1.3")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

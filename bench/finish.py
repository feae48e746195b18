"""How soon a verdict follows the last report under `--wait`, and what a job leaves on disk once it is collected.

The last report's commit is the modification time of its segment, which the kernel takes from a clock that lags by up to
one tick (4 ms): what is printed is never too small.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import PROGRAM, array_of_true, fresh_home, header, line

from nexapod_batch.spool.lock import live_incarnation
from nexapod_batch.store import Store

RUNS = 5
#: Tasks of the job that fills the disk; each writes one MiB and a log of some kB.
FILES = 50
WRITER = (
    "import random, sys; r = random.Random(int(sys.argv[1])); open('out.bin', 'wb').write(r.randbytes(2**20)); "
    "[print(n, r.random()) for n in range(200)]"
)


def call(env: dict[str, str], *argv: object) -> None:
    """Run the program; it must succeed."""
    subprocess.run([PROGRAM, *map(str, argv)], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(folder: Path, tasks: int) -> tuple[float, float]:
    """Return the milliseconds from the last report to the stored verdict, and to the end of `submit --wait`."""
    job = folder / "job.toml"
    job.write_text(array_of_true(tasks))
    with fresh_home() as env:
        call(env, "node", "init")
        call(env, "submit", job, "--wait")
        ended = time.time_ns()
        home = Path(env["NEXAPOD_HOME"])
        last = max(path.stat().st_mtime_ns for path in home.glob("spool/*/reports/*.jsonl"))
        with Store.open(home / "state.db", write=False) as store:
            verdict = store.jobs.get(1).finished_at
        return verdict - last / 1e6, (ended - last) / 1e6


def latency() -> None:
    """Measure with one task, and with a thousand."""
    with tempfile.TemporaryDirectory() as folder:
        for tasks, bar in ((1, 100), (1000, 300)):
            pairs = [finish(Path(folder), tasks) for _ in range(RUNS)]
            each = ", ".join(f"{verdict:.0f} and {returned:.0f}" for verdict, returned in pairs)
            print(f"{tasks} tasks, ms to verdict and to prompt: {each}", file=sys.stderr, flush=True)
            verdict, returned = (statistics.median(side) for side in zip(*pairs, strict=True))
            name = f"{tasks} task{'s' * (tasks != 1)}: last report to"
            line(f"{name} verdict", f"{verdict:.0f} ms", f"{bar} ms", verdict / bar, "<= 1")
            line(f"{name} results and prompt", f"{returned:.0f} ms", f"{bar} ms", returned / bar, "-")


def disk() -> None:
    """Measure a home after its only job was accepted, its workers went home, and `gc` ran."""
    with fresh_home() as env, tempfile.TemporaryDirectory() as folder:
        home, job = Path(env["NEXAPOD_HOME"]), Path(folder) / "job.toml"
        job.write_text(
            f'schema = 1\n[job]\nname = "files"\ncommand = ["python3", "-c", {WRITER!r}, "{{task}}"]\n'
            f'[array]\nids = "1-{FILES}"\n[quorum]\nagree = 2\n[[outputs]]\npath = "out.bin"\n'
        )
        for name in ("left", "right"):
            call(env, "node", "init", "--name", name)
        call(env, "submit", job, "--wait")
        end = time.monotonic() + 60
        while any(live_incarnation(home / "spool" / name) is not None for name in ("left", "right")):
            if time.monotonic() > end:
                raise SystemExit("the workers did not end within 60 s")
            time.sleep(0.2)
        call(env, "gc")
        kept = sum(path.stat().st_size for path in (home / "results").rglob("*") if path.is_file())
        for name, options in (("bytes", ["--apparent-size"]), ("blocks", [])):
            done = subprocess.run(["du", "-s", "-B1", *options, str(home)], check=True, capture_output=True, text=True)
            used = int(done.stdout.split()[0])
            line(f"disk of a collected job, {name}", f"{used / 2**20:.1f} MiB", f"{kept / 2**20:.1f} MiB", used / kept, "<= 1.2")


if __name__ == "__main__":
    header()
    latency()
    disk()

"""An array of 1,000,000 tasks: submission, then reading commands and a pass without news against 1,000 tasks."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import PROGRAM, alternate, fresh_home, header, line, seconds


def submit(env: dict[str, str], folder: Path, tasks: int) -> tuple[float, float]:
    """Submit a held array; return seconds and peak memory in MiB."""
    job = folder / f"{tasks}.toml"
    job.write_text(
        f'schema = 1\n[job]\nname = "large"\ncommand = ["true"]\n[array]\nids = "1-{tasks}"\n'
        '[quorum]\ndistinct = "run"\n[schedule]\nhold = true\n'
    )
    start = time.perf_counter()
    process = subprocess.Popen([PROGRAM, "submit", str(job)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("submit failed")
    process.returncode = 0
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Measure with two stores, one of each size."""
    header()
    with fresh_home() as small, fresh_home() as large, tempfile.TemporaryDirectory() as folder:
        submit(small, Path(folder), 1_000)
        took, peak = submit(large, Path(folder), 1_000_000)
        line("submit 1,000,000 tasks", f"{took:.1f} s", "60 s", took / 60, "<= 1")
        line("its peak memory", f"{peak:.0f} MiB", "500 MiB", peak / 500, "<= 1")
        for argv in (["ls"], ["show", "1_5"], ["reconcile", "--quiet"]):
            ours, theirs = alternate(
                11, lambda a=argv: seconds([PROGRAM, *a], env=large), lambda a=argv: seconds([PROGRAM, *a], env=small)
            )
            line(" ".join(argv), f"{ours * 1000:.0f} ms", f"{theirs * 1000:.0f} ms (1,000 tasks)", ours / theirs, "<= 1.5")


if __name__ == "__main__":
    main()

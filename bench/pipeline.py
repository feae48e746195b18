"""A pipeline of three arrays, element by element, beside the three arrays run one after the other by hand.

    python bench/pipeline.py [TASKS]

By hand: each array is submitted when the one before has ended, and its files are copied to where the next one takes them.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import PROGRAM, fresh_home, header, line

HEAD = 'schema = 1\n[array]\nids = "1-%d"\n[quorum]\nagree = 1\ndistinct = "run"\n[[outputs]]\npath = "out"\n[job]\nname = "%s"\n'
FIRST = 'command = ["sh", "-c", "echo {task} > out"]\n'
NEXT = 'command = ["cp", "in", "out"]\n[[inputs]]\nsource = "%s"\ntarget = "in"\n'
TURNS = 3
NAMES = ("one", "two", "three")


def descriptor(tasks: int, name: str, source: str) -> str:
    """Return one array; the first has no source."""
    return HEAD % (tasks, name) + (NEXT % source if source else FIRST)


def piped(tasks: int) -> float:
    """Return how long the pipeline takes that is submitted at once."""
    with fresh_home() as env, tempfile.TemporaryDirectory() as folder:
        sources = ["", "job:one_{task}/out", "job:two_{task}/out"]
        for name, source in zip(NAMES, sources, strict=True):
            Path(folder, f"{name}.toml").write_text(descriptor(tasks, name, source))
        start = time.perf_counter()
        run([*[f"{name}.toml" for name in NAMES]], folder, env)
        return time.perf_counter() - start


def by_hand(tasks: int) -> float:
    """Return how long the three take when a person submits each one after the other."""
    with fresh_home() as env, tempfile.TemporaryDirectory() as folder:
        taken = 0.0
        for number, name in enumerate(NAMES):
            Path(folder, f"{name}.toml").write_text(descriptor(tasks, name, "files/{task}" if number else ""))
            start = time.perf_counter()
            run([f"{name}.toml"], folder, env)
            shutil.rmtree(Path(folder, "files"), ignore_errors=True)
            Path(folder, "files").mkdir()
            for task in range(1, tasks + 1):
                shutil.copyfile(f"{env['NEXAPOD_HOME']}/results/{number + 1}/{task}/out", Path(folder, "files", str(task)))
            taken += time.perf_counter() - start
        return taken


def run(files: list[str], folder: str, env: dict[str, str]) -> None:
    """Submit and wait."""
    subprocess.run([PROGRAM, "submit", *files, "--wait"], cwd=folder, env=env, check=True, capture_output=True)


def main() -> None:
    """Measure both in turn, and print a row with the medians."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    turns = []
    for _ in range(TURNS):
        turns.append((piped(tasks), by_hand(tasks)))
        ours, theirs = turns[-1]
        print(f"one turn: {ours:.1f} and {theirs:.1f} s, {ours / theirs:.2f}", file=sys.stderr, flush=True)
    ours, theirs = (statistics.median(side) for side in zip(*turns, strict=True))
    header()
    line(f"pipeline of 3 x {tasks} tasks", f"{ours:.1f} s", f"{theirs:.1f} s", ours / theirs, "at most 1.2")


if __name__ == "__main__":
    main()

"""What the benchmarks share: medians, fresh homes, and a table of ratios."""

from __future__ import annotations

import atexit
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROGRAM = str(Path(sys.executable).with_name("nexapod-batch"))


def array_of_true(tasks: int) -> str:
    """Return a descriptor of an array of `true` of which every task runs twice."""
    return (
        f'schema = 1\n[job]\nname = "true"\ncommand = ["true"]\n[array]\nids = "1-{tasks}"\n'
        '[quorum]\nagree = 2\ndistinct = "run"\n'
    )


@contextmanager
def fresh_home() -> Iterator[dict[str, str]]:
    """Yield an environment with an empty NEXAPOD_HOME, removed when the benchmark ends.

    Not before: for some seconds ext4 makes new files slowly in a group of which many were just deleted.
    """
    home = tempfile.mkdtemp(prefix="nexapod-bench-", dir="/var/tmp")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    yield {**os.environ, "NEXAPOD_HOME": home}


def seconds(argv: Sequence[str], **options: object) -> float:
    """Return how long a command took; it must succeed."""
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    return time.perf_counter() - start


def alternate(runs: int, *candidates: Callable[[], float]) -> list[float]:
    """Run the candidates in turn, so that a drifting machine hits all of them; return their medians."""
    found: list[list[float]] = [[] for _ in candidates]
    for _ in range(runs):
        for samples, candidate in zip(found, candidates, strict=True):
            samples.append(candidate())
    return [statistics.median(samples) for samples in found]


def line(name: str, ours: str, theirs: str, ratio: float, bar: str) -> None:
    """Print one row of the table of results."""
    print(f"| {name} | {ours} | {theirs} | {ratio:.2f} | {bar} |", flush=True)


def header() -> None:
    """Print the head of the table of results."""
    print("| what | nexapod-batch | beside it | ratio | bar |\n|---|---|---|---|---|", flush=True)

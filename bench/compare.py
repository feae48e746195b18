"""The digest of text tables under `significant` beside `sha256sum`, and `allclose` of HDF5 beside h5py reading both files.

Times are processor time of one core for text, and elapsed time for HDF5, whose files are read side by side.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from common import alternate, header, line

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.model.job import Comparator, CompareRule

MIB = int(os.environ.get("BENCH_MIB", "1024"))
TEXT = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)
CLOSE = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0)
#: what a table is called -> suffix, how a number is written, what stands between two
TABLES = {
    "single blanks, 16 digits": ("txt", "%.15e", " "), "single blanks, 6 places": ("txt", "%.6f", " "),
    "fixed columns": ("txt", "%16.8f", ""), "CSV": ("csv", "%.10e", ","),
}  # fmt: skip


def table(path: Path, style: str, between: str) -> None:
    """Write a table of numbers of that size."""
    numbers = np.random.default_rng(1).standard_normal((20_000, 8)) * 100
    row = between.join([style] * 8) + "\n"
    text = "".join(row % tuple(one) for one in numbers).encode()
    with path.open("wb") as file:
        while file.tell() < MIB << 20:
            file.write(text)


def digest(path: Path) -> float:
    """Return the seconds of processor time that a digest takes."""
    start = time.process_time()
    with path.open("rb") as stream:
        normalized_digest(stream, path.name, TEXT)
    return time.process_time() - start


def sha256sum(path: Path) -> float:
    """Return those of sha256sum."""
    before = os.times()
    subprocess.run(["sha256sum", path], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def hdf5(path: Path, factor: float) -> None:
    """Write four datasets, together half as large as a table."""
    with h5py.File(path, "w") as file:
        for number in range(4):
            values = np.random.default_rng(number).standard_normal((MIB << 20) // 8 // 8)
            file[f"x{number}"] = values.reshape(-1, 1024) * factor


def read_both(left: Path, right: Path) -> float:
    """Return how long h5py takes to read two files."""
    start = time.perf_counter()
    for path in (left, right):
        with h5py.File(path) as file:
            for dataset in file.values():
                for begin in range(0, len(dataset), 512):
                    dataset[begin : begin + 512]
    return time.perf_counter() - start


def close(left: Path, right: Path) -> float:
    """Return how long it takes to say that two files are close."""
    start = time.perf_counter()
    with left.open("rb") as one, right.open("rb") as other:
        if first_difference(one, other, left.name, CLOSE) is not None:
            sys.exit("they are not close")
    return time.perf_counter() - start


def main() -> None:
    """Write files, and read them."""
    header()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for name, (suffix, style, between) in TABLES.items():
            path = Path(folder, f"a.{suffix}")
            table(path, style, between)
            size = path.stat().st_size / 1e6
            ours, theirs = alternate(3, lambda path=path: digest(path), lambda path=path: sha256sum(path))
            line(f"significant, {name}", f"{size / ours:.0f} MB/s", f"{size / theirs:.0f} MB/s, sha256sum", 60 * ours / size, "<= 1")
            path.unlink()
        left, right = Path(folder, "a.h5"), Path(folder, "b.h5")
        hdf5(left, 1.0)
        hdf5(right, 1 + 1e-13)
        ours, theirs = alternate(3, lambda: close(left, right), lambda: read_both(left, right))
        line(f"allclose, HDF5 of {MIB} MiB together", f"{ours:.2f} s", f"{theirs:.2f} s, h5py reads both", theirs / ours, ">= 0.5")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    line("largest process, with what wrote the files", f"{peak:.0f} MiB", "300 MiB", peak / 300, "<= 1")


if __name__ == "__main__":
    main()

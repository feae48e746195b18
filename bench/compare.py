"""Comparators beside what people would use instead, in turns: sha256sum, cmp, numdiff, h5py that reads both files, h5diff.

Times are processor time, of all processes, and for HDF5 also elapsed time, as its files are read side by side. `BENCH_MIB` is
the size of a text table, and of two HDF5 files together; numdiff, which is slow, gets tables of a sixteenth of that.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from common import alternate, header, line
from tables import TABLES, write_table

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MIB = int(os.environ.get("BENCH_MIB", "1024"))
TEXT = CompareRule(comparator=Comparator.SIGNIFICANT, digits=8)
EXACT = CompareRule(comparator=Comparator.EXACT)
CLOSE = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0)
#: How datasets are stored: as people do without thinking of it, and as those who do.
STORED: dict[str, dict[str, object]] = {
    "in one piece": {}, "chunks, gzip, shuffle": {"chunks": (64, 1024), "compression": "gzip", "compression_opts": 4, "shuffle": True},
}  # fmt: skip


def cpu(call: Callable[[], object]) -> float:
    """Return the seconds of processor time that a call takes, in this process and those that it waits for."""
    before = os.times()
    call()
    return sum(os.times()[:4]) - sum(before[:4])


def elapsed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def command(*argv: str | Path, ends: Sequence[int] = (0,)) -> None:
    """Run a command, which ends with one of these."""
    if subprocess.run(argv, check=False, stdout=subprocess.DEVNULL).returncode not in ends:
        sys.exit(f"{argv[0]} failed")


def digest(path: Path) -> None:
    """Digest a file under `significant`."""
    with path.open("rb") as stream:
        normalized_digest(stream, path.name, TEXT)


def agree(left: Path, right: Path, rule: CompareRule) -> None:
    """Compare two files that agree."""
    with left.open("rb") as one, right.open("rb") as other:
        if first_difference(one, other, left.name, rule) is not None:
            sys.exit(f"{left} and {right} differ")


def hdf5(path: Path, factor: float, how: dict[str, object]) -> None:
    """Write four datasets of numbers of seven digits, together half as large as a table; stored so."""
    with h5py.File(path, "w") as file:
        for number in range(4):
            values = np.random.default_rng(number).standard_normal((MIB << 20) // 8 // 8)
            whole = np.round(values * 1e6) / 1e6
            file.create_dataset(f"x{number}", data=whole.reshape(-1, 1024) * factor, **how)


def read_both(left: Path, right: Path) -> None:
    """Read two files by h5py."""
    for path in (left, right):
        with h5py.File(path) as file:
            for dataset in file.values():
                for begin in range(0, len(dataset), 512):
                    dataset[begin : begin + 512]


def text_rows(folder: Path) -> None:
    """Print the rows of text tables."""
    for name, (suffix, _) in TABLES.items():
        path, other = Path(folder, f"a.{suffix}"), Path(folder, f"b.{suffix}")
        write_table(path, name, MIB << 20)
        size = path.stat().st_size / 1e6
        ours, theirs = alternate(3, lambda path=path: cpu(lambda: digest(path)), lambda path=path: cpu(lambda: command("sha256sum", path)))
        line(f"significant, {name}", f"{size / ours:.0f} MB/s", f"{size / theirs:.0f} MB/s, sha256sum", 60 * ours / size, "<= 1")
        path.unlink()
        for each in (path, other):
            write_table(each, name, (MIB << 20) // 16)
        size = path.stat().st_size / 1e6
        ours, theirs = alternate(
            3, lambda one=path, two=other: cpu(lambda: [digest(one), digest(two)]),
            lambda one=path, two=other: cpu(lambda: command("numdiff", "-q", "-r", "1e-8", one, two)),
        )  # fmt: skip
        line(f"two of them, {name}", f"{size / ours:.1f} MB/s", f"{size / theirs:.1f} MB/s, numdiff", ours / theirs, "-")
        path.unlink()
        other.unlink()


def exact_row(folder: Path) -> None:
    """Print the row of bytes."""
    left, right = Path(folder, "a.dat"), Path(folder, "b.dat")
    for path in (left, right):
        write_table(path, "fixed columns", MIB << 20)
    ours, theirs = alternate(3, lambda: cpu(lambda: agree(left, right, EXACT)), lambda: cpu(lambda: command("cmp", left, right)))
    line(f"exact, two files of {MIB} MiB", f"{ours:.2f} s", f"{theirs:.2f} s, cmp", ours / theirs, "-")
    left.unlink()
    right.unlink()


def hdf5_rows(folder: Path) -> None:
    """Print the rows of HDF5."""
    left, right = Path(folder, "a.h5"), Path(folder, "b.h5")
    for stored, how in STORED.items():
        hdf5(left, 1.0, how)
        hdf5(right, 1 + 1e-13, how)
        for measure, by in (("elapsed", elapsed), ("CPU", cpu)):
            ours, reads, diffs, same = alternate(
                3, lambda by=by: by(lambda: agree(left, right, CLOSE)), lambda by=by: by(lambda: read_both(left, right)),
                lambda by=by: by(lambda: command("h5diff", "-p", "1e-9", left, right)), lambda by=by: by(lambda: agree(left, left, CLOSE)),
            )  # fmt: skip
            name = f"allclose, HDF5 of {MIB} MiB together, {stored}, {measure}"
            line(name, f"{ours:.2f} s", f"{reads:.2f} s, h5py reads both", reads / ours, ">= 0.5")
            line(name, f"{ours:.2f} s", f"{diffs:.2f} s, h5diff", diffs / ours, "-")
            line(f"{name}, the same numbers", f"{same:.2f} s", f"{reads:.2f} s, h5py reads both", reads / same, "-")


def main() -> None:
    """Write files, and read them; by words, only those rows."""
    header()
    rows = {"text": text_rows, "exact": exact_row, "hdf5": hdf5_rows}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for name in sys.argv[1:] or rows:
            rows[name](Path(folder))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    line("largest process, with what wrote the files", f"{peak:.0f} MiB", "300 MiB", peak / 300, "<= 1")


if __name__ == "__main__":
    main()

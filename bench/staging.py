"""Inputs on their way: to a cluster over SSH, from S3, from a CAR, and of a second job that has the same.

    python bench/staging.py [ssh] [s3] [again] [car]

Each beside what one would use instead, in one run. The sshd and the server of S3 (moto) are on the loopback.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from clusters.sshd import Sshd
from common import PROGRAM, alternate, fresh_home, header, line, seconds
from moto_server import s3_server
from real.ssh_sites import connected

from nexapod_batch import interpreter
from nexapod_batch.sources.car import blocks
from nexapod_batch.sources.cids import RAW, Cid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FILES, SIZE = 20_000, 2_000
GIB = 1 << 30
RUNS = 3
#: Turns of what takes less than a second.
AGAIN = 11
_BLOCK = 1 << 20
#: Reads an object as obstore does it, into a file; and as `submit` does it, with its digest.
PLAIN = """
import obstore, os, sys
from nexapod_batch.sources.buckets import open_store
with open(sys.argv[1], "wb") as sink:
    for block in obstore.get(open_store("data", os.environ), "big").stream(min_chunk_size=4 << 20):
        sink.write(block)
"""
OURS = """
import os, sys
from pathlib import Path
from nexapod_batch.coordinator.placement.images import Silent
from nexapod_batch.sources import SourceSettings
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.s3 import S3Source
fetch(S3Source(), "s3://data/big", Path(sys.argv[1]).parent, SourceSettings(environ=os.environ), Silent())
"""
#: Says on its last line how much memory the process had at most, in KiB; `ru_maxrss` would begin with its parent's.
PEAK = "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def small_files(folder: Path) -> Mapping[str, Path]:
    """Write the files under their digests, and wait until the disk has them."""
    found = {}
    for number in range(FILES):
        data = b"%08d" % number * (SIZE // 8)
        digest = hashlib.sha256(data).hexdigest()
        found[digest] = folder / digest
        found[digest].write_bytes(data)
    os.sync()
    return found


def over_ssh(folder: Path) -> None:
    """Send small files, send them again, and bring them back."""
    (folder / "here").mkdir()
    files = small_files(folder / "here")
    turn = iter(range(100))
    with Sshd.create(folder / "sshd") as sshd:
        login = f"ssh -F none -o BatchMode=yes -o UserKnownHostsFile={sshd.known_hosts} -i {sshd.key} -p {sshd.port} {sshd.user}@{sshd.host}"

        def tar(after: str = "") -> float:
            target = folder / f"tar{next(turn)}"
            target.mkdir()
            unpack = shlex.quote(f"tar -C {target} -xf - {after}".strip())
            taken = seconds(["sh", "-c", f"tar -C {folder}/here -cf - . | {login} {unpack}"])
            os.sync()
            return taken

        def durable_tar() -> float:
            return tar(f"&& sync -f {folder}")

        def packed(target: Path) -> float:
            start = time.perf_counter()
            with connected(sshd, connect_timeout_s=60) as transport:
                transport.put_by_digest(str(target), files, interpreter.start_words)
            return time.perf_counter() - start

        def fresh() -> float:
            target = folder / f"ours{next(turn)}"
            target.mkdir()
            return packed(target)

        theirs, synced, ours = alternate(RUNS, tar, durable_tar, fresh)
        name = f"{FILES:,} inputs of {SIZE:,} bytes over SSH"
        line(name, f"{ours:.1f} s, durable", f"{theirs:.1f} s, `tar \\| ssh tar`, not durable", theirs / ours, ">= 0.7")
        line(name, f"{ours:.1f} s, durable", f"{synced:.1f} s, `tar \\| ssh 'tar && sync -f'`", synced / ours, "-")
        again = packed(next(folder.glob("ours*")))
        line("the same again: nothing travels", f"{again:.2f} s", f"{ours:.1f} s, the first time", again / ours, "-")
        brought_back(folder, sshd, login, turn)


def brought_back(folder: Path, sshd: Sshd, login: str, turn: Iterator[int]) -> None:
    """Bring back what lies there."""

    def tar() -> float:
        target = folder / f"tar{next(turn)}"
        target.mkdir()
        return seconds(["sh", "-c", f"{login} tar -C {folder}/here -cf - . | tar -C {target} -xf -"])

    def packed() -> float:
        start = time.perf_counter()
        with connected(sshd, connect_timeout_s=60) as transport:
            transport.get_tree(str(folder / "here"), folder / f"back{next(turn)}", interpreter.start_words)
        return time.perf_counter() - start

    theirs, ours = alternate(RUNS, tar, packed)
    line(f"{FILES:,} outputs of {SIZE:,} bytes back over SSH", f"{ours:.1f} s", f"{theirs:.1f} s, `ssh tar \\| tar`", theirs / ours, "-")


def from_s3(folder: Path) -> None:
    """Fetch an object of 1 GiB."""
    with s3_server() as environ:
        where = {**os.environ, **environ}
        upload = f"import obstore, os; from nexapod_batch.sources.buckets import open_store; obstore.put(open_store('data', os.environ), 'big', (bytes({_BLOCK}) for _ in range({GIB // _BLOCK})), chunk_size=64 << 20)"
        subprocess.run([*interpreter.code(upload)], env=where, check=True)
        peaks: dict[str, int] = {}

        def fetching(code: str) -> Callable[[], float]:
            def run() -> float:
                with tempfile.TemporaryDirectory(dir=folder) as target:
                    start = time.perf_counter()
                    done = subprocess.run([*interpreter.code(code + PEAK, f"{target}/file")], env=where, check=True, capture_output=True, text=True)
                    taken = time.perf_counter() - start
                    peaks[code] = max(peaks.get(code, 0), int(done.stdout.split()[-1]))
                    return taken

            return run

        theirs, ours = alternate(RUNS, fetching(PLAIN), fetching(OURS))
        line("1 GiB from S3, with its digest, durable", f"{ours:.1f} s", f"{theirs:.1f} s, `obstore` into a file", theirs / ours, ">= 0.7")
        memory = peaks[OURS] / 1024
        line("memory of that, the whole process", f"{memory:.0f} MiB", f"{peaks[PLAIN] / 1024:.0f} MiB, `obstore`; 64 MB", memory / 61, "<= 1")


def second_job(folder: Path) -> None:
    """Submit an array of which each task has an input, twice, and one without inputs."""
    data = folder / "data"
    data.mkdir()
    for number in range(1, FILES + 1):
        (data / str(number)).write_bytes(b"%08d" % number * (SIZE // 8))
    head = f'schema = 1\n[job]\nname = "n"\ncommand = ["true"]\n[array]\nids = "1-{FILES}"\n[quorum]\nagree = 1\ndistinct = "run"\n[schedule]\nhold = true\n'
    (folder / "without.toml").write_text(head)
    (folder / "with.toml").write_text(head + '[[inputs]]\nsource = "data/{task}"\ntarget = "in"\n')
    with fresh_home() as env:

        spent: dict[str, list[float]] = {"with.toml": [], "without.toml": []}

        def submit(name: str) -> Callable[[], float]:
            def run() -> float:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                taken = seconds([PROGRAM, "submit", str(folder / name)], env=env)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                spent[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
                return taken

            return run

        time.sleep(4)  # what was written a moment ago is read again the next time
        first = submit("with.toml")()
        time.sleep(4)  # and a folder that grew a moment ago is listed again
        spent["with.toml"].clear()
        theirs, ours = alternate(AGAIN, submit("without.toml"), submit("with.toml"))
        name = f"submit an array of {FILES:,} tasks, an input each, all unchanged"
        line(name, f"{ours:.2f} s", f"{theirs:.2f} s, without inputs", ours / theirs, "<= 1.3")
        work, plain = (statistics.median(spent[one]) for one in ("with.toml", "without.toml"))
        line(f"{name}, processor time", f"{work:.2f} s", f"{plain:.2f} s, without inputs", work / plain, "<= 1.3")
        line("the first time", f"{first:.2f} s", f"{theirs:.2f} s, without inputs", first / theirs, "-")


def car_stream(size: int) -> Iterator[bytes]:
    """Yield a CAR of raw blocks of 1 MiB, in the pieces in which a network may bring it."""
    head = bytes.fromhex("3aa265726f6f747381d82a5825000155122000000000000000000000000000000000000000000000000000000000000000006776657273696f6e01")
    yield head
    block = os.urandom(_BLOCK)
    cid = Cid(RAW, hashlib.sha256(block).digest())
    section = bytes([1, RAW, 0x12, 32]) + cid.digest + block
    length, prefix = len(section), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    whole = bytes(prefix) + bytes([length]) + section
    for _ in range(size // _BLOCK):
        yield whole[:700_000]
        yield whole[700_000:]


def from_car() -> None:
    """Verify each block of a CAR, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    before = resource.getrusage(resource.RUSAGE_SELF)
    total = sum(len(block) for _, block in blocks(car_stream(GIB)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = total / spent / 1e6
    line("blocks of a CAR of 1 GiB, verified", f"{rate:.0f} MB/s of CPU", "150 MB/s", rate / 150, ">= 1")


def main() -> None:
    """Measure what is named, or all."""
    parts = {"ssh": over_ssh, "s3": from_s3, "again": second_job, "car": lambda _: from_car()}
    wanted = sys.argv[1:] or list(parts)
    header()
    with tempfile.TemporaryDirectory(prefix="nexapod-bench-", dir="/var/tmp") as folder:
        for name in wanted:
            Path(folder, name).mkdir()
            parts[name](Path(folder, name))


if __name__ == "__main__":
    main()

"""Files that are named by their digest, on their way to the other side: many small ones travel in one stream.

A file by itself costs several round trips and a sync; a stream of thousands costs two commands and one sync. It is
unpacked there by `nexapod_batch.files.packed`, which compares each file with its digest. Where no interpreter there can
do that, small files go by SFTP, some dozens at a time; large ones always go one by one.
"""

from __future__ import annotations

import os
import time
from itertools import compress
from typing import TYPE_CHECKING, Protocol

from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import careful, packed
from nexapod_batch.files.least_used import MARKED_S
from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.transport import Done
    from nexapod_batch.plugins import Sending

__all__ = ["Way", "heard", "put"]

#: From so many files on, what is there is asked of a program, and small ones travel together.
_MANY = 32
#: Bytes of one stream, and seconds for it: where a connection is cut, what came of it is kept.
_STREAM, _STREAM_S = 64 << 20, 900.0
_PROGRAM = "nexapod_batch.files.packed"


class Way(Protocol):
    """What of a transport files take; all of it as there."""

    def pour(self, argv: Sequence[str], blocks: Iterable[bytes], *, timeout_s: float) -> Done:
        """Run a command that reads what comes as it comes."""
        ...

    def stamps(self, paths: Sequence[str]) -> list[tuple[int, int]]:
        """Return size and time of change of files, zeros for what is not there."""
        ...

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put many small files in place."""
        ...

    def put(self, source: Path, path: str, sending: Sending) -> None:
        """Copy a file there."""
        ...


def put(
    transport: Way, folder: str, sources: Mapping[str, Path], python: Callable[[], Sequence[str]],
    sending: Sending | None = None,
) -> None:  # fmt: skip
    """Copy files into a folder under their digest, those that it has not got.

    Args:
        transport: The way there.
        folder: One that is there.
        sources: SHA-256 of each file, and where it lies here.
        python: Returns the words that start an interpreter there which has this package.
        sending: Hears how far that is.

    Raises:
        OSError: A file cannot be written there, or read here.
        SchedulerError: The connection was cut, or what arrived is not what was sent.

    """
    all_sizes = {digest: os.stat(path).st_size for digest, path in sources.items()}
    start = python() if len(sources) >= _MANY else ()
    absent = _absent(transport, start, folder, all_sizes) if start else None
    if absent is None:  # few files, or nothing there that could tell
        start, absent = (), _absent_by_name(transport, folder, all_sizes)
    left = {digest: sources[digest] for digest in absent}
    sizes = {digest: all_sizes[digest] for digest in absent}
    hears = sending or _Nobody()
    hears.begin(len(sizes), sum(sizes.values()))
    small = {digest: path for digest, path in left.items() if sizes[digest] <= packed.SMALL}
    for part in _parts(small, sizes):
        if start and len(small) >= _MANY:
            argv = [*_program(start), packed.UNPACK, folder]
            done = transport.pour(argv, heard(packed.pack(part), hears), timeout_s=_STREAM_S)
            _check(done)
        else:
            transport.write_all(_contents(folder, part))
            hears.sent(sum(sizes[digest] for digest in part))
    for digest in left.keys() - small.keys():
        transport.put(left[digest], f"{folder}/{digest}", hears)


class _Nobody:
    """Whom nobody listens to."""

    def begin(self, files: int, size: int) -> None:
        """Hear nothing."""

    def sent(self, size: int) -> None:
        """Hear nothing."""


def heard(pieces: Iterable[bytes], sending: Sending) -> Iterator[bytes]:
    """Yield pieces of a stream; each that was taken is heard of."""
    for piece in pieces:
        yield piece
        sending.sent(len(piece))


def _program(start: Sequence[str]) -> list[str]:
    return interpreter.then_module(start, _PROGRAM)


def _absent(transport: Way, start: Sequence[str], folder: str, sizes: Mapping[str, int]) -> list[str] | None:
    """Return the digests that a program there does not find; None where there is no such program."""
    argv = [*_program(start), packed.ABSENT, folder]
    done = transport.pour(argv, [b"".join(packed.listed(sizes))], timeout_s=_STREAM_S)
    if done.returncode == packed.FAILED:
        _check(done)
    if done.returncode or len(done.stdout) != len(sizes):
        return None
    return list(compress(sizes, [digit == "1" for digit in done.stdout]))


def _absent_by_name(transport: Way, folder: str, sizes: Mapping[str, int]) -> list[str]:
    """Return the digests of which nothing of the same size is there."""
    left, old = [], []
    there = transport.stamps([f"{folder}/{digest}" for digest in sizes])
    for (digest, wanted), (size, changed) in zip(sizes.items(), there, strict=True):
        if (size, bool(changed)) != (wanted, True):
            left.append(digest)
        elif abs(time.time() - changed) > MARKED_S:
            old.append(f"{folder}/{digest}")
    if old:  # those are used now
        names = b"".join(os.fsencode(path) + b"\0" for path in old)
        transport.pour(["xargs", "-0", "touch", "-c", "--"], [names], timeout_s=_STREAM_S)
    return left


def _parts(sources: Mapping[str, Path], sizes: Mapping[str, int]) -> Iterator[dict[str, Path]]:
    """Yield files in parts of some size, in their order."""
    part: dict[str, Path] = {}
    filled = 0
    for digest, path in sources.items():
        part[digest] = path
        filled += sizes[digest]
        if filled >= _STREAM:
            yield part
            part, filled = {}, 0
    if part:
        yield part


def _contents(folder: str, sources: Mapping[str, Path]) -> dict[str, bytes]:
    """Return what is to be in each path there."""
    return {f"{folder}/{digest}": careful.read(path, packed.SMALL) for digest, path in sources.items()}


def _check(done: Done) -> None:
    """Raise what the program there met with.

    Raises:
        OSError: Its file system refused.
        SchedulerError: What came is not what was sent, or the program ended otherwise.

    """
    if not done.returncode:
        return
    hint = "it is tried again; what came is not sent again"
    if done.returncode == packed.FAILED:
        fault = nesting.loads(done.stdout.encode())
        if fault["errno"] is not None:
            raise OSError(int(fault["errno"]), str(fault["what"])[:200], str(fault["path"])[:1000])
        raise SchedulerError("input files did not arrive as they were sent", got=str(fault["what"])[:200], hint=hint)
    last = done.stderr.strip().rpartition("\n")[2][:300]
    raise SchedulerError("input files cannot be unpacked there", got=last or f"exit code {done.returncode}", hint=hint)

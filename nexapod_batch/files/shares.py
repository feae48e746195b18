"""Work on many files, shared between processes: digesting and copying are bound by the processor and the kernel.

Each share is done in a forked child that leaves by `_exit`, the first one here. What a child raises is raised here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import orjson

from nexapod_batch.errors import UnsafeOutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Sized", "shared"]

#: What opening, closing and making a file costs, in bytes that could be digested meanwhile.
_A_FILE = 1 << 16
#: Less work than this is not worth a process.
_WORTH = 64 << 20


class Sized(NamedTuple):
    """A file to be worked on."""

    name: str
    size: int  # bytes


def shared(
    work: Callable[[Sequence[Sized]], list[str]], files: Sequence[Sized], processes: int | None = None
) -> list[str]:
    """Return what `work` returns for the files, one text for each and in their order, done in several processes.

    Raises:
        UnsafeOutputError: As `work` raised it, or a process was killed.
        OSError: As `work` raised it.

    """
    shares = _split(files, processes or len(os.sched_getaffinity(0)))
    children = [_begin(work, share) for share in shares[1:]]
    answers: list[tuple[bytes, int]] = []
    try:
        found = work(shares[0])
    finally:  # no child is left behind, whatever became of the first share
        for pid, read_end in children:
            with os.fdopen(read_end, "rb") as stream:
                answer = stream.read()
            answers.append((answer, os.waitpid(pid, 0)[1]))
    for answer, status in answers:
        found += _results(answer, status)
    return found


def _split(files: Sequence[Sized], wanted: int) -> list[Sequence[Sized]]:
    """Return shares of about the same work, of files that stand beside one another; at least one share."""
    costs = [file.size + _A_FILE for file in files]
    whole = sum(costs)
    target = max(_WORTH, -(-whole // wanted))
    shares: list[Sequence[Sized]] = []
    start, cost = 0, 0
    for index, one in enumerate(costs):
        cost += one
        if cost >= target:
            shares.append(files[start : index + 1])
            start, cost = index + 1, 0
    if start < len(files) or not shares:
        shares.append(files[start:])
    return shares


def _begin(work: Callable[[Sequence[Sized]], list[str]], files: Sequence[Sized]) -> tuple[int, int]:
    """Fork a child that does a share; return its id, and the pipe on which its answer comes as JSON."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    code = 1
    try:  # the child: nothing of the parent may run in it
        os.close(read_end)
        try:
            answer = orjson.dumps(work(files))
        except UnsafeOutputError as error:
            answer = orjson.dumps({"what": error.what, "got": error.got, "wanted": error.wanted})
        except OSError as error:
            answer = orjson.dumps({"errno": error.errno, "strerror": error.strerror, "name": str(error.filename or "")})
        with os.fdopen(write_end, "wb") as stream:
            stream.write(answer)
        code = 0
    finally:
        os._exit(code)


def _results(answer: bytes, status: int) -> list[str]:
    """Return what a child found; what it met is raised here."""
    if status or not answer:
        raise UnsafeOutputError("work on files failed", got=f"status {status} of a helper process")
    decoded = orjson.loads(answer)
    if isinstance(decoded, list):
        return decoded
    if "errno" in decoded:
        raise OSError(decoded["errno"], decoded["strerror"], decoded["name"])
    raise UnsafeOutputError(decoded["what"], got=decoded["got"], wanted=decoded["wanted"])

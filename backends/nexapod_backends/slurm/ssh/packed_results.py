"""A folder on the other side, on its way here: many small files travel in one stream.

The folder is listed by SFTP, within bounds. What is here already in its size is not brought again. A file by itself
costs several round trips; a stream of thousands costs one command. It has neither names nor sizes of its own
(`nexapod_batch.files.gathered`), so a far side that lies can send wrong bytes, which the digests that a node signed
tell, and nothing else. What did not come in a stream goes by SFTP, as large files always do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from nexapod_backends.slurm.ssh.channel import StoppedError
from nexapod_backends.slurm.ssh.sftp import is_here, partial
from nexapod_batch import interpreter
from nexapod_batch.errors import NexapodError, SchedulerError, UnsafeOutputError
from nexapod_batch.files import gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.ssh.paramiko_internals import Attributes
    from nexapod_backends.slurm.ssh.sftp import Tree
    from nexapod_backends.slurm.transport import Done

__all__ = ["Way", "bring"]

#: From so many small files on, they travel together.
_MANY = 32
#: Bytes of one stream, names counted, and seconds for it: where a connection is cut, what came whole is kept.
_STREAM, _STREAM_S = 64 << 20, 900.0
_PROGRAM = "nexapod_batch.files.gathered"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Way(Protocol):
    """What of a transport a folder takes; all of it as there."""

    def found(self, path: str, names: Collection[str] | None) -> Tree:
        """Return what a folder holds, or which of some names."""
        ...

    def draw(self, argv: Sequence[str], data: bytes, take: Callable[[bytes], None], *, timeout_s: float) -> Done:
        """Run a command of which the answer is taken as it comes."""
        ...

    def get_all(self, path: str, target: Path, files: Mapping[str, Attributes]) -> None:
        """Copy files of a folder one by one."""
        ...


def bring(
    way: Way, path: str, target: Path, python: Callable[[], Sequence[str]] | None,
    *, names: Collection[str] | None = None, max_bytes: int | None = None,
) -> None:  # fmt: skip
    """Copy a folder here, or those of its files that have some `names`; links and what is no file are left out.

    Args:
        way: The way there.
        path: The folder there.
        target: The folder here, which is made.
        python: Returns the words that start an interpreter there which has this package; None where nobody knows one.
        names: Paths relative to the folder.
        max_bytes: Bound of all of them together.

    Raises:
        OSError: A file cannot be read there, or written here.
        SchedulerError: The connection was cut; what came whole is kept.
        UnsafeOutputError: They have more than `max_bytes`.

    """
    tree = way.found(path, names)
    size = sum(file.size for file in tree.files.values())
    if max_bytes is not None and size > max_bytes:
        raise UnsafeOutputError(f"{path} has more than it may have", got=f"{size} bytes", wanted=f"at most {max_bytes}")
    for folder in tree.folders:
        (target / folder).mkdir(mode=0o700, parents=not folder, exist_ok=True)
    left = _not_here(target, tree.files)
    small = {name: file.size for name, file in left.items() if file.size <= gathered.SMALL}
    if python is not None and len(small) >= _MANY:
        _in_streams(way, path, target, small, python)
        left = _not_here(target, left)
    way.get_all(path, target, left)


def _not_here(target: Path, files: Mapping[str, Attributes]) -> dict[str, Attributes]:
    """Return the files of which nothing of the same size is here."""
    return {name: file for name, file in files.items() if not is_here(target / name, file.size)}


def _in_streams(
    way: Way, path: str, target: Path, sizes: Mapping[str, int], python: Callable[[], Sequence[str]]
) -> None:
    """Bring what comes in streams; the rest is left where no interpreter there can make them, or one is none."""
    try:
        start = python()
    except NexapodError:  # there is a way without it
        return
    argv = [*interpreter.then_module(start, _PROGRAM), path]
    for part in _parts(sizes):
        if not _in_one_stream(way, argv, target, part):
            return


def _in_one_stream(way: Way, argv: Sequence[str], target: Path, sizes: Mapping[str, int]) -> bool:
    """Bring files; say whether the stream was one and came to its end."""
    separated = gathered.Separated(sizes, lambda name, data: _write(data, target / name))

    def take(data: bytes) -> None:
        try:
            separated.feed(data)
        except (OSError, gathered.GatherError) as error:
            raise StoppedError(error) from error

    try:
        done = way.draw(argv, gathered.asked(sizes), take, timeout_s=_STREAM_S)
    except StoppedError as stopped:
        if isinstance(stopped.why, OSError):
            raise stopped.why from None
        return False
    except TimeoutError as error:
        hint = "it is tried again; what came is not sent again"
        raise SchedulerError("files did not come in time", got=str(error), hint=hint) from error
    return done.returncode == 0 and separated.complete


def _parts(sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Yield files in parts of some size, in their order."""
    part: dict[str, int] = {}
    filled = 0
    for name, size in sizes.items():
        part[name] = size
        filled += size + len(name)
        if filled >= _STREAM:
            yield part
            part, filled = {}, 0
    if part:
        yield part


def _write(data: bytes, target: Path) -> None:
    """Put a file in place as a whole."""
    beginning = partial(target)
    with os.fdopen(os.open(beginning, _NEW, 0o600), "wb", buffering=0) as sink:
        rest = memoryview(data)
        while rest:
            rest = rest[sink.write(rest) :]
    os.replace(beginning, target)

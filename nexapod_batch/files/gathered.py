"""Small files of a folder as one stream, on their way back: each where and as long as it was asked for, or not at all.

Whoever asks has looked at the folder, and says path and size of each file. The stream repeats neither: a file in it is
one byte and as many more as were asked for, or that one byte alone where no such plain file is there any more. So
nothing in a stream can lead anywhere, or be more than was asked for. The far side is started as a program.
"""

from __future__ import annotations

import os
import sys
from itertools import groupby
from typing import TYPE_CHECKING

from nexapod_batch.files import careful

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["FAILED", "SMALL", "GatherError", "Separated", "asked", "gather"]

#: Bytes of a file that travels in a stream, at most: each is in memory once.
SMALL = 1 << 20
#: Exit code of the program where the folder cannot be opened.
FAILED = 3
_HERE, _GONE = b"\1", b"\0"
_PIECE = 1 << 18


class GatherError(ValueError):
    """A stream that is not what was asked for, or more than that."""


def asked(sizes: Mapping[str, int]) -> bytes:
    """Return what the program reads: size and path of each file, paths relative to the folder."""
    return b"".join(b"%d %s\0" % (size, os.fsencode(path)) for path, size in sizes.items())


def gather(request: bytes, folder: str) -> Iterator[bytes]:
    """Yield the stream that was asked for; no link is followed below the folder.

    Raises:
        OSError: The folder cannot be opened.

    """
    files = [_asked_file(entry) for entry in request.split(b"\0")[:-1]]
    piece = bytearray()
    root = careful.open_folder(folder)
    try:
        for place, here in groupby(files, key=lambda file: os.path.dirname(file[0])):
            for data in _in_one_folder(root, place, here):
                piece += data
                if len(piece) >= _PIECE:
                    yield bytes(piece)
                    piece.clear()
    finally:
        os.close(root)
    yield bytes(piece)


def _asked_file(entry: bytes) -> tuple[str, int]:
    size, _, path = entry.partition(b" ")
    return os.fsdecode(path), int(size)


def _in_one_folder(root: int, place: str, files: Iterable[tuple[str, int]]) -> Iterator[bytes]:
    """Yield what files of one folder are in a stream."""
    try:
        fd = careful.open_folder(".", place, dir_fd=root)
    except OSError:
        yield from (_GONE for _ in files)
        return
    try:
        for path, size in files:
            yield _in_stream(fd, os.path.basename(path), size)
    finally:
        os.close(fd)


def _in_stream(folder: int, name: str, size: int) -> bytes:
    """Return what a file in an open folder is in a stream."""
    try:
        fd = careful.open_plain(name, dir_fd=folder)
        try:
            data = careful.read_descriptor(fd, size, name)
        finally:
            os.close(fd)
    except OSError:
        return _GONE
    return _HERE + data if len(data) == size else _GONE


class Separated:
    """Takes a stream apart as it comes, and hands on each file that came whole."""

    def __init__(self, sizes: Mapping[str, int], take: Callable[[str, bytes], None]) -> None:
        """Expect what was asked for with these sizes; `take` is given path and content of each file."""
        self._left = iter(sizes.items())
        self._take = take
        self._held = bytearray()
        self._next = next(self._left, None)

    @property
    def complete(self) -> bool:
        """Whether each file came, or was said to be gone."""
        return self._next is None

    def feed(self, data: bytes) -> None:
        """Take what came.

        Raises:
            GatherError: It is not what was asked for, or more.

        """
        self._held += data
        while self._held:
            if self._next is None:
                raise GatherError("more came than was asked for")
            path, size = self._next
            mark = bytes(self._held[:1])
            if mark not in {_HERE, _GONE}:
                raise GatherError("what came is no stream of files")
            length = 1 + size if mark == _HERE else 1
            if len(self._held) < length:
                return
            if mark == _HERE:
                self._take(path, bytes(self._held[1:length]))
            del self._held[:length]
            self._next = next(self._left, None)


def _main(arguments: Sequence[str]) -> int:
    """Write the stream that stdin asks for, of the folder that is the argument."""
    (folder,) = arguments
    try:
        for piece in gather(sys.stdin.buffer.read(), folder):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(FAILED)  # nobody listens any more, to an error at the end neither
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}: {folder}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))

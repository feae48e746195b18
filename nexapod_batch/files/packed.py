"""Many small files as one stream: of each its SHA-256, its size and its bytes; the digest is its name as well.

A stream has no names, so none of it can lead anywhere. What it brings is compared with its digest before it gets its
name, and what is there already need not be sent: `absent` says what is not. Both sides are this one module; the far one
is started as a program, which reads its input and says on one line what came of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from typing import TYPE_CHECKING

from nexapod_batch.files import careful
from nexapod_batch.files.atomic import sync_files
from nexapod_batch.files.least_used import note_use

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["ABSENT", "FAILED", "SMALL", "UNPACK", "PackError", "absent", "listed", "pack", "unpack"]

#: Bytes of a file that travels in a stream, at most: each is in memory once.
SMALL = 1 << 20
#: What the program is to do, and its exit code where the file system or the stream kept it from that.
ABSENT, UNPACK = "absent", "unpack"
FAILED = 3
#: SHA-256 and size.
_HEAD = struct.Struct(">32sQ")
_PIECE = 1 << 18
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class PackError(ValueError):
    """A stream that ended too soon, or a file in it that is not what its digest says."""


def listed(sizes: Mapping[str, int]) -> Iterator[bytes]:
    """Yield what `absent` reads: digest and size of files, by digest."""
    for digest, size in sizes.items():
        yield _HEAD.pack(bytes.fromhex(digest), size)


def absent(stream: BinaryIO, folder: str) -> str:
    """Return a digit for each file that is listed: 1 where the folder has none of this digest and size.

    Those that it has are marked as used now.

    Raises:
        PackError: The list ends within an entry.

    """
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    digits = []
    for digest, size in _heads(stream):
        is_there = sizes.get(digest) == size
        if is_there:
            note_use(f"{folder}/{digest}")
        digits.append("0" if is_there else "1")
    return "".join(digits)


def pack(sources: Mapping[str, Path]) -> Iterator[bytes]:
    """Yield a stream of files that are named by their digest.

    Raises:
        OSError: One cannot be read, or has not the size that it had.

    """
    piece = bytearray()
    for digest, path in sources.items():
        data = careful.read_whole(path)
        piece += _HEAD.pack(bytes.fromhex(digest), len(data))
        piece += data
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def unpack(stream: BinaryIO, folder: str) -> int:
    """Put what a stream brings into a folder; return how many files that were.

    What came whole is kept and made durable, whatever comes after it.

    Raises:
        PackError: It ends too soon, or brings what is too large or not what its digest says.
        OSError: A file cannot be written.

    """
    written: dict[str, str] = {}  # digest -> how the file is called until it is durable
    ending = f".{os.getpid()}.{os.urandom(4).hex()}"
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            for digest, size in _heads(stream):
                partial = f".{digest}{ending}"
                _write(_checked(stream, digest, size), partial, place, folder)
                written[digest] = partial
        finally:
            sync_files([f"{folder}/{partial}" for partial in written.values()], below=(folder,))
            for digest, partial in written.items():
                os.rename(partial, digest, src_dir_fd=place, dst_dir_fd=place)
    finally:
        os.close(place)
    return len(written)


def _heads(stream: BinaryIO) -> Iterator[tuple[str, int]]:
    """Yield digest and size of each file; whoever asks for the next one has read what stands behind the last."""
    while head := stream.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise PackError("it ended too soon")
        digest, size = _HEAD.unpack(head)
        yield digest.hex(), size


def _checked(stream: BinaryIO, digest: str, size: int) -> bytes:
    """Return the bytes of the next file of a stream, if they are what was said."""
    if size > SMALL:
        raise PackError(f"a file has {size} bytes, which are too many")
    data = stream.read(size)
    if len(data) < size:
        raise PackError("it ended too soon")
    if hashlib.sha256(data).hexdigest() != digest:
        raise PackError(f"a file is not what its digest says: {digest}")
    return data


def _write(data: bytes, name: str, place: int, folder: str) -> None:
    """Write a new file in an open folder; nothing is left of it where there is no room."""
    fd = os.open(name, _NEW, 0o600, dir_fd=place)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        os.unlink(name, dir_fd=place)
        raise OSError(error.errno, error.strerror, f"{folder}/{name}") from error
    finally:
        os.close(fd)


def _main(arguments: Sequence[str]) -> int:
    """Do what the first argument says in the folder that is the second; say what came of it."""
    what, folder = arguments
    stream = open(sys.stdin.fileno(), "rb", buffering=SMALL, closefd=False)  # noqa: SIM115 - it is not ours to close
    try:
        done = absent(stream, folder) if what == ABSENT else str(unpack(stream, folder))
    except OSError as error:
        fault = {"errno": error.errno, "what": error.strerror or str(error), "path": str(error.filename or folder)}
        sys.stdout.write(json.dumps(fault))
        return FAILED
    except PackError as error:
        sys.stdout.write(json.dumps({"errno": None, "what": str(error), "path": folder}))
        return FAILED
    sys.stdout.write(done)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))

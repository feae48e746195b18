"""Report segments that arrive in pieces: kept byte for byte, whatever is sent twice, late, or out of order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_batch.errors import TryAgainError, VerificationError
from nexapod_batch.files import careful
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.mesh.messages import Lines

__all__ = ["MAX_SEGMENT", "MAX_SEGMENTS", "check_room", "keep_lines"]

#: Bytes of one segment, and how many a node may have here at once: what comes beyond waits until these were taken in.
MAX_SEGMENT, MAX_SEGMENTS = 1 << 30, 4_096
#: Bytes of a disk that are never used for what nodes send.
SPARE = 256 << 20
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def check_room(folder: Path, wanted: int) -> None:
    """Raise TryAgainError where so many bytes more would touch the last `SPARE` ones of a disk."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free - wanted < SPARE:
        raise TryAgainError("the coordinator's disk is full", got=f"{free} bytes", hint="it is taken in later")


def keep_lines(spool: Path, piece: Lines) -> int:
    """Append a piece of a segment where it continues what is here; return how many bytes are durable here.

    What is here already is compared: VerificationError for a piece that says something else.

    Raises:
        TryAgainError: Too much waits here, or the disk does not take it.
        VerificationError: It is no piece of a segment, or not what was sent before.

    """
    if not layout.is_segment(piece.segment) or piece.at < 0:
        raise VerificationError("not a piece of a segment", got=repr(piece.segment[:80]))
    path = spool / layout.segment(piece.segment)
    size = path.stat(follow_symlinks=False).st_size if path.exists() else 0
    data = piece.text.encode()
    if piece.at > size or not data:
        return size
    overlap = data[: size - piece.at]
    if overlap and not _same(path, piece.at, overlap):
        raise VerificationError("a segment was changed after it was sent", got=piece.segment)
    rest = data[len(overlap) :]
    if not rest:
        return size
    if not rest.endswith(b"\n") or size + len(rest) > MAX_SEGMENT:
        raise VerificationError("a piece of a segment ends within a line, or the segment is too long")
    if size == 0 and len(os.listdir(spool / layout.REPORTS)) >= MAX_SEGMENTS:
        raise TryAgainError("too many report segments wait to be taken in", wanted=f"at most {MAX_SEGMENTS}")
    check_room(spool, len(rest))
    _append(path, rest, size)
    return size + len(rest)


def _same(path: Path, at: int, data: bytes) -> bool:
    fd = careful.open_plain(path)
    try:
        return os.pread(fd, len(data), at) == data
    finally:
        os.close(fd)


def _append(path: Path, data: bytes, size: int) -> None:
    """Append durably; what was written of it is cut off again where it fails."""
    fd = os.open(path, _APPEND, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        os.fdatasync(fd)
    except OSError as error:
        os.ftruncate(fd, size)
        raise TryAgainError("report lines cannot be kept", got=error.strerror) from error
    finally:
        os.close(fd)

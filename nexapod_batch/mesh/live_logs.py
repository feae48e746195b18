"""Logs of what still runs on a node that joined: asked for a piece at a time, and kept as they grow.

A person who follows a log makes the coordinator ask; nobody asks, nothing is sent. What is kept here is for looking at
alone: when the replica is over, its logs come as files, compared with what the node signed.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from nexapod_batch.errors import VerificationError
from nexapod_batch.files import careful
from nexapod_batch.mesh.messages import Follow, LogPiece
from nexapod_batch.mesh.segments import check_room
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LIVE", "asked", "drop", "keep", "read_pieces"]

#: Below the spool at the coordinator: `<replica>.out`, `<replica>.err`, and `<replica>.asked`.
LIVE = "live"
#: Bytes of one piece, and of one log that is kept while it grows.
PIECE, MOST = 256 << 10, 8 << 20
#: Seconds after which a node is asked again.
_AGAIN_S = 1.0
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def asked(spool: Path, replica: str, now: float) -> Follow | None:
    """Note that somebody follows a replica; return what its node is to be asked for, None where it just was."""
    folder = spool / LIVE
    folder.mkdir(mode=0o700, exist_ok=True)
    mark, sizes = folder / f"{replica}.asked", [_size(file) for file in _files(spool, replica)]
    if min(sizes) >= MOST or 0 <= now - _time(mark) < _AGAIN_S:
        return None
    mark.touch(mode=0o600)
    return Follow(replica=replica, stdout=sizes[0], stderr=sizes[1])


def read_pieces(work: Path, follow: Follow) -> tuple[LogPiece, ...]:
    """Return what the logs of a replica have beyond what is kept; nothing for a replica that is not here.

    Raises:
        VerificationError: It names no replica.

    """
    _check(follow.replica)
    found, kept = [], (follow.stdout, follow.stderr)
    for stream, at, suffix in zip(("stdout", "stderr"), kept, layout.LOG_SUFFIXES, strict=True):
        try:
            fd = careful.open_plain(work / f"{follow.replica}{suffix}")
        except OSError:
            continue
        try:
            data = os.pread(fd, PIECE, max(0, at))
        finally:
            os.close(fd)
        if data:
            found.append(LogPiece(replica=follow.replica, stream=stream, at=at, data=data))
    return tuple(found)


def keep(spool: Path, piece: LogPiece) -> None:
    """Append a piece that was asked for and goes on where the log ends; others are left out.

    Raises:
        VerificationError: It names no replica or stream, or is larger than any that is asked for.

    """
    _check(piece.replica)
    if piece.stream not in {"stdout", "stderr"} or len(piece.data) > PIECE:
        got = f"{len(piece.data)} bytes of {piece.stream[:20]!r}"
        raise VerificationError("a piece of a log makes no sense", got=got)
    file = _files(spool, piece.replica)[piece.stream == "stderr"]
    if not (spool / LIVE / f"{piece.replica}.asked").exists() or piece.at != _size(file) or piece.at >= MOST:
        return
    check_room(spool, len(piece.data))
    fd = os.open(file, _APPEND, 0o600)
    try:
        os.write(fd, piece.data)  # a part of it is as good: the next one goes on there
    finally:
        os.close(fd)


def drop(spool: Path, replica: str) -> None:
    """Remove what is kept of a replica."""
    for file in (*_files(spool, replica), spool / LIVE / f"{replica}.asked"):
        file.unlink(missing_ok=True)


def _check(replica: str) -> None:
    try:
        good = str(ReplicaName.parse(replica)) == replica
    except ValueError:
        good = False
    if not good:
        raise VerificationError("this names no replica", got=repr(replica[:80]))


def _files(spool: Path, replica: str) -> tuple[Path, Path]:
    out, err = (spool / LIVE / f"{replica}{suffix}" for suffix in layout.LOG_SUFFIXES)
    return out, err


def _size(file: Path) -> int:
    try:
        return file.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _time(file: Path) -> float:
    try:
        return file.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return -time.time()

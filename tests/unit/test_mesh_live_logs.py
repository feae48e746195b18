"""Logs that grow on nodes elsewhere: what is asked for is kept, where it goes on, and no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh import live_logs
from nexapod_batch.mesh.messages import Follow, LogPiece

if TYPE_CHECKING:
    from pathlib import Path

NAME = "42_7.1"


def kept(spool: Path) -> bytes:
    """Return what is kept of stdout."""
    file = spool / live_logs.LIVE / f"{NAME}.out"
    return file.read_bytes() if file.exists() else b""


def piece(at: int, data: bytes, stream: str = "stdout", replica: str = NAME) -> LogPiece:
    """Return a piece."""
    return LogPiece(replica=replica, stream=stream, at=at, data=data)


def test_piece_after_piece(tmp_path: Path) -> None:
    """What is asked for begins where the last piece ended, and a node is not asked twice in a moment."""
    spool, work = tmp_path / "spool", tmp_path / "work"
    spool.mkdir()
    work.mkdir()
    whole = bytes(range(256)) * 3_000
    (work / f"{NAME}.out").write_bytes(whole)
    now = 1e9
    while True:
        now += 1e6
        follow = live_logs.asked(spool, NAME, now)
        assert follow is not None
        pieces = live_logs.read_pieces(work, follow)
        if not pieces:
            break
        for one in pieces:
            live_logs.keep(spool, one)
    assert kept(spool) == whole
    live_logs.drop(spool, NAME)
    assert list((spool / live_logs.LIVE).iterdir()) == []


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        ([piece(0, b"abc"), piece(3, b"def")], b"abcdef"),
        ([piece(0, b"abc"), piece(0, b"abc")], b"abc"),  # the same answer twice
        ([piece(3, b"def"), piece(0, b"abc")], b"abc"),  # a gap
        ([piece(0, b"abc"), piece(2, b"cdef")], b"abc"),
        ([piece(-1, b"abc")], b""),
        ([piece(0, b"err", "stderr")], b""),
    ],
)
def test_only_what_goes_on_is_kept(tmp_path: Path, pieces: list[LogPiece], left: bytes) -> None:
    """In order, each byte once."""
    live_logs.asked(tmp_path, NAME, 1.0)
    for one in pieces:
        live_logs.keep(tmp_path, one)
    assert kept(tmp_path) == left


def test_what_nobody_asked_for_is_left_out(tmp_path: Path) -> None:
    """A node cannot fill the disk with logs."""
    live_logs.keep(tmp_path, piece(0, b"abc"))
    assert kept(tmp_path) == b""


def test_a_log_is_kept_to_a_bound(tmp_path: Path) -> None:
    """Then the node is asked no more."""
    live_logs.asked(tmp_path, NAME, 1.0)
    at = 0
    for stream in ("stdout", "stderr"):
        at = 0
        for _ in range(2 * live_logs.MOST // live_logs.PIECE):
            live_logs.keep(tmp_path, piece(at, bytes(live_logs.PIECE), stream))
            at += live_logs.PIECE
    assert len(kept(tmp_path)) == live_logs.MOST
    assert live_logs.asked(tmp_path, NAME, 1e12) is None


@pytest.mark.parametrize(
    "bad",
    [
        piece(0, b"x", replica="../42_7.1"), piece(0, b"x", replica="/etc/passwd"), piece(0, b"x", replica=""),
        piece(0, b"x", replica="42_7"), piece(0, b"x", "stdin"), piece(0, b"x", "../stdout"),
        piece(0, bytes(live_logs.PIECE + 1)), piece(0, b"x", replica="42_7.1\n"), piece(0, b"x", replica="42_07.1"),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(tmp_path: Path, bad: LogPiece) -> None:
    """They are refused on both sides."""
    with pytest.raises(VerificationError):
        live_logs.keep(tmp_path, bad)
    if bad.replica != NAME:
        with pytest.raises(VerificationError):
            live_logs.read_pieces(tmp_path, Follow(replica=bad.replica, stdout=0, stderr=0))

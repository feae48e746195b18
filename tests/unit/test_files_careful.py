"""Opening what others may have put there."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.files import careful

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def make_socket(path: Path) -> None:
    """Leave a socket behind."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def make_sparse(path: Path) -> None:
    """Make a file that says it has 4 TB."""
    path.touch()
    os.truncate(path, 4 << 40)


KINDS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "socket": make_socket,
    "link to a device without end": lambda path: path.symlink_to("/dev/zero"),
    "link to a file": lambda path: (path.with_name("g").write_text("{}"), path.symlink_to("g")),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "a file of 4 TB": make_sparse,
    "a file of one byte too many": lambda path: path.write_bytes(b"1" * 1001),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_read_waits_or_never_ends(tmp_path: Path, kind: str) -> None:
    """Whatever lies there instead of a small plain file is an error at once."""
    KINDS[kind](tmp_path / "f")
    with pytest.raises(OSError, match=r"plain file|Larger than 1000"):
        careful.read(tmp_path / "f", 1000)


@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20, (1 << 20) + 1, (3 << 20) + 7])
def test_a_plain_file_is_read_whole(tmp_path: Path, size: int) -> None:
    """Up to what is allowed all of it comes, and its end by itself."""
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert data == careful.read(tmp_path / "f", max(1, size))
    assert data[-100:] == careful.tail(tmp_path / "f", 100)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_notice_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    """What is kept between commands counts only when this account, or root, wrote it."""
    (tmp_path / "queue.json").write_text('{"a": 1}')
    assert careful.load(tmp_path / "queue.json") == {"a": 1}
    os.chown(tmp_path / "queue.json", 65_534, -1)
    with pytest.raises(PermissionError):
        careful.load(tmp_path / "queue.json")


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"[" * 1000 + b"]" * 1000, "deep"), (b"[" * 100_000, "deep"), (b"{", "unexpected"), (b"", "empty|EOF"), (b"\xff", "UTF-8")],
)
def test_a_notice_that_is_none_is_a_value_error(tmp_path: Path, text: bytes, why: str) -> None:
    """Damaged and hostile content is one kind of error."""
    (tmp_path / "f").write_bytes(text)
    with pytest.raises(ValueError, match=why):
        careful.load(tmp_path / "f")

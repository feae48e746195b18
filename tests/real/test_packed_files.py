"""Thousands of small inputs on their way to another machine: one stream, through connections that are cut."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import pytest
from real.ssh_sites import connected

from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clusters.sshd import Sshd
    from nexapod_backends.slurm.ssh.transport import SshTransport

#: Interpreters there, of which only the first can unpack.
PYTHONS = {
    "has the package": interpreter.start_words(),
    "is none": ("/nowhere/python3",),
    "has not the package": (sys.executable, "-I", "-S"),
}


@pytest.fixture
def transport(server: Sshd) -> Iterator[SshTransport]:
    """Yield a transport that is patient with a machine which has much else to do."""
    with connected(server, connect_timeout_s=60) as made:
        yield made


def kept(folder: Path, number: int) -> dict[str, Path]:
    """Write so many small files, an empty one and a large one under their digests."""
    folder.mkdir()
    found = {}
    for data in [*(b"%d" % one * 100 for one in range(number)), b"", b"large" * packed.SMALL]:
        digest = hashlib.sha256(data).hexdigest()
        found[digest] = folder / digest
        found[digest].write_bytes(data)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("number", [5, 300])
@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_files_arrive_under_their_digest(transport: SshTransport, tmp_path: Path, python: Sequence[str], number: int) -> None:
    """Few and many, small and large, whatever interpreter is there; those that are there stay the same files."""
    files, there = kept(tmp_path / "here", number), tmp_path / "there"
    there.mkdir()
    transport.put_by_digest(str(there), files, lambda: python)
    assert contents(there) == contents(tmp_path / "here")
    before = {path.name: path.stat().st_ino for path in there.iterdir()}
    removed, shortened = list(files)[:2]
    (there / removed).unlink()
    (there / shortened).write_bytes(b"")
    transport.put_by_digest(str(there), files, lambda: python)
    assert contents(there) == contents(tmp_path / "here")
    after = {path.name: path.stat().st_ino for path in there.iterdir()}
    assert {name for name in files if after[name] == before[name]} >= files.keys() - {removed, shortened}


class Hears:
    """Keeps what it hears of a sending."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.begun: list[tuple[int, int]] = []
        self.sizes: list[int] = []

    def begin(self, files: int, size: int) -> None:
        """Hear what is to be sent."""
        self.begun.append((files, size))

    def sent(self, size: int) -> None:
        """Hear of a part."""
        self.sizes.append(size)


@pytest.mark.parametrize("number", [5, 300])
def test_it_is_heard_how_far_they_are(transport: SshTransport, tmp_path: Path, number: int) -> None:
    """What is to be sent, without what is there; then of every part; files have a head of 40 bytes in a stream."""
    files, there = kept(tmp_path / "here", number), tmp_path / "there"
    there.mkdir()
    first, again = Hears(), Hears()
    transport.put_by_digest(str(there), files, interpreter.start_words, first)
    size = sum(path.stat().st_size for path in files.values())
    assert first.begun == [(len(files), size)]
    assert size <= sum(first.sizes) <= size + 40 * len(files)
    assert len(first.sizes) > 1
    transport.put_by_digest(str(there), files, interpreter.start_words, again)
    assert (again.begun, again.sizes) == ([(0, 0)], [])


def test_what_came_before_a_cut_is_not_sent_again(transport: SshTransport, server: Sshd, tmp_path: Path) -> None:
    """The connection is cut while a stream is under way; the next one brings the rest."""
    files, there = kept(tmp_path / "here", 300), tmp_path / "there"
    there.mkdir()
    first = dict(list(files.items())[:150])

    def blocks() -> Iterator[bytes]:
        yield from packed.pack(first)
        server.kill_sessions()
        yield b"the rest of it"

    with pytest.raises(SchedulerError):
        transport.pour([*interpreter.module(packed.__name__), packed.UNPACK, str(there)], blocks(), timeout_s=60)
    transport.put_by_digest(str(there), files, interpreter.start_words)
    assert contents(there) == contents(tmp_path / "here")


def test_a_folder_that_is_not_there_is_named(transport: SshTransport, tmp_path: Path) -> None:
    """As an error of its file system."""
    files = kept(tmp_path / "here", 40)
    with pytest.raises(FileNotFoundError) as caught:
        transport.put_by_digest(f"{tmp_path}/none", files, interpreter.start_words)
    assert caught.value.filename == f"{tmp_path}/none"

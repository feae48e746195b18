"""A ledger that is published as tiles, checked by Go's own note and tlog packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from go_programs import ledger_checker
from kept_tree import Kept

from nexapod_batch.ledger.checkpoint import Head, checkpoint
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.ledger.tiles import files
from nexapod_batch.ledger.tree import root
from nexapod_batch.trust.dsse import Signer

SIGNER = Signer.from_seed(b"\7" * 32)
NAME = "ledger.example/go"
ENTRIES = [b'{"number":%d}' % number for number in range(66_000)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checker."""
    return ledger_checker(tmp_path_factory.mktemp("go"))


def publish(folder: Path, entries: list[bytes]) -> Path:
    """Write the files of a ledger and return where its head is."""
    fetch = Kept(entries).fetch
    for path, data in files(len(entries), fetch, lambda first, last: entries[first:last]):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    head = folder / "checkpoint"
    head.write_text(str(checkpoint(Head(NAME, len(entries), root(len(entries), fetch)), SIGNER)))
    return head


def checked(program: Path, folder: Path, before: Path | str = "") -> subprocess.CompletedProcess[str]:
    """Return what the checker says."""
    argv = [str(program), str(folder), str(NoteKey(NAME, SIGNER.public)), str(before)]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1_000, 66_000])
def test_go_finds_every_entry(program: Path, tmp_path: Path, size: int) -> None:
    """With whole tiles, partial ones, and tiles of two levels above."""
    publish(tmp_path, ENTRIES[:size])
    assert checked(program, tmp_path).stdout == f"{size} entries\n"


@pytest.mark.parametrize(("old", "new"), [(1, 2), (255, 300), (256, 1_000), (700, 1_000)])
def test_go_finds_that_a_ledger_continues(program: Path, tmp_path: Path, old: int, new: int) -> None:
    """And that one whose past was changed does not."""
    before = publish(tmp_path / "old", ENTRIES[:old])
    publish(tmp_path / "new", ENTRIES[:new])
    assert checked(program, tmp_path / "new", before).returncode == 0
    publish(tmp_path / "forged", [b"another", *ENTRIES[1:new]])
    assert checked(program, tmp_path / "forged", before).returncode == 1


def test_go_finds_a_changed_entry(program: Path, tmp_path: Path) -> None:
    """One byte of one entry."""
    publish(tmp_path, ENTRIES[:300])
    file = tmp_path / "tile/entries/001.p/44"
    file.write_bytes(file.read_bytes().replace(b'{"number":299}', b'{"number":298}'))
    assert checked(program, tmp_path).returncode == 1

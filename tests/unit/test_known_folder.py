"""A folder that is as it was need not be listed again; whatever comes or goes is seen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.files import known_folder
from nexapod_batch.files.known_folder import KnownFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two files, of which also what changed just now is remembered."""
    monkeypatch.setattr(known_folder, "_QUIET_NS", -1_000_000_000)
    (tmp_path / "kept").mkdir()
    for name in "ab":
        (tmp_path / "kept" / name).write_text(name)
    return tmp_path / "kept"


def asked(folder: Path, question: str = "ab") -> KnownFolder:
    """Return a question to the folder as it is now."""
    return KnownFolder(folder.parent / "known", folder, question)


def test_an_answer_holds_while_nothing_comes_or_goes(folder: Path) -> None:
    """For the very question that was asked, and not before it was answered."""
    assert not asked(folder).is_as_it_was()
    asked(folder).remember()
    assert asked(folder).is_as_it_was()
    assert not asked(folder, "a").is_as_it_was()


#: What becomes of the folder.
CHANGES: dict[str, Callable[[Path], object]] = {
    "one goes": lambda folder: (folder / "a").unlink(),
    "one comes": lambda folder: (folder / "c").write_text(""),
    "one gets another name": lambda folder: (folder / "a").rename(folder / "c"),
    "one goes, and the time is put back": lambda folder: with_its_time(folder, (folder / "a").unlink),
    "another folder in its place": lambda folder: (folder.rename(folder.with_name("x")), folder.mkdir()),
}


def with_its_time(folder: Path, change: Callable[[], object]) -> None:
    """Change a folder, and give it back its time."""
    before = folder.stat()
    change()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_seen(folder: Path, kind: str) -> None:
    """Also one between the look and the answer."""
    question = asked(folder)
    question.remember()
    CHANGES[kind](folder)
    assert not asked(folder).is_as_it_was()
    question.remember()
    assert not asked(folder).is_as_it_was()


def test_what_changed_just_before_is_not_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could change again within one tick of the clock."""
    monkeypatch.setattr(known_folder, "_QUIET_NS", 3_000_000_000)
    asked(folder).remember()
    assert not asked(folder).is_as_it_was()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 4096])
def test_an_answer_that_is_none(folder: Path, content: bytes) -> None:
    """Then the folder is listed, as if nothing had been remembered."""
    asked(folder).remember()
    (file,) = (folder.parent / "known").iterdir()
    file.write_bytes(content)
    assert not asked(folder).is_as_it_was()


def test_a_place_that_cannot_be_written(folder: Path) -> None:
    """Nothing is remembered, and nothing is said of it."""
    (folder.parent / "known").write_text("in the way")
    asked(folder).remember()
    assert not asked(folder).is_as_it_was()

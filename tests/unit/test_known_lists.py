"""What is remembered of the files of thousands of tasks: a list is used whole, while each of its files is what it was."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.config.job import task_lists
from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.files import known_digests, known_lists
from nexapod_batch.files.beneath import STATE, Looks
from nexapod_batch.files.known_digests import KnownDigests
from nexapod_batch.files.known_lists import runs_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.model.job import Job

HEAD = 'schema = 1\n[job]\nname = "n"\ncommand = ["true"]\n[array]\nids = "1-3"\n[[inputs]]\n'
EACH = HEAD + 'source = "d/{task}"\ntarget = "in{task:02d}"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a file for each of three tasks, of which also what was written just now is remembered."""
    monkeypatch.setattr(known_digests, "_LOCAL_NS", -1_000_000_000)
    monkeypatch.setattr(task_lists, "_MANY", 3)
    for name in ("d/1", "d/2", "d/3", "2/in", "3/in", "1/in", "spare"):
        file = tmp_path / "job" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "job"


def submitted(folder: Path, text: str = EACH) -> Job:
    """Return the job of a text, and remember what was learnt, as a submit does."""
    parsed = parse(text, folder, known=KnownDigests(folder.parent / "digests", folder))
    assert parsed.known is not None
    parsed.known.save()
    return parsed.job


def lists(folder: Path) -> list[Path]:
    """Return the lists that are kept."""
    return [file for file in (folder.parent / "digests").iterdir() if "-" in file.name]


def told_by_its_list(folder: Path, text: str = EACH) -> bool:
    """Say whether a job is made of the list that is kept: a mark that is put there is found in it."""
    kept = {file: file.read_bytes() for file in lists(folder)}
    for file in kept:
        known = known_lists.read(file)
        assert known is not None
        known_lists.write(file, known._replace(made=bytes(known.made).replace(b"\xa4in0", b"\xa4IN0")))
    found = submitted(folder, text)
    for file, data in kept.items():
        file.write_bytes(data)
    return all(one.target.startswith("IN0") for one in found.inputs)


@pytest.mark.parametrize("source", ["d/{task}", "{task}/in"])
def test_a_job_is_the_same_by_its_list(folder: Path, source: str) -> None:
    """To the byte, wherever the files lie below the folder."""
    text = EACH.replace("d/{task}", source)
    wanted = parse(text, folder).job
    assert [submitted(folder, text), submitted(folder, text)] == [wanted, wanted]
    assert len(lists(folder)) == 1
    assert told_by_its_list(folder, text)


def edit_without_a_sign_in_its_time(file: Path) -> None:
    """Write other bytes of the same number, and put the time back."""
    before = file.stat()
    file.write_bytes(b"x" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


#: What becomes of one of three files.
CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda file: file.write_text("d/X"),
    "written, and its time put back": edit_without_a_sign_in_its_time,
    "touched": lambda file: os.utime(file, (1, 1)),
    "made a program": lambda file: file.chmod(0o755),
    "another in its place": lambda file: (file.parent.parent / "spare").rename(file),
    "a link in its place": lambda file: (file.unlink(), file.symlink_to("1")),
    "grown": lambda file: file.write_text("longer than it was"),
    "its folder another one": lambda file: (file.parent.rename(file.parent.with_name("e")), file.parent.mkdir(), [
        (file.parent / name).write_text("x") for name in "123"
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_of_one_file_is_seen(folder: Path, kind: str) -> None:
    """The job is what it would be if nothing were remembered."""
    submitted(folder)
    CHANGES[kind](folder / "d/2")
    assert not told_by_its_list(folder)
    assert submitted(folder) == parse(EACH, folder).job


def test_a_file_that_is_gone_is_said(folder: Path) -> None:
    """In the words in which it always is."""
    submitted(folder)
    (folder / "d/2").unlink()
    with pytest.raises(Exception, match="d/2: no such file"):
        submitted(folder)


#: What else decides which files tasks get, or where.
OTHERS = {
    "another source": EACH.replace("d/{task}", "{task}/in"),
    "another target": EACH.replace("02d", "03d"),
    "fewer tasks": EACH.replace("1-3", "1-2"),
    "another name": EACH.replace('"n"', '"m"').replace("in{", "in{name}{"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_words_are_another_list(folder: Path, kind: str) -> None:
    """Nothing that was remembered of one is taken for the other."""
    submitted(folder)
    assert submitted(folder, OTHERS[kind]) == parse(OTHERS[kind], folder).job


#: Inputs of which no list is kept: their tasks may get other files tomorrow without a change of those of today.
NOT_KEPT = {"a glob": "d/{task}*", "the same for all": "spare", "one that has another name": "./d/{task}"}


@pytest.mark.parametrize("kind", NOT_KEPT)
def test_what_may_become_other_files_is_not_kept(folder: Path, kind: str) -> None:
    """Only a plain name is this very file each time."""
    text = EACH.replace("d/{task}", NOT_KEPT[kind])
    first = submitted(folder, text)
    (folder / "d/2more").write_text("another that a glob takes")
    assert lists(folder) == []
    assert (submitted(folder, text) == first) == ("*" not in text)


def test_what_was_written_just_before_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is as good as the digests in it: all of them are remembered, or the list is not."""
    monkeypatch.setattr(known_digests, "_LOCAL_NS", 3_000_000_000)
    for name in "12":
        os.utime(folder / "d" / name, (1, 1))
    submitted(folder)
    assert list(folder.parent.glob("digests/*")) == []


def sealed(body: bytes) -> bytes:
    """Return what ends in its own digest."""
    return body + hashlib.sha256(body).digest()


#: What becomes of the file of a list.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "edited": lambda path: path.write_bytes(path.read_bytes().replace(b'"in0', b'"IN0')),
    "of another version": lambda path: path.write_bytes(path.read_bytes().replace(b"list 1", b"list 2")),
    "lengths that are none": lambda path: path.write_bytes(sealed(path.read_bytes()[:21] + b"\xff" * 16 + path.read_bytes()[37:-32])),
    "only a head": lambda path: path.write_bytes(sealed(path.read_bytes()[:21])),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "huge": lambda path: os.truncate(path, 1 << 33),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_list_that_is_not_whole_is_not_used(folder: Path, kind: str) -> None:
    """Then each file is looked up, as if there were none."""
    wanted = submitted(folder)
    DAMAGE[kind](lists(folder)[0])
    assert submitted(folder) == wanted


@pytest.mark.parametrize("made", [b"", b"{", b"[1]", b'[["a"]]', b'[["a","b","c",1]]', b"\xff"])
def test_a_list_of_something_else_is_not_used(folder: Path, made: bytes) -> None:
    """What another version made of the files is not taken for inputs."""
    wanted = submitted(folder)
    (file,) = lists(folder)
    known = known_lists.read(file)
    assert known is not None
    known_lists.write(file, known._replace(made=made))
    assert submitted(folder) == wanted


def test_a_folder_is_forgotten_with_its_lists(folder: Path) -> None:
    """What is wrong in one place is looked up everywhere."""
    submitted(folder)
    KnownDigests(folder.parent / "digests", folder).forget()
    assert list(folder.parent.glob("digests/*")) == []


def test_names_are_told_apart_by_their_folders() -> None:
    """In their order, a folder again where others came between."""
    assert runs_of(["a/1", "a/2", "b", "c/d/1", "a/3"]) == [
        ("a", ["1", "2"]), ("", ["b"]), ("c/d", ["1"]), ("a", ["3"]),
    ]  # fmt: skip


@pytest.mark.parametrize("threads", [False, True])
def test_a_look_changes_no_folder(folder: Path, threads: bool) -> None:
    """The process stands where it stood, whether it has one thread or several, and whether all files are there or not."""
    looks, stands = Looks(folder), os.getcwd()
    other = threading.Event()
    waiting = threading.Thread(target=other.wait, daemon=True)
    if threads:
        waiting.start()
    try:
        found = looks.states([("d", ["1", "2"]), ("", ["spare"])])
        assert found is not None
        assert [state[2] for state in STATE.iter_unpack(found)] == [3, 3, 5]
        assert looks.states([("d", ["1", "9"])]) is None
        assert looks.states([("gone", ["1"])]) is None
    finally:
        other.set()
        looks.close()
    assert os.getcwd() == stands

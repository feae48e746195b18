"""What is remembered of files that were inputs: what is unchanged is not read again, and anything else is."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.config.job.descriptor import parse
from nexapod_batch.files import known_digests
from nexapod_batch.files.known_digests import KnownDigests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECOND = 1_000_000_000
#: A digest that the file has not: it comes back only where the file was not read.
FALSE = "ab" * 32
HEAD = 'schema = 1\n[job]\ncommand = ["true"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with files, and one beside it."""
    (tmp_path / "beside").write_text("beside")
    for name in ("in", "d/1", "d/2", "d/deep/x", "d/.hidden", "d/a b", "e"):
        file = tmp_path / "job" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "job/e").chmod(0o755)
    (tmp_path / "job/link").symlink_to("d/1")
    (tmp_path / "job/way").symlink_to("d")
    return tmp_path / "job"


def known(folder: Path) -> KnownDigests:
    """Return what is known of a folder, as a new process finds it."""
    return KnownDigests(folder.parent / "digests", folder)


def remember(folder: Path, name: str = "in", digest: str = FALSE) -> None:
    """Remember a digest of a file, as if it had been read long after it was written."""
    about = (folder / name).stat()
    kept = known(folder)
    kept.add(about, about, digest, read_at=about.st_ctime_ns + 100 * SECOND, is_local=True)
    kept.save()


def pinned(folder: Path) -> str:
    """Return the digest that a job of today has of its input."""
    return parse(HEAD + '[[inputs]]\nsource = "in"\n', folder, known=known(folder)).job.inputs[0].sha256


def digest(path: Path) -> str:
    """Return the digest of a file as it is."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_unchanged_is_not_read(folder: Path) -> None:
    """The digest of a file that is as it was is the remembered one."""
    remember(folder)
    assert pinned(folder) == FALSE


def with_old_times(path: Path, change: Callable[[], object]) -> None:
    """Change a file, and give it back the times that it had, as far as anybody can."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


#: What becomes of the file, always so that its size stays.
CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("IN"),
    "written, and its time put back": lambda path: with_old_times(path, lambda: path.write_text("IN")),
    "written, and its time in the future": lambda path: (path.write_text("IN"), os.utime(path, (2**33, 2**33))),
    "touched": lambda path: os.utime(path, (1, 1)),
    "another in its place": lambda path: (path.with_name("new").write_text("IN"), path.with_name("new").rename(path)),
    "another in its place, as old": lambda path: with_old_times(
        path, lambda: (path.with_name("new").write_text("IN"), path.with_name("new").rename(path))
    ),
    "a link in its place": lambda path: (path.unlink(), path.symlink_to("e")),
    "grown": lambda path: path.write_text("longer than it was"),
    "emptied": lambda path: path.write_text(""),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_changed_is_read(folder: Path, kind: str) -> None:
    """Whatever became of a file since, its digest is that of what it holds now."""
    remember(folder)
    CHANGES[kind](folder / "in")
    assert pinned(folder) == digest(folder / "in")


#: How long after its last change a file was read, in seconds; on a local file system; whether that is remembered.
READ_AFTER = [(100, True, True), (4, True, True), (2, True, False), (0, True, False), (-3600, True, False), (59, False, False), (61, False, True)]


@pytest.mark.parametrize(("seconds", "is_local", "is_kept"), READ_AFTER)
@pytest.mark.parametrize("which", ["modified", "changed"])
def test_what_was_written_just_before_is_not_remembered(folder: Path, seconds: int, is_local: bool, is_kept: bool, which: str) -> None:
    """It could be written again within one tick of the clock; longer where the clock is another host's, or jumped."""
    now = (folder / "in").stat().st_ctime_ns
    if which == "modified":  # the later one of both times counts
        now += 500 * SECOND
        os.utime(folder / "in", ns=(now, now))
    about = (folder / "in").stat()
    kept = known(folder)
    kept.add(about, about, FALSE, read_at=now + seconds * SECOND + SECOND // 10, is_local=is_local)
    kept.save()
    assert (known(folder).of(about) == FALSE) == is_kept


def test_what_changed_while_it_was_read_is_not_remembered(folder: Path) -> None:
    """Its digest may be of neither version."""
    before = (folder / "in").stat()
    (folder / "in").write_text("longer")
    kept = known(folder)
    kept.add(before, (folder / "in").stat(), FALSE, read_at=before.st_ctime_ns + 100 * SECOND, is_local=True)
    kept.save()
    assert known(folder).of(before) == ""


#: What becomes of the file that remembers.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "an entry short": lambda path: path.write_bytes(path.read_bytes()[:-72]),
    "edited": lambda path: path.write_bytes(path.read_bytes().replace(bytes.fromhex("ab" * 32), bytes.fromhex("cd" * 32))),
    "of another version": lambda path: path.write_bytes(path.read_bytes().replace(b"digests 1", b"digests 2")),
    "a link": lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "huge": lambda path: os.truncate(path, 1 << 33),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_not_whole_is_not_used(folder: Path, kind: str) -> None:
    """Then files are read, as if nothing had been remembered; and it is no error that no more can be."""
    remember(folder)
    (kept,) = (folder.parent / "digests").iterdir()
    DAMAGE[kind](kept)
    assert pinned(folder) == digest(folder / "in")
    remember(folder, "e")


def test_a_home_that_cannot_be_written(folder: Path) -> None:
    """Nothing is remembered, and nothing is said of it."""
    (folder.parent / "digests").write_text("in the way")
    remember(folder)
    assert pinned(folder) == digest(folder / "in")


#: Inputs of three tasks, by their kind.
KINDS = {
    "a file": '[[inputs]]\nsource = "in"\n',
    "one that may be run": '[[inputs]]\nsource = "e"\n',
    "one for each task": '[[inputs]]\nsource = "d/{task}"\n',
    "one for each task, elsewhere": '[[inputs]]\nsource = "d/{task}"\ntarget = "in{task:03d}"\n',
    "the same for each task": '[[inputs]]\nsource = "{name}"\ntarget = "x"\n',
    "a folder": '[[inputs]]\nsource = "d/**"\n',
    "a folder for each task": '[[inputs]]\nsource = "d/*{task}"\ntarget = "in"\n',
    "behind a link": '[[inputs]]\nsource = "way/{task}"\n',
    "a link": '[[inputs]]\nsource = "link"\n',
    "with a blank": '[[inputs]]\nsource = "d/a b"\n',
    "absolute": '[[inputs]]\nsource = "FOLDER/d/{task}"\ntarget = "x"\n',
    "outside": '[[inputs]]\nsource = "../beside"\n',
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_job_is_the_same(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nothing is remembered, or all of it: the job is the same, to the byte."""
    monkeypatch.setattr(known_digests, "_LOCAL_NS", -SECOND)  # also what was written just now
    text = HEAD.replace("[job]", '[job]\nname = "e"') + '[array]\nids = "1-2"\n' + KINDS[kind].replace("FOLDER", str(folder))
    wanted = parse(text, folder, outside=True).job
    first = parse(text, folder, outside=True, known=known(folder))
    assert first.known is not None
    first.known.save()
    assert known_digests._entries(next((folder.parent / "digests").iterdir()))
    assert [parse(text, folder, outside=True, known=known(folder)).job, first.job] == [wanted, wanted]


def test_the_oldest_folders_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is remembered has a limit; folders that were used last stay."""
    monkeypatch.setattr(known_digests, "_BYTES", 1_000)
    folders = [folder.parent / f"job{number}" for number in range(9)]
    for number, one in enumerate(folders):
        one.mkdir()
        (one / "in").write_text("in")
        remember(one)
        for file in (folder.parent / "digests").iterdir():  # as if each had come a while after the one before
            os.utime(file, (file.stat().st_mtime - 1, file.stat().st_mtime - 1))
        assert pinned(folders[0]) == FALSE, number  # used all the time
    assert sum(file.stat().st_size for file in (folder.parent / "digests").iterdir()) <= 1_000
    assert [pinned(one) == FALSE for one in folders] == [True, False, False, *[True] * 6]


def test_what_a_killed_process_left_goes(folder: Path) -> None:
    """A partial file of long ago is removed, one of now stays: its process may be alive."""
    place = folder.parent / "digests"
    place.mkdir()
    for name in (".old.1", ".new.1"):
        (place / name).write_text("")
    os.utime(place / ".old.1", (1, 1))
    remember(folder)
    assert {file.name for file in place.iterdir() if file.name.startswith(".")} == {".new.1"}


WRITER = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from nexapod_batch.files.known_digests import KnownDigests
folder = Path(sys.argv[1])
about = (folder / "in").stat()
for turn in range(40):
    kept = KnownDigests(folder.parent / "digests", folder)
    for number in range(500):
        times = {"st_mtime_ns": about.st_mtime_ns, "st_ctime_ns": about.st_ctime_ns}
        other = SimpleNamespace(st_dev=about.st_dev, st_ino=number + int(sys.argv[2]), st_size=2, **times)
        kept.add(other, other, "ab" * 32, read_at=1 << 62, is_local=True)
    kept.save()
    if turn == 0:
        print("begun", flush=True)
"""


def test_many_processes_one_of_which_is_killed(folder: Path) -> None:
    """Whenever somebody looks, all that is there is whole."""
    argv = [sys.executable, "-c", WRITER, str(folder)]
    writers = [subprocess.Popen([*argv, str(number * 1000)], stdout=subprocess.PIPE) for number in (1, 2, 3)]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"begun\n"
        name = known(folder)._path()
        for turn in range(20):
            assert len(known_digests._entries(name)) >= 500
            if turn == 10:
                writers[0].kill()
    finally:
        for writer in writers:
            writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers[1:]] == [0, 0]
    assert len(known_digests._entries(name)) >= 500

"""Outputs of a command that means harm: deep trees, races, costly patterns; and writers that die."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import output_files


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """Return a folder with 400 folders within each other below `deep`, and a file beside it."""
    (tmp_path / "good.txt").write_text("x")
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("deep", dir_fd=fd)
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    return tmp_path


def test_a_deep_tree_is_refused_where_a_pattern_spans_it(deep: Path) -> None:
    """Two stars would have to walk it all."""
    with pytest.raises(UnsafeOutputError, match="too deep"):
        output_files.find(deep, ["**"])


def test_a_deep_tree_does_not_disturb_other_patterns(deep: Path) -> None:
    """A pattern without two stars opens only the folders that it can reach."""
    assert [one.name for one in output_files.find(deep, ["*.txt", "**.txt"])] == ["good.txt"]
    with pytest.raises(UnsafeOutputError, match="no output matches"):
        output_files.find(deep, ["*/*/*"])


def test_folders_that_a_pattern_does_not_reach_are_not_opened(tmp_path: Path) -> None:
    """A folder that nobody can read is no fault of outputs elsewhere."""
    for name in ("out", "secret/inner"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "out" / "a.npy").write_text("x")
    (tmp_path / "secret").chmod(0)
    try:
        assert [one.name for one in output_files.find(tmp_path, ["o*/*.npy"])] == ["out/a.npy"]
    finally:
        (tmp_path / "secret").chmod(0o700)


@pytest.mark.parametrize("pattern", ["*a" * 40 + "b", "**/" * 20 + "b", "**/a/" * 20 + "b", "?*" * 30 + "b", "[a]*" * 40 + "b"])
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    """Patterns that a backtracking matcher would never finish against these names."""
    assert not output_files.matches("a" * 250, pattern)
    assert not output_files.matches("/".join("a" * 100), pattern)


def simple(name: str, pattern: str) -> bool:
    """Match one part by trying everything: slow and plain."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(simple(name[start:], pattern[1:]) for start in range(len(name) + 1))
    return bool(name) and pattern[0] in {"?", name[0]} and simple(name[1:], pattern[1:])


@given(st.text("ab", max_size=8), st.text("ab?*", min_size=1, max_size=6).filter(lambda text: text != "**"))
def test_stars_and_question_marks_take_what_they_say(name: str, pattern: str) -> None:
    """The matcher that never goes back takes the same names as one that tries everything."""
    assert output_files.matches(name, pattern) == simple(name, pattern)


def spelled(parts: list[str], pattern: list[str]) -> bool:
    """Match parts with `**` by trying everything."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        least = 1 if len(pattern) == 1 else 0  # at the end it takes at least the file
        return any(spelled(parts[start:], pattern[1:]) for start in range(least, len(parts) + 1))
    return bool(parts) and pattern[0] in {"*", parts[0]} and spelled(parts[1:], pattern[1:])


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=5), st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=4))
def test_two_stars_span_folders(parts: list[str], pattern: list[str]) -> None:
    """Also several in a row, at both ends and in the middle."""
    collapsed = [part for at, part in enumerate(pattern) if part != "**" or pattern[at + 1 : at + 2] != ["**"]]
    assert output_files.matches("/".join(parts), "/".join(pattern)) == spelled(parts, collapsed)


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join), min_size=1, max_size=5), st.data())
@settings(max_examples=40)
def test_the_walk_leaves_nothing_out(tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject) -> None:
    """Walking only what a pattern reaches finds every file that it matches."""
    root = tmp_path_factory.mktemp("tree")
    files = {f"{name}/f" for name in names}
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    pattern = "/".join(data.draw(st.lists(st.sampled_from(["a", "b", "*", "**", "?", "f"]), min_size=1, max_size=4)) + ["f*"])
    expected = sorted(name for name in files if output_files.matches(name, pattern))
    try:
        assert [one.name for one in output_files.find(root, [pattern])] == expected
    except UnsafeOutputError:
        assert not expected


def test_a_device_is_no_output(tmp_path: Path) -> None:
    """It would never end. Where no device can be made, the one that every system has must do."""
    try:
        os.mknod(tmp_path / "zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        root, name = tmp_path, "zero"
    except PermissionError:
        root, name = Path("/dev"), "zero"
    with pytest.raises(UnsafeOutputError, match="a device"):
        output_files.find(root, [name])
    with pytest.raises(UnsafeOutputError):
        output_files.digest_tree(root, [name])


def test_a_folder_swapped_for_a_link_gives_nothing_from_outside(tmp_path: Path) -> None:
    """While another thread swaps `out` between a folder and a link, only inside files or a refusal come out."""
    inside, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (inside / "real", outside):
        folder.mkdir(parents=True)
    (inside / "real" / "f").write_text("inside")
    (outside / "f").write_text("outside")
    (inside / "link").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for one in ("real", "link"):
                os.rename(inside / one, inside / "out")
                os.rename(inside / "out", inside / one)

    thread = threading.Thread(target=swap)
    thread.start()
    good = hashlib.sha256(b"inside").hexdigest()
    try:
        for _ in range(400):
            try:
                output_files.find(inside, ["out/*"])
                assert output_files.digest_tree(inside, ["out/f"]) == [("out/f", good, 6)]
            except UnsafeOutputError:
                continue
    finally:
        done.set()
        thread.join()


def test_a_fifo_in_place_of_a_file_does_not_stop_a_helper_process(tmp_path: Path) -> None:
    """Found as a file, swapped before it is read: refused by name also from another process."""
    names = [f"{number:04}" for number in range(2_100)]
    for name in names:
        (tmp_path / name).write_text("x")
    (tmp_path / names[-1]).unlink()
    os.mkfifo(tmp_path / names[-1])
    with pytest.raises(UnsafeOutputError, match="'2099' is not a plain file"):
        output_files.digest_tree(tmp_path, names, processes=3)


WRITER = """
import sys
from pathlib import Path
from nexapod_batch.files import atomic
print("ready", flush=True)
while True:
    for letter in (b"a", b"b"):
        atomic.write(Path(sys.argv[1]), letter * 300_000, durable=False)
"""

FULL = """
import resource, signal, sys
from pathlib import Path
from nexapod_batch.files import atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    atomic.write(Path(sys.argv[1]), b"n" * 300_000)
except OSError as error:
    print(error.errno)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    """However often it is killed, the file is one of the two contents from end to end."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * 300_000)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            seen = os.stat(path).st_ino
            while os.stat(path).st_ino == seen:  # it is at work
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (300_000, 1)


def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    """No room (a limit stands in for a full disk): OSError, the old content, and nothing beside it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    printed = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert printed.stdout.strip().isdigit()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    """The temporary name beside it is not longer than a name may be."""
    from nexapod_batch.files import atomic

    for name in ("x" * 255, "ä" * 127):
        atomic.write(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"

"""Outputs: which files a pattern takes, what is refused, and digests as sha256sum makes them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import output_files

if TYPE_CHECKING:
    from collections.abc import Iterable


def put(root: Path, names: Iterable[str]) -> None:
    """Write each file with its own name as content."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def found(root: Path, *patterns: str) -> list[str]:
    """Return the names that the patterns take."""
    return [one.name for one in output_files.find(root, patterns)]


TREE = ["a.txt", "b.txt", ".hidden", "out/1.npy", "out/2.npy", "out/deep/3.npy", "[x].txt", "ä.txt", "back\\slash"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.txt", ["a.txt"]),
        ("out/deep/3.npy", ["out/deep/3.npy"]),
        ("?.txt", ["a.txt", "b.txt", "ä.txt"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
        ("[!a].txt", ["b.txt", "ä.txt"]),
        ("[[]x].txt", ["[x].txt"]),
        ("out/*.npy", ["out/1.npy", "out/2.npy"]),
        ("out/*", ["out/1.npy", "out/2.npy"]),
        ("*/*/3.npy", ["out/deep/3.npy"]),
        ("**/*.npy", ["out/1.npy", "out/2.npy", "out/deep/3.npy"]),
        ("out/**", ["out/1.npy", "out/2.npy", "out/deep/3.npy"]),
        ("**", sorted(TREE)),
        ("back\\*", ["back\\slash"]),
    ],
)
def test_what_a_pattern_takes(tmp_path: Path, pattern: str, names: list[str]) -> None:
    """A star stays within a folder, two stars span folders, and results are sorted."""
    put(tmp_path, TREE)
    assert found(tmp_path, pattern) == names


def test_patterns_may_overlap(tmp_path: Path) -> None:
    """A file taken twice is one output, with its size."""
    put(tmp_path, ["out/1", "out/22"])
    assert output_files.find(tmp_path, ["out/*", "out/1"]) == [
        output_files.FoundFile(name="out/1", size=5),
        output_files.FoundFile(name="out/22", size=6),
    ]


@given(st.text("ab*?[]!-/\\^.{}()|", max_size=12), st.text("ab-^!]", max_size=5))
def test_every_pattern_compiles(pattern: str, name: str) -> None:
    """No pattern is an error, and none takes a name with more folders unless it has two stars."""
    assert not output_files.matches(f"{name}x/y/z/w/v/u/t/s/r", pattern) or "**" in pattern or pattern.count("/") == 8


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x", "../*", "a/../../*", "", "a//b", "./a", "out/", "a\nb", "\udcff"])
def test_patterns_that_leave_the_folder(tmp_path: Path, pattern: str) -> None:
    """Nothing outside the work folder can be named, by a name or by a pattern."""
    work = tmp_path / "work"
    put(tmp_path, ["work/a", "x"])
    with pytest.raises(UnsafeOutputError, match="output"):
        output_files.find(work, [pattern])


@pytest.mark.parametrize("pattern", ["none", "none/x", "none/*", "*.none", "a/x", "a/*"])
def test_outputs_that_are_not_there(tmp_path: Path, pattern: str) -> None:
    """A missing file, folder or match, and a file where a folder should be, are named with the pattern."""
    put(tmp_path, ["a", "b/c"])
    with pytest.raises(UnsafeOutputError, match=r"output|match"):
        output_files.find(tmp_path, [pattern])


def make_odd(path: Path, kind: str, outside: Path) -> None:
    """Put something there that is no plain file."""
    if kind == "link":
        path.symlink_to(outside / "secret")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))  # a socket's path has 108 bytes at most


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo", "socket"])
def test_only_plain_files_are_outputs(tmp_path: Path, kind: str) -> None:
    """Links, folders, fifos and sockets are refused by name and, where a pattern takes them, by pattern."""
    work = tmp_path / "work"
    put(tmp_path, ["secret", "work/good"])
    make_odd(work / "odd", kind, tmp_path)
    with pytest.raises(UnsafeOutputError, match=r"'odd' is not a plain file"):
        output_files.find(work, ["odd"])
    if kind == "folder":  # patterns take files
        assert found(work, "*") == ["good"]
    else:
        with pytest.raises(UnsafeOutputError, match=r"'odd' is not a plain file"):
            output_files.find(work, ["*"])
    assert found(work, "g*") == ["good"]
    with pytest.raises(UnsafeOutputError, match="odd"):
        output_files.digest_tree(work, ["good", "odd"])


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    """A link to a folder is refused as part of a name, at the start of a pattern, and is no folder to a pattern."""
    put(tmp_path, ["outside/secret", "work/good"])
    (tmp_path / "work" / "out").symlink_to("../outside")
    for pattern in ("out/secret", "out/*", "*/secret", "**/secret", "out/**"):
        with pytest.raises(UnsafeOutputError):
            output_files.find(tmp_path / "work", [pattern])
    with pytest.raises(UnsafeOutputError):
        output_files.digest_tree(tmp_path / "work", ["out/secret"])


@pytest.mark.parametrize("name", [b"new\nline", b"\x1b[31m", b"\xff\xfe", b"\xe2\x80\xaegpj", b"\x7f"])
def test_names_that_cannot_be_shown_are_refused(tmp_path: Path, name: bytes) -> None:
    """A pattern that takes such a name fails, and the message itself shows it escaped."""
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(UnsafeOutputError) as caught:
        output_files.find(tmp_path, ["*"])
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def sha256sum(root: Path, names: list[str]) -> bytes:
    """Return what coreutils says of these files."""
    return subprocess.run(["sha256sum", "--", *names], cwd=root, capture_output=True, check=True).stdout


def test_digests_and_manifest_are_those_of_sha256sum(tmp_path: Path) -> None:
    """Empty, small, block-sized and large files, names with blanks and other alphabets."""
    sizes = {"empty": 0, "one": 1, "z/block": 65_536, "z/more": 65_537, "large": 3 * 1024 * 1024 + 1, "ö x": 10}
    put(tmp_path, sizes)
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    names = sorted(sizes, key=str.encode)
    digests = output_files.digest_tree(tmp_path, names)
    assert [(name, size) for name, _, size in digests] == [(name, sizes[name]) for name in names]
    assert output_files.manifest((name, digest) for name, digest, _ in reversed(digests)) == sha256sum(tmp_path, names)


def test_many_files_are_shared_between_processes(tmp_path: Path) -> None:
    """The answer is the same, in the order asked for, with one process and with several."""
    names = [f"{number % 7}/{number}" for number in range(2_100)]
    put(tmp_path, names)
    expected = [(name, hashlib.sha256(name.encode()).hexdigest(), len(name)) for name in names]
    assert output_files.digest_tree(tmp_path, names, processes=1) == expected
    assert output_files.digest_tree(tmp_path, names, processes=2) == expected


def children() -> set[str]:
    """Return the children of this process, ended ones that nobody waited for included."""
    return set(Path("/proc/thread-self/children").read_text(encoding="ascii").split())


@pytest.mark.parametrize("missing", [0, 2_099])
def test_a_missing_file_among_many_is_named(tmp_path: Path, missing: int) -> None:
    """Whichever process meets the fault, the error names the file, and no child is left behind."""
    names = [str(number) for number in range(2_100)]
    put(tmp_path, names)
    (tmp_path / names[missing]).unlink()
    before = children()
    with pytest.raises(UnsafeOutputError, match=f"'{names[missing]}' cannot be read"):
        output_files.digest_tree(tmp_path, names, processes=2)
    assert children() <= before

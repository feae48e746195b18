"""The text of bags and the one form of tar: what is written is read again, by others too, and nothing else is taken."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING, Literal

import pytest

from nexapod_batch.coordinator.archives.bag_format import bag_info, manifest_text, parse_bag_info, parse_manifest
from nexapod_batch.coordinator.archives.contents import Item
from nexapod_batch.coordinator.archives.tar_form import TarEntry, headers, scan
from nexapod_batch.coordinator.archives.writing import appended, packed, tar_file
from nexapod_batch.errors import UnsafeOutputError, VerificationError
from nexapod_batch.files.shares import Sized, shared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DIGEST = "ab" * 32
#: Names, and how they stand in a manifest.
NAMES = {
    "data/a": "data/a",
    "data/ö b": "data/ö b",
    "data/100%.txt": "data/100%.txt",
    "data/%41": "data/%41",
    "data/%25": "data/%2525",
    "data/a%0Ab%": "data/a%250Ab%25",
    "data/%0d": "data/%250d",
    "data/a\\b": "data/a\\b",
    "data/*": "data/*",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_as_they_were_written(name: str) -> None:
    """Also those that a reader of bags decodes; others stand as they are, which `sha256sum` needs."""
    text = manifest_text([(name, DIGEST), ("data/z", DIGEST)])
    assert f"{DIGEST}  {NAMES[name]}\n".encode() in text
    assert parse_manifest(text) == {name: DIGEST, "data/z": DIGEST}


@pytest.mark.parametrize(
    "text",
    [
        b"x", f"{DIGEST}  a", f"{DIGEST} a\n", f"{DIGEST}  /a\n", f"{DIGEST}  a/../b\n", f"{DIGEST}  b\n{DIGEST}  a\n",
        f"{DIGEST}  a\n{DIGEST}  a\n", f"{DIGEST.upper()}  a\n", f"{DIGEST}  a\r\n", f"{DIGEST}  a%0Ab\n", f"{DIGEST}  %41%25\n", b"\xff\n",
        f"{DIGEST}  a\n\n",
    ],
)  # fmt: skip
def test_another_manifest_is_refused(text: str | bytes) -> None:
    """Cut, unsorted, with unsafe names, names that stand there twice, or another spelling of ours."""
    with pytest.raises(ValueError, match=r"line|name|sorted|utf-8"):
        parse_manifest(text if isinstance(text, bytes) else text.encode())


def test_the_information_of_a_bag_is_read_again() -> None:
    """A label stands there once, and a value is one line."""
    assert parse_bag_info(bag_info([("A", "b: c\nd"), ("E", "")])) == {"A": "b: c d", "E": ""}
    for text in (b"A\n", b"A: b\nA: c\n"):
        with pytest.raises(ValueError, match="line"):
            parse_bag_info(text)


def scanned(path: Path, limit: int = 100) -> list[TarEntry]:
    """Return what is in a tar."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(scan(fd, limit))
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["a", "d/" * 60 + "a", "ö" * 60, "a" * 200, "d/" * 120 + "ö", "x" * 99, "y" * 100, "z" * 101])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_what_is_written_is_read(tmp_path: Path, name: str, size: int) -> None:
    """Names of any length and script, sizes around a block: here, and by Python's own library."""
    path, data = tmp_path / "x.tar", os.urandom(size)
    with tar_file(path, "top") as writer:
        writer.add(Item(name, data, size))
        writer.add(Item("zz", b"z", 1))
    assert [(entry.name, entry.size) for entry in scanned(path)] == [(f"top/{name}", size), ("top/zz", 1)]
    with tarfile.open(path) as tar:
        assert [member.name for member in tar] == [f"top/{name}", "top/zz"]
        assert all((member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644) for member in tar)
        read = tar.extractfile(f"top/{name}")
        assert read is not None
        assert read.read() == data
    end = scanned(path)[-1].end
    appended(path, end, Item("top/more", b"more", 4))
    assert [entry.name for entry in scanned(path)][-1] == "top/more"
    with tarfile.open(path) as tar:
        assert len(tar.getmembers()) == 3


def test_a_tar_is_the_same_written_by_one_or_by_several(tmp_path: Path) -> None:
    """Files that are put at their places side by side, and the rest behind them, make the bytes of one after another."""
    items = [Item(f"{'d/' * (number % 70)}{number:02}", os.urandom(number * 37), number * 37) for number in range(60)]
    large = tmp_path / "large"
    large.write_bytes(os.urandom(3 << 20))
    items.append(Item("z", large, 3 << 20))
    with tar_file(tmp_path / "one", "top") as writer:
        digests = [writer.add(item) for item in items]
    found, end = packed(items[:-2], tmp_path / "several", "top")
    with tar_file(tmp_path / "several", "top", end) as writer:
        found += [writer.add(item) for item in items[-2:]]
    assert (digests, (tmp_path / "one").read_bytes()) == (found, (tmp_path / "several").read_bytes())


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_large_files_have_their_size(tmp_path: Path, form: Literal[1, 2]) -> None:
    """More than the 8 GiB that a header of old can say, in either way that is used today."""
    size, path, info = (9 << 30) + 5, tmp_path / "x.tar", tarfile.TarInfo("top/a")
    info.size = size
    head = info.tobuf(form)
    if form == tarfile.PAX_FORMAT:
        info.mode = 0o644
        assert headers("top/a", size) == info.tobuf(form)
    path.write_bytes(head)
    os.truncate(path, len(head) + size + -size % 512 + 10_240)
    assert [(entry.start, entry.size) for entry in scanned(path)] == [(len(head), size)]


def test_members_are_counted(tmp_path: Path) -> None:
    """A tar of more members than are taken is refused before it was read to its end."""
    path, buffer = tmp_path / "x.tar", io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(50):
            tar.addfile(tarfile.TarInfo(f"top/{number}"))
    path.write_bytes(buffer.getvalue())
    assert len(scanned(path, 50)) == 50
    with pytest.raises(VerificationError, match="too many members"):
        scanned(path, 10)


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    """Nothing, text, zeros that are too few, a name with something behind it."""
    path = tmp_path / "x.tar"
    whole = headers("top/a", 0) + bytes(1024)
    header = bytearray(whole)
    header[50:55] = b"evil\0"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * 32)
    for data in (b"", b"text", bytes(512), bytes(1023), whole[:512], whole[:-1024], bytes(header), b"x" * 2048):
        path.write_bytes(data)
        with pytest.raises(VerificationError):
            scanned(path)
    path.write_bytes(whole)
    assert len(scanned(path)) == 1


def test_work_is_shared_in_order() -> None:
    """Whatever the number of processes, there is an answer for each file, in their order; errors come through."""
    files = [Sized(f"{number}", (number % 7) << 26) for number in range(50)]

    def names(share: Sequence[Sized]) -> list[str]:
        return [f"{file.name}!" for file in share]

    for processes in (1, 2, 3, 50, 200):
        assert shared(names, files, processes) == [f"{file.name}!" for file in files]
    assert shared(names, [], 4) == []

    def fail(share: Sequence[Sized]) -> list[str]:
        if any(file.name == "40" for file in share):
            raise OSError(28, "No space left on device", "there")
        if any(file.name == "0" for file in share):
            return names(share)
        raise UnsafeOutputError("bad", got="x", wanted="y")

    with pytest.raises((OSError, UnsafeOutputError)):
        shared(fail, files, 3)
    with pytest.raises(OSError, match="No space left"):
        shared(lambda share: fail(share) if any(file.name == "40" for file in share) else names(share), files, 3)
    with pytest.raises(UnsafeOutputError, match="helper process"):
        shared(lambda share: names(share) if share[0].name == "0" else os._exit(3), files, 3)

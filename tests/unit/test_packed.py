"""Small files as one stream: what arrives is what was sent, or nothing; what is there is not asked for again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from nexapod_batch import interpreter
from nexapod_batch.files import packed

if TYPE_CHECKING:
    from pathlib import Path


def kept(folder: Path, *contents: bytes) -> dict[str, Path]:
    """Write files under their digest."""
    folder.mkdir(exist_ok=True)
    found = {}
    for data in contents:
        digest = hashlib.sha256(data).hexdigest()
        found[digest] = folder / digest
        found[digest].write_bytes(data)
    return found


def entry(data: bytes, *, digest: bytes | None = None, size: int | None = None) -> bytes:
    """Return what a file is in a stream, or nearly so."""
    head = digest or hashlib.sha256(data).digest()
    return struct.pack(">32sQ", head, len(data) if size is None else size) + data


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Return an empty folder on the other side."""
    made = tmp_path / "there"
    made.mkdir()
    return made


CONTENTS = {
    "none": [],
    "empty": [b""],
    "one byte": [b"x"],
    "the largest": [b"z" * packed.SMALL],
    "many": [b"%d" % number for number in range(500)],
    "one that looks like a head": [entry(b"inner"), b"\0" * 40],
}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_what_arrives_is_what_was_sent(tmp_path: Path, there: Path, contents: list[bytes]) -> None:
    """Each under its digest, for this account only, and nothing beside it."""
    files = kept(tmp_path / "here", *contents)
    assert packed.unpack(io.BytesIO(b"".join(packed.pack(files))), str(there)) == len(files)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {digest: path.read_bytes() for digest, path in files.items()}
    assert {path.stat().st_mode & 0o777 for path in there.iterdir()} <= {0o600}


def sizes(files: dict[str, Path]) -> dict[str, int]:
    """Return the bytes of each file."""
    return {digest: path.stat().st_size for digest, path in files.items()}


def test_what_is_there_is_not_asked_for(tmp_path: Path, there: Path) -> None:
    """One of another size, a folder and a link of that name are not it."""
    files = kept(tmp_path / "here", b"same", b"short", b"folder", b"link", b"new")
    same, short, folder, link, _ = files
    kept(there, b"same", b"unasked")
    (there / short).write_bytes(b"")
    (there / folder).mkdir()
    (there / link).symlink_to(files[link])
    assert packed.absent(io.BytesIO(b"".join(packed.listed(sizes(files)))), str(there)) == "01111"
    assert (there / same).read_bytes() == b"same"


def test_what_is_there_was_used_now(tmp_path: Path, there: Path) -> None:
    """Else it would go as what was not used for longest; what was not asked for keeps its time."""
    files = kept(there, b"asked", b"not asked")
    for path in files.values():
        os.utime(path, (1, 1))
    digest = next(iter(files))
    packed.absent(io.BytesIO(b"".join(packed.listed(sizes({digest: files[digest]})))), str(there))
    assert [path.stat().st_mtime > 1 for path in files.values()] == [True, False]
    assert tmp_path in there.parents


BAD = {
    "cut in a head": (entry(b"first") + entry(b"second")[:20], "it ended too soon"),
    "cut in a file": (entry(b"first") + entry(b"second")[:-1], "it ended too soon"),
    "cut before a file": (entry(b"first") + entry(b"second")[:40], "it ended too soon"),
    "one bit differs": (entry(b"first") + entry(b"secone", digest=hashlib.sha256(b"second").digest()), "not what its digest says"),
    "a digest of a path": (entry(b"first") + entry(b"x", digest=b"../../../../../../../../etc/passwd"[:32]), "not what its digest says"),
    "too large": (entry(b"first") + entry(b"", size=packed.SMALL + 1), "which are too many"),
    "without end": (entry(b"first") + entry(b"", size=(1 << 64) - 1), "which are too many"),
    "no stream": (entry(b"first") + b"Welcome to this cluster! It will be down for maintenance tomorrow.", "which are too many"),
}


@pytest.mark.parametrize(("stream", "said"), BAD.values(), ids=BAD)
def test_a_stream_that_is_not_what_it_says_ends_there(there: Path, stream: bytes, said: str) -> None:
    """What came before is kept, and of the rest nothing is left; nothing lies outside the folder."""
    with pytest.raises(packed.PackError, match=said):
        packed.unpack(io.BytesIO(stream), str(there))
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {hashlib.sha256(b"first").hexdigest(): b"first"}
    assert list(there.parent.iterdir()) == [there]


def test_a_cut_list_is_refused(there: Path) -> None:
    """Else a file that is not there would be taken for one that is."""
    with pytest.raises(packed.PackError):
        packed.absent(io.BytesIO(b"\0" * 79), str(there))


def test_a_file_that_is_no_plain_one_is_not_sent(tmp_path: Path) -> None:
    """Whatever became of what was kept."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a plain file"):
        list(packed.pack({"00" * 32: tmp_path / "pipe"}))


def test_the_program_says_what_came_of_it(tmp_path: Path, there: Path) -> None:
    """The number of files; what is wrong with a stream; what the file system says, and of which path."""
    files = kept(tmp_path / "here", b"a", b"b")
    stream = b"".join(packed.pack(files))

    def call(what: str, folder: Path, data: bytes) -> tuple[int, str]:
        argv = interpreter.module(packed.__name__, what, str(folder))
        done = subprocess.run(argv, input=data, capture_output=True, check=False)
        return done.returncode, done.stdout.decode()

    assert call(packed.ABSENT, there, b"".join(packed.listed(sizes(files)))) == (0, "11")
    assert call(packed.UNPACK, there, stream) == (0, "2")
    code, text = call(packed.UNPACK, there, stream[:-1])
    assert (code, json.loads(text)["what"]) == (packed.FAILED, "it ended too soon")
    code, text = call(packed.ABSENT, there / "none", b"")
    assert (code, json.loads(text)) == (packed.FAILED, {"errno": 2, "what": "No such file or directory", "path": f"{there}/none"})

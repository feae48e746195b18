"""Small files of a folder as one stream: each as it was asked for or not at all, and nothing that was not asked for."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from nexapod_batch import interpreter
from nexapod_batch.files import gathered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENTS = {
    "empty": b"",
    "one byte": b"x",
    "looks like a stream": b"\0\1\0\1",
    "in/a folder/deep down": b"deep",
    "in/a folder/beside it": b"\xff" * 1000,
    "in/another": b"",
    "of two\nlines": b"\n",
    "\udcff\udcfe": b"no UTF-8",
    "12 34": b"looks like a size",
    "the largest": b"z" * gathered.SMALL,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with files of every kind."""
    made = tmp_path / "folder"
    for name, data in CONTENTS.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return made


def feed(separated: gathered.Separated, stream: bytes, piece: int) -> None:
    """Give it a stream in pieces of some length."""
    for first in range(0, len(stream), piece):
        separated.feed(stream[first : first + piece])


def come(sizes: dict[str, int], stream: bytes, piece: int = 1 << 16) -> dict[str, bytes]:
    """Return what a stream brings that comes in pieces of some length."""
    found: dict[str, bytes] = {}
    separated = gathered.Separated(sizes, found.__setitem__)
    feed(separated, stream, piece)
    assert separated.complete
    return found


@pytest.mark.parametrize("piece", [1, 2, 1003, 1 << 30])
def test_what_is_asked_for_comes(folder: Path, piece: int) -> None:
    """Wherever a connection cuts the stream into pieces, whatever files are called and hold."""
    wanted = {name: data for name, data in CONTENTS.items() if piece > 2 or len(data) < 2000}
    sizes = {name: len(data) for name, data in wanted.items()}
    stream = b"".join(gathered.gather(gathered.asked(sizes), str(folder)))
    assert come(sizes, stream, piece) == wanted


def _grown(folder: Path) -> None:
    (folder / "one byte").write_bytes(b"xy")


def _shorter(folder: Path) -> None:
    (folder / "one byte").write_bytes(b"")


def _gone(folder: Path) -> None:
    (folder / "one byte").unlink()


def _link(folder: Path) -> None:
    (folder / "one byte").rename(folder / "target")
    (folder / "one byte").symlink_to("target")


def _pipe(folder: Path) -> None:
    (folder / "one byte").unlink()
    os.mkfifo(folder / "one byte")


def _folder(folder: Path) -> None:
    (folder / "one byte").unlink()
    (folder / "one byte").mkdir()


CHANGED = {"grown": _grown, "shorter": _shorter, "gone": _gone, "a link": _link, "a pipe": _pipe, "a folder": _folder}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_what_changed_since_it_was_looked_at_does_not_come(folder: Path, change: Callable[[Path], None]) -> None:
    """All others do."""
    sizes = {name: len(data) for name, data in CONTENTS.items()}
    change(folder)
    stream = b"".join(gathered.gather(gathered.asked(sizes), str(folder)))
    assert come(sizes, stream) == {name: data for name, data in CONTENTS.items() if name != "one byte"}


def test_no_link_is_followed_on_the_way(folder: Path, tmp_path: Path) -> None:
    """A folder that a link took the place of: nothing that lies elsewhere comes under its name."""
    (folder / "in").rename(tmp_path / "elsewhere")
    (folder / "in").symlink_to(tmp_path / "elsewhere")
    sizes = {name: len(data) for name, data in CONTENTS.items()}
    stream = b"".join(gathered.gather(gathered.asked(sizes), str(folder)))
    assert come(sizes, stream) == {name: data for name, data in CONTENTS.items() if not name.startswith("in/")}


BAD = {
    "a greeting": (b"\1firstWelcome to this cluster", "no stream"),
    "another byte": (b"\1first\2second", "no stream"),
    "one file more": (b"\1first\0\1third", "more came"),
    "gone, and more": (b"\1first\0\0", "more came"),
    "a longer file": (b"\1first\1secondx", "more came"),
    "without end": (b"\1first" + bytes(100_000), "more came"),
}


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(("stream", "what"), BAD.values(), ids=BAD)
def test_a_stream_that_was_not_asked_for_is_refused(stream: bytes, what: str, piece: int) -> None:
    """What came whole before is kept; nothing comes under another name."""
    found: dict[str, bytes] = {}
    separated = gathered.Separated({"a": 5, "b": 6}, found.__setitem__)
    with pytest.raises(gathered.GatherError, match=what):
        feed(separated, stream, piece)
    assert found["a"] == b"first"
    assert {name: len(data) for name, data in found.items()}.items() <= {"a": 5, "b": 6}.items()


@pytest.mark.parametrize("stream", [b"", b"\1", b"\1firs", b"\1first", b"\1first\1secon"], ids=len)
def test_a_stream_that_ends_too_soon_is_not_complete(stream: bytes) -> None:
    """A file of which a part came is not handed on."""
    found: dict[str, bytes] = {}
    separated = gathered.Separated({"a": 5, "b": 6}, found.__setitem__)
    separated.feed(stream)
    assert not separated.complete
    assert found == ({"a": b"first"} if stream.startswith(b"\1first") else {})


def test_nothing_asked_for_is_nothing(folder: Path) -> None:
    """An empty stream, which is complete."""
    assert come({}, b"".join(gathered.gather(gathered.asked({}), str(folder)))) == {}


def test_the_program_writes_the_stream(folder: Path) -> None:
    """Or says that it cannot open the folder; one that is a link is none."""
    sizes = {name: len(data) for name, data in CONTENTS.items()}
    (folder / "link").symlink_to(folder)

    def call(place: Path) -> tuple[int, bytes]:
        argv = interpreter.module(gathered.__name__, str(place))
        done = subprocess.run(argv, input=gathered.asked(sizes), capture_output=True, check=False)
        return done.returncode, done.stdout

    code, stream = call(folder)
    assert (code, come(sizes, stream)) == (0, CONTENTS)
    assert call(folder / "none") == call(folder / "link") == (gathered.FAILED, b"")

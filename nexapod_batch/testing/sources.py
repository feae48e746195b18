"""What every source of inputs must do.

A suite is a class with a source, what it serves for the time of a test, and URLs that it refuses:

    class TestGopher(SourceConformance):
        source = GopherSource()
        refused = ("gopher://", "gopher://me:secret@example.org/x")

        @pytest.fixture
        def served(self) -> Iterator[Served]:
            yield Served("gopher://localhost/x", b"...", missing="gopher://localhost/y", settings=SourceSettings())
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import NexapodError
from nexapod_batch.sources import SourceError
from nexapod_batch.sources.fetching import fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.sources import Source, SourceSettings

__all__ = ["Served", "SourceConformance"]

_HOSTILE = (
    "", "\0", "//", "//[", "//[::1", "//x\n/y", "//x/../y", "//x:99999/y", f"//{'a' * 5000}", "///x", "//\u202ex/y",
    "//x/%ff", "//x/%",
)  # fmt: skip
_LONGEST_REFUSAL = 200


class Served(NamedTuple):
    """What a test's server has."""

    url: str
    content: bytes  # of what the URL names: two bytes at least
    missing: str  # a URL of the same server that names nothing
    settings: SourceSettings
    change: Callable[[bytes], None] | None = None  # has the URL name other bytes; None where that cannot be


class _Silence:
    def start(self, _what: str, _total: int | None) -> None:
        """Begin."""

    def advance(self, _count: int) -> None:
        """Go on."""

    def say(self, _text: str) -> None:
        """Hear it."""


def _at_once(_seconds: float) -> None:
    """Wait for nothing."""


class SourceConformance:
    """The suite. A subclass has a fixture `served` that returns a `Served`."""

    source: Source
    refused: tuple[str, ...]  # URLs of its scheme that cannot be used

    def read(self, served: Served, start: int = 0, version: str = "") -> tuple[int, str, bytes]:
        """Open and read everything; return where it begins, of which version it is, and the bytes."""
        with self.source.open(served.url, start, version, served.settings) as opened:
            found = b"".join(opened.blocks)
            assert opened.size in {None, opened.start + len(found)}
            return opened.start, opened.version, found

    def fetched(self, served: Served, folder: Path, sha256: str = "") -> str:
        """Fetch into a folder as a submit does."""
        return fetch(self.source, served.url, folder, served.settings, _Silence(), sha256=sha256, pause=_at_once)

    def test_a_url_is_refused_in_a_few_words_or_taken(self, served: Served) -> None:
        """What it serves is taken; what it cannot use is told in a line, and nothing raises."""
        assert self.source.refusal(served.url) == ""
        assert self.source.refusal(served.missing) == ""
        for url in self.refused:
            why = self.source.refusal(url)
            assert why, url
            assert why.isprintable()
            assert len(why) <= _LONGEST_REFUSAL

    def test_no_url_gives_a_traceback(self, served: Served) -> None:
        """Any text behind its scheme is refused or taken."""
        scheme = served.url.partition(":")[0]
        for rest in _HOSTILE:
            assert self.source.refusal(f"{scheme}:{rest}").isprintable(), rest

    def test_all_of_it_comes(self, served: Served) -> None:
        """From the first byte to the last, every time."""
        first = self.read(served)
        assert (first[0], first[2]) == (0, served.content)
        assert self.read(served) == first

    def test_it_goes_on_where_it_broke_off(self, served: Served) -> None:
        """With the version of what is there the rest comes, or all of it; with all there, nothing or all of it."""
        _, version, _ = self.read(served)
        for start in (1, len(served.content) // 2, len(served.content)):
            found, same, rest = self.read(served, start, version)
            assert found in {0, start if version else 0}
            assert (same, rest) == (version, served.content[found:])

    def test_parts_of_another_version_are_never_joined(self, served: Served) -> None:
        """What is asked for behind bytes of another version comes from its beginning."""
        _, version, _ = self.read(served)
        found, _, all_of_it = self.read(served, 1, f'"{"0" * 40}"')
        assert (found, all_of_it) == (0, served.content)
        if served.change is not None:
            changed = bytes(byte ^ 1 for byte in served.content)
            served.change(changed)
            found, newer, all_of_it = self.read(served, 1, version)
            assert (found, all_of_it) == (0, changed)
            assert newer != version or not version

    def test_a_reader_may_leave(self, served: Served) -> None:
        """What was opened is closed after one block, and opened again."""
        for _ in range(3):
            with self.source.open(served.url, 0, "", served.settings) as opened:
                assert served.content.startswith(next(iter(opened.blocks)))
        assert self.read(served)[2] == served.content

    def test_what_is_not_there_is_told(self, served: Served, tmp_path: Path) -> None:
        """In words, and no file is left.

        Raises:
            AssertionError: It was fetched.

        """
        try:
            self.fetched(served._replace(url=served.missing), tmp_path)
        except NexapodError as error:
            assert error.what
        else:
            raise AssertionError(f"{served.missing} was fetched")
        assert not _with_digests(tmp_path)

    def test_a_file_is_fetched_under_its_digest(self, served: Served, tmp_path: Path) -> None:
        """The digest is that of the bytes, which are whole."""
        digest = self.fetched(served, tmp_path)
        assert digest == hashlib.sha256(served.content).hexdigest()
        assert (tmp_path / digest).read_bytes() == served.content

    def test_what_was_not_meant_gets_no_name(self, served: Served, tmp_path: Path) -> None:
        """Another digest than the one that pins it, or more bytes than are allowed.

        Raises:
            AssertionError: It was fetched.

        """
        small = served.settings._replace(max_bytes=len(served.content) - 1)
        for pinned, tried in (("0" * 64, served), ("", served._replace(settings=small))):
            try:
                self.fetched(tried, tmp_path, pinned)
            except SourceError as error:
                assert error.what
            else:
                raise AssertionError(f"{served.url} was fetched: {pinned or small}")
            assert not _with_digests(tmp_path)


def _with_digests(folder: Path) -> list[str]:
    """Return the files that have the name of a digest."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]

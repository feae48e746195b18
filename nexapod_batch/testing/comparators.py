"""What every comparator must do.

A suite is a class with a `rule`, and contents that agree and that differ under it:

    class TestRound(ComparatorConformance):
        rule = CompareRule(comparator=Comparator.ROUND, digits=2)
        agreeing = (("a.txt", b"1.001", b"1.0"),)
        differing = (("a.txt", b"1.01", b"1.0"),)
"""

from __future__ import annotations

import io
from random import Random
from typing import TYPE_CHECKING

from nexapod_batch.compare.registry import comparison, first_difference, normalized_digest
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Agreement

if TYPE_CHECKING:
    from nexapod_batch.compare.ports import Difference
    from nexapod_batch.model.job import CompareRule

__all__ = ["ComparatorConformance", "Trickle"]

_RANDOM_FILES = 300
_HOSTILE = (
    b"", b"\n", b"\0", b"\xff\xfe", b'"', b"{", b"[[[", b"1", b"1e999", b"nan", b"-0", b"\x93NUMPY", b"\x1b[2J",
    b"a" * 5000, b"\r\n\r", b'1,2\n"', b"\xe2\x80\xae", b"[" * 5000,
)  # fmt: skip


class Trickle(io.RawIOBase):
    """A stream that gives few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, step: int) -> None:
        """Give at most `step` bytes a read."""
        super().__init__()
        self._data, self._at, self._step = data, 0, step

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next few bytes."""
        count = self._step if size < 0 else min(size, self._step)
        part = self._data[self._at : self._at + count]
        self._at += len(part)
        return part


class ComparatorConformance:
    """The suite. A subclass says which rule, and gives contents for whose meaning it stands."""

    rule: CompareRule
    agreeing: tuple[tuple[str, bytes, bytes], ...]  # name, and two versions that say the same
    differing: tuple[tuple[str, bytes, bytes], ...]  # name, and two versions that a reader tells apart
    refused: tuple[tuple[str, bytes], ...] = ()  # name, and what is not of the format that it promises
    names: tuple[str, ...] = ("a", "a.txt", "a.csv", "a.json", "a.npy")  # of files with random content

    def difference(self, name: str, left: bytes, right: bytes) -> Difference | None:
        """Return where two contents differ."""
        return first_difference(io.BytesIO(left), io.BytesIO(right), name, self.rule)

    def digest(self, name: str, content: bytes) -> str | None:
        """Return the digest of the normal form, where the comparator has one."""
        return normalized_digest(io.BytesIO(content), name, self.rule)

    def agree(self, name: str, left: bytes, right: bytes) -> bool:
        """Say whether two contents agree; what is signed and what is shown must say the same."""
        found = self.difference(name, left, right)
        if self.rule.agreement is Agreement.NORMAL_FORM:
            assert (self.digest(name, left) == self.digest(name, right)) is (found is None), (name, left, right)
        return found is None

    def contents(self) -> list[tuple[str, bytes]]:
        """Return every content that was given and can be compared."""
        pairs = (*self.agreeing, *self.differing)
        return [(name, content) for name, left, right in pairs for content in (left, right)]

    def test_its_line_names_its_parameters(self) -> None:
        """The rule has what the line of the table asks for, nothing else, and the module has the comparator."""
        given = {name for name in ("digits", "rtol", "atol") if getattr(self.rule, name) is not None}
        assert given <= set(self.rule.comparator.parameters)
        assert given or not self.rule.comparator.parameters
        assert comparison(self.rule.comparator) is comparison(self.rule.comparator)

    def test_the_same_bytes_agree(self) -> None:
        """A file agrees with itself."""
        for name, content in self.contents():
            assert self.agree(name, content, content)

    def test_what_says_the_same_agrees(self) -> None:
        """Either way round."""
        for name, left, right in self.agreeing:
            assert self.agree(name, left, right), (name, left, right)
            assert self.agree(name, right, left), (name, right, left)

    def test_what_a_reader_tells_apart_differs(self) -> None:
        """Either way round, and the place is named in words that a terminal can show."""
        for name, left, right in self.differing:
            assert not self.agree(name, left, right), (name, left, right)
            found, back = self.difference(name, left, right), self.difference(name, right, left)
            assert found is not None
            assert back is not None
            assert (found.name, found.where) == (name, back.where)
            assert (found.left, found.right) == (back.right, back.left)
            assert f"{found.where}{found.left}{found.right}".isprintable()
            assert max(len(found.left), len(found.right)) <= 400

    def test_only_a_normal_form_has_a_digest(self) -> None:
        """64 hex digits, or None: the statement of a node has one exactly where agreement is by normal forms."""
        for name, content in self.contents():
            found = self.digest(name, content)
            if self.rule.agreement is Agreement.NORMAL_FORM:
                assert found is not None
                assert len(found) == 64
                assert not found.strip("0123456789abcdef")
            else:
                assert found is None

    def test_the_stream_may_trickle(self) -> None:
        """How many bytes a read returns changes nothing, and no stream is asked to seek."""
        for name, content in self.contents():
            for step in (1, 7):
                assert self.digest(name, content) == normalized_digest(Trickle(content, step), name, self.rule)  # type: ignore[arg-type]
        for name, left, right in self.differing:
            slow = first_difference(Trickle(left, 1), Trickle(right, 3), name, self.rule)  # type: ignore[arg-type]
            assert slow == self.difference(name, left, right)

    def test_what_is_of_another_format_is_refused(self) -> None:
        """CompareError, and never a difference: it is the file's fault, not that of another node."""
        for name, content in self.refused:
            self._refuses(name, content)

    def _refuses(self, name: str, content: bytes) -> None:
        try:
            found = self.difference(name, content, content)
        except CompareError:
            return
        raise AssertionError(f"{name} with {content[:40]!r} was compared: {found}")

    def test_no_content_gives_a_traceback(self) -> None:
        """Any bytes under any name agree with themselves or are refused with CompareError."""
        for name, content in self._junk():
            try:
                assert self.agree(name, content, content), (name, content)
            except CompareError as error:
                assert error.got is not None

    def _junk(self) -> list[tuple[str, bytes]]:
        """Return hostile contents: random ones, the same each time, and what was given with bytes changed."""
        random = Random(0)  # noqa: S311 - no secret
        given = [content for _, content in self.contents()]
        junk = [*_HOSTILE, *[random.randbytes(random.randrange(60)) for _ in range(_RANDOM_FILES)]]
        for _ in range(_RANDOM_FILES):
            changed = bytearray(random.choice(given) or b"x")
            changed[random.randrange(len(changed))] = random.randrange(256)
            junk.append(bytes(changed))
        return [(name, content) for name in self.names for content in junk]

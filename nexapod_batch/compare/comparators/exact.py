"""`exact`: the same bytes, but for the parts that are ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare.comparators.content import COMPARISON as CONTENT
from nexapod_batch.compare.formats.reading import as_plain_text
from nexapod_batch.compare.ports import Difference, Normalization
from nexapod_batch.compare.shown import END, SHOWN, printable
from nexapod_batch.compare.stream import CHUNK, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON", "same_length"]


class Exact(Normalization):
    """Files of any kind, byte by byte. Where parts are ignored, others than plain files go by what is in them."""

    def first_difference(self, left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
        """Return the first byte that differs, its line, and what stands around it."""
        a, b = Source(left, name, rule), Source(right, name, rule)
        if rule.ignore and not (as_plain_text(a) and as_plain_text(b)):
            return CONTENT.differs(a, b, name)
        return _first_difference(a, b, name)

    def normal_form(self, stream: BinaryIO, name: str, rule: CompareRule) -> Iterator[bytes]:
        """Yield the bytes that are not ignored."""
        source = Source(stream, name, rule)
        if as_plain_text(source):
            yield b"bytes but for lines\n"
            yield from source.chunks()
        else:
            yield from CONTENT.normal(source)


COMPARISON = Exact()


def _first_difference(left: Source, right: Source, name: str) -> Difference | None:
    offset, line = 0, 1
    for a, b in same_length(left.chunks(), right.chunks()):
        if a != b:
            at = _first_unequal(a, b)
            line += a.count(b"\n", 0, at)
            where = f"byte {offset + at} (line {line})"
            return Difference(name=name, where=where, left=_context(a, at), right=_context(b, at))
        offset += len(a)
        line += a.count(b"\n")
    return None


def same_length(left: Iterator[bytes], right: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield pieces of the same length from both sides, in chunks; the last ones are shorter, or differ in length."""
    a = b = b""
    while True:
        a, b = _filled(a, left), _filled(b, right)
        if not a and not b:
            return
        yield a[:CHUNK], b[:CHUNK]
        a, b = a[CHUNK:], b[CHUNK:]


def _filled(data: bytes, more: Iterator[bytes]) -> bytes:
    """Return at least a chunk, where there is as much."""
    parts, size = [data], len(data)
    while size < CHUNK and (part := next(more, b"")):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _first_unequal(a: bytes, b: bytes) -> int:
    """Return the length of the common start, by bisection: comparing slices is a hundred times faster than bytes."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _context(data: bytes, at: int) -> str:
    """Return what stands at `at`: from the start of its line where that is near, to the end of the line."""
    if at >= len(data):
        return END
    start = max(data.rfind(b"\n", 0, at) + 1, at - SHOWN // 2)
    end = data.find(b"\n", at)
    if end < 0:
        end = len(data)
    return printable(data[start:end] or b"\n")

"""Reading a file by the program that knows its library, under limits; whatever becomes of it, this process goes on."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn, cast

import msgspec

from nexapod_batch.compare.formats.foreign.asking import Bounds
from nexapod_batch.compare.formats.foreign.frames import MOST, NUMBERS, answer
from nexapod_batch.compare.formats.foreign.programs import read_by
from nexapod_batch.compare.formats.foreign.stored import numbers_at
from nexapod_batch.compare.formats.named import Parts, Rows
from nexapod_batch.compare.unpacking import missing_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.formats.foreign.lending import Borrower
    from nexapod_batch.compare.numbers import Batch, Lent
    from nexapod_batch.compare.stream import Source

__all__ = ["read_as"]

#: Seconds of processor time where nobody says how many.
_MOST_S = 4 * 3600
_TICKS = os.sysconf("SC_CLK_TCK")


def read_as(
    kind: str, wanted: str, place: type[Parts | Rows] = Parts
) -> Callable[[Source, str], tuple[Parts | Rows, Iterator[Batch | Lent]]]:
    """Return what reads files of a kind, by the module of that name; `wanted` says what they are, for people."""

    def read(source: Source, suffix: str) -> tuple[Parts | Rows, Iterator[Batch | Lent]]:  # noqa: ARG001
        return place(), _batches(source, kind, wanted)

    return read


def _batches(source: Source, kind: str, wanted: str) -> Iterator[Batch | Lent]:
    seconds = math.ceil(min(_MOST_S, max(1.0, source.budget.left())))
    with ExitStack() as stack:
        begin = _of_file if source.store is None else _of_store
        sender = begin(source, kind, seconds, stack)
        received = _Received(source, sender, wanted)
        try:
            yield from received.batches()
        finally:
            source.budget.charge(received.spent())


class _Sender(NamedTuple):
    """The process that reads a file, as this side has it."""

    stream: IO[bytes]
    borrower: Borrower
    seconds: int  # of processor time that it has
    file: IO[bytes] | None = None  # what it reads
    answers: IO[bytes] | None = None  # where it gets what it wants of a store


def _of_file(source: Source, kind: str, seconds: int, stack: ExitStack) -> _Sender:
    how, ignored = "rows" if source.rule.unordered else "batches", sorted(source.rule.ignore)
    file = stack.enter_context(source.file())
    bounds = Bounds(seconds, os.fstat(file.fileno()).st_size)
    return _Sender(*stack.enter_context(read_by(kind, how, ignored, file, bounds)), seconds, file)


def _of_store(source: Source, kind: str, seconds: int, stack: ExitStack) -> _Sender:
    asked, ours = os.pipe()
    answers = stack.enter_context(os.fdopen(ours, "wb"))
    bounds = Bounds(seconds, source.store.size if source.store else 0)
    with open(asked, "rb") as theirs:  # which nobody else may hold when the program is gone
        reading = read_by(kind, "folder", sorted(source.rule.ignore), theirs, bounds)
        return _Sender(*stack.enter_context(reading), seconds, answers=answers)


class _Received:
    """What the program sends of one file."""

    def __init__(self, source: Source, sender: _Sender, wanted: str) -> None:
        """Take what it sends by."""
        self._source, self._sender, self._wanted = source, sender, wanted
        self._process = 0

    def batches(self) -> Iterator[Batch | Lent]:
        """Yield everything; CompareError for what cannot be read, or where it breaks off."""
        while True:
            size = int.from_bytes(self._exactly(4), "big")
            if size > MOST:
                self._taken_over()
            kind, content = _FRAME.decode(self._exactly(size))
            if kind == "end":
                return
            if kind == "missing":
                raise missing_reader(self._source.name, *[str(name) for name in content if isinstance(name, str)])
            if kind == "refused":
                self._source.refuse(str(content)[:300], self._wanted)
            if kind == "begun" and isinstance(content, int):
                self._process = content
            elif kind == "want":
                self._answer(str(content))
            elif kind in NUMBERS or kind == "stored":
                yield from self._numbers(kind, content)
            elif kind == "tokens" and isinstance(content, list):
                self._source.budget.came_out(size)
                yield [token for token in content if isinstance(token, bytes | int | float)]

    def spent(self) -> float:
        """Return the seconds of processor time that the process took that reads, also when it has ended."""
        try:
            stat = Path(f"/proc/{self._process}/stat").read_bytes()
        except OSError:
            return 0.0
        fields = stat.rpartition(b") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _numbers(self, kind: str, content: object) -> Iterator[Lent]:
        """Yield the numbers that a frame tells of: those of a slot, or of the file itself."""
        try:
            if kind == "stored":
                found = self._stored(*msgspec.convert(content, tuple[str, int, int]))
            else:
                found = self._sender.borrower.borrowed(kind, msgspec.convert(content, int))
            for numbers in found:
                self._source.budget.came_out(numbers.view.nbytes)
                yield numbers
        except (ValueError, msgspec.ValidationError):
            self._taken_over()

    def _stored(self, code: str, begin: int, size: int) -> Iterator[Lent]:
        """Return the numbers at a place; ValueError where there is none."""
        file = self._sender.file
        if file is None or code not in NUMBERS:
            raise ValueError("no numbers of a file")
        return numbers_at(file.fileno(), code, begin, size)

    def _answer(self, name: str) -> None:
        """Send a file of a store, or how many bytes it has and the names of its files."""
        store = self._source.store
        if store is None or self._sender.answers is None:
            self._taken_over()
        content = store.member(name) if name else _encode((store.size, store.names))
        try:
            answer(cast("BinaryIO", self._sender.answers), content)
        except BrokenPipeError:
            self._broken()

    def _taken_over(self) -> NoReturn:
        self._source.refuse("a library that was taken over", self._wanted)

    def _broken(self) -> NoReturn:
        """Raise for a process that ended too early: by its time, or by what its library makes of the file."""
        if self.spent() >= self._sender.seconds:
            self._source.budget.exceeded(self._source.name)
        self._source.refuse("what its library broke off at, or took more memory for than it may", self._wanted)

    def _exactly(self, size: int) -> bytes:
        data = self._sender.stream.read(size)
        if len(data) != size:
            self._broken()
        return data


_FRAME = msgspec.msgpack.Decoder(tuple[str, Any])
_encode = msgspec.msgpack.Encoder().encode

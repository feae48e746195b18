"""A child process that answers questions, one after the other, for as long as whoever asks wants to know more.

A question is one line of JSON, and so is its answer. The child is started by the first question and ends with whoever
asks. What it costs is bounded: an answer has a time and a size, a child a number of questions and an age. One that is
late, ends or talks too much is killed, and so is one whose question was interrupted: its answer would be taken for that
of the next one.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
import weakref
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from nexapod_batch import interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Start = Callable[[Sequence[str], IO[bytes]], subprocess.Popen[bytes]]

__all__ = ["ChildEndedError", "ChildHangsError", "KeptChild"]

#: After so many questions, or so many seconds, a new child takes over: what a library leaks stays small.
_QUESTIONS, _AGE_S = 1_000, 600.0
#: Bytes of one answer.
ANSWER_MAX = 64 << 20
_BLOCK = 1 << 16
_LAST_WORDS = 4_000  # bytes of its stderr that are looked at
#: Seconds in which a child may end by itself, as one without questions does.
_GOODBYE_S = 0.5


class ChildHangsError(Exception):
    """It did not answer in time."""


class ChildEndedError(Exception):
    """It ended, or answered what is no answer."""

    def __init__(self, returncode: int | None, last_words: str) -> None:
        """Remember how it ended, and the end of what it wrote to stderr."""
        super().__init__(last_words)
        self.returncode, self.last_words = returncode, last_words


class KeptChild:
    """One kind of child, of which one lives at a time."""

    def __init__(self, module: str, arguments: Sequence[str], start: Start) -> None:
        """Remember what is to run; `start` starts an argv, with pipes and this file as its stderr."""
        self._argv, self._start = interpreter.module(module, *arguments), start
        self._running: _Running | None = None

    def ask(self, question: Mapping[str, object], timeout_s: float) -> Any:  # noqa: ANN401 - as JSON has it
        """Return the answer to a question.

        Raises:
            ChildHangsError: It did not answer within the time; it is killed.
            ChildEndedError: It ended without an answer.
            OSError: It could not be started.

        """
        running = self._alive()
        try:
            answer = running.ask(json.dumps(question).encode() + b"\n", time.monotonic() + timeout_s)
            return json.loads(answer)
        except ValueError as error:
            self.end()
            raise ChildEndedError(None, "it answered what is no JSON") from error
        except BaseException:  # also where the call was interrupted
            self.end()
            raise

    def end(self) -> None:
        """End the child, if one lives."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def _alive(self) -> _Running:
        """Return the child that lives, or a new one."""
        if self._running is not None and not self._running.usable():
            self.end()
        if self._running is None:
            self._running = _Running(self._argv, self._start)
        return self._running


class _Running:
    """One child process."""

    def __init__(self, argv: Sequence[str], start: Start) -> None:
        """Start it."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child lives
        self._process = start(argv, self._stderr)
        self._owner, self._began, self._asked = os.getpid(), time.monotonic(), 0
        self._finalizer = weakref.finalize(self, _end, self._process, self._owner, self._stderr)

    def usable(self) -> bool:
        """Say whether it may be asked once more: it lives, is ours and not too old."""
        young = self._asked < _QUESTIONS and time.monotonic() - self._began < _AGE_S
        return young and self._owner == os.getpid() and self._process.poll() is None

    def ask(self, line: bytes, end: float) -> bytes:
        """Return the line that it answers to a line before the monotonic time `end`."""
        self._asked += 1
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return self._line(end)

    def _line(self, end: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        fd, parts, size = self._process.stdout.fileno(), list[bytes](), 0
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise ChildHangsError
            block = os.read(fd, _BLOCK)
            if not block:
                raise self._ended()
            parts.append(block)
            size += len(block)
            if block.endswith(b"\n"):
                return b"".join(parts)
            if size > ANSWER_MAX:
                raise ChildEndedError(None, f"it answered with more than {ANSWER_MAX >> 20} MiB")

    def _ended(self) -> ChildEndedError:
        """Return how it ended, and its last words."""
        last_words = self._finalizer() or ""
        return ChildEndedError(self._process.returncode, last_words)

    def end(self) -> None:
        """End it."""
        self._finalizer()


def _end(process: subprocess.Popen[bytes], owner: int, stderr: IO[bytes]) -> str:
    """End a child of this process, by force unless it ends by itself since nobody asks; return its last words."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    with stderr:
        if owner != os.getpid():  # of the process that we were forked from
            return ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GOODBYE_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        return _last_line(stderr)


def _last_line(stderr: IO[bytes]) -> str:
    """Return the last line of what was written to a file."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - _LAST_WORDS))
    return stderr.read().decode("utf-8", "replace").strip().rpartition("\n")[2].strip()

"""What a program that is not ours answers, read within bounds of size and time.

A wrapper in its place may print without end, hang, or leave children that hold its pipes open: whoever asks has an
answer or an error in time, in bounded memory, and nothing that was started for it is left where it was cut off.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MAX_BYTES", "Answer", "EndlessError", "Question", "ask"]

#: Bytes that a program may print, on stdout and stderr together.
MAX_BYTES = 64 << 20
_BLOCK = 1 << 16
_LOOK_S = 0.1  # between two looks whether a program has ended whose pipes stay open
_LINGER_S = 0.5  # for which they are read on then


class EndlessError(OSError):
    """A program printed more than an answer can have."""


class Answer(NamedTuple):
    """A program that ended."""

    status: int  # as `subprocess` has it: negative for a signal
    stdout: bytes
    stderr: bytes


def ask(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, cwd: str = "/", text: bytes = b"",
    max_bytes: int = MAX_BYTES,
) -> Answer:  # fmt: skip
    """Run a program to its end with `text` as its stdin, and return what it printed.

    Children that it leaves behind are not waited for.

    Raises:
        OSError: It cannot be started.
        TimeoutError: It takes longer.
        EndlessError: It prints more than `max_bytes`.

    """
    return Question(argv, env=env, cwd=cwd, text=text, max_bytes=max_bytes).answer(timeout_s)


class Question:
    """A program that was started; it runs on until its answer is asked for, which has to be done once."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = "/", text: bytes = b"",
        max_bytes: int = MAX_BYTES,
    ) -> None:  # fmt: skip
        """Start it; OSError when that cannot be done."""
        self._name, self._text, self._max_bytes = argv[0], text, max_bytes
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd,
            start_new_session=True,
        )  # fmt: skip

    def answer(self, timeout_s: float) -> Answer:
        """Return what it printed; TimeoutError and EndlessError as `ask` has them, and nothing of it is left."""
        with self._process:
            talk = _Talk(self._process, self._text, self._max_bytes)
            try:
                talk.finish(self._name, timeout_s)
            except BaseException:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                raise
            finally:
                talk.close()
        return Answer(self._process.returncode, bytes(talk.printed[0]), bytes(talk.printed[1]))


class _Talk:
    """The pipes of one program."""

    def __init__(self, process: subprocess.Popen[bytes], text: bytes, max_bytes: int) -> None:
        self._process, self._text, self._left = process, memoryview(text), max_bytes
        self.printed = bytearray(), bytearray()
        self._selector = selectors.DefaultSelector()
        pipes = (process.stdin, process.stdout, process.stderr)
        self._stdin, self._stdout, self._stderr = (pipe.fileno() if pipe else -1 for pipe in pipes)
        for fd in (self._stdout, self._stderr):
            self._selector.register(fd, selectors.EVENT_READ)
        if text:
            os.set_blocking(self._stdin, False)
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        elif process.stdin:
            process.stdin.close()

    def finish(self, name: str, timeout_s: float) -> None:
        """Read and write until the program has ended, and its pipes have or are quiet."""
        end, over = time.monotonic() + timeout_s, 0.0
        while self._selector.get_map():
            now = time.monotonic()
            if over and now >= over:
                return
            if now >= end:
                raise TimeoutError(f"{name} did not answer in {timeout_s:g} s")
            for key, _ in self._selector.select(min(_LOOK_S, end - now)):
                self._go_on(key.fd)
            if self._left < 0:
                raise EndlessError(f"{name} answers without end")
            if not over and self._process.poll() is not None:
                over = time.monotonic() + _LINGER_S
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{name} did not answer in {timeout_s:g} s") from error

    def _go_on(self, fd: int) -> None:
        """Read or write what a pipe is ready for."""
        if fd == self._stdin:
            self._write()
            return
        block = os.read(fd, _BLOCK)
        if not block:
            self._selector.unregister(fd)
        self.printed[fd == self._stderr].extend(block)
        self._left -= len(block)

    def _write(self) -> None:
        """Write on; a program that closed its stdin wants no more."""
        try:
            self._text = self._text[os.write(self._stdin, self._text[:_BLOCK]) :]
        except BrokenPipeError:
            self._text = memoryview(b"")
        if not self._text and self._process.stdin:
            self._selector.unregister(self._stdin)
            self._process.stdin.close()

    def close(self) -> None:
        """Close what is open yet."""
        self._selector.close()

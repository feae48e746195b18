"""One command on the other side: nothing is sent before our own shell has spoken, and its answer has two ends.

Login shells read start-up files first, and these may print, exit, start another shell, read the input, or leave
children behind that hold the channel. So the line that is sent makes the login shell `sh`, which says a mark before and
after the command, on both streams. What it is to read goes out behind the first mark only: whatever else listens there
gets nothing to execute. What ends without that mark never began. Behind the last mark nobody is waited for.
"""

from __future__ import annotations

import re
import select
import shlex
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import paramiko  # type: ignore[import-untyped]

from nexapod_backends.slurm.ssh import paramiko_internals
from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["OUTPUT_MAX", "NotBegunError", "StoppedError", "Talk", "close", "command_line", "send"]

#: What a command may answer, in bytes.
OUTPUT_MAX = 64 << 20
_BLOCK = 1 << 18
_TAIL = 4_096  # bytes of what came before the mark that are kept
_END_S = 3.0  # seconds for which a shell that is silent is watched after its input was closed

# The login shell may be any: it sees one line without newlines, backslashes and exclamation marks, and becomes sh. $1
# is the mark, $2 the time, $3 the length of the input.
_BEGIN = 'm=$1; printf %s "$m" >&2; printf %s "$m"; t=$2; n=$3; shift 3; '
_INPUT = (
    'umask 077; f=$(mktemp) && head -c "$n" >"$f" || exit 74; exec 3<"$f"; s=$(wc -c <"$f"); rm -f "$f"; '
    '[ "$s" -eq "$n" ] || exit 74; exec 0<&3 3<&-; '
)
_CLEAN = (
    "for v in $(env | grep -oE "
    '"^(SQUEUE|SACCT|SINFO|SBATCH|SCANCEL|SCONTROL|SLURM)_[A-Za-z0-9_]*"); '
    'do case $v in SLURM_CONF|SLURM_CONF_SERVER) ;; *) unset "$v";; esac; done; '
)
_GO = (
    'if command -v timeout >/dev/null 2>&1; then timeout -k 5 "$t" "$@"; else "$@"; fi; s=$?; '
    'printf "%s:%s;" "$m" "$s" >&2; printf "%s:%s;" "$m" "$s"; exit "$s"'
)


class NotBegunError(Exception):
    """The command never began: why, and what was seen of it."""

    def __init__(self, why: str, seen: str) -> None:
        """Keep both, one line each."""
        super().__init__(why)
        self.why, self.seen = why, seen


class StoppedError(Exception):
    """Whoever takes an answer as it comes wants no more of it."""

    def __init__(self, why: Exception) -> None:
        """Keep what is wrong."""
        super().__init__(str(why))
        self.why = why


def command_line(argv: Sequence[str], mark: str, timeout_s: float, size: int | None, *, clean: bool) -> str:
    """Return the line that is sent for a command: words reach it unchanged through any login shell.

    `size` are the bytes of its input, which is there as a whole before the command starts; None lets the command read
    what comes as it comes, and see by itself whether it is whole.
    """
    if size is None:
        source = ""
    elif size:
        source = _INPUT
    else:
        source = "exec </dev/null; "
    script = _BEGIN + source + (_CLEAN if clean else "") + _GO
    return "exec /bin/sh -c " + shlex.join([script, "sh", mark, f"{timeout_s:g}", str(size or 0), *argv])


class _Stream:
    """What one stream says: what comes before the mark, the answer, and the exit code behind it."""

    def __init__(self, mark: str, take: Callable[[bytes], None] | None = None) -> None:
        """Expect a mark; the answer is kept, unless somebody takes it as it comes."""
        self._take = take
        self._mark, self._end = mark.encode(), re.compile(re.escape(mark.encode()) + rb":(\d{1,3});")
        self.before, self.skipped = b"", 0  # the last of what came before the mark, and how much it was
        self.answer = bytearray()
        self.begun, self.code = False, -1

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self.code >= 0:
            return  # of children that were left behind
        if not self.begun:
            before, mark, after = (self.before + data).partition(self._mark)
            self.skipped += len(data) - len(after)
            if not mark:
                self.before = before[-_TAIL:]
                return
            self.begun, self.before, data = True, before[-_TAIL:], after
        start = max(0, len(self.answer) - len(self._mark) - 8)
        self.answer += data
        if found := self._end.search(self.answer, start):
            self.code = int(found[1])
            del self.answer[found.start() :]
        if self._take is not None:
            self._hand_on(self._take)

    def _hand_on(self, take: Callable[[bytes], None]) -> None:
        """Hand on what cannot be the beginning of the mark."""
        kept = 0 if self.code >= 0 else len(self._mark) + 8
        length = len(self.answer) - kept
        if length > 0:
            data = bytes(self.answer[:length])
            del self.answer[:length]
            take(data)

    def text(self) -> str:
        """Return the answer, or all that came where no mark did. A shell that prints what it runs repeats the mark."""
        said = bytes(self.answer) if self.begun else self.before
        return said.rpartition(self._mark)[2].decode("utf-8", "replace")


class Talk:
    """The talk with the shell behind one channel."""

    def __init__(self, channel: Any, mark: str, take: Callable[[bytes], None] | None = None) -> None:  # noqa: ANN401
        """Expect its marks; `take` is given what the command writes to its stdout, as it comes."""
        self._channel = channel  # paramiko has no types
        self.out, self.err = _Stream(mark, take), _Stream(mark)
        self._news = select.poll()
        self._news.register(channel.fileno(), select.POLLIN)

    def begin(self, patience_s: float, *, waiting: bool) -> None:
        """Wait until our shell has spoken, with its input to come (`waiting`) or closed; NotBegunError."""
        self._until(lambda: self.out.begun, time.monotonic() + patience_s)
        if self.out.begun:
            return
        if self._ended():
            raise NotBegunError("exits, or starts another shell", self._seen())
        if waiting:  # it is harmless to tell that nothing comes: our own shell refuses what is not whole
            self._channel.shutdown_write()
            self._until(lambda: self.out.begun, time.monotonic() + _END_S)
            if self.out.begun:
                raise NotBegunError("reads the input that is meant for commands", self._seen())
            if self._ended():
                raise NotBegunError("starts another shell, or a program that reads the input", self._seen())
        raise NotBegunError("does not come to its end", self._seen() or f"nothing for {patience_s:g} s")

    def finish(self, end: float) -> int:
        """Return the exit code; TimeoutError when it did not come in time, EOFError when the end was not seen."""
        self._until(lambda: self.out.code >= 0 and self.err.code >= 0, end)
        if self.out.code >= 0:
            return self.out.code
        if not self._ended():
            raise TimeoutError("nothing came")
        status = paramiko_internals.exit_status(self._channel, max(0.0, end - time.monotonic()))
        if status == -1:
            raise EOFError("no exit code")
        return status

    def _ended(self) -> bool:
        return paramiko_internals.has_ended(self._channel)

    def _until(self, done: Any, end: float) -> None:  # noqa: ANN401 - a function without arguments
        """Read until something holds, the channel ended, or the time is over."""
        channel = self._channel
        while True:
            ended = self._ended()
            while channel.recv_ready():
                self.out.feed(channel.recv(_BLOCK))
            while channel.recv_stderr_ready():
                self.err.feed(channel.recv_stderr(_BLOCK))
            if len(self.out.answer) + len(self.err.answer) + self.out.skipped + self.err.skipped > OUTPUT_MAX:
                raise SchedulerError("a command answers without end", got=f"more than {OUTPUT_MAX} bytes")
            left = end - time.monotonic()
            if done() or ended or left <= 0:
                return
            self._news.poll(1000 * left)

    def _seen(self) -> str:
        """Return what is known of the end of a shell that was not ours."""
        status = paramiko_internals.exit_status(self._channel, 1.0)
        text = (self.err.before or self.out.before).decode("utf-8", "replace").strip()
        last = re.sub(r"[^ -~]", "?", text.rpartition("\n")[2])[-200:]
        parts = [f"exit code {status}" if status >= 0 else "", last and f"it said: {last}"]
        return ", ".join(part for part in parts if part)


def close(channel: paramiko.Channel) -> None:
    """Close a channel; of a connection that was cut a moment ago there is nothing to close."""
    with suppress(paramiko.SSHException, EOFError, OSError):
        channel.close()


def send(channel: paramiko.Channel, data: bytes | Iterable[bytes]) -> None:
    """Send the input of a command; one that ended before it had read all of its blocks says why."""
    if isinstance(data, bytes):
        channel.sendall(data)
    else:
        for block in data:
            try:
                channel.sendall(block)
            except OSError:
                if channel.get_transport().is_active():
                    return
                raise
    channel.shutdown_write()

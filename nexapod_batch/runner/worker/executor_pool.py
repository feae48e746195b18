"""The executors of a worker: forked, fed and heard over sockets, cleaned up after when they die.

Guarantees: what a dead executor left is killed before anybody hears of its death (the worker is the subreaper of its
commands), and no process of an executor that lives is touched. An executor that is stopped, as by a command of the same
account, goes on at once.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field

from nexapod_batch.errors import TryAgainError
from nexapod_batch.runner.execution.executor import MAX_MESSAGE
from nexapod_batch.runner.execution.slate import SEATS
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.fork import fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_batch.runner.gpu.allocator import Grant

__all__ = ["ExecutorHandle", "ExecutorPool"]

#: What the system says where there are too many files, processes, or too little memory for one more.
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
END_POLL_S = 0.05  # between two looks at executors that are to end


class ExecutorHandle(Struct):
    """One executor as the worker sees it."""

    pid: int
    number: int  # of the executor: of its segment and of its seat
    channel: socket.socket
    held: dict[tuple[str, int], None] = field(default_factory=dict)  # (launch, position) handed out, not reported
    settled: int = 0  # replicas that it has told the end of
    unread: int = 0  # chunks that it has not taken from the socket
    need: tuple[int, int] = (0, 0)  # tokens that it occupies while it holds something
    grant: Grant | None = None  # GPUs that it occupies likewise
    cpus: tuple[int, ...] = ()  # processors that it has alone, likewise; () is all of them
    bound: tuple[int, ...] = ()  # that it was told last
    turn: int = 0  # counts what was handed out to executors that had nothing
    since: float = 0.0  # when that was, in seconds since 1970
    first: bool = False  # whether nothing had ended before it got what it holds
    suspended: str = ""  # why what it runs is suspended
    given_up: int = 0  # the turn that it was told to give up
    old: bool = False  # it ends when it has nothing to do
    overdue: bool = False  # it did not end what was over its time, and was killed
    status: int | None = None  # how it died, as the kernel tells it; None when nobody knows

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = (), *, urgent: bool = False) -> None:
        """Send a message, and copies of descriptors; what is urgent is heard while a command runs."""
        with suppress(OSError):  # it has died; the end of its channel tells
            if fds:
                socket.send_fds(self.channel, [orjson.dumps(message)], list(fds))
            else:
                self.channel.send(orjson.dumps(message))
        if urgent:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGUSR1)


class ExecutorPool:
    """All executors of one worker, which must be a subreaper."""

    def __init__(
        self,
        serve: Callable[[socket.socket, int], None],
        hear: Callable[[ExecutorHandle, Mapping[str, Any]], None],
        died: Callable[[ExecutorHandle], None],
    ) -> None:
        """Remember what an executor does with its channel and its number, who hears it, and who hears of its death."""
        self._serve, self._hear, self._died = serve, hear, died
        self._by_fd: dict[int, ExecutorHandle] = {}
        self._started = 0  # so far: numbers their segments
        self._most = 0  # that the system let run side by side when it refused one more
        self._poll = select.poll()
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakeup = reader
        self._poll.register(reader, select.POLLIN)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_fd)

    def all(self) -> list[ExecutorHandle]:
        """Return every executor."""
        return list(self._by_fd.values())

    def busy(self) -> list[ExecutorHandle]:
        """Return the executors that have something, in the order in which they got it."""
        found = [executor for executor in self._by_fd.values() if executor.held]
        return sorted(found, key=lambda executor: executor.turn)

    def is_busy(self) -> bool:
        """Say whether any has something."""
        return any(executor.held for executor in self._by_fd.values())

    def idle(self) -> ExecutorHandle | None:
        """Return an executor that has nothing to do; one more is forked where there is none.

        None where the system lets no more run beside those that are there, which work on.

        Raises:
            TryAgainError: There is none, and none can be forked.

        """
        self._dismiss()
        for executor in self._by_fd.values():
            if not executor.held and not executor.old:
                return executor
        try:
            return self._start()
        except OSError as error:
            if error.errno not in _SCARCE:
                raise
            if not self._by_fd:
                hint = "end other programs, or raise the limit where the node is started: ulimit -u, ulimit -n"
                raise TryAgainError("no process can be made for replicas", got=error.strerror, hint=hint) from error
            if self._most != len(self._by_fd):
                self._most = len(self._by_fd)
                told = f"no more than {self._most} replicas side by side: {error.strerror}"
                print(told, file=sys.stderr, flush=True)  # noqa: T201 - worker.log
            return None

    def renew(self) -> None:
        """Give nothing more to the executors that are there: what is forked from now on is otherwise."""
        for executor in self._by_fd.values():
            executor.old = True

    def _dismiss(self) -> None:
        """Let executors go that are of no more use."""
        for executor in self._by_fd.values():
            if executor.old and not executor.held:
                executor.channel.shutdown(socket.SHUT_WR)

    def wait(self, pause: float) -> bool:
        """Wait for executors, signals or the time; True when something came."""
        events = self._poll.poll(round(pause * 1000))
        for fd, _ in events:
            if fd == self._wakeup:
                with suppress(BlockingIOError):
                    os.read(fd, 4096)
                self._go_on()
                self._reap()
            elif fd in self._by_fd:
                self._listen(self._by_fd[fd])
        return bool(events)

    def end(self, *, stop: bool) -> None:
        """Let every executor finish; with `stop` it stops what runs and reports it."""
        for executor in self._by_fd.values():
            if stop:
                with suppress(ProcessLookupError):
                    os.kill(executor.pid, signal.SIGTERM)
            executor.channel.shutdown(socket.SHUT_WR)
        while self._by_fd:
            self.wait(END_POLL_S)

    def _start(self) -> ExecutorHandle:
        """Fork one more executor."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            return self._forked(ours, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    def _forked(self, ours: socket.socket, theirs: socket.socket) -> ExecutorHandle:
        """Fork an executor that has its end of a channel."""
        taken = {executor.number % SEATS for executor in self._by_fd.values()}
        number = next(one for one in itertools.count(self._started) if one % SEATS not in taken)
        self._started, parent = number + 1, os.getpid()
        # what is urgent may be told before the executor is ready for it, and would be its end
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            pid = fork(lambda: self._become_executor(ours, theirs, number, parent))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        executor = ExecutorHandle(pid=pid, number=number, channel=ours)
        self._by_fd[ours.fileno()] = executor
        self._poll.register(ours, select.POLLIN)
        return executor

    def _become_executor(self, ours: socket.socket, theirs: socket.socket, number: int, parent: int) -> None:
        """Forget the worker's side of everything and serve."""
        signal.set_wakeup_fd(-1)
        for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(sign, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(self._wakeup)
        ours.close()
        for executor in self._by_fd.values():
            executor.channel.close()
        descendants.die_with_parent(signal.SIGTERM)
        if os.getppid() == parent:  # else it died before that was set
            self._serve(theirs, number)

    def _listen(self, executor: ExecutorHandle) -> None:
        """Take every message of an executor; the end of the channel is its death.

        The kernel tells once, before all else, that something sent to it was never read: its last words come then.
        """
        reset = False
        while True:
            try:
                data = executor.channel.recv(MAX_MESSAGE * 4, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionError:
                if not reset:
                    reset = True
                    continue
                data = b""
            if not data:
                self._bury(executor)
                return
            self._hear(executor, orjson.loads(data))

    def _bury(self, executor: ExecutorHandle) -> None:
        """Clean up after an executor that died, and tell."""
        self._poll.unregister(executor.channel)
        del self._by_fd[executor.channel.fileno()]
        executor.channel.close()
        with suppress(ChildProcessError):
            executor.status = os.waitpid(executor.pid, 0)[1]
        self._kill_orphans()
        self._died(executor)

    def _kill_orphans(self) -> None:
        """Kill every process below this one that no living executor owns."""
        spare = frozenset(executor.pid for executor in self._by_fd.values())
        until = time.monotonic() + 5
        while (orphans := descendants.find(os.getpid(), spare)) and time.monotonic() < until:
            descendants.signal_all(orphans, signal.SIGKILL)
            for orphan in orphans:
                with suppress(ChildProcessError):  # not ours yet
                    os.waitpid(orphan, os.WNOHANG)
            select.select([], [], [], 0.002)

    def _go_on(self) -> None:
        """Let executors go on that somebody stopped: they keep the limits of what they run."""
        executors = {executor.pid for executor in self._by_fd.values()}
        with suppress(ChildProcessError):
            while (info := os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)) is not None:
                if info.si_pid in executors:
                    descendants.signal_all([info.si_pid], signal.SIGCONT)

    def _reap(self) -> None:
        """Collect adopted processes that ended; executors are collected by `_bury`."""
        executors = {executor.pid for executor in self._by_fd.values()}
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None or info.si_pid in executors:
                return
            os.waitpid(info.si_pid, 0)

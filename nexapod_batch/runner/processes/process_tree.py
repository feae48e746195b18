"""One process tree: started, limited, watched until nothing of it lives, measured.

Guarantees:

* the command gets its own session, /dev/null as stdin, no descriptor of the runner's, default signal handling;
* `run` returns only when no descendant lives: the executor is a subreaper, so every orphan becomes its child, and
  "no children" means "nothing is left";
* whoever must end gets TERM, and `GRACE_S` later KILL, repeated until it is gone, whatever session it moved to;
* while it is suspended, for the owner of the machine, its time stands still and nothing of it runs.

Limits: time by the clock; one file's size by RLIMIT_FSIZE, what all of them take by looking, also at those that have no
name any more; memory by the resident memory of the tree, in which what processes share counts once, and by the kernel's
own maximum for each process afterwards. That maximum is never less than what the executor itself had when it forked:
smaller commands are reported at that size. What stays as it is is seldom looked at, so that a thousand sleeping
replicas cost a small part of one CPU; what grows is looked at sooner (`Pace`), and everything at once when the machine
as a whole has many more processes or much less memory than before (`usage.Alarm`).
"""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nexapod_batch import birth
from nexapod_batch.runner.processes import descendants, niceness
from nexapod_batch.runner.processes.late_stop import late_stop_s
from nexapod_batch.runner.processes.signal_wait import wait_for_signal
from nexapod_batch.runner.processes.suspend import Freezer
from nexapod_batch.runner.processes.usage import MAX_PROCESSES, Usage, tree_bytes
from nexapod_batch.runtimes import FEED
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Attempt", "EarlySignal", "Limits", "Pace", "Result", "Supervisor", "disk_detail"]

GRACE_S = 5.0  # between TERM and KILL
MEMORY_S = (0.1, 1.0)  # between two looks at the memory, at least and at most
DISK_S = (1.0, 5.0)  # and at the disk
WRITTEN = 2 * 2**30  # bytes that processes may write in a second
PAUSED_S = 2.0  # between two looks at what is suspended, at most
COURTESY_S = (0.25, 2.0)  # between two looks whether everything stands back, at first and at most

#: Signals that wake the executor; they stay blocked and are taken with `wait_for_signal`.
WAITED = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1})
_DEFAULTS = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, *WAITED]
_ROUGHLY_KIB = 64 * 1024  # up to which it does not matter what processes share
_REAPED = 200  # processes that are collected between two looks at everything else
_UNLIMITED = resource.RLIM_INFINITY


class Supervisor(Protocol):
    """Whom an attempt asks while it waits."""

    @property
    def paused(self) -> bool:
        """Whether the command is to be suspended; looked at after each signal and tick."""
        ...

    alarmed: bool  # the machine has many more processes or much less memory than before: look at the command's

    def tick(self, elapsed: float) -> float | None:
        """Do what is due now; return the seconds until the next call, None for never."""
        ...

    def interrupted(self, sign: int) -> tuple[Outcome, str] | None:
        """Hear of a signal; return the outcome and the reason when the command must be stopped."""
        ...

    def ends_by(self, when: float) -> None:
        """Hear when the command's time is over, by the clock that only runs forward; 0: it stands still."""
        ...


class EarlySignal(NamedTuple):
    """What a command gets before its time is over, so that it can save its state."""

    number: int
    ahead_s: int
    behind: bool  # for the program that the one that was started starts, which passes no signal on


class Limits(NamedTuple):
    """What one replica may use; None is no limit."""

    time_s: int | None
    mem_mib: int | None
    disk_bytes: int
    contained: bool = False  # the command runs in a container
    kills: bool = False  # what is left when the command has ended is killed, not waited for
    early: EarlySignal | None = None


class Result(NamedTuple):
    """How a process tree ended and what it used."""

    status: int | None  # exit code, or 128 + signal as a shell counts; None when it never ended by itself
    signal: int  # that ended the command; 0 for none
    stopped: tuple[Outcome, str] | None  # why the runner stopped it
    wall_ms: int  # while it was not suspended
    cpu_ms: int
    max_rss_kib: int
    paused_ms: int = 0  # suspended, for the owner of the machine


class Attempt:
    """Runs one command at a time in the calling process, which must be a subreaper with `WAITED` blocked."""

    def __init__(self, supervisor: Supervisor) -> None:
        """Remember whom to ask while waiting."""
        self._supervisor = supervisor
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._courtesy = niceness.own()  # that everything below is to have

    def run(
        self, program: str, argv: list[str], env: Mapping[str, str], logs: tuple[int, int], limits: Limits,
        roots: Sequence[str], feeds: Sequence[bytes] = (), stdin: str = "",
    ) -> Result:  # fmt: skip
        """Run a program in the current folder; OSError when it cannot be started.

        `logs` are the descriptors for stdout and stderr, `roots` are the folders whose size counts with theirs, `feeds`
        what the program reads from the descriptors FEED and following, `stdin` the path of a file for descriptor 0.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = limits.disk_bytes + 1  # a file that was cut off there, which a command may ignore, is too long
        if hard != _UNLIMITED:
            most = min(most, hard)
        reads = os.open(stdin, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) if stdin else self._null
        actions = [
            (os.POSIX_SPAWN_DUP2, reads, 0),
            (os.POSIX_SPAWN_DUP2, logs[0], 1),
            (os.POSIX_SPAWN_DUP2, logs[1], 2),
        ]
        fed = [_fed(feed) for feed in feeds]
        actions += [(os.POSIX_SPAWN_DUP2, fd, FEED + at) for at, fd in enumerate(fed)]
        birth.forget_keys()
        started = time.monotonic()
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            pid = os.posix_spawn(
                program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULTS
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            for fd in fed if reads == self._null else (*fed, reads):
                os.close(fd)
        tree = _Tree(pid, started, limits, logs, roots, self._supervisor, self._courtesy)
        tree.wait()
        return tree.result()


def _fed(data: bytes) -> int:
    """Return a descriptor from which these bytes are read; they lie in memory."""
    fd = os.memfd_create("fed", os.MFD_CLOEXEC)
    with open(fd, "wb", buffering=0, closefd=False) as stream:
        stream.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class _Tree:
    """The process tree of one command while it lives."""

    def __init__(
        self,
        pid: int,
        started: float,
        limits: Limits,
        logs: tuple[int, int],
        roots: Sequence[str],
        supervisor: Supervisor,
        courtesy: niceness.Niceness,
    ) -> None:
        self._pid, self._started, self._limits, self._logs, self._roots = pid, started, limits, logs, roots
        self._supervisor = supervisor
        self._status: int | None = None
        self._cpu_s, self._max_rss_kib = 0.0, 0
        self._stopped: tuple[Outcome, str] | None = None
        self._kill_at, self._kill_pause = 0.0, 0.02
        self._freezer = Freezer(os.getpid())
        self._paused_at: float | None = None  # None: it is not suspended
        self._paused_s = 0.0  # before that
        self._pace = Pace(started, MEMORY_S)
        self._next_memory = started + MEMORY_S[0] / 5 if limits.mem_mib is not None else float("inf")
        self._next_disk = started + DISK_S[0]
        self._more = False  # more has ended than was collected
        self._usage = Usage(contained=limits.contained)
        self._courtesy = courtesy
        self._courtesy_s = COURTESY_S[0]
        self._early = limits.early
        self._tell_end()
        self._next_courtesy = started + self._courtesy_s if self._courtesy.any else float("inf")

    def wait(self) -> None:
        """Return when no descendant lives."""
        while True:
            now = time.monotonic()
            timeout = self._look(now)
            number = wait_for_signal(WAITED, 0.0 if self._more else timeout)
            if number and number != signal.SIGCHLD:
                self._stop(self._supervisor.interrupted(number))
            elif not self._reap():
                self._hear_late()
                self._unpause(time.monotonic())
                return

    def _tell_end(self) -> None:
        """Let whoever watches over us know when the command's time is over."""
        if self._limits.time_s is not None:
            self._supervisor.ends_by(self._started + self._paused_s + self._limits.time_s)

    def _hear_late(self) -> None:
        """Hear of a stop that reached the command first: a scheduler sends TERM to every process, in any order."""
        if self._stopped is None and self._status is not None:
            late_s = late_stop_s(self._status, time.monotonic() - self._started)
            if wait_for_signal({signal.SIGTERM}, late_s):
                self._stopped = self._supervisor.interrupted(signal.SIGTERM)

    def result(self) -> Result:
        """Return how it went."""
        status, by_signal = self._status, 0
        if status is not None:
            status = os.waitstatus_to_exitcode(status)
            if status < 0:
                by_signal = -status
                status = 128 + by_signal
        return Result(
            status=status,
            signal=by_signal,
            stopped=self._stopped,
            wall_ms=round(max(0.0, time.monotonic() - self._started - self._paused_s) * 1000),
            cpu_ms=round(self._cpu_s * 1000),
            max_rss_kib=self._max_rss_kib,
            paused_ms=round(self._paused_s * 1000),
        )

    def _reap(self) -> bool:
        """Collect what ended, a part at a time, so that the rest is looked at as well; False when nothing is left."""
        self._more = False
        for _ in range(_REAPED if self._stopped is None else 100 * _REAPED):
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._cpu_s += usage.ru_utime + usage.ru_stime
            self._max_rss_kib = max(self._max_rss_kib, usage.ru_maxrss)
            if pid == self._pid:
                self._status = status
        self._more = True
        return True

    def _look(self, now: float) -> float:
        """Do everything that is due and return the seconds until something is due again."""
        due = [3600.0]
        asked = self._supervisor.tick(now - self._started)
        if asked is not None:
            due.append(asked)
        if self._stopped is not None or (self._limits.kills and self._status is not None):
            if now >= self._kill_at:
                self._end()
                self._kill_pause = min(1.0, 2 * self._kill_pause)  # forked meanwhile, or hanging in the kernel
                self._kill_at = now + self._kill_pause
            due.append(self._kill_at - now)
            return min(due)
        if self._supervisor.paused:
            self._pause(now)
            return min(*due, PAUSED_S)
        self._unpause(now)
        if self._limits.time_s is not None:
            left = self._started + self._paused_s + self._limits.time_s - now
            if left <= 0:
                still = "" if self._status is None else " (the command had ended, but processes that it left had not)"
                self._stop((Outcome.TIME, f"over its time limit of {self._limits.time_s} s{still}"))
                return 0.0
            due.append(left)
            if self._early is not None:
                due.append(self._signal_early(self._early, left))
        return min(*due, self._look_at_use(now))

    def _signal_early(self, early: EarlySignal, left: float) -> float:
        """Send the early signal when it is due, once; return the seconds until it is."""
        if left > early.ahead_s:
            return left - early.ahead_s
        self._early = None
        command = descendants.behind(self._pid) if early.behind else self._pid
        descendants.signal_all([command] if self._status is None else [], early.number)
        return left

    def _look_at_use(self, now: float) -> float:
        """Check every limit that is due but the time; return the seconds until one is due again."""
        alarmed, self._supervisor.alarmed = self._supervisor.alarmed, False
        if now >= self._next_memory or (alarmed and self._limits.mem_mib is not None):
            self._next_memory = self._pace.next(now, *self._check_memory())
        if now >= self._next_disk:
            left = self._check_disk()
            took = time.monotonic() - now
            least, most = DISK_S
            self._next_disk = now + max(min(max(left / WRITTEN, least), most), 20 * took)
            alarmed = True  # counting costs nothing beside that, and who sounds the alarm may be held up
        if now >= self._next_courtesy:
            done = niceness.keep_back(descendants.find(os.getpid()), self._courtesy)
            self._courtesy_s = min(2 * self._courtesy_s, COURTESY_S[1]) if done else COURTESY_S[0]
            self._next_courtesy = now + self._courtesy_s
        if alarmed:
            self._check_processes()
        return min(self._next_memory, self._next_disk, self._next_courtesy) - now

    def _stop(self, why: tuple[Outcome, str] | None) -> None:
        """Send TERM to everything and start the grace; the first reason counts."""
        if why is None or self._stopped is not None:
            return
        self._stopped = why
        descendants.signal_all(descendants.find(os.getpid()), signal.SIGTERM)
        self._unpause(time.monotonic())  # what is suspended hears nothing
        self._kill_at = time.monotonic() + GRACE_S

    def _pause(self, now: float) -> None:
        """Suspend everything; the time until it goes on is not the command's."""
        if self._paused_at is None:
            self._paused_at = now
            self._supervisor.ends_by(0.0)
        self._freezer.stop()

    def _unpause(self, now: float) -> None:
        if self._paused_at is not None:
            self._paused_s += now - self._paused_at
            self._paused_at = None
            self._freezer.go()
            self._tell_end()

    def _check_memory(self) -> tuple[int, int]:
        """Stop what has too much; return how many KiB are used and how many are left."""
        most = self._limits.mem_mib or 0
        used = self._usage.memory_kib(min(most * 1024, max(self._max_rss_kib, _ROUGHLY_KIB) * 11 // 10))
        self._max_rss_kib = max(self._max_rss_kib, used)
        if used > most * 1024:
            self._stop((Outcome.MEMORY, f"over its memory: got {used // 1024} MiB, wanted at most {most} MiB"))
            self._kill_at = 0.0  # no grace: it may grow faster than it listens
        return used, most * 1024 - used

    def _check_disk(self) -> int:
        """Stop what wrote too much; return how many bytes are left."""
        used = tree_bytes(*self._roots) + sum(os.fstat(fd).st_size for fd in self._logs)
        used += self._usage.private_bytes() + self._usage.unlinked_bytes(*self._roots)
        if used > self._limits.disk_bytes:
            self._stop((Outcome.DISK, disk_detail(used, self._limits.disk_bytes)))
        return self._limits.disk_bytes - used

    def _check_processes(self) -> None:
        count = self._usage.too_many()
        if count is not None:
            self._stopped = (Outcome.FAILED, f"too many processes: got {count} or more, wanted at most {MAX_PROCESSES}")
            self._end()  # at once, without TERM and grace: they fork faster than they are listed
            self._kill_at = 0.0

    def _end(self) -> None:
        """Kill everything; first, at one stroke, what is still in the command's own process group."""
        if self._status is None:  # else the number may be another's by now
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        descendants.end_all(os.getpid())


class Pace:
    """When to look again at what may grow: before half of what is left is taken, if it grows as it did since last time.

    At most twice as late as that, and within bounds. Near its limit, but steady, is no reason to look often; a jump
    from rest is seen by the next look, or by the alarm where it matters to the machine.
    """

    def __init__(self, now: float, bounds: tuple[float, float]) -> None:
        """Begin with nothing used."""
        self._then, self._used, self._bounds = now, 0, bounds

    def next(self, now: float, used: int, left: int) -> float:
        """Return the time of the look after this one; what is used and what is left have the same unit."""
        passed, grown = now - self._then, used - self._used
        self._then, self._used = now, used
        share = min(left / (2 * grown), 2.0) if grown > 0 else 2.0
        least, most = self._bounds
        return now + min(max(passed * share, least), most)


def disk_detail(used: int, max_bytes: int) -> str:
    """Return the sentence for a replica that wrote too much."""
    return f"over its disk: wrote {used / 2**20:.1f} MiB, wanted at most {max_bytes / 2**20:.0f} MiB ([resources] disk)"

"""What every runtime must do, on a machine where it works."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexapod_batch.model.job import Domain, Isolation, Job, QuorumPolicy
from nexapod_batch.runtimes import FEED, Execution

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.runtimes import Runtime, Wrapped

__all__ = ["RuntimeConformance", "started"]

_HOSTILE = "a'b\"c\\d $(x) `y` {z} %s \u00e9"
_LIMIT_S = 60
_ABOVE = 200  # number from which copies of descriptors are made: no feed has one of these


def started(wrapped: Wrapped, folder: str) -> subprocess.CompletedProcess[bytes]:
    """Start what a runtime returned as the runner does: in the folder, with its environment and its feeds; wait."""
    fds = [FEED + number for number in range(len(wrapped.feeds))]
    spares = [_spare(fd) for fd in fds]
    try:
        for fd, content in zip(fds, wrapped.feeds, strict=True):
            _feed(content, fd)
        return subprocess.run(
            wrapped.argv, env=dict(wrapped.env), cwd=folder, pass_fds=fds, stdin=subprocess.DEVNULL,
            capture_output=True, check=False, timeout=_LIMIT_S,
        )  # fmt: skip
    finally:
        for fd, spare in zip(fds, spares, strict=True):
            os.dup2(spare, fd, inheritable=False)
            os.close(spare)


def _spare(fd: int) -> int:
    """Return a copy of what has this number in this process, which is to get it back; of nothing where it is free."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    except OSError:
        opened = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
        finally:
            os.close(opened)


def _feed(content: bytes, fd: int) -> None:
    """Make a descriptor of this number from which the content can be read."""
    low = os.memfd_create("feed", 0)
    made = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _ABOVE)  # it may have the very number that is wanted
    os.close(low)
    try:
        os.write(made, content)
        os.lseek(made, 0, os.SEEK_SET)
        os.dup2(made, fd)
    finally:
        os.close(made)


class RuntimeConformance:
    """The suite. A subclass says which runtime, and what its executions need besides a command."""

    #: What the statement says of isolation.
    isolation: Isolation = Isolation.NONE
    #: A shell where the command runs.
    shell = "/bin/sh"

    def runtime(self) -> Runtime:
        """Return a runtime that was told the node's settings."""
        raise NotImplementedError

    def execution(self, root: str, command: Sequence[str], env: Mapping[str, str]) -> Execution:
        """Return an execution of a command in a work folder; a subclass adds an image, or whose job it is."""
        job = Job(name="t", command=tuple(command), quorum=QuorumPolicy(distinct=(Domain.RUN,)))
        whole = {"PATH": "/usr/bin:/bin", **env}
        path = os.environ.get("PATH", os.defpath)
        return Execution(job=job, command=list(command), root=root, folder=root, env=whole, path=path, tmp=root)

    @contextmanager
    def wrapped(self, *command: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, Wrapped]]:
        """Give a work folder, and what the runtime would start in it."""
        with tempfile.TemporaryDirectory() as folder:
            root = os.path.realpath(folder)
            yield root, self.runtime().wrap(self.execution(root, command, env or {}))

    def test_a_wrapper_is_argv_and_environment(self) -> None:
        """Texts without NUL; the program is a path where it is not the command itself; isolation is as promised."""
        with self.wrapped(self.shell, "-c", "true") as (_, found):
            assert found.argv
            assert all("\0" not in word for word in (*found.argv, *found.env, *found.env.values()))
            assert found.isolation == self.isolation.value
            assert (found.container is not None) == (self.isolation is Isolation.CONTAINER)
            assert self.isolation is Isolation.NONE or os.path.isabs(found.argv[0])

    def test_wrapping_again_is_the_same(self) -> None:
        """What is started depends on the execution and the node alone."""
        with tempfile.TemporaryDirectory() as folder:
            asked = self.execution(os.path.realpath(folder), [self.shell, "-c", "true"], {"A": "1"})
            runtime = self.runtime()
            assert runtime.wrap(asked) == runtime.wrap(asked)
            assert runtime.wrap(asked) == self.runtime().wrap(asked)

    def test_the_command_runs_in_its_folder(self) -> None:
        """What it writes lies in the work folder, and belongs to the account."""
        with self.wrapped(self.shell, "-c", "echo out; echo text > file") as (root, found):
            done = started(found, root)
            assert (done.returncode, done.stdout) == (0, b"out\n"), done.stderr
            with open(os.path.join(root, "file"), encoding="utf-8") as stream:
                assert stream.read() == "text\n"
            assert os.stat(os.path.join(root, "file")).st_uid == os.getuid()

    def test_words_reach_the_command_as_they_are(self) -> None:
        """Arguments and variables are data, whatever they hold."""
        script = 'printf "%s|%s" "$1" "$WORD"'
        with self.wrapped(self.shell, "-c", script, "sh", _HOSTILE, env={"WORD": _HOSTILE}) as (root, found):
            done = started(found, root)
            assert done.stdout.decode() == f"{_HOSTILE}|{_HOSTILE}", done.stderr

    def test_a_wrapper_does_not_run_with_the_jobs_variables(self) -> None:
        """A variable can decide what a wrapper does: none of the job's is in its environment under its own name."""
        if self.isolation is Isolation.NONE:
            return  # there is no wrapper
        for name in ("LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "APPTAINER_BIND", "ANYTHING"):
            with self.wrapped("true", env={name: "/of/the/job"}) as (_, found):
                assert found.env.get(name) != "/of/the/job"

    def test_an_exit_status_is_the_commands(self) -> None:
        """It comes through, and the runtime has nothing to say of it."""
        for status in (1, 7, 255):
            with self.wrapped(self.shell, "-c", f"echo words >&2; exit {status}") as (root, found):
                done = started(found, root)
                assert done.returncode == status
                assert self.runtime().judge(status, done.stderr) is None

    def test_a_command_that_is_not_there_is_the_jobs_fault(self) -> None:
        """It is said in words; without a wrapper the system says so itself."""
        with self.wrapped("/no/such/program") as (root, found):
            try:
                done = started(found, root)
            except FileNotFoundError:
                assert self.isolation is Isolation.NONE
                return
            assert done.returncode != 0
            assert self.runtime().judge(done.returncode, done.stderr), done.stderr

    def test_what_works_here_is_said_for_people(self) -> None:
        """Each fact has a mark and a text; where the runtime works none says that it does not."""
        facts = self.runtime().examine(os.environ.get("PATH", os.defpath))
        assert all(one.mark in {"ok", "warn"} and one.text.isprintable() for one in facts), facts

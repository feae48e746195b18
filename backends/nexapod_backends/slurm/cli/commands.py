"""Slurm's commands, called one at a time with a clean environment and an end.

What a user's shell or a Slurm job around us sets for these commands (`SQUEUE_FORMAT`, `SBATCH_PARTITION`, ...) never
reaches them. A call that cannot be made, fails or takes too long is an error that says which.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nexapod_backends.slurm.cli.parse import ENVIRONMENT
from nexapod_backends.slurm.cli.refusals import Kind, read_refusal
from nexapod_backends.slurm.transport import LocalTransport
from nexapod_batch.errors import NexapodError, SchedulerError
from nexapod_batch.files import own

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from nexapod_backends.slurm.cli.refusals import Refusal
    from nexapod_backends.slurm.transport import Done, Transport
    from nexapod_batch.model.site import Site

__all__ = ["FullError", "NoIdError", "RefusedError", "Slurm", "TimedOutError", "TooLargeError"]

_STDERR = 500
#: What scancel says of what needs no cancelling any more.
_OVER = re.compile(r"already completing or completed|already (?:done|finished)|invalid job id", re.IGNORECASE)
#: What a command says that may list nothing of what it was asked for.
_HIDDEN = re.compile(r"access/permission denied", re.IGNORECASE)
_NOT_FOUND = 127  # as a shell on the other side says it


class TimedOutError(SchedulerError):
    """A command did not answer in time: what it was to do may have been done."""


class NoIdError(TimedOutError):
    """A submission seems to have been taken, and what was answered is not the id alone."""


class FullError(SchedulerError):
    """There are too many jobs for now: some will end, or fewer would be taken."""


class RefusedError(NexapodError):
    """Slurm refused for good: asking again would not help."""


class TooLargeError(RefusedError):
    """Slurm refused for good what was asked for: a job that is packed less tightly may be taken."""


class Slurm:
    """The commands of one cluster."""

    def __init__(self, site: Site, transport: Transport) -> None:
        """Remember where they are, how they are reached and how long they may take."""
        self._site, self._transport = site, transport
        self._trusted: set[str] = set()  # programs of the site file that were looked at

    def submit(self, script: str, *, test_only: bool = False) -> str:
        """Hand a script to sbatch and return the job's id; with `test_only` what Slurm says of it.

        RefusedError when it never will be taken, TimedOutError when it may have been, SchedulerError when not now,
        FullError among them when it would be too many.

        Raises:
            NoIdError: It answered without an id.

        """
        argv = ["sbatch", "--parsable", *(["--test-only"] if test_only else [])]
        done = self.call(argv, text=script, check=False)
        stderr = done.stderr.strip()
        if done.returncode == 0:
            if test_only:
                return stderr
            job, _, cluster = done.stdout.strip().partition(";")
            if not (job.isascii() and job.isdigit()) or len(cluster.split()) > 1:
                raise NoIdError(f"site {self._site.name}: sbatch answered without a job id", got=done.stdout[:200])
            return job
        raise self._refused(read_refusal(stderr, done.returncode))

    def _refused(self, why: Refusal) -> NexapodError:
        """Return the error of an sbatch that failed."""
        site = f"site {self._site.name}"
        match why.kind:
            case Kind.FULL:
                return FullError(f"{site}: Slurm takes no more jobs of this account now", got=why.got)
            case Kind.PASSING:
                return SchedulerError(f"{site}: sbatch failed", got=why.got, hint="it is tried again")
            case Kind.SIZE:
                return TooLargeError(f"{site}: Slurm refuses the job", got=why.got, hint=why.step)
            case Kind.WORDS:
                return RefusedError(f"{site}: Slurm refuses the job", got=why.got, hint=why.step)

    def cancel(self, ids: Sequence[str], *, pending: bool = False) -> None:
        """Cancel jobs and array elements, or what of them is `pending`; those that ended are no error.

        Raises:
            SchedulerError: scancel failed.

        """
        options = ["--quiet", *(["--state=PENDING"] if pending else [])]
        for first in range(0, len(ids), 200):
            done = self.call(["scancel", *options, *ids[first : first + 200]], check=False)
            lines = [line for line in done.stderr.splitlines() if line.strip() and not _OVER.search(line)]
            if lines or (done.returncode and not done.stderr.strip()):
                got = " ".join(" ".join(lines).split())[-_STDERR:] or f"exit code {done.returncode}"
                raise SchedulerError(f"site {self._site.name}: scancel failed", got=got, hint="it is tried again")

    def listing(self, argv: Sequence[str]) -> str:
        """Return what a command lists; "" where Slurm shows it to others only (PrivateData).

        SchedulerError when it cannot be run or fails otherwise.
        """
        done = self.call(argv, check=False)
        if done.returncode and not _HIDDEN.search(done.stderr):
            raise self._failed(argv[0], done)
        return "" if done.returncode else done.stdout

    def start(self, argv: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program of ours on this machine, with pipes and the environment that the commands have.

        Raises:
            SchedulerError: The cluster is on another machine.
            OSError: It cannot be started.

        """
        if not isinstance(self._transport, LocalTransport):
            raise SchedulerError(f"site {self._site.name}: nothing can be started beside its commands")
        return self._transport.start(argv, self._extra(), stderr)

    def _extra(self) -> dict[str, str]:
        """Return what the commands have in their environment beside ours."""
        conf = self._site.scheduler.conf
        return {**ENVIRONMENT, "SLURM_CONF": conf} if conf else dict(ENVIRONMENT)

    def call(self, argv: Sequence[str], *, text: str = "", check: bool = True) -> Done:
        """Run a command to its end; SchedulerError when it cannot be, fails (with `check`) or takes too long.

        Raises:
            TimedOutError: It takes too long.

        """
        scheduler = self._site.scheduler
        command = self._command(argv)
        try:
            self._trust(command[0])
            done = self._transport.run(command, self._extra(), text=text, timeout_s=scheduler.cmd_timeout_s)
        except FileNotFoundError as error:
            raise self._missing(argv[0]) from error
        except TimeoutError as error:
            raise TimedOutError(
                f"site {self._site.name}: {argv[0]} did not answer", got=f"nothing in {scheduler.cmd_timeout_s} s",
                hint="it is tried again; see [scheduler] cmd_timeout in the site file",
            ) from error  # fmt: skip
        except OSError as error:
            raise SchedulerError(f"site {self._site.name}: {argv[0]} cannot be run", got=str(error)) from error
        if done.returncode == _NOT_FOUND and not done.stdout:
            raise self._missing(argv[0])
        if check and done.returncode:
            raise self._failed(argv[0], done)
        return done

    def _command(self, argv: Sequence[str]) -> list[str]:
        """Return a command as this cluster is reached: its program in `bin`, the cluster by its name."""
        scheduler = self._site.scheduler
        program = os.path.join(scheduler.bin, argv[0]) if scheduler.bin else argv[0]
        clusters = [f"--clusters={scheduler.cluster}"] if scheduler.cluster else []
        return [program, *clusters, *argv[1:]]

    def _failed(self, command: str, done: Done) -> SchedulerError:
        got = done.stderr.strip()[-_STDERR:] or f"exit code {done.returncode}"
        return SchedulerError(f"site {self._site.name}: {command} failed", got=got)

    def _trust(self, program: str) -> None:
        """Raise ForeignPathError for a program of the site file that others can change; looked at once."""
        scheduler = self._site.scheduler
        if scheduler.bin and scheduler.transport == "local" and program not in self._trusted:
            own.check_file(Path(program))
            self._trusted.add(program)

    def _missing(self, command: str) -> SchedulerError:
        where = f"site {self._site.name}: " if self._site.name else ""
        return SchedulerError(
            f"{where}there is no {command}",
            got=f"nothing in {self._site.scheduler.bin or 'PATH'}",
            hint="is this a login node of the cluster? See [scheduler] bin in the site file",
        )

"""Slurm's commands, called one at a time with a clean environment and an end.

What a user's shell or a Slurm job around us sets for these commands (`SQUEUE_FORMAT`, `SBATCH_PARTITION`, ...) never
reaches them. A call that cannot be made, fails or takes too long is an error that says which.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_backends.slurm.parse import ENVIRONMENT
from nexapod_batch.errors import NexapodError, SchedulerError
from nexapod_batch.files import own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_backends.slurm.transport import Done, Transport
    from nexapod_batch.model.site import Site

__all__ = ["FullError", "RefusedError", "Slurm", "TimedOutError"]

#: What sbatch says when asking again would not help.
_PERMANENT = re.compile(
    r"invalid (partition|account|qos|generic resource|wckey|reservation|feature|node name|job array)"
    r"|requested (node configuration is not available|partition configuration|time limit is invalid)"
    r"|(more (processors|nodes) requested than permitted)|memory specification can not be satisfied"
    r"|(account|partition|qos).{0,40}(not permitted|not available|not allowed)|user.{0,40}not (permitted|allowed)"
    r"|node count specification invalid|invalid (script|directive)|unrecognized option|invalid option"
    r"|time limit specification required|batch script (contains|is empty)|job violates accounting/qos policy"
    r"|access denied to requested|unknown option",
    re.IGNORECASE,
)
#: What it says beside that when there are only too many jobs at the moment: some will end.
_FOR_NOW = re.compile(r"\w*submitjobs?(per(user|account))?limit", re.IGNORECASE)
_STDERR = 500
_NOT_FOUND = 127  # as a shell on the other side says it


class TimedOutError(SchedulerError):
    """A command did not answer in time: what it was to do may have been done."""


class FullError(SchedulerError):
    """There are too many jobs for now: some will end, or fewer would be taken."""


class RefusedError(NexapodError):
    """Slurm refused for good: asking again would not help."""


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
        """
        argv = ["sbatch", "--parsable", *(["--test-only"] if test_only else [])]
        done = self.call(argv, text=script, check=False)
        said = done.stderr.strip()
        if done.returncode == 0:
            job = done.stdout.strip().partition(";")[0]
            if test_only:
                return said
            if not (job.isascii() and job.isdigit()):
                raise TimedOutError(f"site {self._site.name}: sbatch answered without a job id", got=done.stdout[:200])
            return job
        got = said[-_STDERR:] or f"exit code {done.returncode}"
        if full := _FOR_NOW.search(said):
            raise FullError(f"site {self._site.name}: Slurm takes no more jobs of this account now", got=full[0])
        if _PERMANENT.search(said):
            raise RefusedError(f"site {self._site.name}: Slurm refuses the job", got=got)
        raise SchedulerError(f"site {self._site.name}: sbatch failed", got=got, hint="it is tried again")

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs and array elements; those that ended are no error."""
        for first in range(0, len(ids), 200):
            self.call(["scancel", "--quiet", *ids[first : first + 200]])

    def call(self, argv: Sequence[str], *, text: str = "", check: bool = True) -> Done:
        """Run a command to its end; SchedulerError when it cannot be, fails (with `check`) or takes too long."""
        scheduler = self._site.scheduler
        clusters = [f"--clusters={scheduler.cluster}"] if scheduler.cluster else []
        command = [os.path.join(scheduler.bin, argv[0]) if scheduler.bin else argv[0], *clusters, *argv[1:]]
        extra = {**ENVIRONMENT, "SLURM_CONF": scheduler.conf} if scheduler.conf else ENVIRONMENT
        try:
            self._trust(command[0])
            done = self._transport.run(command, extra, text=text, timeout_s=scheduler.cmd_timeout_s)
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
            got = done.stderr.strip()[-_STDERR:] or f"exit code {done.returncode}"
            raise SchedulerError(f"site {self._site.name}: {argv[0]} failed", got=got)
        return done

    def _trust(self, program: str) -> None:
        """Raise ForeignPathError for a program of the site file that others can change; looked at once."""
        scheduler = self._site.scheduler
        if scheduler.bin and scheduler.transport == "local" and program not in self._trusted:
            own.check_file(Path(program))
            self._trusted.add(program)

    def _missing(self, command: str) -> SchedulerError:
        return SchedulerError(
            f"{f'site {self._site.name}: ' if self._site.name else ''}there is no {command}",
            got=f"nothing in {self._site.scheduler.bin or 'PATH'}",
            hint="is this a login node of the cluster? See [scheduler] bin in the site file",
        )

"""Ranks of one replica that a launcher starts (srun, mpiexec), on whatever hosts.

The launcher runs with the environment of its site, nothing of the job's: `LD_PRELOAD` or `SLURM_TASK_PROLOG` of a job
would decide what it does. Each rank begins with a start file, a few lines of Python that hold as data what the rank is
to be: its environment, its folder, its argv. They add by which variables the launcher tells a rank who it is, and
become the command, or the wrapper around it.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexapod_batch import birth, interpreter
from nexapod_batch.errors import PluginError
from nexapod_batch.runner.execution.stage import CommandError, find_program
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.runtimes import Wrapped

__all__ = ["launcher", "launcher_environment", "said_by_launcher", "started_by_file"]

#: What else a launcher finds of its site's.
_OF_SITE = frozenset({
    "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR", "KRB5CCNAME", "UCX_TLS",
})  # fmt: skip

#: Open MPI counts cores, and a node may offer threads; as root it wants to be told twice.
_OPEN_MPI = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}  # fmt: skip

_START = """\
import os
given, before, folder, argv = {data!r}
env = dict(given)
for name, value in os.environb.items():
    if name.startswith({told!r}):
        env[before + name] = value
try:
    os.chdir(folder)
    os.execvpe(argv[0], argv, env)
except OSError as error:
    os.write(2, b"%s cannot be started: %s\\n" % (argv[0], error.strerror.encode()))
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""


def launcher_environment(job: Job, path: str, root: str, mine: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a launcher: `mine`, what the runner got, by allow-list; nothing of the job's.

    PATH is the node's; `root` is the replica's folder, by which the processes of a dead worker are found.
    """
    mine = (birth.given or os.environ) if mine is None else mine
    found = {name: value for name, value in mine.items() if name in _OF_SITE or name.startswith(birth.TOLD)}
    found.update({"PATH": path, "LANG": "C.UTF-8", "NEXAPOD_ROOT": f"{root}/"})
    if "SLURM_JOB_ID" not in found:  # on a machine of its own: what Open MPI refuses otherwise, and we count ourselves
        found.update(_OPEN_MPI)
    if job.resources.cpus_per_task:  # which srun does not take over from sbatch by itself since Slurm 22.05
        found["SRUN_CPUS_PER_TASK"] = str(job.resources.cpus_per_task)
    return found


def launcher(template: Sequence[str], job: Job, path: str) -> list[str]:
    """Return the argv of a launcher, whose program is found in PATH; PluginError where there is none."""
    try:
        program = find_program(template[0], path, "/")
    except CommandError as error:
        raise PluginError(
            "this node has no program that starts ranks", got=str(error), hint=f"install {template[0]} there"
        ) from error
    return [program, *(word.replace("{ntasks}", str(job.resources.ranks)) for word in template[1:])]


@contextmanager
def started_by_file(file: str, wrapped: Wrapped, folder: str) -> Iterator[list[str]]:
    """Write the start file of a replica's ranks; yield the argv that a launcher runs as each; remove the file.

    It must lie where every rank sees it and no command can write. CommandError for what no argument can hold.

    Raises:
        PluginError: What is wrapped around the command cannot be started on other hosts.

    """
    if wrapped.feeds:
        raise PluginError("what is wrapped around a command by descriptors cannot be started on other hosts")
    try:
        text = start_text(wrapped, folder)
    except ValueError as error:
        raise CommandError(f"the ranks cannot be started: {error}", 126) from error
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as stream:
            stream.write(text)
        yield interpreter.file(file)
    finally:
        os.unlink(file)


def start_text(wrapped: Wrapped, folder: str) -> str:
    """Return the text of a start file. Pure; ValueError for a NUL, which no argument can hold."""
    given = {os.fsencode(name): os.fsencode(value) for name, value in wrapped.env.items()}
    argv = [os.fsencode(word) for word in wrapped.argv]
    if any(b"\0" in one for one in (*argv, *given, *given.values())):
        raise ValueError("embedded null byte")
    data = (given, wrapped.before.encode(), os.fsencode(folder), argv)
    return _START.format(data=data, told=tuple(one.encode() for one in birth.TOLD))


#: Of slurmstepd: the kernel killed a process of a step for memory, whatever the ranks made of it (slurmstepd/req.c).
_KILLED = re.compile(rb"^slurmstepd: error: Detected \d+ oom[-_ ]kill event", re.MULTILINE)
#: Of srun: nothing of the ranks began, for no reason of the job's (srun/launch.c, api/step_launch.c).
_NOT_LAUNCHED = re.compile(
    rb"^srun: error: (?:Application launch failed: |Task launch for \S+ failed on node |"
    rb"Unable to (?:create step for job \d+|confirm allocation for job \d+): "
    rb"(?:Socket timed out|Connection refused|Communication connection failure|Unable to contact slurm controller))"
    rb"[^\n]*",
    re.MULTILINE,
)


def said_by_launcher(status: int | None, stderr: bytes) -> tuple[Outcome, str] | None:
    """Return what Slurm's own words make of a replica of several ranks, from the end of its stderr. Pure.

    A step of which the kernel killed a process may end with 0; ranks that never began are no error of the job.
    """
    if _KILLED.search(stderr):
        return Outcome.MEMORY, "the kernel killed a process of one of its ranks, for memory (slurmstepd says so)"
    if status and (found := _NOT_LAUNCHED.search(stderr)):
        return Outcome.NODE, f"its ranks could not be started: {found[0].decode('utf-8', 'replace')}"
    return None

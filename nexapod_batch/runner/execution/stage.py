"""What a command finds when it starts: its work folder, its inputs, its argv and its environment.

The environment is made from nothing, so that two nodes differ only where they must:

| variable | value |
|---|---|
| `PATH` | `path` of node.json, else on the machine of the submit as it was there, else the runner's own |
| `HOME`, `PWD` | the replica's work folder (`PWD`: `workdir` in it; `HOME`: the account's, if the job says so) |
| `TMPDIR` | an empty folder of its own with a short path (`folders/temporary.py`) |
| `LANG`, `SHELL` | `C.UTF-8`, `/bin/sh` |
| `USER`, `LOGNAME` | name of the account |
| what the site passes on | as the runner got it, after modules and setup lines (`[environment] pass`) |
| `NEXAPOD_NODE`, `NEXAPOD_JOB` | name of the node, number of the job |
| `NEXAPOD_TASK`, `NEXAPOD_NAME`, ... | every placeholder of the descriptor, array values included |
| `OMP_NUM_THREADS` and its kind (`THREADS`) | `cpus_per_task`, where the descriptor says it |
| `SLURM_*`, `PMI_*` and the like | what a launcher tells each rank, where one starts them (`launcher/ranks.py`) |
| `CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`, `HIP_VISIBLE_DEVICES` | its GPUs, by UUID; empty without any |
| `[job] env` | as the descriptor says; it may replace all but the `NEXAPOD_` ones and those of GPUs |
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch import birth
from nexapod_batch.files import careful
from nexapod_batch.files.programs import can_run, first_in
from nexapod_batch.model.placeholders import THREADS, expand, task_environment
from nexapod_batch.model.replica import CHANGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.runner.launches.launch import OpenedLaunch
    from nexapod_batch.runtimes import Device
    from nexapod_batch.spool.node_config import NodeConfig
    from nexapod_batch.trust.statement import Outcome

__all__ = [
    "CommandError",
    "FetchError",
    "InputError",
    "KeptCopyError",
    "NormalizeError",
    "StoppedError",
    "command_path",
    "device_environment",
    "environment",
    "find_program",
    "passed_on",
    "script_of",
    "stage_file",
    "stage_inputs",
    "task_argv",
]

_BLOCK = 1 << 20
_PROGRAMS = (b"#!", b"\x7fELF")  # how an executable file begins
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class InputError(Exception):
    """An input cannot be put where the job wants it."""


class KeptCopyError(InputError):
    """The copy of an input or an image is not there, or not what was pinned: no fault of the task."""


class FetchError(KeptCopyError):
    """The node cannot fetch an input."""


class StoppedError(Exception):
    """The runner was told to stop, or the node's owner wants the replica to go."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        """Keep how the replica ends, and why."""
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


class CommandError(Exception):
    """The command cannot be started; `exit_code` is what a shell would give (126 or 127)."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the shell's exit code beside the message."""
        super().__init__(message)
        self.exit_code = exit_code


class NormalizeError(Exception):
    """A command that normalises an output gave nothing that could be compared."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        """Keep how the replica ends, and why."""
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


def command_path(node: NodeConfig, job: Job) -> str:
    """Return the PATH that commands of a job get on this node; nothing of ours is put before it."""
    if node.path:
        return node.path
    if node.submit_path and job.path:
        return job.path
    return os.environ.get("PATH", _DEFAULT_PATH)


def environment(
    launch: OpenedLaunch, values: Mapping[str, str], node: NodeConfig, path: str, root: str, tmp: str,
    passed: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of a replica with these values of placeholders.

    `root` is its work folder, `tmp` that of its temporary files, `passed` what the site passes on.
    """
    job = launch.job
    found = {**passed, "PATH": path, "HOME": root, "TMPDIR": tmp, "LANG": "C.UTF-8", "SHELL": "/bin/sh", **_account()}
    found["PWD"] = root if job.workdir == "." else f"{root}/{job.workdir}"
    if job.resources.cpus_per_task:
        found.update(dict.fromkeys(THREADS, str(job.resources.cpus_per_task)))
    if job.home == "account":
        found["HOME"] = os.environ.get("HOME", root)
    for name, value in job.env:
        found[name] = expand(value, values)
    found.update(task_environment(values))
    found["NEXAPOD_NODE"] = node.name
    found["NEXAPOD_JOB"] = str(launch.bundle.job_id)
    return found


@cache
def _account() -> dict[str, str]:
    """Return the variables that name the account, which it may have under none."""
    import pwd  # noqa: PLC0415

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = f"uid-{os.geteuid()}"
    return {"USER": name, "LOGNAME": name}


def passed_on(node: NodeConfig, *, contained: bool) -> dict[str, str]:
    """Return the variables that a site passes on, as its file sets them for this node, or as the runner got them.

    What the host's loader of libraries is told does not go into a container, which has libraries of its own.
    """
    got = {**(birth.given or os.environ), **node.env}
    return {name: got[name] for name in node.passes if name in got and not (contained and name.startswith("LD_"))}


def device_environment(devices: Sequence[Device]) -> dict[str, str]:
    """Return what lets a command see its GPUs and no others; without any it sees none."""
    nvidia, amd = ([device.uuid for device in devices if device.vendor == vendor] for vendor in ("nvidia", "amd"))
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(nvidia),
        "ROCR_VISIBLE_DEVICES": ",".join(amd),
        "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(amd)))),  # counts within those of ROCR
    }


def task_argv(launch: OpenedLaunch, values: Mapping[str, str]) -> list[str]:
    """Return the argv of one replica before its runtime wraps it; `values` are those of its placeholders."""
    job = launch.job
    if launch.script is not None:
        return [str(launch.script)] if job.script.startswith("#!") else ["/bin/sh", str(launch.script)]
    return [expand(word, values) for word in job.command]


def find_program(name: str, path: str, folder: str) -> str:
    """Return the file that `name` runs, found in `path` or, with a slash, from `folder`; else CommandError."""
    if "/" in name:
        program = os.path.join(folder, name)
        if can_run(program):
            return program
        if os.path.isdir(program):
            raise CommandError(f"{name!r} is a folder, not a program", 126)
        if os.path.lexists(program):
            raise CommandError(f"{name!r} is not an executable file: chmod +x, or name its interpreter", 126)
        raise CommandError(f"command not found: {name!r} in the work folder (is it listed under [[inputs]]?)", 127)
    found = first_in(path, name)
    if found is None:
        raise CommandError(f"command not found: {name!r} in PATH {path}", 127)
    return found


def script_of(launch: OpenedLaunch, values: Mapping[str, str], folder: str) -> str:
    """Return the file that a command runs, where it lies in its work folder; "" for a program of the machine."""
    if launch.script is not None:
        return str(launch.script)
    name = task_argv(launch, values)[0]
    if "/" in name and not name.startswith("/"):
        return os.path.join(folder, name)
    return ""


def stage_inputs(inputs: tuple[Input, ...], values: Mapping[str, str], paths: Mapping[str, str], root: str) -> int:
    """Copy every input into the work folder, digesting what is copied; return the bytes.

    KeptCopyError names an input whose copy is not what was pinned, InputError one that has no place of its own.

    `values` are those of the task's placeholders, `paths` say where the inputs lie, by digest. Copies, not links: the
    command may write to them, and the next replica must not see that. What begins like a program may be executed,
    and what could be at submit.
    """
    placed = [job_input._replace(target=expand(job_input.target, values)) for job_input in inputs]
    return sum(_stage(one, paths[one.sha256], Path(root, one.target)) for one in placed)


def _stage(job_input: Input, source: str, target: Path) -> int:
    what = f"input {job_input.target!r}"
    return stage_file(what, source, target, job_input.sha256, executable=job_input.executable)


def stage_file(what: str, source: str, target: Path, sha256: str, *, executable: bool = False) -> int:
    """Copy one file to a new one, digesting what is copied; return the bytes. `what` names it in errors.

    KeptCopyError where it is not what was pinned, InputError where something is in its place.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with careful.stream(source) as reader:
            mode = (os.fstat(reader.fileno()).st_mode & 0o777) | (0o700 if executable else 0o600)
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with open(fd, "wb", buffering=0) as writer:
                while block := reader.read(_BLOCK):
                    if size == 0 and block.startswith(_PROGRAMS):
                        mode |= 0o100
                    digest.update(block)
                    size += len(block)
                    rest = memoryview(block)
                    while rest:
                        rest = rest[writer.write(rest) :]
                os.fchmod(fd, mode)  # the umask took something away
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{what} collides with another input") from error
    except careful.NotPlainError as error:
        raise KeptCopyError(f"{what} {CHANGED} none, for its copy is no plain file, wanted {sha256}") from error
    except FileNotFoundError as error:
        raise KeptCopyError(f"{what} is missing: {error.filename}") from error
    except PermissionError as error:
        raise KeptCopyError(f"{what} cannot be read: {error}") from error
    if digest.hexdigest() != sha256:
        raise KeptCopyError(f"{what} {CHANGED} {digest.hexdigest()}, wanted {sha256}")
    return size

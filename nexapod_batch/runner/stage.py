"""What a command finds when it starts: its work folder, its inputs, its argv and its environment.

The environment is made from nothing, so that two nodes differ only where they must:

| variable | value |
|---|---|
| `PATH` | `path` of node.json, else the worker's own; a virtual environment of the worker comes first |
| `HOME`, `TMPDIR`, `PWD` | the replica's work folder (`PWD`: `workdir` in it) |
| `LANG` | `C.UTF-8` |
| `NEXAPOD_NODE`, `NEXAPOD_JOB` | name of the node, number of the job |
| `NEXAPOD_TASK`, `NEXAPOD_NAME`, ... | every placeholder of the descriptor, array values included |
| `SLURM_*`, `PMI_*` and the like | what a launcher tells each rank, where one starts them (`ranks.py`) |
| `CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`, `HIP_VISIBLE_DEVICES` | its GPUs, by UUID; empty without any |
| `[job] env` | as the descriptor says; it may replace all but the `NEXAPOD_` ones and those of GPUs |
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.model.placeholders import expand, task_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Input
    from nexapod_batch.runner.launch import OpenedLaunch
    from nexapod_batch.runner.node import NodeConfig
    from nexapod_batch.runtimes import Device

__all__ = [
    "CommandError",
    "InputError",
    "command_path",
    "device_environment",
    "environment",
    "find_program",
    "stage_inputs",
    "task_argv",
]

_BLOCK = 1 << 20
_PROGRAMS = (b"#!", b"\x7fELF")  # how an executable file begins
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class InputError(Exception):
    """An input is not there, or not what was pinned."""


class CommandError(Exception):
    """The command cannot be started; `exit_code` is what a shell would give (126 or 127)."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the shell's exit code beside the message."""
        super().__init__(message)
        self.exit_code = exit_code


def command_path(node: NodeConfig) -> str:
    """Return the PATH that commands get on this node."""
    if node.path:
        return node.path
    path = os.environ.get("PATH", _DEFAULT_PATH)
    own = str(Path(sys.prefix, "bin"))
    return path if sys.prefix == sys.base_prefix or own in path.split(":") else f"{own}:{path}"


def environment(
    launch: OpenedLaunch, values: Mapping[str, str], node: NodeConfig, path: str, root: str
) -> dict[str, str]:
    """Return the whole environment of a replica with these values of placeholders, whose work folder is `root`."""
    job = launch.job
    found = {"PATH": path, "HOME": root, "TMPDIR": root, "LANG": "C.UTF-8"}
    found["PWD"] = root if job.workdir == "." else f"{root}/{job.workdir}"
    for name, value in job.env:
        found[name] = expand(value, values)
    found.update(task_environment(values))
    found["NEXAPOD_NODE"] = node.name
    found["NEXAPOD_JOB"] = str(launch.bundle.job_id)
    return found


def device_environment(devices: Sequence[Device]) -> dict[str, str]:
    """Return what lets a command see its GPUs and no others; without any it sees none."""
    nvidia, amd = ([one.uuid for one in devices if one.vendor == vendor] for vendor in ("nvidia", "amd"))
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
        if _can_run(program):
            return program
        if os.path.lexists(program):
            raise CommandError(f"{name!r} is not an executable file: chmod +x, or name its interpreter", 126)
        raise CommandError(f"command not found: {name!r} in the work folder (is it listed under [[inputs]]?)", 127)
    found = next(filter(_can_run, (os.path.join(part, name) for part in path.split(os.pathsep))), None)
    if found is None:
        raise CommandError(f"command not found: {name!r} in PATH {path}", 127)
    return found


def _can_run(program: str) -> bool:
    return os.access(program, os.X_OK) and not os.path.isdir(program)


def stage_inputs(inputs: tuple[Input, ...], values: Mapping[str, str], paths: Mapping[str, str], root: str) -> int:
    """Copy every input into the work folder, digesting what is copied; return the bytes. InputError names the input.

    `values` are those of the task's placeholders, `paths` say where the inputs lie, by digest. Copies, not links: the
    command may write to them, and the next replica must not see that. What begins like a program may be executed: its
    bytes are pinned and reach every node, its mode does not.
    """
    placed = [one._replace(target=expand(one.target, values)) for one in inputs]
    return sum(_stage(one, paths[one.sha256], Path(root, one.target)) for one in placed)


def _stage(one: Input, source: str, target: Path) -> int:
    digest, size = hashlib.sha256(), 0
    try:
        with open(source, "rb", buffering=0) as reader:
            mode = (os.fstat(reader.fileno()).st_mode & 0o777) | 0o600
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
    except FileNotFoundError as error:
        raise InputError(f"input {one.target!r} is missing: {error.filename}") from error
    except FileExistsError as error:
        raise InputError(f"input {one.target!r} collides with another input") from error
    except PermissionError as error:
        raise InputError(f"input {one.target!r} cannot be read: {error}") from error
    except IsADirectoryError as error:
        raise InputError(f"input {one.target!r} is a folder, wanted a file") from error
    if digest.hexdigest() != one.sha256:
        raise InputError(f"input {one.target!r} was changed: got sha256 {digest.hexdigest()}, wanted {one.sha256}")
    return size

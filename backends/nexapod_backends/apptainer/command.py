"""The command line of one container and the environment that it is started in. Pure: text in, text out.

What is in the container, and nothing else:

| there | what it is |
|---|---|
| `/` | the image, read-only |
| `/nexapod/work` | the replica's work folder; the home folder, and where the command runs |
| `/nexapod/work/<input>` | each input, read-only |
| `/nexapod/tmp` | `TMPDIR`: a folder of the node's, gone with the replica; counts as disk |
| `/nexapod/script` | the descriptor's script, read-only |
| `/tmp`, `/var/tmp`, `/dev/shm` | memory, private, gone with the replica; counts as disk |
| `/sys/devices/system` | read-only: how many CPUs there are. The rest of `/sys` only with a GPU |
| what `[container] bind` names | within the site's policy |
| `/proc/1` | empty: what started the container could be read there, with every path of the host that it was given |

The image's `%environment` has no say in `HOME`: what is read before it and after it keeps what was documented. Where
the program has a filter of system calls, it is used (`syscalls.py`).

Names and values of environment variables go in by `APPTAINERENV_*` with `--no-eval`: no shell sees them, and commas,
quotes and newlines need no care. Folders go in by `--mount`, whose fields are quoted as in CSV.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_backends.procfs import FROZEN, HIDDEN
from nexapod_batch.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_backends.apptainer.machine import Program, Way
    from nexapod_batch.runtimes import Execution

#: Files of ours beside this one, which the program or the container reads.
_HERE = os.path.dirname(__file__)
_PROFILE = f"{_HERE}/seccomp.json"
_ENVIRONMENT = (
    (f"{_HERE}/before.sh", "/.singularity.d/env/00-nexapod.sh"),
    (f"{_HERE}/after.sh", "/.singularity.d/env/99-zz-nexapod.sh"),
)

__all__ = ["SCRIPT", "TMP", "WORK", "arguments", "before", "environment"]

WORK = "/nexapod/work"
SCRIPT = "/nexapod/script"
TMP = "/nexapod/tmp"
#: A folder that cannot exist and that not even root can make: the program finds no settings of a user.
NOWHERE = "/proc/none"

#: The program does something of its own with variables of these names.
_SPECIAL = frozenset({"PREPEND_PATH", "APPEND_PATH"})


def arguments(
    execution: Execution, program: Program, way: Way, exists: Iterable[str], binds: Sequence[tuple[str, str, bool]] = ()
) -> list[str]:
    """Return the argv that runs the command in its container.

    `exists` are the paths of `looked_at` that are there; `binds` what the job may have beside its own, as (source,
    target, writable).

    Raises:
        PluginError: The job names no container image.

    """
    job, there = execution.job, set(exists)
    container = job.container
    if container is None or execution.image is None:
        raise PluginError("the job names no container image")
    argv = [program.path, "--silent", "exec", *way.options, *_options(execution, program, way)]
    argv += ["--home", _home(execution), "--scratch", "/proc/1"]
    for source, target, writable in [*_mounts(execution, way, there), *binds]:
        argv += ["--mount", _mount(source, target, writable=writable)]
    argv += ["--pwd", inside(execution.folder, execution.root), execution.image]
    return argv + [SCRIPT if word == execution.script else word for word in execution.command]


def _options(execution: Execution, program: Program, way: Way) -> list[str]:
    """Return what shuts the container off from the machine, and lets its GPUs in."""
    container = execution.job.container
    options = ["--unsquash"] if way.unsquash else []
    options += ["--containall", "--cleanenv", "--no-home", "--no-eval", "--no-mount", "sys,hostfs,cwd,bind-paths"]
    if program.seccomp:
        options += ["--security", f"seccomp:{_PROFILE}"]
    if container is not None and container.network == "none":
        options += ["--net", "--network", "none"]
    vendors = {device.vendor for device in execution.devices}
    return options + [option for vendor, option in (("nvidia", "--nv"), ("amd", "--rocm")) if vendor in vendors]


def environment(execution: Execution, program: Program) -> dict[str, str]:
    """Return the environment of the container program: nothing of the runner's but PATH, and as data the command's.

    PATH of the command is the image's own unless the job sets one. Whatever a variable of the job is called, the
    program sees a name that begins with `before`: none can say what it binds or what is loaded into it.

    Raises:
        PluginError: The program would take a variable of the job for its own.

    """
    prefix = before(program)
    found = {
        "PATH": execution.path,
        "HOME": NOWHERE,
        "PWD": execution.root,  # by which the processes of a dead worker are found
        f"{program.name.upper()}_CONFIGDIR": NOWHERE,
        "LANG": "C.UTF-8",
    }
    container = execution.job.container
    image = f"sha256:{container.sha256}" if container is not None else ""  # not where it lies on the host
    found.update({f"{prefix}APPTAINER_CONTAINER": image, f"{prefix}SINGULARITY_CONTAINER": image})
    for name, value in execution.env.items():
        if name in _SPECIAL:
            raise PluginError(f"[job] env: {name} is taken: {program.name} would put it into PATH")
        if name in {"HOME", "PWD"} or (name == "PATH" and value == execution.path):
            continue
        given = value
        if name == "TMPDIR":
            given = TMP if value == execution.tmp else inside(value, execution.root)
        found[f"{prefix}{name}"] = given
    return found


def before(program: Program) -> str:
    """Return what stands before the name of a variable that is to be set in the container."""
    return f"{program.name.upper()}ENV_"


def looked_at(*, root: bool) -> tuple[str, ...]:
    """Return the paths of the host that `arguments` has to know of."""
    return ("/sys/devices/system", *_GPU_FOLDERS, "/etc/hosts", *((*FROZEN, *HIDDEN) if root else ()))


_GPU_FOLDERS = ("/sys/devices", "/sys/class", "/sys/bus", "/sys/module")


def inside(path: str, root: str) -> str:
    """Return the container's path of one in the work folder; others as they are."""
    if path == root or path.startswith(f"{root}/"):
        return WORK + path[len(root) :]
    return path


def _home(execution: Execution) -> str:
    home = inside(execution.env.get("HOME", execution.root), execution.root)
    if not home.startswith("/") or any(char in home for char in ":,"):
        raise PluginError("[job] env: HOME cannot be used in a container", got=repr(home), wanted="an absolute path")
    return home


def _mounts(execution: Execution, way: Way, there: set[str]) -> list[tuple[str, str, bool]]:
    """Return (source, target, writable) of everything that is bound, in the order in which it must be."""
    root = execution.root
    found = [(root, WORK, True)]
    found += [(f"{root}/{target}", f"{WORK}/{target}", False) for target in execution.inputs]
    if execution.tmp:
        found.append((execution.tmp, TMP, True))
    found += [(source, target, False) for source, target in _ENVIRONMENT]
    if execution.script is not None:
        found.append((execution.script, SCRIPT, False))
    system = _GPU_FOLDERS if execution.devices else ("/sys/devices/system",)
    found += [(path, path, False) for path in system if path in there]
    container = execution.job.container
    if container is not None and container.network == "host" and "/etc/hosts" in there:
        found.append(("/etc/hosts", "/etc/hosts", False))
    return found + (_mounts_of_root(there) if way.mode == "root" else [])


def _mounts_of_root(there: set[str]) -> list[tuple[str, str, bool]]:
    """Return what covers the files of the kernel's that root could change or read in the container."""
    frozen = [(path, path, False) for path in FROZEN if path in there]
    return frozen + [(os.devnull, path, False) for path in HIDDEN if path in there]


def _mount(source: str, target: str, *, writable: bool) -> str:
    fields = ["type=bind", f"source={source}", f"destination={target}", *([] if writable else ["ro"])]
    return ",".join(map(_field, fields))


def _field(text: str) -> str:
    if not set(text) & set('",\n\r'):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'

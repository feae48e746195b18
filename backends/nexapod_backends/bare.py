"""The runtime `bare`: the command runs as it is, as the account of the runner.

It can do what that account can, and read the node's key: attestations say `isolation = none`. A command of somebody
else's job is confined by bubblewrap, and every command where the node says so: it sees the machine read-only, without
the homes and folders of the account, and writes to its work folder alone, which has one path for all replicas: `files`.
What is to be confined and cannot be does not run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from nexapod_batch.errors import PluginError
from nexapod_batch.model.job import Isolation
from nexapod_batch.runtimes import FEED, Fact, RuntimeSettings, Wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_backends.bubblewrap import View
    from nexapod_batch.runtimes import Execution

__all__ = ["BareRuntime"]

_PROGRAM = "bwrap"
_PREFIX = f"{_PROGRAM}: "  # of its messages
_COMMAND = "execvp "
_DISABLES = (0, 8)  # the version since which it can forbid user namespaces
_CALL_S, _MAX_ANSWER = 60, 1 << 20

_SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108 - they are covered, not used
_EMPTY = ("/run", "/var/run")
_DEVICES = {"nvidia": ("/dev/nvidia", "/dev/dri"), "amd": ("/dev/kfd", "/dev/dri")}  # how their names begin


class BareRuntime:
    """Wraps nothing around the command, or bubblewrap."""

    def __init__(self) -> None:
        """Know nothing of the node yet."""
        self._settings = RuntimeSettings()

    def settle(self, settings: RuntimeSettings) -> None:
        """Hear whom to confine, and what is private."""
        self._settings = settings

    def wrap(self, execution: Execution) -> Wrapped:
        """Return the command itself, or confined; PluginError when it cannot be and must.

        Ranks that a launcher starts, perhaps on other hosts, and which share memory, are not confined.
        """
        if not self._confines(execution):
            return Wrapped(argv=list(execution.command), env=execution.env)
        program = _find(execution.path)
        if program is None:
            raise PluginError(
                "this node confines commands, and there is no bwrap", got=f"PATH {execution.path}",
                hint="install bubblewrap, or put the job into a [container]",
            )  # fmt: skip
        from nexapod_backends.bubblewrap import arguments, command  # noqa: PLC0415 - for who confines
        from nexapod_backends.syscalls import compiled  # noqa: PLC0415

        env = {"PATH": execution.path, "LANG": "C.UTF-8", "PWD": execution.root}  # PWD: by which strays are found
        view = _view(execution, self._settings)
        words = arguments(
            execution, view, new=_version(program) >= _DISABLES,
            network=not (execution.foreign or execution.offline), around=env,
        )  # fmt: skip
        calls = compiled(os.uname().machine)
        words += [] if calls is None else ["--seccomp", str(FEED + 1)]
        text = b"".join(os.fsencode(word) + b"\0" for word in words)
        if text.count(b"\0") != len(words):
            raise PluginError("a variable or a path of the job holds a NUL")
        return Wrapped(
            argv=[program, "--args", str(FEED), "--", *command(execution, view)],
            env=env,
            isolation="files",
            feeds=(text,) if calls is None else (text, calls),
        )

    def _confines(self, execution: Execution) -> bool:
        """Say whether the command is to be confined; PluginError when it must be and cannot."""
        confine, foreign = self._settings.confine, execution.foreign
        if execution.offline:  # nothing but a network of its own keeps it from the machine's
            return True
        demanded = execution.job.quorum.min_isolation is not Isolation.NONE
        if demanded and confine == "never":
            raise PluginError(
                "this node confines no command, and the job wants at least files (quorum.min_isolation)",
                hint="put the job into a [container], or take confine = never out of the node's settings",
            )
        wanted = demanded or confine == "all" or (confine == "foreign" and foreign)
        if execution.job.resources.ranks == 1:
            return wanted
        hint = "give the job a [container] with network"
        if demanded:
            raise PluginError("ranks cannot be confined, and the job wants it", hint=hint)
        if foreign and confine != "never":
            raise PluginError("ranks of somebody else's job cannot be confined", hint=hint)
        return False

    def examine(self, path: str) -> list[Fact]:
        """Return whether commands without a container can be confined, by confining one that does nothing."""
        program = _find(path)
        if program is None:
            hint = "install bubblewrap"
            return [Fact("warn", "commands without a container cannot be confined: no bwrap", hint)]
        said = _tried(program)
        if said is None:
            return [Fact("ok", "commands without a container can be confined")]
        hint = "sysctl user.max_user_namespaces=15000, or allow bwrap user namespaces"
        return [Fact("warn", f"commands without a container cannot be confined: {said}", hint)]

    def judge(self, status: int, stderr: bytes) -> str | None:  # noqa: ARG002 - the port's signature
        """Tell the last words of bwrap, about the command or about the machine, from the command's.

        Raises:
            PluginError: The command could not be confined.

        """
        last_line = stderr.decode("utf-8", "replace").removesuffix("\n").rpartition("\n")[2]
        message = last_line.removeprefix(_PREFIX)
        if message in {"", last_line}:
            return None
        if message.startswith(_COMMAND):
            return f"the command cannot be started: {message.removeprefix(_COMMAND)}"
        raise PluginError("the command could not be confined", got=message, hint="nexapod-batch doctor")


def _view(execution: Execution, settings: RuntimeSettings) -> View:
    """Look at this machine."""
    from nexapod_backends.bubblewrap import PLACE, View, within  # noqa: PLC0415
    from nexapod_backends.procfs import FROZEN, HIDDEN  # noqa: PLC0415

    root = os.geteuid() == 0
    scratch, tmp = _folders(_SCRATCH), os.path.realpath(execution.tmp) if execution.tmp else ""
    above = os.path.dirname(tmp)  # where the temporary files of other replicas lie as well
    empty = _folders((*_EMPTY, *_homes(), *((above,) if tmp and above not in scratch else ())))
    binds = [(path, path, False) for path in _tools(execution.path, (*scratch, *empty))]
    for bind in settings.binds:
        path = bind.removesuffix(":rw")
        if os.path.isdir(path):
            binds.append((os.path.realpath(path), path, bind.endswith(":rw")))
    above_place = os.path.dirname(PLACE)
    free = above_place in scratch and not within(above_place, [target for _, target, _ in binds])
    return View(
        scratch=scratch,
        empty=empty,
        binds=tuple(binds),
        private=_folders(settings.private),
        devices=tuple(_devices(execution)),
        frozen=tuple(filter(os.path.lexists, FROZEN if root else ())),
        hidden=tuple(filter(os.path.lexists, HIDDEN if root else ())),
        tmp=tmp,
        place=PLACE if free else "",
    )


def _folders(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return those that are there, by the path to which links lead; of a file the folder."""
    real = [os.path.realpath(path) for path in paths if os.path.lexists(path)]
    return tuple(dict.fromkeys(one if os.path.isdir(one) else os.path.dirname(one) for one in real))


@cache
def _homes() -> tuple[str, ...]:
    """Return the homes of this account, by its word and by the system's; not one that is the root of everything."""
    import pwd  # noqa: PLC0415

    found = [os.environ.get("HOME", "")]
    with suppress(KeyError):  # an account without a name
        found.append(pwd.getpwuid(os.geteuid()).pw_dir)
    return tuple(dict.fromkeys(one for one in found if one.startswith("/") and os.path.realpath(one) != "/"))


@cache
def _tools(path: str, covered: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is to be seen of covered folders so that programs of PATH run: `bin`, or a whole environment.

    An environment of Python's says so (`pyvenv.cfg`, `conda-meta`), or is where an interpreter of PATH lies.
    """
    from nexapod_backends.bubblewrap import within  # noqa: PLC0415

    found: list[str] = []
    for entry in path.split(os.pathsep):
        real = os.path.realpath(entry) if entry.startswith("/") and os.path.isdir(entry) else ""
        if not real:
            continue
        above = os.path.dirname(real)
        whole = any(os.path.lexists(f"{above}/{mark}") for mark in ("pyvenv.cfg", "conda-meta"))
        found.append(above if whole else real)
        if os.path.exists(f"{real}/python3"):
            found.append(os.path.dirname(os.path.dirname(os.path.realpath(f"{real}/python3"))))
    return tuple(dict.fromkeys(one for one in found if within(one, covered) and one not in covered))


def _devices(execution: Execution) -> Iterator[str]:
    begins = {begin for device in execution.devices for begin in _DEVICES.get(device.vendor, ())}
    for name in sorted(os.listdir("/dev")) if begins else ():
        if any(f"/dev/{name}".startswith(begin) for begin in begins):
            yield f"/dev/{name}"


@cache
def _find(path: str) -> str | None:
    from shutil import which  # noqa: PLC0415 - 5 ms that runners which do not confine save

    found = which(_PROGRAM, path=path)
    if found is None:
        return None
    return os.path.abspath(found)


def _run(argv: list[str]) -> tuple[int, str]:
    from nexapod_batch.files import answers  # noqa: PLC0415 - as above

    try:
        done = answers.ask(argv, timeout_s=_CALL_S, max_bytes=_MAX_ANSWER, env={"PATH": os.defpath})
    except OSError as error:
        return 1, str(error)
    return done.status, (done.stderr if done.status else done.stdout).decode("utf-8", "replace")


@cache
def _version(program: str) -> tuple[int, ...]:
    import re  # noqa: PLC0415 - most runners confine nothing

    code, answer = _run([program, "--version"])
    if code == 0:
        return tuple(map(int, re.findall(r"\d+", answer)[:2]))
    return ()


@cache
def _tried(program: str) -> str | None:
    """Return why nothing can be confined here, None when something can."""
    argv = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--cap-drop", "ALL", "--ro-bind", "/", "/"]
    code, said = _run([*argv, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--", "/bin/sh", "-c", ":"])  # noqa: S108
    if code == 0:
        return None
    return " ".join(said.split())[-200:] or f"bwrap ended with {code}"

"""The runtime itself: the program and the way that work here, wrapped around a command."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from nexapod_backends.apptainer import command, machine
from nexapod_batch.errors import PluginError
from nexapod_batch.runtimes import Execution, RuntimeSettings, Wrapped, bind_allowed
from nexapod_batch.trust.statement import ContainerUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.runtimes import Fact

__all__ = ["ApptainerRuntime"]

_FAILED = 255  # exit code of the program when it is not the command's
_FATAL = re.compile(r"^(?:\x1b\[[0-9;]*m)?FATAL: +([^\n]+)\n?\s*\Z", re.MULTILINE)
#: Last words that are about the command, not about the machine.
_COMMAND = re.compile(r'"[^"]*": executable file not found|stat /|permission denied|exec |fork/exec |chdir ')


class ApptainerRuntime:
    """Runs every command in a container of its own."""

    def __init__(self) -> None:
        """Know nothing of this machine yet."""
        self._settings = RuntimeSettings()
        self._exists: tuple[str, ...] | None = None

    def settle(self, settings: RuntimeSettings) -> None:
        """Hear which program to use, and what jobs may have bound."""
        self._settings = settings

    def wrap(self, execution: Execution) -> Wrapped:
        """Return the command line of the container; PluginError when this machine cannot run it."""
        program = machine.find_program(self._settings.program, execution.path)
        way = machine.way(program)
        if self._exists is None:
            self._exists = tuple(filter(os.path.lexists, command.looked_at(root=way.mode == "root")))
        if any(device.vendor == "nvidia" for device in execution.devices) and not os.path.exists("/dev/nvidiactl"):
            raise PluginError("the NVIDIA driver has gone: there is no /dev/nvidiactl", hint="nvidia-smi, then reboot")
        container = execution.job.container
        if container is None or execution.image is None:
            raise PluginError("the job names no container image")
        return Wrapped(
            argv=command.arguments(execution, program, way, self._exists, self._binds(container.bind)),
            env=command.environment(execution, program),
            before=command.before(program),
            isolation="container",
            container=ContainerUse(
                image=container.image,
                sha256=container.sha256,
                runtime=program.name,
                version=program.version,
                mode=way.mode + "+unsquash" * way.unsquash + "+seccomp" * program.seccomp,
                network=container.network,
            ),
        )

    def _binds(self, wanted: Sequence[str]) -> list[tuple[str, str, bool]]:
        """Return (source, target, writable) of what a job wants bound; PluginError unless the node allows it.

        Where a link leads counts, not where it lies.
        """
        allowed = [_real(bind) for bind in self._settings.binds]
        found = []
        for one in wanted:
            path, source = one.removesuffix(":rw"), _real(one).removesuffix(":rw")
            if not bind_allowed(_real(one), allowed):
                may = ", ".join(self._settings.binds) or "none"
                raise PluginError("the job may not have this folder here", got=one, wanted=f"within: {may}")
            if any(f"{_real(hidden)}/".startswith(f"{source}/") for hidden in self._settings.private):
                raise PluginError("the folder holds what no command may reach: key, spool or database", got=one)
            if not os.path.isdir(source):
                raise PluginError("there is no such folder to bind", got=path)
            found.append((source, path, one.endswith(":rw")))
        return found

    def examine(self, path: str) -> list[Fact]:
        """Return which program there is, and what of it works for this account."""
        return machine.examine(self._settings.program, path)

    def judge(self, status: int, stderr: bytes) -> str | None:
        """Tell the program's own last words from the command's.

        A command could print the like and exit with 255; all that it gains is that its failure counts as the node's,
        and is repeated until `max_lost`.

        Raises:
            PluginError: The container could not be started.

        """
        said = _FATAL.search(stderr.decode("utf-8", "replace")) if status == _FAILED else None
        if said is None:
            return None
        reason = " ".join(said[1].split())
        if _COMMAND.match(reason):
            return f"the command cannot be started in the container: {reason}"
        raise PluginError("the container could not be started", got=reason)


def _real(bind: str) -> str:
    """Return a bind with the path to which links lead."""
    path = bind.removesuffix(":rw")
    return os.path.realpath(path) + bind[len(path) :]

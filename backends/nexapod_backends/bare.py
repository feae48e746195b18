"""The runtime `bare`: the command runs as it is, as the account of the runner.

It can read what that account can read, the node's key included: attestations say `isolation = none`. On a node that is
told to confine, bubblewrap hides the node's key, spool and database, and every process but the command's own: `files`.
There a command that cannot be confined does not run.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING

from nexapod_batch.errors import PluginError
from nexapod_batch.runtimes import Fact, RuntimeSettings, Wrapped

if TYPE_CHECKING:
    from nexapod_batch.runtimes import Execution

__all__ = ["BareRuntime"]

_PROGRAM = "bwrap"
#: Its last words: about the command, or about the machine.
_SAID = re.compile(rf"^{_PROGRAM}: ([^\n]+)\n?\Z", re.MULTILINE)
_COMMAND = "execvp "


class BareRuntime:
    """Wraps nothing around the command, or what hides the node's own files."""

    def __init__(self) -> None:
        """Confine nothing yet."""
        self._settings = RuntimeSettings()

    def settle(self, settings: RuntimeSettings) -> None:
        """Hear whether to confine, and what is to be hidden."""
        self._settings = settings

    def wrap(self, execution: Execution) -> Wrapped:
        """Return the command itself, confined where the node says so; PluginError when it cannot be.

        Ranks that a launcher starts, perhaps on other hosts, and which share memory, are not confined.
        """
        if not self._settings.confine or execution.job.resources.ranks > 1:
            return Wrapped(argv=list(execution.command), env=execution.env)
        program = _find(execution.path)
        if program is None:
            raise PluginError(
                "this node confines commands, and there is no bwrap", got=f"PATH {execution.path}",
                hint="install bubblewrap, or take confine out of the node's settings",
            )  # fmt: skip
        argv = [program, "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--chdir", execution.folder]
        for path in _outermost(self._settings.private):
            if f"{execution.root}/".startswith(f"{path}/"):
                raise PluginError("the work folder lies in what is to be hidden", got=execution.root)
            argv += ["--tmpfs", path] if os.path.isdir(path) else ["--ro-bind", os.devnull, path]
        return Wrapped(argv=[*argv, "--", *execution.command], env=execution.env, isolation="files")

    def examine(self, path: str) -> list[Fact]:
        """Return whether commands without a container could be confined."""
        if _find(path) is None:
            return [Fact("warn", "commands without a container cannot be confined: no bwrap", "install bubblewrap")]
        return [Fact("ok", "commands without a container can be confined (node init --confine)")]

    def judge(self, status: int, stderr: bytes) -> str | None:  # noqa: ARG002 - the port's signature
        """Tell the words of bwrap from the command's, where it was used."""
        said = _SAID.search(stderr.decode("utf-8", "replace")) if self._settings.confine else None
        if said is None:
            return None
        if said[1].startswith(_COMMAND):
            return f"the command cannot be started: {said[1].removeprefix(_COMMAND)}"
        raise PluginError("the command could not be confined", got=said[1], hint="nexapod-batch doctor")


@cache
def _find(path: str) -> str | None:
    from shutil import which  # noqa: PLC0415 - 5 ms that runners which do not confine save

    return which(_PROGRAM, path=path)


def _outermost(paths: tuple[str, ...]) -> list[str]:
    """Return the paths that are there, without those that lie in another of them."""
    found: list[str] = []
    for path in sorted(os.path.realpath(one) for one in paths if os.path.lexists(one)):
        if not any(path == one or path.startswith(f"{one}/") for one in found):
            found.append(path)
    return found

"""The arguments by which bubblewrap confines one command. Pure: paths in, text out.

What the command finds, in this order, later lines over earlier ones:

| there | what it is |
|---|---|
| `/` | the machine's, all of it read-only, no setuid, no devices |
| `/dev` | null, zero, full, random, tty, a terminal and shared memory of its own; devices of its GPUs |
| `/proc` | of its own processes; what root's uid alone could change is read-only |
| `/tmp`, `/var/tmp` | memory, private, gone with the replica; counts as disk |
| `/run`, the homes of the account | empty, read-only: sockets of daemons and agents, keys, settings |
| what `PATH` names in there, and the site's `bind` | programs, read-only; the site's folders as the site says |
| the home of nexapod-batch, folders of sites | empty, read-only |
| `/tmp/nexapod/work`, `/tmp/nexapod/tmp` | work folder and `TMPDIR`, to write: the same for all replicas |
| `/tmp/nexapod/script` | the descriptor's script, read-only |

Where the site binds `/tmp` itself, or there is none, work folder, `TMPDIR` and script have the host's paths. No file is
covered by itself: who may make its neighbours could go around it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.runtimes import Execution

__all__ = ["PLACE", "View", "arguments", "command", "outermost", "within"]

#: Where a command finds its work folder, `TMPDIR` and script: files that record a path are the same for all replicas.
PLACE = "/tmp/nexapod"  # noqa: S108 - in memory of its own


#: Variables that we set to paths of the replica's own.
_PATHS = frozenset({"HOME", "PWD", "TMPDIR"})


class View(NamedTuple):
    """What lies where on this machine; every path is real, and there."""

    scratch: tuple[str, ...] = ()  # folders that are memory: /tmp, /var/tmp
    empty: tuple[str, ...] = ()  # folders that are empty: /run, homes
    binds: tuple[tuple[str, str, bool], ...] = ()  # source, target, writable: what of those is to be seen all the same
    private: tuple[str, ...] = ()  # folders that no command may see
    devices: tuple[str, ...] = ()  # device files and folders of its GPUs
    frozen: tuple[str, ...] = ()  # read-only
    hidden: tuple[str, ...] = ()  # files of the kernel that are covered
    tmp: str = ""  # where the replica's temporary files lie
    place: str = ""  # a folder in memory for what is the replica's own; "" leaves it where it is on the host


def arguments(execution: Execution, view: View, *, new: bool, network: bool, around: Iterable[str]) -> list[str]:
    """Return the arguments up to the command; `around` are the variables of bubblewrap itself, which end there.

    `new` says that this bubblewrap can forbid user namespaces of the command's own. The process is in a session of its
    own already, without a terminal: the runner saw to that.
    """
    argv = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--disable-userns"] if new else []
    argv += [] if network else ["--unshare-net"]
    argv += ["--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for path in view.devices:
        argv += ["--dev-bind", path, path]
    for path in view.frozen:
        argv += ["--ro-bind", path, path]
    for path in view.hidden:
        argv += ["--ro-bind", os.devnull, path]
    argv += _covered(view)
    argv += ["--bind", execution.root, _inside(execution.root, execution, view)]
    argv += ["--bind", view.tmp, _inside(execution.tmp, execution, view)] if view.tmp else []
    if execution.script is not None:
        argv += ["--ro-bind", execution.script, _inside(execution.script, execution, view)]
    for path in _sealed(view):
        argv += ["--remount-ro", path]
    argv += ["--chdir", _inside(execution.folder, execution, view)]
    for name in around:
        argv += ["--unsetenv", name]
    for name, value in execution.env.items():
        argv += ["--setenv", name, _inside(value, execution, view) if name in _PATHS else value]
    return argv


def command(execution: Execution, view: View) -> list[str]:
    """Return the argv of the command as it is started in there."""
    script = execution.script
    return [_inside(word, execution, view) if word == script else word for word in execution.command]


def _inside(path: str, execution: Execution, view: View) -> str:
    """Return what the command calls a path of the host; others than its own as they are."""
    if not view.place:
        return path
    if path == execution.root or path.startswith(f"{execution.root}/"):
        return f"{view.place}/work{path[len(execution.root) :]}"
    if path == execution.script:
        return f"{view.place}/script"
    if path == execution.tmp and path:
        return f"{view.place}/tmp"  # noqa: S108
    return path


def _covered(view: View) -> list[str]:
    argv: list[str] = []
    for path in sorted({*outermost(view.scratch), *outermost(view.empty)}):
        argv += ["--tmpfs", path]
    for source, target, writable in view.binds:
        argv += ["--bind" if writable else "--ro-bind", source, target]
    for path in _private(view):
        argv += ["--tmpfs", path]
    return argv


def _private(view: View) -> list[str]:
    """Return the private folders that would be seen: not those in an empty folder of which nothing was bound."""
    shown = [target for _, target, _ in view.binds]
    return [one for one in outermost(view.private) if not within(one, view.empty) or _meets(one, shown)]


def _meets(path: str, others: Sequence[str]) -> bool:
    return within(path, others) or any(within(other, [path]) for other in others)


def _sealed(view: View) -> list[str]:
    """Return what is empty and stays so; memory to write to is counted, and there is no more of it than is said."""
    return [*(one for one in outermost(view.empty) if one not in view.scratch), *_private(view)]


def outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths without those that lie in another of them, sorted."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not within(path, found):
            found.append(path)
    return found


def within(path: str, folders: Iterable[str]) -> bool:
    """Say whether a path is one of the folders, or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)

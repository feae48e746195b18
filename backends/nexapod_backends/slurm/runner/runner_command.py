"""How the runner is started on a compute node: the words that the batch shell becomes.

Three ways, by what is there: the very installation that runs here, seen by compute nodes on a shared file system, is
started the quick way; one that the site names (`[runner] python`) knows itself where its packages are; one that was
brought along lies where we put it.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nexapod_batch import interpreter

if TYPE_CHECKING:
    from nexapod_batch.plugins import NodeContext

__all__ = ["argv", "brings", "corner", "python"]

_QUICK = "nexapod_batch.runner.startup.fast_start"
#: What the runner imports beside the standard library: modules of the folders that it must look into.
_NEEDED = ("nexapod_batch", "nexapod_backends", "orjson", "msgspec", "nacl", "_cffi_backend")


def argv(context: NodeContext, group: str) -> tuple[str, ...]:
    """Return the argv of the runner of an element of a group."""
    about = (str(context.remote_spool), "--group", group)
    if brings(context):
        from nexapod_backends.slurm.runner import runner_archive  # noqa: PLC0415 - only where nothing is installed

        return tuple(interpreter.then_module(runner_archive.argv(corner(context)), _QUICK, *about))
    python = context.site.runner.python if context.site else ""
    if python and python != interpreter.own():
        return tuple(interpreter.module(_QUICK, *about, python=python))
    return (*_here(), *about)


def python(context: NodeContext) -> tuple[str, ...]:
    """Return the words that start an interpreter which has this package, on the login node as on a compute node."""
    if brings(context):
        from nexapod_backends.slurm.runner import runner_archive  # noqa: PLC0415 - only where nothing is installed

        return runner_archive.argv(corner(context))
    return interpreter.start_words(context.site.runner.python if context.site else "")


def brings(context: NodeContext) -> bool:
    """Say whether the runner must be brought along: on another machine nothing of ours can be taken for granted."""
    return context.site is not None and context.site.scheduler.transport != "local" and not context.site.runner.python


def corner(context: NodeContext) -> str:
    """Return the folder on the other side that all nodes of a site share, and no other coordinator uses."""
    return str(context.remote_spool.parent.parent)


@cache
def _here() -> tuple[str, ...]:
    """Return the words that start the runner of this installation, the quick way where its folders can be told."""
    specs = [find_spec(name) for name in _NEEDED]
    folders = [_folder(spec.origin, package=bool(spec.submodule_search_locations)) for spec in specs if spec]
    quick = os.path.join(folders[0], *_QUICK.split(".")) + ".py"
    plain = all(folder and os.pathsep not in folder and folder.isprintable() for folder in folders)
    if len(folders) == len(_NEEDED) and plain and os.path.isfile(quick):
        return tuple(interpreter.file(quick, os.pathsep.join(dict.fromkeys(folders))))
    return tuple(interpreter.module(_QUICK))


def _folder(origin: str | None, *, package: bool) -> str:
    """Return the folder in which a module or package is found; "" where it is in none."""
    if not origin or not os.path.isabs(origin):
        return ""
    return os.path.dirname(os.path.dirname(origin)) if package else os.path.dirname(origin)

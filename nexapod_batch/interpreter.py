"""How every Python interpreter of ours is started: the words of its command line, and the environment that it gets.

Guarantees:

* nothing of the folder in which somebody happens to be is imported, and nothing that `PYTHONPATH`, `PYTHONHOME` or
  another variable of Python's names: `-I`, or `-E -P` where packages may lie in the account's own folder of packages
  (`pip install --user`), which `-I` would leave out. Both ignore the environment and the current folder;
* whoever starts one gives it the folder `/` to work in; the runner goes there by itself before it imports anything;
* of the environment it gets what `environment` lets through, and so nothing of a person's shell.

Nothing else in the code names an interpreter: `tests/unit/test_interpreter.py` looks for it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "FOLDER", "code", "environment", "file", "module", "module_by_hand", "own", "set_back_foreign_folders",
    "start_words", "then_module",
]  # fmt: skip

#: Where a process of ours works.
FOLDER = "/"
#: Variables that a process of ours may have: who and where it is, and how its interpreter is loaded.
_NAMES = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "TZ", "USER"})
_PREFIX = "LC_"
#: Lists of folders, of which an empty or relative entry would be the current folder.
_FOLDERS = frozenset({"LD_LIBRARY_PATH", "PATH"})


def own() -> str:
    """Return the path of the interpreter that runs this."""
    return sys.executable


def start_words(python: str = "") -> tuple[str, ...]:
    """Return the words that start an interpreter, ours or the one at a path, without what it runs."""
    if python and python != own():  # nobody knows where its packages lie
        return (python, "-E", "-P")
    if _has_user_site():
        return (own(), "-E", "-P")
    return (own(), "-I")


def module(name: str, *arguments: str, python: str = "") -> list[str]:
    """Return the command line that runs a module."""
    return then_module(start_words(python), name, *arguments)


def then_module(start: Sequence[str], name: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module with an interpreter that starts with words such as `start_words`."""
    return [*start, "-m", name, *arguments]


def module_by_hand(name: str, *arguments: str) -> list[str]:
    """Return the command line of a module as people type it, to be shown: it is their folder and their environment."""
    return then_module((own() or "python3",), name, *arguments)


def code(text: str, *arguments: str, python: str = "") -> list[str]:
    """Return the command line that runs a text of Python."""
    return [*start_words(python), "-c", text, *arguments]


def file(path: str, *arguments: str) -> list[str]:
    """Return the command line that runs a file with our interpreter, which finds the standard library and no more."""
    return [own(), "-I", "-S", path, *arguments]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment a process of ours is given."""
    found = {name: value for name, value in environ.items() if name in _NAMES or name.startswith(_PREFIX)}
    for name in _FOLDERS & found.keys():
        found[name] = os.pathsep.join(one for one in found[name].split(os.pathsep) if one.startswith("/"))
    return {name: value for name, value in found.items() if value}


def set_back_foreign_folders() -> None:
    """Let what is installed come before what `PYTHONPATH` names, and the current folder not at all.

    For the one process of ours that a person starts, by a script that is not ours: `nexapod-batch` itself.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if sys.flags.ignore_environment or named == [""]:
        return
    here = {_absolute(one) for one in named if not os.path.isabs(one)}
    behind = {os.path.abspath(one) for one in named if os.path.isabs(one)}
    first: list[str] = []
    last: list[str] = []
    for folder in sys.path:
        if _is_ours(folder):
            first.append(folder)
        elif _absolute(folder) not in here:
            (last if folder in behind else first).append(folder)
    sys.path[:] = first + last


def _is_ours(folder: str) -> bool:
    """Say whether a folder holds what is installed: this package, or packages of our interpreter."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return folder == here or folder.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep))


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the current folder is gone
        return path


def _has_user_site() -> bool:
    """Say whether this process imports from the account's own folder of packages."""
    site = sys.modules.get("site")
    return bool(site and site.ENABLE_USER_SITE and site.USER_SITE in sys.path)

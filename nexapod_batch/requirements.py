"""Python packages that are not installed, and the command that installs them into this very environment.

What a command names are the packages as our own list of requirements has them, so that it works wherever nexapod-batch
itself came from: a checkout, a wheel, an index of a site's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["absent", "install_command"]

_DISTRIBUTION = "nexapod-batch"
#: Packages that are called otherwise than the module that they bring.
_PACKAGES = {"nacl": "pynacl", "pynvml": "nvidia-ml-py", "re2": "google-re2", "PIL": "pillow"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def absent(modules: Iterable[str]) -> list[str]:
    """Return those of some top-level modules that cannot be found; nothing is imported."""
    from importlib.util import find_spec  # noqa: PLC0415 - most commands look for nothing

    found = []
    for module in modules:
        try:
            there = find_spec(module) is not None
        except (ImportError, ValueError):
            there = False
        if not there:
            found.append(module)
    return found


def install_command(modules: Sequence[str]) -> str:
    """Return the command that installs the packages of some modules, in versions that fit, beside this program."""
    import shlex  # noqa: PLC0415 - only where something is missing

    wanted = _requirements()
    packages = [wanted.get(_plain(_PACKAGES.get(one, one)), _plain(_PACKAGES.get(one, one))) for one in modules]
    return shlex.join(interpreter.module_by_hand("pip", "install", *dict.fromkeys(packages)))


def _requirements() -> dict[str, str]:
    """Return what nexapod-batch and its extras require, without conditions: name of a package -> requirement."""
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415 - see above

    try:
        listed = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in listed:
        requirement = line.partition(";")[0].strip()
        name = _NAME.match(requirement)
        if name is not None:
            found.setdefault(_plain(name[0]), requirement)
    return found


def _plain(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()

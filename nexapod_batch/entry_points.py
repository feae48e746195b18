"""Plug-ins by entry point: which there are, where they are defined, and their loading.

Built-in plug-ins come through the same entry-point groups as a third party's. A duplicate name is an error, an
unknown name lists the known ones, and nothing is imported before it is asked for.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["load", "names", "targets"]

GROUPS = {"backend": "nexapod_batch.backends", "runtime": "nexapod_batch.runtimes"}


def names(kind: str) -> list[str]:
    """Return the names of all installed plug-ins of a kind (`backend` or `runtime`), sorted."""
    return sorted({point.name for point in _points(kind)})


def targets(kind: str) -> dict[str, str]:
    """Return where each installed plug-in of a kind is defined: name -> `module:attribute`; only unambiguous ones."""
    found: dict[str, set[str]] = {}
    for point in _points(kind):
        found.setdefault(point.name, set()).add(point.value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def load(kind: str, name: str, known: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - the caller names the Protocol
    """Return a new plug-in; PluginError when it is unknown, ambiguous or cannot be imported.

    `known` are `targets` that were looked up before, which saves looking through everything that is installed.
    """
    module, _, attribute = (known or {}).get(name, "").partition(":")
    if attribute:
        with suppress(ImportError, AttributeError):  # another version was installed since
            return getattr(import_module(module), attribute)()
    found = {point.value: point for point in _points(kind) if point.name == name}
    if not found:
        installed = ", ".join(names(kind)) or "none"
        raise PluginError(f"unknown {kind}", got=repr(name), wanted=f"one of: {installed}")
    if len(found) > 1:
        raise PluginError(f"two plug-ins call themselves {kind} {name!r}", got=", ".join(sorted(found)), wanted="one")
    (point,) = found.values()
    try:
        return point.load()()
    except ImportError as error:
        raise PluginError(f"{kind} {name!r} cannot be loaded", got=str(error), hint="install its extra") from error
    except (Exception, SystemExit) as error:  # what a foreign module raises when it is loaded: no fault of ours
        got, hint = f"{type(error).__name__}: {error}", "please report it to the authors of that plug-in"
        raise PluginError(f"{kind} {name!r} cannot be loaded", got=got, hint=hint) from error


def _points(kind: str) -> Any:  # noqa: ANN401
    from importlib.metadata import entry_points  # noqa: PLC0415 - 30 ms that most commands do not need

    return entry_points(group=GROUPS[kind])

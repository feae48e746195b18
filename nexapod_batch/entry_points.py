"""Plug-ins by entry point: which there are, where they are defined, and their loading.

Built-in plug-ins come through the same entry-point groups as a third party's. A duplicate name is an error, an
unknown name lists the known ones, and nothing is imported before it is asked for. Whatever is wrong with a plug-in is
one PluginError that names its distribution and its entry point.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoint

__all__ = ["GROUPS", "METHODS", "load", "names", "one_line", "origin", "targets"]

#: The entry-point group of each kind of plug-in.
GROUPS = {
    "backend": "nexapod_batch.backends",
    "runtime": "nexapod_batch.runtimes",
    "site_table": "nexapod_batch.site_tables",
    "login_node": "nexapod_batch.login_nodes",
    "source": "nexapod_batch.sources",
}
#: What a plug-in of each kind must be able to do: the methods of `plugins.Backend`, of `runtimes.Runtime`, ...
METHODS = {
    "backend": (
        "launch", "status", "cancel", "forget", "expire", "launch_size",
        "prepare", "stage", "unstage", "collect", "change_token", "discard", "fetch", "remove",
        "describe", "probe", "clear", "discover",
    ),
    "runtime": ("settle", "wrap", "examine", "judge"),
    "site_table": ("check", "read", "needs", "beside"),
    "source": ("refusal", "open"),
    "login_node": (),  # a function: it returns why this machine looks like a login node, or nothing
}  # fmt: skip
#: Where the ports are written: a method that a plug-in only inherits from there does nothing.
_PORTS = ("nexapod_batch.plugins.backend", "nexapod_batch.runtimes", "nexapod_batch.sources")
_TEXT = 300  # characters of a foreign message that are kept


def names(kind: str) -> list[str]:
    """Return the names of all installed plug-ins of a kind (a key of GROUPS), sorted."""
    return sorted({point.name for point in _points(kind)})


def targets(kind: str) -> dict[str, str]:
    """Return where each installed plug-in of a kind is defined: name -> `module:attribute`, nothing where two are."""
    found: dict[str, set[str]] = {}
    for point in _points(kind):
        found.setdefault(point.name, set()).add(point.value)
    return {name: values.pop() if len(values) == 1 else "" for name, values in found.items()}


def origin(kind: str, name: str) -> str:
    """Return where a plug-in comes from: distribution, version and entry point of all that call themselves so."""
    return " and ".join(sorted({_origin(point) for point in _points(kind) if point.name == name})) or "nowhere"


def load(kind: str, name: str, known: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - the caller names the Protocol
    """Return a new plug-in.

    Args:
        kind: A key of GROUPS.
        name: That of its entry point.
        known: `targets` that were looked up before, which saves looking through everything that is installed.

    Raises:
        PluginError: It is unknown or ambiguous, cannot be imported or made, or lacks methods.

    """
    factory = None
    value = (known or {}).get(name, "")
    if value:
        with suppress(ImportError, AttributeError, ValueError):  # another version was installed since
            factory = _attribute(kind, name, value)
    if factory is None:
        value = _value(kind, name)
        try:
            factory = _attribute(kind, name, value)
        except ImportError as error:
            hint = "install its extra" if error.name not in (None, value.partition(":")[0]) else _REPORT
            raise _cannot(kind, name, one_line(error), hint) from error
        except (AttributeError, ValueError) as error:
            raise _cannot(kind, name, one_line(error)) from error
    made = _foreign(kind, name, factory)
    missing = [method for method in METHODS[kind] if not _has(kind, name, made, method)]
    if missing:
        wanted = f"also {', '.join(missing)}"
        raise _cannot(kind, name, f"{type(made).__name__}, which lacks methods", wanted=wanted)
    return made


_REPORT = "please report it to the authors of that plug-in"


def _value(kind: str, name: str) -> str:
    """Return `module:attribute` of a plug-in; PluginError where there is not exactly one of that name."""
    found = {point.value for point in _points(kind) if point.name == name}
    if not found:
        installed = ", ".join(names(kind)) or "none"
        raise PluginError(f"unknown {kind}", got=repr(name), wanted=f"one of: {installed}")
    if len(found) > 1:
        hint = "remove one of these packages, or install it elsewhere"
        raise PluginError(
            f"two plug-ins call themselves {kind} {name!r}", got=origin(kind, name), wanted="one", hint=hint
        )
    return found.pop()


def _attribute(kind: str, name: str, value: str) -> Callable[[], Any]:
    """Return what an entry point names; ImportError and AttributeError pass, all else is the plug-in's fault."""
    module, _, attribute = value.partition(" ")[0].partition(":")
    found = _foreign(kind, name, lambda: import_module(module), passes=(ImportError, AttributeError, ValueError))
    for part in attribute.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _has(kind: str, name: str, made: object, method: str) -> bool:
    """Say whether a plug-in brings a method; what it only inherits from the port does nothing."""
    found = _foreign(kind, name, lambda: getattr(made, method, None))
    return callable(found) and getattr(found, "__module__", "") not in _PORTS


def _foreign(
    kind: str, name: str, call: Callable[[], Any], passes: tuple[type[Exception], ...] = ()
) -> Any:  # noqa: ANN401 - what a plug-in is made of
    """Return what foreign code returns; whatever it raises besides is a PluginError."""
    try:
        return call()
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, *passes)):
            raise
        raise _cannot(kind, name, one_line(error)) from error


def _cannot(kind: str, name: str, got: str, hint: str = _REPORT, wanted: str | None = None) -> PluginError:
    what = f"{kind.replace('_', ' ')} {name!r} of {origin(kind, name)} cannot be loaded"
    return PluginError(what, got=got, wanted=wanted, hint=hint)


def one_line(error: BaseException) -> str:
    """Return one printable line of a foreign error; its own way to print itself may be broken as well."""
    try:
        text = " ".join(str(error)[: 8 * _TEXT].split())
    except BaseException as other:
        if isinstance(other, KeyboardInterrupt):
            raise
        text = ""
    line = type(error).__name__
    if text:
        line = f"{line}: {text}"
    return "".join(char if char.isprintable() else "?" for char in line[:_TEXT])


def _origin(point: EntryPoint) -> str:
    dist = getattr(point, "dist", None)
    package = "an unknown package" if dist is None else f"{dist.name} {dist.version}"
    return f"{package} (entry point {point.name} = {point.value})"


def _points(kind: str) -> Iterable[EntryPoint]:
    """Return all entry points of a kind; a package whose list cannot be read has none."""
    from importlib.metadata import distributions, entry_points  # noqa: PLC0415 - 30 ms that most commands do not need

    try:
        return entry_points(group=GROUPS[kind])
    except Exception:  # noqa: BLE001 - one package with a bad list, whatever reading it raises
        found: list[EntryPoint] = []
        for distribution in distributions():
            with suppress(Exception):
                found += [point for point in distribution.entry_points if point.group == GROUPS[kind]]
        return found

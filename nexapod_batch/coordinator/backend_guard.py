"""A backend behind glass: whatever it or a library below it raises, or returns for an answer, is its site's fault.

Errors that the program can name, and those of the system, pass as they are. Everything else (RuntimeError, a library's
own errors, an end of the process that a library asks for) becomes `PluginFaultError`: one site is out of order, and the
others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from nexapod_batch.errors import NexapodError, PluginFaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.plugins import Backend

__all__ = ["guarded"]

#: What a method must return; the others' answers are not looked at, or anything.
_ANSWERS: dict[str, type] = {
    "describe": str, "discover": str, "grain": int, "launch": Mapping, "probe": Iterator, "stage": Mapping,
    "status": Mapping, "unstage": int,
}  # fmt: skip
#: What ends the program or a generator, and no backend's fault.
_PASSES = (NexapodError, OSError, KeyboardInterrupt, GeneratorExit)
_TEXT = 300  # characters of a foreign message that are kept


def guarded(backend: object, name: str) -> Backend:
    """Return the backend of a name with every method behind glass."""
    return cast("Backend", _Guarded(backend, name))


class _Guarded:
    """Passes every call on."""

    def __init__(self, backend: object, name: str) -> None:
        """Remember what is called; `name` is that of the plug-in."""
        self._backend, self._name = backend, name
        self._methods: dict[str, Callable[..., Any]] = {}

    @property
    def signs_native(self) -> bool:
        """Say whether its runners sign what `launch` and `status` call native."""
        return bool(getattr(self._backend, "signs_native", False))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Return a method behind glass, made once."""
        if method not in self._methods:
            self._methods[method] = self._behind_glass(method)
        return self._methods[method]

    def _behind_glass(self, method: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the method has it
            try:
                answer = getattr(self._backend, method)(*given, **named)
            except _PASSES:
                raise
            except BaseException as error:
                raise self._fault(method, given, _said(error)) from error
            wanted = _ANSWERS.get(method)
            if wanted is not None and not isinstance(answer, wanted):
                raise self._fault(method, given, f"it returned {type(answer).__name__}, not {wanted.__name__}")
            return self._each(method, given, answer) if wanted is Iterator else answer

        return call

    def _each(self, method: str, given: tuple[Any, ...], answers: Iterator[Any]) -> Iterator[Any]:
        """Yield what a generator yields; it may fail at every step."""
        try:
            yield from answers
        except _PASSES:
            raise
        except BaseException as error:
            raise self._fault(method, given, _said(error)) from error

    def _fault(self, method: str, given: tuple[Any, ...], got: str) -> PluginFaultError:
        site = _site_of(given[0] if given else None)
        return PluginFaultError(
            f"site {site}: its backend {self._name} broke in {method}()", got=got,
            hint="this site waits, others go on; it is tried again. That is a fault of the plug-in or of a library "
            "below it: please report it to its authors",
        )  # fmt: skip


def _site_of(about: Any) -> str:  # noqa: ANN401 - a context, several, or a site
    """Return the name of the site that a call was about."""
    if isinstance(about, (list, tuple)):
        about = about[0] if about else None
    node = getattr(about, "node", None)
    return str(node.site if node is not None else getattr(about, "name", "?"))


def _said(error: BaseException) -> str:
    """Return one printable line of a foreign error; its own way to print itself may be broken as well."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - whatever it raises, its kind is told
        text = ""
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in line[:_TEXT])

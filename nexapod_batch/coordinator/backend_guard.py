"""A backend behind glass: whatever it or a library below it does, one site is out of order and the others go on.

Errors that the program can name, and those of the system, pass as they are. Everything else becomes
`PluginFaultError`: what a method raises (RuntimeError, a library's own errors, an end of the process that a library
asks for), an answer that the port does not allow, and a call that does not return within its time. After such a call
its site is not asked again as long as this process lives.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nexapod_batch import log
from nexapod_batch.coordinator.backend_answers import WrongAnswerError, checked, finding
from nexapod_batch.entry_points import one_line, origin
from nexapod_batch.errors import ConfigError, NexapodError, PluginError, PluginFaultError
from nexapod_batch.model.site import Limits, Site
from nexapod_batch.plugins import MOVES_FILES, load
from nexapod_batch.plugins.deadline import CallTimeoutError, deadline
from nexapod_batch.requirements import install_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nexapod_batch.plugins import Backend, NodeContext

__all__ = ["check_packages", "guarded", "load_guarded"]

#: What says more as it is, and no backend's fault.
_PASSES = (NexapodError, OSError)
_REPORT = "please report it to the authors of that plug-in"
#: Seconds in which a plug-in is to be imported and made; also from a slow network file system.
_LOAD_S = 120.0
_MAX_ID = 500  # characters of what names a cluster


def load_guarded(name: str, known: Mapping[str, str] | None = None) -> Backend:
    """Return the backend of a name with every method behind glass; PluginError when it cannot be loaded.

    `known` are the `targets` of backends that were looked up before.
    """
    try:
        with deadline(_LOAD_S, f"loading backend {name}"):
            return guarded(load("backend", name, known), name)
    except CallTimeoutError as error:  # between two lines of ours
        raise PluginError(f"backend {name!r} cannot be loaded", got=str(error)) from error


def guarded(backend: object, name: str) -> Backend:
    """Return a backend that was loaded with every method behind glass; `name` is that of its entry point."""
    return cast("Backend", _Guarded(backend, name))


def check_packages(backend: Backend, site: Site) -> None:
    """Raise ConfigError, with the command to type, where a site needs Python packages that are not installed."""
    missing = backend.missing(site)
    if missing:
        raise ConfigError(
            f"site {site.name} needs Python packages that are not installed", got=f"no {', '.join(missing)}",
            hint=install_command(missing),
        )  # fmt: skip


class _Guarded:
    """Passes every call on."""

    def __init__(self, backend: object, name: str) -> None:
        self._backend, self._name = backend, name
        self._methods: dict[str, Callable[..., Any]] = {}
        self._hanging: dict[str, PluginFaultError] = {}  # by site: calls that did not return
        try:
            self.signs_native = bool(getattr(backend, "signs_native", False))
            self.starts_ranks = bool(getattr(backend, "starts_ranks", True))
            self.tells_ends = bool(getattr(backend, "tells_ends", False))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f"backend {name!r} of {origin('backend', name)} cannot be loaded"
            got = f"{one_line(error)} in signs_native, starts_ranks or tells_ends"
            raise PluginError(what, got=got, hint=_REPORT) from error

    def missing(self, site: Site) -> list[str]:
        """Return the modules that a site needs and that are not installed; none where the backend does not say."""
        method = getattr(self._backend, "missing", None)
        if method is None:
            return []
        return list(self._guard("missing", (site,), lambda: [str(one) for one in method(site) or ()]))

    def fetch_folder(self, context: NodeContext) -> str:
        """Return where a node keeps what it fetches by itself; "" where it cannot, or the backend does not say."""
        method = getattr(self._backend, "fetch_folder", None)
        if method is None:
            return ""
        found: str = self._guard("fetch_folder", (context,), lambda: str(method(context)))
        return found

    def live_logs(self, context: NodeContext, replica: str) -> Path | None:
        """Return where the logs of a replica that runs are; None where the backend has no way of its own."""
        method = getattr(self._backend, "live_logs", None)
        if method is None:
            return None
        found: Path = self._guard("live_logs", (context, replica), lambda: Path(method(context, replica)))
        return found

    def absent(self, context: NodeContext, sizes: Mapping[str, int]) -> frozenset[str] | None:
        """Return the digests of inputs that would have to be sent; None where the backend does not say."""
        method = getattr(self._backend, "absent", None)
        if method is None:
            return None
        found: frozenset[str] = self._guard(
            "absent", (context,), lambda: frozenset(method(context, sizes)) & sizes.keys()
        )
        return found

    def cluster_id(self, context: NodeContext) -> str:
        """Return what names the cluster behind a site; "" where the backend does not say."""
        method = getattr(self._backend, "cluster_id", None)
        if method is None:
            return ""
        found: str = self._guard("cluster_id", (context,), lambda: _one_word(method(context)))
        return f"{self._name}:{found}" if found else ""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Return a method behind glass, made once."""
        if method not in self._methods:
            self._methods[method] = self._behind_glass(method)
        return self._methods[method]

    def _behind_glass(self, method: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the method has it
            def answer() -> Any:  # noqa: ANN401
                return checked(method, given, getattr(self._backend, method)(*given, **named))

            found = self._guard(method, given, answer)
            if method == "probe":
                return self._each(given, found)
            return found

        return call

    def _each(self, given: tuple[Any, ...], findings: Any) -> Iterator[Any]:  # noqa: ANN401 - an iterable of anything
        """Yield what `probe` yields; it may fail at every step."""
        rest = self._guard("probe", given, lambda: iter(findings))
        try:
            while (step := self._guard("probe", given, lambda: _next(rest))) is not None:
                yield step
        finally:  # it cleans up behind itself, also when nobody wants to know more
            self._guard("probe", given, lambda: _close(rest))

    def _guard(self, method: str, given: tuple[Any, ...], answer: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return what `answer()` returns, in the time of the method; PluginFaultError for whatever goes wrong."""
        name, limits = _about(given)
        if name in self._hanging:
            raise self._hanging[name]
        began = time.monotonic()
        seconds = limits.transfer_timeout_s if method in MOVES_FILES else limits.call_timeout_s
        try:
            with deadline(seconds, f"site {name}: {method}() of backend {self._name}"):
                return answer()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, _PASSES) and _printable(error):
                raise
            fault = self._fault(method, name, error)
            if isinstance(error, CallTimeoutError):
                self._hanging[name] = fault
            raise fault from error
        finally:
            took = time.monotonic() - began
            log.debug(__name__, "backend called", backend=self._name, method=method, site=name, seconds=took)

    def _fault(self, method: str, site: str, error: BaseException) -> PluginFaultError:
        got = str(error) if isinstance(error, WrongAnswerError | CallTimeoutError) else one_line(error)
        return PluginFaultError(
            f"site {site}: backend {self._name} failed in {method}()", got=got,
            hint="this site waits, others go on; it is tried again. That is a fault of the plug-in or of a library "
            f"below it: please report it to the authors of {origin('backend', self._name)}",
        )  # fmt: skip


def _one_word(answer: object) -> str:
    """Return the name of a cluster; WrongAnswerError for what cannot be one."""
    if not isinstance(answer, str) or len(answer) > _MAX_ID or not answer.isprintable():
        raise WrongAnswerError(f"{answer!r:.200}, wanted a printable text of at most {_MAX_ID} characters")
    return answer


def _next(rest: Iterator[object]) -> object:
    """Return the next finding, None after the last."""
    for one in rest:
        return finding(one)
    return None


def _close(rest: Iterator[object]) -> None:
    """End an iterator; only generators have something to end."""
    close = getattr(rest, "close", None)
    if close is not None:
        close()


def _printable(error: BaseException) -> bool:
    """Say whether an error can be printed: it may be of a plug-in's own class."""
    try:
        return isinstance(str(error), str)
    except Exception:  # noqa: BLE001 - whatever it raises
        return False


def _about(given: tuple[Any, ...]) -> tuple[str, Limits]:
    """Return the name and the limits of the site that a call is about: a context's, that of several, or a site."""
    about = given[0]
    if isinstance(about, list | tuple):
        about = about[0]
    if isinstance(about, Site):
        return about.name, about.limits
    return about.node.site, about.site.limits if about.site else Limits()

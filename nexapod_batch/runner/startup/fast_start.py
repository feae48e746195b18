"""The runner's quick way in: where one task is one Slurm job, starting up is most of the work.

    python -I -m nexapod_batch.runner.startup.fast_start SPOOL [--group ID]
    python -I -S .../nexapod_batch/runner/startup/fast_start.py FOLDER[:FOLDER...] SPOOL [--group ID]

The second form is for who knows where our packages lie: Python looks into these folders and starts no `site`, which
may take longer than half of our imports (an editable installation adds a finder in Python). What is in none of them is
looked for after `site` was started all the same, so that a plug-in may lie elsewhere.

Modules of the standard library that others import, and of which we use little or nothing, are not loaded before
something else of them is used. What we do use of some has a stand-in until the runner has started: who comes later, as
a plug-in does, finds the real ones.
"""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

gc.disable()  # while modules are loaded nothing becomes garbage

#: Bytes up to which the interpreter's own SHA-256 is done before OpenSSL's is loaded.
_LITTLE = 1 << 16
_DOC = "Loaded when it is used."


def _later(name: str, **known: object) -> None:
    """Load a module of the standard library when something of it is used that is not known here."""
    if name in sys.modules:
        return

    def load(attribute: str) -> object:
        if attribute.startswith("__"):  # `from name import one` asks for the path of a package
            raise AttributeError(attribute)
        return getattr(_loaded(name), attribute)

    module = ModuleType(name, _DOC)
    module.__dict__.update(known, __getattr__=load)
    sys.modules[name] = module


def _stands_in(name: str) -> bool:
    return getattr(sys.modules.get(name), "__doc__", None) == _DOC


def _loaded(name: str) -> ModuleType:
    """Return the module itself, and leave it to who imports it from now on."""
    from importlib import import_module  # noqa: PLC0415 - seldom

    if _stands_in(name):
        del sys.modules[name]
    return import_module(name)


def _lighten() -> None:
    """Let what others import stand aside; of orjson's it is types of values that it never gets from us."""
    import _datetime  # type: ignore[import-not-found]  # noqa: PLC0415

    import nacl  # noqa: PLC0415

    from nexapod_batch.runner.startup import import_stubs  # noqa: PLC0415 - only now: our folders were not known

    for name in ("copy", "inspect", "ipaddress", "selectors", "weakref"):  # asked for by dataclasses, urllib, socket
        _later(name)
    _later("dataclasses", _FIELD=None)
    _later("msgspec", **import_stubs.MSGSPEC)
    _later("msgspec.structs", **import_stubs.STRUCTS)
    _later("typing", **import_stubs.TYPING)
    _later("datetime", **vars(_datetime))  # all of it but its twin in Python
    _later("hashlib", sha256=_sha256)
    _later("json", JSONDecodeError=_NotJsonError)
    _later("re", compile=_Pattern)
    _later("urllib.parse", quote_from_bytes=_quote)  # pathlib's
    _later("uuid", UUID=_Uuid, NAMESPACE_DNS=_Uuid())
    # of its two dozen modules we need one, which is found in it
    _later("nacl.bindings", __path__=[os.path.join(nacl.__path__[0], "bindings")])


def _sober() -> None:
    """Take the stand-ins away that are not the same for everybody."""
    for name in ("dataclasses", "json", "msgspec", "msgspec.structs", "re", "typing", "uuid"):
        if _stands_in(name):
            del sys.modules[name]
    _later("typing", TYPE_CHECKING=False)  # which is all that most want of it


def _quote(*given: Any) -> Any:
    return _loaded("urllib.parse").quote_from_bytes(*given)


class _NotJsonError(ValueError):
    """What orjson derives its own error from."""


class _Uuid:
    """What orjson takes for the type of UUIDs."""


class _Pattern:
    """A regular expression that is compiled when it is used."""

    def __init__(self, *spelled: Any) -> None:
        self._spelled = spelled

    def __getattr__(self, name: str) -> Any:
        """Return a method of it."""
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*given: Any) -> Any:
            return getattr(_loaded("re").compile(*self._spelled), name)(*given)

        return method


def _sha256(data: bytes | None = None) -> object:
    """Digest what is short with the interpreter's own code; the other is faster, and takes longer to load."""
    if data is None or len(data) > _LITTLE:
        return _loaded("hashlib").sha256(data or b"")
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError:  # its name since Python 3.12
        from _sha2 import sha256  # type: ignore[import-not-found]  # noqa: PLC0415
    return sha256(data)


class _Site:
    """The last finder: starts what -S left out, and asks the others once more."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Return what is found with `site`; None when it is not there either."""
        if "." in name:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        import site  # noqa: PLC0415

        site.main()
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)  # type: ignore[arg-type]
        return next((spec for spec in found if spec is not None), None)


def _begin() -> int:
    if sys.flags.no_site and len(sys.argv) > 1:
        sys.path += sys.argv.pop(1).split(os.pathsep)
    from nexapod_batch import birth  # noqa: PLC0415 - only now: our folders were not known

    birth.begin()
    _lighten()
    from nexapod_batch.runner.startup.program import main  # noqa: PLC0415 - not before this

    _sober()
    if sys.flags.no_site:  # only now: while modules are loaded, the standard library asks for many that are not here
        sys.meta_path.append(_Site())  # type: ignore[arg-type]
    gc.freeze()
    gc.enable()
    return main(sys.argv[1:])


if __name__ == "__main__":
    code = _begin()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an interpreter that ends in good order takes a fifth of a small task to forget its modules

"""Stand-ins for modules in a runner that starts: one replica long, it would load more than it uses.

`put` lets modules of the standard library stand aside that others import, and of which we use little or nothing: they
are loaded when something else of them is used. What we do use of some has a stand-in until `withdraw`: whatever comes
later, as a plug-in does, finds the real ones. Nothing else in the code knows of this: the runner's tests run with the
stand-ins and without (`tests/functional/test_runner.py`), and each stand-in beside what it stands in for
(`tests/unit/test_runner_light.py`).
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["put", "withdraw"]

#: Bytes up to which the interpreter's own SHA-256 (1 ms for so many) is done before OpenSSL's is loaded (3 ms).
_LITTLE = 1 << 18
_DOC = "Loaded when it is used."
#: Those that are not the same for everybody.
_OURS = ("dataclasses", "json", "msgspec", "msgspec.structs", "re", "typing", "uuid")


def put() -> None:
    """Let what others import stand aside; of orjson's it is types of values that it never gets from us."""
    import _datetime  # type: ignore[import-not-found]  # noqa: PLC0415

    import nacl  # noqa: PLC0415

    from nexapod_batch.runner.startup.stand_ins import classes  # noqa: PLC0415 - only who puts them needs them

    for name in ("copy", "inspect", "ipaddress", "selectors", "weakref"):  # asked for by dataclasses, urllib, socket
        _later(name)
    _later("dataclasses", _FIELD=None)
    _later("msgspec", **classes.MSGSPEC)
    _later("msgspec.structs", **classes.STRUCTS)
    _later("typing", **classes.TYPING)
    _later("datetime", **vars(_datetime))  # all of it but its twin in Python
    _later("hashlib", sha256=_sha256)
    _later("json", JSONDecodeError=_NotJsonError)
    _later("re", compile=_Pattern)
    _later("urllib.parse", quote_from_bytes=_quote)  # pathlib's
    _later("uuid", UUID=_Uuid, NAMESPACE_DNS=_Uuid())
    # of its two dozen modules we need one, which is found in it
    _later("nacl.bindings", __path__=[os.path.join(nacl.__path__[0], "bindings")])


def withdraw() -> None:
    """Take the stand-ins away that are not the same for everybody."""
    for name in _OURS:
        if _stands_in(name):
            del sys.modules[name]
    _later("typing", TYPE_CHECKING=False)  # which is all that most want of it


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

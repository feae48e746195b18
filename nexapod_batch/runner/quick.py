"""The runner's quick way in: where one task is one Slurm job, starting up is most of the work.

    python -I -m nexapod_batch.runner.quick SPOOL [--group ID]
    python -I -S .../nexapod_batch/runner/quick.py FOLDER[:FOLDER...] SPOOL [--group ID]

The second form is for who knows where our packages lie: Python looks into these folders and starts no `site`, which
may take longer than half of our imports (an editable installation adds a finder in Python). What is in none of them is
looked for after `site` was started all the same, so that a plug-in may lie elsewhere.
"""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType

gc.disable()  # while modules are loaded nothing becomes garbage


def _later(name: str, **known: object) -> None:
    """Load a module of the standard library when something of it is used, not when another one imports it."""
    if name in sys.modules:
        return

    def load(attribute: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - seldom

        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    module = ModuleType(name, "Loaded when it is used.")
    module.__dict__.update(known, __getattr__=load)
    sys.modules[name] = module


def _later_bindings() -> None:
    """Do the same with the package of PyNaCl's bindings: of its two dozen modules we need one, which is found in it."""
    import nacl  # noqa: PLC0415

    _later("nacl.bindings", __path__=[os.path.join(nacl.__path__[0], "bindings")])


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
    for name in ("inspect", "ipaddress", "selectors"):  # asked for by dataclasses, urllib, socket; not used by us
        _later(name)
    _later("platform", system=lambda: os.uname().sysname)  # which is all that uuid wants of it
    _later_bindings()
    from nexapod_batch.runner.__main__ import main  # noqa: PLC0415 - not before this

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

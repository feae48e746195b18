"""The runner's quick way in: where one task is one Slurm job, starting up is most of the work.

    python -I -m nexapod_batch.runner.startup.fast_start SPOOL [--group ID]
    python -I -S .../nexapod_batch/runner/startup/fast_start.py FOLDER[:FOLDER...] SPOOL [--group ID]

The second form is for whoever knows where our packages lie: Python looks into these folders and starts no `site`, which
may take longer than half of our imports (an editable installation adds a finder in Python). What is in none of them is
looked for after `site` was started all the same, so that a plug-in may lie elsewhere.

Modules that would cost more than they are used have stand-ins until the runner has started (`stand_ins`). As little as
possible stands in this file: unlike a module it is compiled each time.
"""

import gc
import os
import sys

gc.disable()  # while modules are loaded nothing becomes garbage


class _Site:
    """The last finder: starts what -S left out, and asks the others once more."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        """Return what is found with `site`; None when it is not there either."""
        if "." in name:
            return None
        sys.meta_path.remove(self)
        import site  # noqa: PLC0415

        site.main()
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        return next((spec for spec in found if spec is not None), None)


def _begin() -> int:
    if sys.flags.no_site and len(sys.argv) > 1:
        sys.path += sys.argv.pop(1).split(os.pathsep)
    from nexapod_batch import birth  # noqa: PLC0415 - only now: our folders were not known

    birth.begin()
    from nexapod_batch.runner.startup import stand_ins  # noqa: PLC0415 - likewise

    stand_ins.put()
    from nexapod_batch.runner.startup.program import main  # noqa: PLC0415 - not before this

    stand_ins.withdraw()
    if sys.flags.no_site:  # only now: while modules are loaded, the standard library asks for many that are not here
        sys.meta_path.append(_Site())
    gc.freeze()
    gc.enable()
    return main(sys.argv[1:])


if __name__ == "__main__":
    code = _begin()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an interpreter that ends in good order takes a fifth of a small task to forget its modules

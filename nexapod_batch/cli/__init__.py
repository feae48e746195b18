"""The command line: parses, calls the coordinator, renders, and returns an exit code. The only user of click."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NO_MEMORY", "main"]

#: Said without an import, for which there is no memory either.
NO_MEMORY = (
    b"nexapod-batch: there is no more memory\n  -> end other programs, or raise the limit: ulimit -v, ulimit -d\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an interruption is none of a traceback from its first import on."""
    whole_program = arguments is None
    try:
        gc.disable()  # while modules are loaded nothing becomes garbage
        if whole_program and "PYTHONPATH" in os.environ:
            from nexapod_batch import interpreter

            interpreter.set_back_foreign_folders()  # before anything else is imported
        if whole_program and not os.environ.get("HOME", "x"):
            del os.environ["HOME"]  # it would be the root of all files: the account's own is meant
        if whole_program and sys.getfilesystemencoding() != "utf-8":
            _start_again_in_utf8()
        from nexapod_batch.cli import app

        if whole_program:
            sys.unraisablehook = _unraisable
            gc.freeze()  # modules stay: nobody looks through them
        gc.enable()
        return app.main(arguments)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells report it
    except (MemoryError, SystemError):  # while a message was made, or before one could be
        os.write(2, NO_MEMORY)
        return 75
    finally:
        gc.enable()
        if whole_program:
            gc.freeze()  # the interpreter ends now: to look once more for garbage would take a tenth of `show`


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """Tell of what goes wrong while objects are taken down, unless that is want of memory: it is told once."""
    if not isinstance(found.exc_value, MemoryError):
        sys.__unraisablehook__(found)


def _start_again_in_utf8() -> None:
    """Replace this process by one whose file names are UTF-8, whatever the locale: names are signed as UTF-8 bytes.

    What is printed keeps the encoding of the terminal, where the interpreter may still be told.
    """
    os.environ.setdefault("PYTHONIOENCODING", f"{getattr(sys.stdout, 'encoding', None) or 'utf-8'}:backslashreplace")
    from nexapod_batch import interpreter

    own = interpreter.own()
    os.execv(own, [own, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves, no shell

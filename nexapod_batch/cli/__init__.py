"""The command line: parses, calls the coordinator, renders, and returns an exit code. The only user of click."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an interruption is none of a traceback from its first import on."""
    try:
        if arguments is None and "PYTHONPATH" in os.environ:
            from nexapod_batch import interpreter

            interpreter.set_back_foreign_folders()  # before anything else is imported
        from nexapod_batch.cli import app

        return app.main(arguments)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells report it

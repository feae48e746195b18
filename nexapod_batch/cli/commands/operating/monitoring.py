"""What a monitoring system reads of `reconcile`: one small JSON file, replaced whole after each pass."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_batch import __version__
from nexapod_batch.errors import BusyError, ConfigError, NexapodError, TryAgainError
from nexapod_batch.files import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["status_written"]


@contextmanager
def status_written(file: str | None) -> Iterator[dict[str, Any]]:
    """Yield the document of a pass, to be filled, and write it to `file` when the pass is over, however it ended.

    The file is world-readable and never half written; who reads it looks at its `time` first. Nothing is written
    without a `file`. ConfigError, or TryAgainError for a full disk, when it cannot be written.
    """
    began = time.time()
    document: dict[str, Any] = {"faults": [], "standing": [], "error": None, "skipped": False}
    try:
        yield document
    except BusyError:
        document["skipped"] = True
        raise
    except (NexapodError, OSError) as error:
        document["error"] = " ".join(str(error).split())
        raise
    except BaseException as error:
        document["error"] = f"ended by {type(error).__name__}"
        raise
    finally:
        if file is not None:
            _write(file, _with_head(document, began))


def _with_head(document: dict[str, Any], began: float) -> dict[str, Any]:
    """Return the document with when it was, and whether all is well."""
    good = not (document["faults"] or document["standing"] or document["error"])
    return {
        "schema": 1,
        "version": __version__,
        "ok": good,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "unix_time": int(time.time()),
        "seconds": round(time.time() - began, 3),
        **document,
    }


def _write(file: str, document: dict[str, Any]) -> None:
    path = Path(os.path.abspath(file))
    try:
        atomic.write(path, json.dumps(document, indent=2).encode() + b"\n", durable=False)
    except OSError as error:
        kind = TryAgainError if error.errno in atomic.FULL else ConfigError
        hint = "name a file in a folder that this account can write, with room on its disk"
        raise kind(f"the status file {path} cannot be written", got=error.strerror, hint=hint) from error

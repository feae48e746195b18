"""Delivery into a folder: made under another name beside the place, made durable, and renamed when it is whole."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.archives.make import filled, gathered
from nexapod_batch.coordinator.delivery.earlier import digest_of_earlier, taken
from nexapod_batch.errors import TryAgainError, UnreachableError
from nexapod_batch.files import careful, umask
from nexapod_batch.files.atomic import FULL, sync_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.jobs import JobRow

__all__ = ["deliver_to_folder"]


def deliver_to_folder(c: Coordinator, job: JobRow, place: str, keys: Sequence[bytes]) -> str:
    """Put the archive of a job into a folder; return the SHA-256 of its tag manifest, in hex.

    Raises:
        OtherDeliveryError: Something else lies there.
        TryAgainError: There is no room for it.
        UnreachableError: The folder cannot be written.

    """
    out = Path(place)
    stage = out.with_name(f".{out.name[:100]}.{job.uuid}.partial")
    try:
        with umask.as_given():
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(stage, ignore_errors=True)  # of a try that was killed
            stage.mkdir()
            row, items = gathered(c, job.id, stage, inputs=False)
            if os.path.lexists(out):
                return digest_of_earlier(
                    place, lambda name, limit: careful.read(str(out / name), limit), keys, job.uuid, items
                )
            digest = filled(c, row, items, stage, inputs=False)
        sync_files([Path(folder) / name for folder, _, names in os.walk(stage) for name in names])
        _reveal(stage, out)
    except OSError as error:
        if error.errno in FULL:
            raise TryAgainError(f"no space for the results in {out.parent}", got=error.strerror) from error
        raise UnreachableError(f"{out} cannot be written", got=error.strerror) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return digest


def _reveal(stage: Path, out: Path) -> None:
    """Give the folder its name, which nothing else has, and make that durable."""
    try:
        stage.rename(out)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            raise taken(str(out), "something that came meanwhile") from error
        raise
    sync_files([out])

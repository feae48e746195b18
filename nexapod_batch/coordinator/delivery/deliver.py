"""Delivering what is due: each job that has ended, whole, by one process at a time; what fails is tried again later.

Nothing is locked meanwhile but other deliveries. What was delivered before a crash is recognised and noted.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.errors import BusyError, NexapodError
from nexapod_batch.model.destination import S3, place_of
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.store.repositories.deliveries import DeliveryRow

__all__ = ["add_standing", "deliver"]

#: How long after a failure the next try is, in ms: twice as long each time, up to the last.
_FIRST_MS, _LAST_MS = 30_000, 3_600_000


def deliver(c: Coordinator, *, seconds: float = inf, waits: bool = False) -> tuple[list[int], list[Reason]]:
    """Deliver what is due; return the jobs that were delivered, and what failed.

    After so many seconds nothing more is begun. Where another process delivers, nothing is done, or it is waited for
    (`waits`).
    """
    due = c.store.deliveries.due(c.now())
    if not due:
        return [], []
    done, faults, end = [], [], time.monotonic() + seconds
    with _alone(c, waits=waits) as alone:
        for row in c.store.deliveries.due(c.now()) if alone else ():
            if time.monotonic() >= end:
                break
            fault = _one(c, row)
            if fault is None:
                done.append(row.job_id)
            elif fault.stored() != row.reason:  # else it is told as one that stands
                faults.append(fault)
    return done, faults


def add_standing(c: Coordinator, faults: Faults) -> None:
    """Add, to the faults of a pass, what keeps deliveries back still."""
    for job, stored in c.store.deliveries.failing():
        reason = Reason.parse(stored)
        if reason is not None:
            faults.add(reason.code, str(job), **reason.parameters)


def _one(c: Coordinator, row: DeliveryRow) -> Reason | None:
    """Deliver one job and note it; return why it could not be.

    Where somebody else writes for long nothing is noted: the next pass finds what was delivered.
    """
    job = c.store.jobs.get(row.job_id)
    to = c.job(row.job_id).results_to
    place = place_of(to, job=job.id, name=job.name, uuid=job.uuid, made=row.made)
    try:
        digest = _put(c, row, place)
    except (NexapodError, OSError) as error:
        why = Reason(code=Code.DELIVER_FAULT, parameters={"job": job.id, "error": Reason.of_error(error)})
        wait = min(_LAST_MS, _FIRST_MS << min(row.tries, 20))
        with suppress(BusyError), writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
            c.store.deliveries.failed(job.id, next_at=c.now() + wait, reason=why.stored())
            c.store.operations.keep_fault(f"deliver:{job.id}", why.stored(), c.now())
        log.warning(__name__, "not delivered", job=job.id, place=place)
        return why
    with suppress(BusyError), writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        c.store.deliveries.done(job.id, finished=job.finished_at, place=place, digest=bytes.fromhex(digest))
    log.info(__name__, "delivered", job=job.id, place=place)
    return None


def _put(c: Coordinator, row: DeliveryRow, place: str) -> str:
    """Put the archive of a job where it is wanted; return the digest that names all of it."""
    from nexapod_batch.config.settings import settings  # noqa: PLC0415 - few jobs are delivered
    from nexapod_batch.coordinator.delivery.places import check_allowed  # noqa: PLC0415

    check_allowed(place, settings(c.paths).delivery)
    keys = [key.public_key for key in c.store.operations.coordinator_keys() if key.public_key] or [c.signer.public]
    job = c.store.jobs.get(row.job_id)
    if place.startswith(S3):
        from nexapod_batch.coordinator.delivery.bucket import deliver_to_bucket  # noqa: PLC0415 - loads obstore

        return deliver_to_bucket(c, job, place, keys)
    from nexapod_batch.coordinator.delivery.folder import deliver_to_folder  # noqa: PLC0415

    return deliver_to_folder(c, job, place, keys)


@contextmanager
def _alone(c: Coordinator, *, waits: bool) -> Iterator[bool]:
    """Hold the lock of deliveries; it is free at once when a process is killed. False where another one holds it."""
    fd = os.open(c.paths.home / "delivery.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)

"""A database that was put back from a backup: what was under way by it is ended before anything is handed over.

What the database says of its open launches may be long over: their bundles were run, their reports taken in, their
claims forgotten. To hand them over again would run them twice. Beside the database lie the number of the newest
launch that was ever handed over, and the newest head of the ledger that a pass signed; a database that does not know
so many launches, or does not continue that head, is an older one.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.steps.epochs import begin_epoch, expect_words
from nexapod_batch.coordinator.steps.launch_endings import launch_reason
from nexapod_batch.errors import CorruptStoreError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.ledger.checkpoint import head_of
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.ledger.note import MAX_NOTE, parse
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["REASON", "end_what_was_restored", "forget_head", "mark", "mark_head"]

#: Why replicas of such launches are lost.
REASON = Reason(code=Code.RESTORED)


def mark(c: Coordinator) -> None:
    """Note the newest launch, before it is handed over."""
    text = b"%d\n" % c.store.launches.newest()
    with suppress(OSError):  # where there is no room, nothing can be handed over either
        _put(_launch_file(c), text)


def mark_head(c: Coordinator) -> None:
    """Note the newest head of the ledger that was signed, when the transaction that keeps it has ended."""
    signed = c.store.ledger.newest_checkpoint()
    if signed is not None:
        with suppress(OSError):  # an older one tells less, and nothing wrong
            _put(_head_file(c), signed[1].encode())


def _put(path: Path, text: bytes) -> None:
    """Write a note over the one that is there: file systems bring a file that is replaced to the disk at once.

    Blanks hide the rest of a longer one. Whatever else lies there is replaced.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        atomic.write(path, text, mode=0o600, durable=False)
        return
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_NOTE:
            atomic.write(path, text, mode=0o600, durable=False)
        else:
            os.pwrite(fd, text.ljust(status.st_size), 0)
    finally:
        os.close(fd)


def end_what_was_restored(c: Coordinator) -> int:
    """End open launches of a database that is older than what was handed over; return how many.

    Where nodes joined, a new epoch begins: they bring what this copy does not know, and their launches go on. So it
    does where the copy lacks other entries of the ledger alone; then no launch is in doubt. The caller holds the
    writer's lock. Reports of such launches may still come, and count as any that come late.
    """
    lacks_launches = _handed(c) > c.store.launches.newest()
    if not lacks_launches and _continues(c):
        return 0
    joined = {node.id for node in c.nodes() if node.joined}
    open_launches = c.store.launches.all_open() if lacks_launches else ()
    rows = [row for row in open_launches if row.node_id not in joined]
    with c.store.atomic():
        c.store.ledger.append([event(Kind.RESTORED, c.now(), launches=len(rows))])
        if joined:
            begin_epoch(c)
        _end(c, [row.id for row in rows])
    if joined:
        expect_words(c)
    mark(c)
    forget_head(c)
    return len(rows)


def _end(c: Coordinator, launches: Sequence[int]) -> None:
    for launch in launches:
        gone = c.store.launches.lose(launch, execution=Execution.LOST.value, reason=REASON.stored(), now=c.now())
        c.store.tasks.note_news(sorted(set(gone)))
        c.store.launches.end(launch_reason(launch, REASON))


def forget_head(c: Coordinator) -> None:
    """Forget the head that was noted: the ledger goes on from an older one, and said so."""
    with suppress(OSError):
        _head_file(c).unlink(missing_ok=True)


def _handed(c: Coordinator) -> int:
    """Return the newest launch that was handed over; 0 where nothing can be told."""
    try:
        return int(careful.read(_launch_file(c), MAX_NOTE))
    except (OSError, ValueError):  # of the time before there was the file, or lost
        return 0


def _continues(c: Coordinator) -> bool:
    """Say whether the ledger continues the head that was noted, as far as can be told."""
    try:
        text = careful.read(_head_file(c), MAX_NOTE).decode().rstrip(" ")
        newest = c.store.ledger.newest_checkpoint()
        if newest is not None and newest[1] == text:
            return True
        head = head_of(parse(text))
        return head.size <= c.store.ledger.size() and c.store.ledger.root(head.size) == head.root
    except (OSError, ValueError, VerificationError, CorruptStoreError):  # `ledger verify` says what is damaged
        return True


def _launch_file(c: Coordinator) -> Path:
    return c.paths.home / "newest-launch"


def _head_file(c: Coordinator) -> Path:
    return c.paths.home / "newest-head"

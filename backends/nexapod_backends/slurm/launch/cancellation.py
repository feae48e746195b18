"""Stopping replicas: one note for the runners, and scancel for every element of which nothing else is left to run."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING

from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.spool import cancellations, layout
from nexapod_batch.trust.bundle import decode_bundle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_backends.slurm.launch.submission import Submission
    from nexapod_backends.slurm.queue.submission_records import Group
    from nexapod_backends.slurm.site_state import SiteState
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.plugins import NodeContext

__all__ = ["cancel"]


def cancel(
    context: NodeContext, state: SiteState, submission: Submission, replicas: Mapping[str, Sequence[str] | None]
) -> None:
    """Stop replicas by name, by launch key (None: the whole launch).

    SchedulerError when Slurm could not be told; the note is written by then, and the call may be repeated.
    """
    files, spool = state.transport, context.remote_spool
    waiting = layout.launches_in(files.sizes(f"{spool}/{layout.INBOX}"))
    replicas = {key: names for key, names in replicas.items() if key in waiting}
    if not replicas:
        return
    name, content = cancellations.listing(replicas)
    files.write(f"{spool}/{layout.cancellation(name)}", content)
    look = _Look(files, str(spool), waiting)
    ids: list[str] = []
    for group, elements in _touched(state, replicas):
        over = [index for index in elements if look.over(group, index)]
        if over:
            whole = all(look.over(group, index) for index in range(len(group.elements)))
            _keep_back(context, state, submission, group, whole=whole)
            ids += _native(group, over, whole=whole)
    if ids:
        state.slurm.cancel(ids)


def _keep_back(
    context: NodeContext, state: SiteState, submission: Submission, group: Group, *, whole: bool
) -> None:
    """Find the job of a group that is not known to be submitted; without one, what is to stop as a whole never is."""
    if group.open and group.tried:  # sbatch was called: it may be in the queue all the same
        submission.adopt(context, state, group)
    if whole and group.open:
        group.refused = "cancelled before it was submitted"
        state.groups.save(group)


def _touched(state: SiteState, keys: Iterable[str]) -> Iterable[tuple[Group, set[int]]]:
    """Return the groups of launches, each with the elements that hold them."""
    touched: dict[str, tuple[Group, set[int]]] = {}
    for key in keys:
        place = state.groups.find(key)
        if place is not None:
            touched.setdefault(place[0].id, (place[0], set()))[1].add(place[1])
    return touched.values()


def _native(group: Group, over: Sequence[int], *, whole: bool) -> list[str]:
    """Return what Slurm calls the elements that are to be cancelled."""
    if not group.native:
        return []
    return [group.native] if whole else [f"{group.native}_{index}" for index in over]


class _Look:
    """What lies in the inbox, and what of it is to stop."""

    def __init__(self, files: Transport, spool: str, waiting: set[str]) -> None:
        """Read the notes."""
        self._files, self._spool, self._waiting = files, spool, waiting
        self._noted = _noted(files, f"{spool}/{layout.CANCEL}")

    def over(self, group: Group, index: int) -> bool:
        """Say whether nothing of an element is left to run: each launch has ended, or every replica is to stop."""
        left = [key for key in group.elements[index] if key in self._waiting]
        stopped = [self._noted.get(key, set()) for key in left]
        if sum(len(names) for names in stopped if names) == group.replicas[index]:  # no need to look into bundles
            return True
        return all(names is None or self._stops(key, names) for key, names in zip(left, stopped, strict=True))

    def _stops(self, key: str, names: set[str]) -> bool:
        """Say whether these are all replicas of a launch."""
        if not names:
            return False
        try:
            envelope = self._files.read(f"{self._spool}/{layout.bundle(key)}")
        except FileNotFoundError:
            return True
        return _replicas(envelope) <= names


def _noted(files: Transport, folder: str) -> dict[str, set[str] | None]:
    """Return what is to stop, by launch key: the names of replicas, or None for all of a launch."""
    found: dict[str, set[str] | None] = {}
    for name in files.sizes(folder):
        if not layout.is_list(name):
            continue
        for key, names in cancellations.read(files.read(f"{folder}/{name}")).items():
            known = found.get(key, set())
            found[key] = None if names is None or known is None else known | set(names)
    return found


def _replicas(envelope: bytes) -> set[str]:
    """Return the names of the replicas in a bundle of ours."""
    payload = b64decode(json.loads(envelope)["payload"])
    bundle = decode_bundle(payload)
    return {str(ReplicaName(bundle.job_id, one.task, one.number)) for one in bundle.replicas}

"""Submission: groups that wait for it are handed to sbatch, once, within the limits of the site and of the account.

Each call is written down before it is made, and looked for by its name before it is made again: sbatch may have
succeeded although nobody was told.
"""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_backends.slurm.cli.commands import FullError, NoIdError, RefusedError, TimedOutError, TooLargeError
from nexapod_backends.slurm.cli.parse import SACCT, SQUEUE, read_sacct, read_squeue
from nexapod_backends.slurm.jobs.script import narrowed
from nexapod_backends.slurm.queue.submission_records import halves
from nexapod_backends.slurm.site_state import RETRY_S
from nexapod_batch.errors import SchedulerError
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.queue.submission_records import Group
    from nexapod_backends.slurm.site_state import SiteState
    from nexapod_batch.plugins import NodeContext

__all__ = ["Submission"]

#: Seconds beyond its time limit for which a command on another machine may live.
_MARGIN_S = 10.0


class Submission:
    """Submits the groups of a node."""

    def __init__(self, clock: Any) -> None:  # noqa: ANN401 - a function without arguments
        """Remember which clock counts."""
        self._clock = clock

    def run(self, context: NodeContext, state: SiteState) -> None:
        """Submit the groups of this node that wait for it, within the site's limits.

        The first that is not taken ends it: the SchedulerError says why.
        """
        self._finish_halves(context, state)
        waiting = deque(candidate for candidate in state.groups.of_node(context.node.name) if candidate.open)
        if not waiting:
            return
        limits, now, queued = context.its_site.limits, self._clock(), state.queued()
        while waiting:
            group = waiting.popleft()
            if self._waits(state, group, queued, limits.max_jobs, now):
                continue
            state.wait_turn(limits.submit_rate)
            try:
                self._submit_one(context, state, group)
            except FullError as error:
                waiting.extendleft(reversed(self._fewer(context, state, group, error)))
            queued += len(group.elements) if group.native else 0

    def _waits(self, state: SiteState, group: Group, queued: int, max_jobs: int, now: float) -> bool:
        """Say whether a group is not to be submitted now; what it waits for is kept as its trouble."""
        if full := state.full(group.charged, now):
            group.trouble = full
            return True
        if 0 <= now - group.tried < RETRY_S:
            return True
        if queued and queued + len(group.elements) > max_jobs:
            group.trouble = f"waits: {queued} Slurm jobs are queued, max_jobs = {max_jobs}"
            return True
        return False

    def _finish_halves(self, context: NodeContext, state: SiteState) -> None:
        """Put two groups in the place of each one where a crash came between."""
        for group in [candidate for candidate in state.groups.of_node(context.node.name) if candidate.split]:
            self._halve(context, state, group)

    def _fewer(self, context: NodeContext, state: SiteState, group: Group, error: FullError) -> tuple[Group, ...]:
        """Return the halves of a group that is more than what ours in the queue leave room for; or let it wait.

        What is larger than all that is queued of ours is halved: then parts of it fit soon, and none gets smaller than
        a fourth of what the account may have there.
        """
        ours = state.queued(group.charged)
        if len(group.elements) > max(1, ours):
            return self._halve(context, state, group)
        where = f"{ours} in its queue are ours" if ours else "sacctmgr show assoc, or show qos, tells the limit"
        group.full, group.trouble = self._clock(), f"waits: {error.what} ({error.got}; {where})"
        state.groups.save(group)
        return ()

    def _halve(self, context: NodeContext, state: SiteState, group: Group) -> tuple[Group, ...]:
        """Put two groups in the place of one; also to the end of what a crash cut short."""
        files, spool = state.transport, context.remote_spool
        record = json.loads(files.read(f"{spool}/{layout.group(group.id)}"))
        group.split = True
        state.groups.save(group)
        parts = tuple(state.groups.by_id.get(half.id, half) for half in halves(group))
        for part in parts:
            if part.id not in state.groups.by_id:
                script = narrowed(record["script"], group.id, len(group.elements), part.id, len(part.elements))
                content = json.dumps({**record, "elements": part.elements, "script": script}).encode()
                files.write(f"{spool}/{layout.group(part.id)}", content)
                state.groups.save(part)
        state.groups.remove(group)
        files.remove(f"{spool}/{layout.group(group.id)}")
        return tuple(half for half in parts if half.open)

    def _submit_one(self, context: NodeContext, state: SiteState, group: Group) -> None:
        # What was refused for want of room Slurm does not have.
        if group.tried and not group.full and self._may_have_it(context, state, group):
            return
        script = json.loads(state.transport.read(f"{context.remote_spool}/{layout.group(group.id)}"))["script"]
        group.tried, group.unsure, group.full = self._clock(), True, 0
        state.groups.save(group)
        try:
            self._taken(state, group, state.slurm.submit(script))
        except RefusedError as error:
            group.refused = " ".join(str(error).split())
            if not (isinstance(error, TooLargeError) and state.too_large(group, str(error.got), self._clock())):
                state.groups.save(group)
        except SchedulerError as error:
            if isinstance(error, NoIdError) and self._found(context, state, group):
                return  # a banner stood before the id: the job has our name
            group.trouble, group.unsure = " ".join(str(error).split()), isinstance(error, TimedOutError)
            state.groups.save(group)
            raise

    def _may_have_it(self, context: NodeContext, state: SiteState, group: Group) -> bool:
        """Say whether Slurm may have a group of an earlier call: it is looked for, but not all the time."""
        if 0 <= self._clock() - state.looked.get(group.id, 0) < RETRY_S:
            return True
        state.looked[group.id] = self._clock()
        return self.adopt(context, state, group) or self._under_way(context, state, group)

    def _under_way(self, context: NodeContext, state: SiteState, group: Group) -> bool:
        """Say whether a call on another machine, of which we lost sight, may still reach Slurm: then we wait."""
        scheduler = context.its_site.scheduler
        left = group.tried + scheduler.cmd_timeout_s + _MARGIN_S - self._clock()
        if scheduler.transport == "local" or not group.unsure or not 0 < left <= scheduler.cmd_timeout_s + _MARGIN_S:
            return False
        group.trouble = "it is not known yet whether the last call of sbatch reached Slurm"
        state.groups.save(group)
        return True

    def adopt(self, context: NodeContext, state: SiteState, group: Group) -> bool:
        """Take over the job that Slurm may have made although we were not told; False when it has none."""
        native = _find(state.slurm, group, accounting=context.its_site.scheduler.accounting != "squeue")
        if native:
            self._taken(state, group, native)
        return bool(native)

    def _found(self, context: NodeContext, state: SiteState, group: Group) -> bool:
        """Look at once for a job whose id was not told in so many words; False when that fails as well."""
        with suppress(SchedulerError):
            return self.adopt(context, state, group)
        return False

    def _taken(self, state: SiteState, group: Group, native: str) -> None:
        group.native, group.submitted, group.trouble = native, self._clock(), ""
        state.groups.save(group)


def _find(slurm: Slurm, group: Group, *, accounting: bool) -> str:
    """Return the id of a group's job that Slurm took although we were not told; "" when it did not."""
    name = f"nexapod-{group.id}"
    listing = read_squeue(slurm.call([*SQUEUE, f"--name={name}"]).stdout)
    if not listing.rows and listing.unreadable:
        raise SchedulerError("squeue answered what cannot be read", got=listing.samples[0])
    rows = listing.rows
    if not rows and accounting:
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(group.tried - 86_400))
        done = slurm.call([*SACCT, f"--name={name}", f"--starttime={start}"], check=False)
        rows = read_sacct(done.stdout).rows if done.returncode == 0 else ()
    mine: Iterable[int] = {row.job for row in rows if row.name == name}
    return str(min(mine)) if mine else ""

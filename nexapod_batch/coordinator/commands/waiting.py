"""Waiting for jobs by repeating passes: as often as there is news, and no longer than something can come of it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.coordinator.commands.reconcile import Pass, reconcile
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.placement.start_failures import resting
from nexapod_batch.errors import BusyError, NexapodError, SiteBrokenError
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.spool import layout
from nexapod_batch.store import writer
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["Pace", "never_begins", "stamps_of", "wait"]

_SHORT, _BUSY, _LONG = 0.02, 0.2, 0.5
#: Seconds between two looks at another machine, and between two passes where those looks found nothing.
_FAR, _FAR_LONG = 1.0, 5.0
_MANY = 20  # reports in one pass from which on the workers count as busy
#: Seconds for which results may wait while reports keep coming, and for how long they are published then.
PUBLISH_S, _SLICE_S = 0.5, 0.15
#: Jobs that follow one another, as far as is looked for one that keeps all of them back.
MAX_CHAIN = 100
_FOR_GOOD = {Code.NO_SUCH_OUTPUT, Code.NO_SUCH_TASK, Code.OUTPUTS_DOUBTED, Code.TOO_MANY_INPUTS}


class _Seen(Struct, frozen=True):
    """Where news would show."""

    sizes: list[tuple[str, int]]  # of the segments here
    stamps: dict[int, str | None]  # of nodes at work whose files lie elsewhere


def _tell(faults: Sequence[Reason], on_fault: Callable[[Reason], None], heard: set[str]) -> None:
    """Tell faults that were not heard yet: who waits now may not have been told of those that stood before."""
    for fault in faults:
        stored = fault.stored()
        if stored not in heard:
            on_fault(fault)
        heard.add(stored)


def wait(
    c: Coordinator, jobs: list[int], timeout: float | None, on_progress: Callable[[dict[str, int]], None],
    on_fault: Callable[[Reason], None] = lambda _: None,
) -> bool:  # fmt: skip
    """Repeat passes until the jobs ended and their results are published; False when `timeout` seconds ran out.

    Those that can never begin are not waited for. Faults are told to `on_fault`, each once, also those that stood
    before. Nodes that rest are tried once more.

    Raises:
        SiteBrokenError: nothing of the jobs is under way, and what could run them ends every launch before it begins.

    """
    start = time.monotonic()
    _forget_start_failures(c)
    pace = Pace(published=start)
    heard: set[str] = set()
    while True:
        began = time.monotonic()
        seen = _Seen(_sizes(c), stamps_of(c))  # before the pass: what grows while it works is news for the next one
        results_s = pace.results_s(began)
        with suppress(BusyError):  # another process is at work on the same jobs
            done = reconcile(c, max_seconds=5, results_s=results_s, waited_for=jobs)
            _tell((*done.faults, *done.standing), on_fault, heard)
            pace.note(done, began, results_s)
        on_progress(c.store.jobs.progress(jobs))
        still_open = c.store.jobs.still_open(jobs)
        pace.ended = not still_open
        if _none_begins(c, still_open) or (pace.ended and not _is_owed(c, jobs)):
            return True
        _stop_where_nothing_begins(c, jobs)
        now = time.monotonic()
        if timeout is not None and now - start >= timeout:
            return False
        if pace.ended and results_s < inf:  # nothing but the results is missing
            continue
        follows = pace.published_now and _any_follows(c, jobs)  # these results: it can begin
        longest = pace.shortest if follows else pace.longest(seen)
        latest = now + longest if timeout is None else min(now + longest, start + timeout)
        _sleep_until_news(c, seen, now + pace.shortest, latest, _SHORT * pace.slower)


def _any_follows(c: Coordinator, jobs: list[int]) -> bool:
    """Say whether one of these jobs, or a task of one, waits for what others publish."""
    return c.store.jobs.any_blocked(jobs) or any(c.job(job).elements is not None for job in jobs)


def _is_owed(c: Coordinator, jobs: list[int]) -> bool:
    """Say whether results of these jobs are to be published still, or were not tried to be delivered."""
    return c.store.jobs.has_unpublished(jobs) or c.store.deliveries.any_untried(jobs)


def _forget_start_failures(c: Coordinator) -> None:
    """Let nodes that rest be tried once more, unless another process is at work."""
    with suppress(BusyError), writer(c.store):
        c.store.nodes.forget_start_failures()


def _stop_where_nothing_begins(c: Coordinator, jobs: list[int]) -> None:
    """Raise SiteBrokenError where waiting longer would only show the same failure again."""
    rests = resting(c)
    if not rests or any(c.store.jobs.replicas_out(job) for job in jobs) or not c.store.jobs.still_open(jobs):
        return
    nodes = c.nodes_by_id()
    said = "; ".join(f"node {nodes[number].name} {sentence(why)}" for number, why in rests.items())
    names = " ".join(map(str, jobs))
    raise SiteBrokenError(
        f"job {names} stays open, and nothing of it runs", got=said,
        hint=f"mend that, then: nexapod-batch wait {names}",
    )  # fmt: skip


def never_begins(c: Coordinator, jobs: list[int]) -> dict[int, Reason]:
    """Return why jobs can never begin as things stand, where that is so of all that have not ended; else nothing."""
    return _none_begins(c, c.store.jobs.still_open(jobs))


def _none_begins(c: Coordinator, still_open: Sequence[int]) -> dict[int, Reason]:
    """Return why none of these jobs, which have not ended, can ever begin; nothing where one can."""
    found: dict[int, Reason] = {}
    for job in still_open:
        reason = _never(c, job, MAX_CHAIN)
        if reason is None:
            return {}
        found[job] = reason
    return found


def _never(c: Coordinator, job: int, depth: int) -> Reason | None:
    """Return why nothing of a job can ever be placed, however long anybody waits."""
    reason = Reason.parse(c.store.jobs.get(job).blocked)
    if reason is None or not depth:
        return None
    if reason.code in _FOR_GOOD:
        return reason
    if reason.code != Code.WAITS_FOR_JOB:
        return None
    if reason.parameters["ended"]:
        return reason
    return None if _never(c, int(reason.parameters["job"]), depth - 1) is None else reason


class Pace(Struct):
    """How often passes follow one another while somebody waits.

    A pass costs the workers some of their time: while reports pour in, there are fewer and larger ones, until the rest
    of them will come in about one more. Where nothing happens for long, file systems are looked at less often: in
    the end 0.2 s and 5 s apart.
    """

    published: float  # when results were published last, by the monotonic clock
    coming: bool = False  # the last pass took in reports
    busy: bool = False  # and many: they pour in
    published_now: bool = False  # the last pass published results, and reports do not pour in
    closing: bool = False  # and soon all of them are here
    ended: bool = False  # all jobs have
    left: bool = False  # the last pass had no time for all that it knew
    idle: int = 0  # passes in a row that found nothing new

    def results_s(self, now: float) -> float:
        """Return for how many seconds the next pass publishes results.

        Making files is slow while workers sync theirs, and keeps verdicts waiting: results wait for a pause in the
        reports, but not for long.
        """
        if self.ended or not self.coming:
            return inf
        if self.closing or (self.busy and now - self.published <= PUBLISH_S):
            return 0.0
        return _SLICE_S

    def note(self, done: Pass, began: float, results_s: float) -> None:
        """Take in what a pass did, which had `results_s` seconds for results."""
        self.coming, self.left = done.ingested > 0, done.left
        self.busy = done.ingested > _MANY
        self.published_now = done.published > 0 and not self.busy
        self.closing = self.coming and (self.closing or done.near_end)
        if done.ingested or done.launched or done.published or done.left:
            self.idle = 0
        else:
            self.idle = min(self.idle + 1, 10)
        if results_s and not done.near_end:
            self.published = began

    @property
    def slower(self) -> float:
        """Return how many times less often something is looked at."""
        return float(1.25**self.idle)

    @property
    def shortest(self) -> float:
        """Return for how many seconds there is no pass, whatever happens."""
        if self.busy and not self.closing:
            return _BUSY
        return _SHORT

    @property
    def slowest(self) -> float:
        """Return after how many seconds there is a pass, where everything that can happen is seen."""
        return self.shortest if self.left else _LONG * self.slower

    def longest(self, seen: _Seen) -> float:
        """Return after how many seconds there is a pass, even if nothing happens."""
        if self.left:
            return self.shortest
        away = bool(seen.stamps) and None not in seen.stamps.values()  # nothing to be seen without a connection
        if away and self.idle > 1:
            return _FAR_LONG
        return _LONG * self.slower


def _sleep_until_news(c: Coordinator, seen: _Seen, earliest: float, latest: float, pause: float) -> None:
    """Sleep until the segments are not as they were seen, but at least until `earliest`, at most until `latest`."""
    far, due = any(stamp is not None for stamp in seen.stamps.values()), time.monotonic() + _FAR
    time.sleep(max(0.0, earliest - time.monotonic()))
    while _sizes(c) == seen.sizes and (now := time.monotonic()) < latest:
        if far and now >= due:
            if stamps_of(c) != seen.stamps:
                return
            due = time.monotonic() + _FAR
        time.sleep(pause)


def stamps_of(c: Coordinator) -> dict[int, str | None]:
    """Return what can be told at a glance of each node at work; None of those whose files lie here."""
    ids = c.store.nodes.at_work()
    found: dict[int, str | None] = {}
    for node in usable(c, Faults()) if ids else ():
        if node.id in ids:
            try:
                found[node.id] = c.backend(node).change_token(c.context(node))
            except (NexapodError, OSError):
                found[node.id] = ""  # out of reach: no news
    return found


def _sizes(c: Coordinator) -> list[tuple[str, int]]:
    """Return the path and the size of every segment."""
    found = []
    for node in usable(c, Faults()):
        with suppress(OSError), os.scandir(c.context(node).spool / layout.REPORTS) as entries:
            found += [(entry.path, entry.stat(follow_symlinks=False).st_size) for entry in entries]
    return found

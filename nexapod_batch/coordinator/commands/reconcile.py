"""One pass over everything that is open.

A pass may run in `--wait`, from cron or by hand, as often as one likes, and be killed anywhere: what it decides depends
on the stored replicas alone. Order matters in one place: what the backends say is asked *before* the reports are read,
so that a launch that ended has all its reports in before its silent replicas are called lost.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch import log
from nexapod_batch.coordinator.commands.job_control import stop_owed
from nexapod_batch.coordinator.commands.upkeep.retention import drop_segments, forget_ended
from nexapod_batch.coordinator.delivery.deliver import add_standing, deliver
from nexapod_batch.coordinator.nodes import clusters
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.nodes.settings import prepare
from nexapod_batch.coordinator.pass_faults import Faults, keep_faults
from nexapod_batch.coordinator.placement.host_sets import NEVER_TOLD
from nexapod_batch.coordinator.placement.input_cache import keep_within_limits
from nexapod_batch.coordinator.placement.node_fetch import fetch_wanted
from nexapod_batch.coordinator.steps.decide import decide_news, decide_task
from nexapod_batch.coordinator.steps.dispatch import OVERDUE, dispatch, hand_over
from nexapod_batch.coordinator.steps.epochs import first_job_to_place, unheard
from nexapod_batch.coordinator.steps.heads import sign_news
from nexapod_batch.coordinator.steps.ingest import ingest, unread
from nexapod_batch.coordinator.steps.last_words import ask_ends, overrule
from nexapod_batch.coordinator.steps.launch_endings import awaits_host, end_launch, launch_reason, reason_of
from nexapod_batch.coordinator.steps.publish import clean, publish
from nexapod_batch.coordinator.steps.reclaim import take_back
from nexapod_batch.coordinator.steps.restored_database import end_what_was_restored, mark_head
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.plugins import BackendState
from nexapod_batch.spool.segment_reader import Budget, blocks, count_lines
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.plugins import LaunchStatus
    from nexapod_batch.store.repositories.launches import OpenLaunch

__all__ = ["Pass", "reconcile"]

_OVERDUE, _ALL = 10_000, 1_000_000
#: A launch that the backend does not know is handed over again only after this long: its hand-over may be under way.
GRACE_MS = 2_000
_LOOKED_AT = 64 << 20  # bytes of new reports of one node that a look counts
_SETTLED = frozenset({BackendState.COMPLETED, BackendState.FAILED, BackendState.CANCELED})
#: Fields of a pass that say that it did something.
_COUNTED = ("ingested", "quarantined", "lost", "moved", "decided", "launched", "published", "delivered")
_GOING_ON = frozenset({BackendState.NEW, BackendState.QUEUED, BackendState.ACTIVE})
#: How many times what a pass took in may be left for the end to be near: the next pass will still end before it.
_LAST = 1.5


class Pass(Struct, kw_only=True):
    """What one pass did."""

    ingested: int = 0
    decided: int = 0
    launched: int = 0
    published: int = 0
    delivered: int = 0  # jobs whose results went where they are wanted
    quarantined: int = 0
    lost: int = 0
    news: bool = False  # something is to be decided already: backends refused what they were given
    left: bool = False  # there was no time to decide everything
    moved: int = 0  # taken back from machines whose owners let nothing start
    faults: list[Reason] = field(default_factory=list)  # new since the last pass
    standing: list[Reason] = field(default_factory=list)  # told before and still there
    open_jobs: int = 0
    to_come: float = inf  # reports of the jobs that are waited for; infinite until all their tasks were placed

    @property
    def near_end(self) -> bool:
        """Say whether reports came, and the rest of those that are waited for will come in about one more pass."""
        return self.ingested > 0 and self.to_come <= _LAST * self.ingested


def reconcile(
    c: Coordinator, max_seconds: float | None = None, *, dry_run: bool = False, results_s: float = inf,
    waited_for: Sequence[int] = (),
) -> Pass:  # fmt: skip
    """Run one pass, which publishes results for about `results_s` seconds; BusyError when another process runs one.

    Where the end of the jobs that somebody waits for is near it publishes none: nothing is to keep their last verdicts
    waiting.
    """
    if dry_run:
        return _look(c)
    done = Pass()
    faults = Faults()
    end = None if max_seconds is None else time.monotonic() + max_seconds
    c.follow_sites()
    with writer(c.store):
        c.follow_key()
        c.follow_jobs()
        _pass(c, done, faults, end, results_s, waited_for)
        done.news = bool(done.launched and c.store.jobs.with_news())
        done.faults, done.standing = keep_faults(c.store, faults, c.now())
        done.open_jobs = c.store.jobs.count_open()
        if sign_news(c):
            mark_head(c)
    if c.wanted_inputs:
        done.faults += fetch_wanted(c)
    left = inf if end is None else max(0.0, end - time.monotonic())
    delivered, failed = deliver(c, seconds=left)
    done.delivered = len(delivered)
    done.faults += failed
    _log(done)
    return done


def _log(done: Pass) -> None:
    """Tell operators what a pass did; `wait` makes many that find nothing."""
    if done.faults:
        from nexapod_batch.wording import one_line  # noqa: PLC0415 - most passes find no fault

        for fault in done.faults:
            log.warning(__name__, "new fault", text=one_line(fault))
    fields = {name: getattr(done, name) for name in _COUNTED}
    tell = log.info if any(fields.values()) else log.debug
    tell(
        __name__, "pass ended", **fields, faults=len(done.faults),
        standing=len(done.standing), open_jobs=done.open_jobs,
    )  # fmt: skip


def _pass(
    c: Coordinator, done: Pass, faults: Faults, end: float | None, results_s: float, waited_for: Sequence[int]
) -> None:
    end_what_was_restored(c)
    nodes = usable(c, faults)
    if clusters.due(c, nodes):  # most passes need not look at what open jobs want
        clusters.keep(c, clusters.ask(c, clusters.wanted(c, nodes)))
    unusable = prepare(c, nodes, faults)
    silent = unheard(c, nodes)  # before ingest adopts: what nodes bring later waits for the next pass
    first_job = first_job_to_place(c, silent)
    launches = _ask(c, nodes, faults, end)  # 1. what the backends say
    ends = {} if _over(end) else ask_ends(c, nodes, faults)
    _handed(c, launches)  # before the reports: what a runner signs of its place is compared with it
    now = time.monotonic()
    share = None if end is None else now + max(0.0, end - now) / 2  # the rest is for what comes of it
    heard = [node for node in nodes if node.id not in silent]
    intake = ingest(c, heard, faults, share)  # 2. what the nodes reported until then
    intake.behind |= silent
    done.ingested, done.quarantined = intake.reports, intake.quarantined
    settled = [(row, None if row.node_id in intake.behind else said) for row, said in launches]
    done.lost = _settle(c, nodes, settled, faults) + _overdue(c)  # 3. who will not report any more
    told = overrule(c, ends, intake.behind)
    _keep_reasons(c, launches)
    done.moved = take_back(c, nodes)
    done.decided = decide_news(c, faults, end)  # 4. verdicts
    done.left = _over(end) and bool(c.store.jobs.with_news())
    stop_owed(c, faults)
    done.launched, exhausted = dispatch(c, faults, unusable, end, first_job)  # 5. more replicas
    for job, task in exhausted:
        decide_task(c, job, task, placeable=False)
    done.published = publish(c, faults, seconds=_publishing_s(c, done, end, results_s, waited_for))  # 6. results
    add_standing(c, faults)
    if _over(end):
        return
    if done.published or done.lost:
        clean(c, faults)
    forget_ended(c, nodes, faults, told)
    if not (intake.reports or launches or intake.behind):  # idle: nothing can be under way in what was read
        drop_segments(c, nodes, faults)
    keep_within_limits(c, nodes, faults)


def _publishing_s(
    c: Coordinator, done: Pass, end: float | None, results_s: float, waited_for: Sequence[int]
) -> float:
    """Return for how many seconds a pass publishes results: for none where the last reports are about to come."""
    if done.ingested and waited_for:
        done.to_come = _still_to_come(c, waited_for)
    if done.near_end and done.to_come:
        return 0.0
    left = inf if end is None else max(0.0, end - time.monotonic())
    return min(left, results_s)


def _still_to_come(c: Coordinator, jobs: Sequence[int]) -> float:
    """Return how many reports are still to come of jobs of which all tasks were placed; infinite for others."""
    if c.store.jobs.progress(list(jobs))["waiting"]:
        return inf
    return sum(c.store.jobs.replicas_out(job) for job in jobs)


def _over(end: float | None) -> bool:
    """Say whether the time of a pass is over; what is left waits for the next one."""
    return end is not None and time.monotonic() >= end


def _ask(
    c: Coordinator, nodes: list[Node], faults: Faults, end: float | None
) -> list[tuple[OpenLaunch, LaunchStatus | None]]:
    """Return every open launch with its backend's word; None where the backend could not be asked in time."""
    rows = c.store.launches.all_open()
    found: list[tuple[OpenLaunch, LaunchStatus | None]] = []
    for node in nodes:
        mine = [row for row in rows if row.node_id == node.id]
        if not mine:
            continue
        if _over(end):
            found += [(row, None) for row in mine]
            continue
        try:
            said = c.backend(node).status(c.context(node), [row.key for row in mine])
        except (NexapodError, OSError) as error:
            faults.of_node(Code.STATUS_FAULT, node, error)
            said = {}
        found += [(row, said.get(row.key)) for row in mine]
    return found


def _handed(c: Coordinator, launches: list[tuple[OpenLaunch, LaunchStatus | None]]) -> None:
    """Note what schedulers call launches of which it was not known, though they have them."""
    known = [
        (row.key, status.native)
        for row, status in launches
        if status is not None
        and (row.state == "intent" or (status.native and not row.native_id))
        and (status.state in _GOING_ON or status.state is BackendState.COMPLETED)
    ]
    if known:
        with c.store.atomic():
            c.store.launches.hand_over(known)


def _settle(
    c: Coordinator, nodes: list[Node], launches: list[tuple[OpenLaunch, LaunchStatus | None]], faults: Faults
) -> int:
    """End launches that are over, hand over again what never arrived; return how many replicas are lost."""
    again: dict[int, list[int]] = defaultdict(list)
    with c.store.atomic():  # one for all of them: each commit waits for the disk
        lost = _note_states(c, launches, again)
    for node in nodes:
        hand_over(c, node, again[node.id], faults)
    return lost


def _note_states(
    c: Coordinator, launches: list[tuple[OpenLaunch, LaunchStatus | None]], again: dict[int, list[int]]
) -> int:
    """Store what backends say of launches, put those that never arrived in `again`, by node; return replicas lost."""
    lost, queued = 0, []
    for row, status in launches:
        if status is None or _host_unknown(c, row, status):
            continue
        age = c.now() - row.created_at
        intended = row.state == "intent"
        if status.state in _SETTLED:
            lost += end_launch(c, row.id, status)
        elif status.state is BackendState.UNKNOWN and (intended or age > GRACE_MS):
            again[row.node_id].append(row.id)
        elif status.state is BackendState.QUEUED and not intended and GRACE_MS < age < GRACE_MS + 60_000:
            queued.append(row.id)
    c.store.launches.claimed([row.id for row, status in launches if row.keyed and _is_active(status)])
    c.store.launches.seen(queued)
    return lost


def _is_active(status: LaunchStatus | None) -> bool:
    return status is not None and status.state is BackendState.ACTIVE


def _keep_reasons(c: Coordinator, launches: list[tuple[OpenLaunch, LaunchStatus | None]]) -> None:
    """Keep why launches wait, in the backends' words; where these did not change nothing is written."""
    changed = []
    for row, status in launches:
        if status is None or not (status.state in _GOING_ON or awaits_host(row, status)):
            continue
        new = launch_reason(row.id, reason_of(status), status)
        if new[:3] != (row.reason, row.native_state, row.native_reason):
            changed.append(new)
    if changed:
        with c.store.atomic():
            c.store.launches.note_waiting(changed)


def _host_unknown(c: Coordinator, row: OpenLaunch, status: LaunchStatus) -> bool:
    """Keep where a launch ran, if that matters; say whether one that is complete must wait until it is known."""
    if row.host_set < 0 or row.hosts:
        return False
    if status.hosts is None:  # its reports count when it is known where it ran
        return awaits_host(row, status)
    with c.store.atomic():
        c.store.launches.ran_on(row.id, ",".join(status.hosts) or NEVER_TOLD)
        c.store.tasks.note_news(c.store.launches.tasks(row.id))
    return False


def _overdue(c: Coordinator) -> int:
    """Call replicas lost whose deadline passed; their domain stays taken, their report may still come."""
    with c.store.atomic():
        tasks = c.store.replicas.lose_overdue(now=c.now(), reason=OVERDUE, limit=_OVERDUE)
        c.store.tasks.note_news(sorted(set(tasks)))
    return len(tasks)


def _look(c: Coordinator) -> Pass:
    """Say what a pass would find, without touching anything."""
    done = Pass(open_jobs=c.store.jobs.count_open())
    for node in c.nodes():
        with suppress(OSError, NexapodError):  # a pass would call it a fault of the node
            left = Budget(_LOOKED_AT)
            for segment, position, _ in unread(c, node):
                done.ingested += sum(map(count_lines, blocks(segment, position, left)))
    done.decided = sum(len(c.store.tasks.with_news(job, _ALL)) for job in c.store.jobs.with_news())
    return done

"""What is told of launches, by what lies in the spool and by what Slurm last said; the table stands in `backend`."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_backends.slurm.cli.hostlist import expand_hosts
from nexapod_backends.slurm.cli.states import Blame, end_in_words, read_state, reason_in_words
from nexapod_backends.slurm.jobs.pack_limits import fewer
from nexapod_batch.errors import last_message
from nexapod_batch.plugins import BackendState, LaunchStatus
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from nexapod_backends.slurm.cli.states import StateWord
    from nexapod_backends.slurm.queue.observations import Observation
    from nexapod_backends.slurm.queue.submission_records import Group
    from nexapod_backends.slurm.site_state import SiteState
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.plugins import NodeContext

__all__ = ["end_status", "gone_status", "native_of", "waiting_status", "with_hosts"]

#: Seconds after its submission for which the end of an element is waited for that has reported: a queue that can never
#: be read again keeps nothing for ever.
_PATIENCE_S = 10 * 86_400.0
_UNKNOWN = LaunchStatus(state=BackendState.UNKNOWN)


def native_of(place: tuple[Group, int] | None) -> str:
    """Return what Slurm calls an element; "" before it knows it."""
    return f"{place[0].native}_{place[1]}" if place and place[0].native else ""


def gone_status(context: NodeContext, state: SiteState, key: str, now: float, *, claimed: bool) -> LaunchStatus:
    """Say what became of a launch that is in the inbox no more."""
    place = state.groups.find(key)
    native = native_of(place)
    if claimed:
        return LaunchStatus(state=BackendState.COMPLETED, native=native)
    with suppress(FileNotFoundError):
        reason = state.transport.read(f"{context.remote_spool}/{layout.reason(key)}").decode("utf-8", "replace").strip()
        return LaunchStatus(
            state=BackendState.FAILED, native=native or "refused", reason=reason, code="worker.refused",
            never_began=reason,
        )  # fmt: skip
    if place is None or not place[0].native:
        return _UNKNOWN
    # Its bundle vanished before any runner took it: it is put there again as long as its Slurm job may still come.
    seen = state.queue.last_seen(*place)
    over = seen is not None and read_state(seen.state).ended
    if not over and not state.queue.gone(*place, now):
        return _UNKNOWN
    inbox = f"{context.remote_spool}/{layout.INBOX}"
    reason = f"Slurm job {native} ended, and its bundle is gone from {inbox}: did somebody remove it?"
    return _named(LaunchStatus(state=BackendState.FAILED, native=native, reason=reason, code="slurm.bundle_gone"), seen)


def waiting_status(context: NodeContext, state: SiteState, key: str, now: float, *, claimed: bool) -> LaunchStatus:
    """Say what Slurm knows of a launch that is in the inbox."""
    place = state.groups.find(key)
    if place is None:
        return _UNKNOWN  # the crash came between bundle and intent
    group, index = place
    if group.refused or not group.native:
        return _not_handed(group)
    native = f"{group.native}_{index}"
    seen = state.queue.last_seen(group, index)
    ended = seen if seen is not None and read_state(seen.state).ended else None
    if ended is None and not state.queue.gone(group, index, now):
        packed = group.replicas[index] > 1
        return _named(_going_on(native, seen, claimed=claimed, trouble=state.queue.trouble, packed=packed), seen)
    return _named(_ended(context, state, group, index, ended, now, claimed=claimed), seen)


def _not_handed(group: Group) -> LaunchStatus:
    """Say why Slurm has no job of a group: it was refused for good, or waits to be submitted."""
    if not group.refused:
        reason = group.trouble or "not submitted yet"
        return LaunchStatus(state=BackendState.NEW, reason=reason, code="slurm.not_submitted")
    anew = bool(group.narrow)
    reason = group.narrow or group.refused
    return LaunchStatus(
        state=BackendState.FAILED, native="refused", reason=reason, code="slurm.refused",
        task_fault=not anew, anew=anew,
    )  # fmt: skip


def _ended(
    context: NodeContext,
    state: SiteState,
    group: Group,
    index: int,
    ended: Observation | None,
    now: float,
    *,
    claimed: bool,
) -> LaunchStatus:
    """Say how an element ended whose launch is in the inbox: what it did not report is lost.

    None as its end is that of an element which Slurm knows no more.
    """
    native = f"{group.native}_{index}"
    if group.narrow and not claimed:
        return LaunchStatus(
            state=BackendState.FAILED, native=native, reason=group.narrow, code="slurm.too_large", anew=True
        )
    if ended is None:
        reason = f"Slurm job {native} is unknown to squeue and sacct"
        return LaunchStatus(state=BackendState.FAILED, native=native, reason=reason, code="slurm.unknown")
    word = read_state(ended.state)
    reason = f"Slurm job {native}: {end_in_words(ended.state, ended.exit_code, ended.exit_signal)}"
    last = ""
    if word.blame is None or not claimed:
        last = _last_line(state.transport, f"{context.remote_spool}/{layout.element_log(group.id, index)}")
        reason += f"; its runner said: {last}" if last else ""
    never_began = ""
    if not claimed and word.blame not in {Blame.PERSON, Blame.INFRASTRUCTURE}:
        never_began = last or f"Slurm says {ended.state}, and its runner said nothing"
    status = LaunchStatus(
        state=BackendState.FAILED, native=native, reason=reason, code="slurm.ended", never_began=never_began
    )
    if group.replicas[index] == 1:
        return replace(status, task_fault=word.blame is Blame.TASK)
    return _pack_ended(state, group, index, word, status, now)


def _pack_ended(
    state: SiteState, group: Group, index: int, word: StateWord, status: LaunchStatus, now: float
) -> LaunchStatus:
    """Say how an element of several replicas ended; where one of them may be to blame, the next ones are half as large.

    So whoever kills its runner, or takes more memory than there is, is alone in the end, and the others are done.
    """
    at_fault = word.state is BackendState.FAILED and word.blame not in (Blame.INFRASTRUCTURE, Blame.PERSON)
    if at_fault and (word.out_of_memory or not status.never_began):  # where nothing began, none of them is to blame
        state.pack_less(group, fewer(group.replicas[index]), status.reason, now)
    return replace(status, anew=word.out_of_memory)


def end_status(state: SiteState, key: str, now: float) -> LaunchStatus:
    """Say how an element ended whose launch is over for us: well, for memory, or that Slurm has not said so yet.

    Of a pack that ended for memory Slurm does not say who it was; the next ones are half as large.
    """
    place = state.groups.find(key)
    native = native_of(place)
    if place is None or not native:  # Slurm never had it
        return LaunchStatus(state=BackendState.COMPLETED)
    group, index = place
    seen = state.queue.last_seen(group, index)
    word = read_state(seen.state) if seen else None
    if seen is None or word is None or not word.ended:
        over = state.queue.gone(group, index, now) or now - group.submitted > _PATIENCE_S
        return LaunchStatus(state=BackendState.COMPLETED if over else BackendState.ACTIVE, native=native)
    if not word.out_of_memory:
        return LaunchStatus(state=BackendState.COMPLETED, native=native)
    reason = f"Slurm job {native}: {end_in_words(seen.state, seen.exit_code, seen.exit_signal)}"
    failed = LaunchStatus(state=BackendState.FAILED, native=native, reason=reason, code="slurm.ended")
    if group.replicas[index] > 1:
        return _named(_pack_ended(state, group, index, word, failed, now), seen)
    return _named(replace(failed, task_fault=True), seen)


def _named(status: LaunchStatus, seen: Observation | None) -> LaunchStatus:
    """Return a status with Slurm's own words for state and reason, where it said some."""
    if seen is None:
        return status
    return replace(status, native_state=seen.state, native_reason=seen.reason)


def with_hosts(state: SiteState, key: str, status: LaunchStatus, now: float) -> LaunchStatus:
    """Add where a launch ran, of those whose hosts count; what Slurm forgot is told as unknown."""
    place = state.groups.find(key)
    if place is None or not place[0].bound or not place[0].native:
        return status
    seen = state.queue.last_seen(*place)
    if seen is not None and seen.hosts:
        return replace(status, hosts=expand_hosts(seen.hosts) or ())
    if state.queue.gone(*place, now):
        return replace(status, hosts=())
    if status.state is not BackendState.COMPLETED:
        return replace(status, hosts=None)
    reason = f"Slurm is still to say on which host job {native_of(place)} ran; all of it is reported"
    return replace(status, hosts=None, reason=reason, code="slurm.host_untold")


def _going_on(
    native: str,
    seen: Observation | None,
    *,
    claimed: bool,
    trouble: str,
    packed: bool,
) -> LaunchStatus:
    """Say where a launch is whose element has not ended."""
    where = _where(native, seen)
    if claimed:
        return LaunchStatus(state=BackendState.ACTIVE, native=native, reason=where, code="slurm.runs")
    if seen is None:
        reason = trouble or f"Slurm has it as job {native}, and was not asked yet how that stands"
        return LaunchStatus(state=BackendState.QUEUED, native=native, reason=reason, code="slurm.not_asked")
    if read_state(seen.state).state is BackendState.ACTIVE:
        reason = f"not begun: {where}"
        return LaunchStatus(state=BackendState.QUEUED, native=native, reason=reason, code="slurm.not_begun")
    reason = reason_in_words(seen.reason) if seen.reason else ""
    if packed and "limit" in seen.reason.lower():
        reason += " (it runs several replicas: see [limits.pack] in the site file)"
    reason = reason or seen.state
    if seen.start_s:
        reason += time.strftime("; start estimated for %Y-%m-%d %H:%M", time.localtime(seen.start_s))
    return LaunchStatus(state=BackendState.QUEUED, native=native, reason=reason, code="slurm.waits")


def _where(native: str, seen: Observation | None) -> str:
    """Say what an element does that has its hosts."""
    where = f"Slurm job {native}"
    if seen is None:
        return where
    if read_state(seen.state).stopped:
        on = f" on {seen.hosts}" if seen.hosts else ""
        return f"{where}{on} is suspended by Slurm (by an administrator, or for other jobs)"
    return f"{where} runs on {seen.hosts}" if seen.hosts else where


def _last_line(files: Transport, log: str) -> str:
    """Return the last message that a batch script left, for people, in one line."""
    try:
        last = last_message(files.read(log, -2000).decode("utf-8", "replace"))
    except OSError:
        return ""
    return re.sub(r"[^ -~]", "?", last)[:300]

"""What may run on the machine of somebody who uses it too, what must wait, what must go, and why. Pure.

Rules:

1. While the node is snoozed, its hours are over, or the machine is as its owner wants it for itself (on battery, with
   a named program running, with somebody typing), nothing starts, and everything that runs is suspended. While memory
   or disk is short, or the node is to stop, nothing starts; what runs goes on, or ends with the worker.
2. A GPU is closed while it is snoozed, while its owner's programs use more of it than they are granted, and for
   `CALM_S` after that. Nothing starts on a closed GPU, and what runs there is suspended. When that happens again the
   time doubles, up to `MOST_CALM_S`: a game that uses the GPU in bursts would cost one start after the other. It is
   forgotten when the owner's programs left the GPU alone for eight times as long.
3. Replicas beyond the owner's CPUs are suspended, the youngest first.
4. What suspending does not help is given up when it was suspended for the grace: a replica on a GPU (a stopped process
   keeps its GPU memory), one beyond the owner's memory, and one that needs more than the owner gives at all.
5. Everything else goes on as soon as it may: at most once in `CALM_S` for each change of a GPU's use.

Times are of a clock that only runs forward. What one ruling must know of those before it is in `Standing`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.model import hours
from nexapod_batch.schema.units import show_size
from nexapod_batch.spool.owner_settings import FOREVER, NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import tzinfo

    from nexapod_batch.spool.owner_settings import Clock, OwnerSettings, Snooze

__all__ = [
    "CALM_S", "MOST_CALM_S", "Machine", "Pause", "Ruling", "Running", "Seen", "Standing", "given", "gpu_pause", "judge",
    "moment", "no_start", "pause",
]  # fmt: skip

CALM_S = 20.0  # for which the owner's programs must leave a GPU alone before it is used again, at first
MOST_CALM_S = 1280.0  # and at most
_FORGIVEN = 8  # times the calm, after which it is as at first


class Running(Struct, frozen=True, kw_only=True):
    """Work that an executor has: one replica, or several short ones in a row."""

    turn: int  # identifies it; never used again
    cpus: int
    mem_mib: int  # 0: no limit of its own
    devices: tuple[str, ...] = ()  # UUIDs of its GPUs


class Machine(Struct, frozen=True, kw_only=True):
    """What was seen of the machine, as far as a wish depends on it; None is not known, and keeps nothing back."""

    on_battery: bool = False
    programs: tuple[str, ...] = ()  # those of `pause_while` that run
    idle_s: float | None = None  # since somebody typed, or moved the mouse
    free_mem_mib: int | None = None
    free_disk_mib: int | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """What was seen of the machine at one moment."""

    clock: Clock
    zone: tzinfo | None = None  # of the owner; None: as this machine is set
    loads: Mapping[str, float] = field(default_factory=dict)  # UUID -> percent that the owner's programs use
    names: Mapping[str, str] = field(default_factory=dict)  # UUID -> what people call it, as in `GPU 0`
    machine: Machine = Machine()


class Standing(Struct, frozen=True, kw_only=True):
    """What a ruling must know of those before it."""

    used: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # UUID -> (last seen in use, percent then)
    since: Mapping[int, float] = field(default_factory=dict)  # turn -> suspended since
    evicted: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # UUID -> (times, last seen in use)


class Pause(Struct, frozen=True, kw_only=True):
    """Why something may not run now, and until when."""

    why: str  # of a node: what is to be said of it, as in `is snoozed`
    until: float | None = None  # seconds since 1970; None: nobody knows


_STOPPED = Pause(why="is stopped by its owner, until: nexapod-batch node start")


class Ruling(Struct, frozen=True, kw_only=True):
    """What may run from now on."""

    cpus: int  # that replicas may occupy together, suspended ones included
    mem_mib: int
    paused: Pause | None = None  # why nothing may start; None: it may
    closed: Mapping[str, Pause] = field(default_factory=dict)  # UUIDs of GPUs on which nothing may start
    suspend: Mapping[int, str] = field(default_factory=dict)  # turn -> why
    give_up: Mapping[int, str] = field(default_factory=dict)  # turn -> why


def judge(
    wishes: OwnerSettings, seen: Seen, cpus: int, mem_mib: int, running: Sequence[Running], before: Standing
) -> tuple[Ruling, Standing]:
    """Rule on a node of so many CPUs and so much memory; `running` is in the order in which it started."""
    now = seen.clock.uptime
    evicted = _evicted(wishes, seen, running, before)
    used = _used(wishes, seen, before, evicted)
    cpus, mem_mib = given(wishes, cpus, mem_mib)
    paused = pause(wishes, seen.clock, seen.machine, seen.zone)
    known = {*seen.names, *used, *(snooz.device for snooz in wishes.snoozes if snooz.device)}
    closed = {uuid: found for uuid in sorted(known) if (found := _closed(wishes, seen, used, uuid)) is not None}
    suspend, hopeless = _to_suspend(running, cpus, mem_mib, paused, closed)
    since = {turn: before.since.get(turn, now) for turn in suspend}
    give_up = {turn: suspend[turn] for turn in suspend if turn in hopeless and now - since[turn] >= wishes.grace}
    paused = paused or no_start(wishes, seen.machine)
    ruling = Ruling(cpus=cpus, mem_mib=mem_mib, paused=paused, closed=closed, suspend=suspend, give_up=give_up)
    return ruling, Standing(used=used, since=since, evicted=evicted)


def _to_suspend(
    running: Sequence[Running], cpus: int, mem_mib: int, paused: Pause | None, closed: Mapping[str, Pause]
) -> tuple[dict[int, str], set[int]]:
    """Return what is to be suspended, by turn with the reason, and the turns that suspending does not help."""
    suspend: dict[int, str] = {}
    hopeless: set[int] = set()
    left_cpus, left_mem = cpus, mem_mib
    for one in running:
        beyond = _beyond(one, cpus, mem_mib, left_mem)
        if one.devices or beyond:
            hopeless.add(one.turn)
        if not beyond:
            left_mem -= one.mem_mib  # of suspended ones too
        why = beyond or _not_now(one, paused, closed)
        if not why and one.cpus > left_cpus:
            why = f"its owner gives {_count(cpus, 'CPU')}, others that run use them"
        if why:
            suspend[one.turn] = why
        else:
            left_cpus -= one.cpus
    return suspend, hopeless


def given(wishes: OwnerSettings, cpus: int, mem_mib: int) -> tuple[int, int]:
    """Return what the owner gives of a node's CPUs and MiB of memory: one CPU at least."""
    most = min(cpus, wishes.max_cpus or cpus, max(1, cpus - wishes.free_cpus))
    return most, min(mem_mib, wishes.max_mem or mem_mib)


def pause(wishes: OwnerSettings, clock: Clock, machine: Machine, zone: tzinfo | None = None) -> Pause | None:
    """Return why nothing runs on a node now, whatever the use of its GPUs; None when something may."""
    snoozed = _snoozed(wishes.snoozes, "", clock, zone)
    if snoozed is not None:
        return snoozed
    return _closed_hours(wishes, clock, zone) or _wanted_by_owner(wishes, machine)


def no_start(wishes: OwnerSettings, machine: Machine) -> Pause | None:
    """Return why nothing starts on a node while what runs goes on; None when something may."""
    if wishes.stop is not None:
        return _STOPPED
    for what, wanted, free in (
        ("memory", wishes.free_mem, machine.free_mem_mib),
        ("disk space", wishes.free_disk, machine.free_disk_mib),
    ):
        if free is not None and free < wanted:
            return Pause(why=f"starts nothing while less than {show_size(wanted)} of {what} is free, says its owner")
    return None


def _wanted_by_owner(wishes: OwnerSettings, machine: Machine) -> Pause | None:
    """Return why the owner wants the machine for themselves now."""
    if wishes.on_battery == "pause" and machine.on_battery:
        return Pause(why="is paused while the machine runs on battery, says its owner")
    if machine.programs:
        verb = "runs" if len(machine.programs) == 1 else "run"
        return Pause(why=f"is paused while {' and '.join(machine.programs)} {verb}, says its owner")
    if machine.idle_s is not None and machine.idle_s < wishes.idle_for:
        return Pause(why=f"is paused until nobody has used the machine for {wishes.idle_for} s, says its owner")
    return None


def _closed_hours(wishes: OwnerSettings, clock: Clock, zone: tzinfo | None) -> Pause | None:
    local = datetime.fromtimestamp(clock.now, zone)
    if hours.is_open(wishes.hours, local):
        return None
    opens = hours.next_change(wishes.hours, local)
    until = opens.timestamp() if opens else None
    return Pause(why=f"may work {hours.show(wishes.hours)} only, says its owner", until=until)


def gpu_pause(wishes: OwnerSettings, uuid: str, name: str, clock: Clock, zone: tzinfo | None = None) -> Pause | None:
    """Return why a GPU, by the name that people know, is snoozed; None when it is not."""
    return _snoozed([snooz for snooz in wishes.snoozes if snooz.device == uuid], name, clock, zone)


def moment(seconds: float, now: float, zone: tzinfo | None = None) -> str:
    """Return a time, in seconds since 1970, as short as can be told now: `18:00`, `Thu 18:00`, `2026-12-01 18:00`."""
    when, today = (datetime.fromtimestamp(one, zone) for one in (seconds, now))
    days = (when.date() - today.date()).days
    if days == 0:
        return when.strftime("%H:%M")
    return when.strftime("%a %H:%M" if 0 < days < 7 else "%Y-%m-%d %H:%M")


def _snoozed(snoozes: Iterable[Snooze], name: str, clock: Clock, zone: tzinfo | None) -> Pause | None:
    """Return the longest of the snoozes that are for the node, or with a `name` for that device."""
    left = max((snooz.left(clock) for snooz in snoozes if bool(snooz.device) == bool(name)), default=0.0)
    if left <= 0:
        return None
    subject = f"{name} is" if name else "is"
    if left == FOREVER:
        return Pause(why=f"{subject} snoozed by its owner until they say otherwise")
    until = clock.now + left
    shown = until if left < 60 else until + 59  # to the minute, and never told as over before it is
    return Pause(why=f"{subject} snoozed by its owner until {moment(shown, clock.now, zone)}", until=until)


def _used(
    wishes: OwnerSettings, seen: Seen, before: Standing, evicted: Mapping[str, tuple[int, float]]
) -> dict[str, tuple[float, float]]:
    """Return when each GPU was seen in the owner's use last; what has been left alone long enough is forgotten."""
    if wishes.gpu_busy >= NO_LIMIT:
        return {}
    now = seen.clock.uptime
    used = {uuid: last for uuid, last in before.used.items() if now - last[0] < _calm_s(evicted, uuid)}
    used.update({uuid: (now, load) for uuid, load in seen.loads.items() if load > wishes.gpu_busy})
    return used


def _evicted(
    wishes: OwnerSettings, seen: Seen, running: Sequence[Running], before: Standing
) -> dict[str, tuple[int, float]]:
    """Return how often something had to leave each GPU lately, and when its owner's programs used that last."""
    now = seen.clock.uptime
    found = {
        uuid: (times, last)
        for uuid, (times, last) in before.evicted.items()
        if now - last < _FORGIVEN * _calm_s(before.evicted, uuid)
    }
    for uuid, load in seen.loads.items():
        if load <= wishes.gpu_busy:
            continue
        times, _ = found.get(uuid, (0, now))
        closed = uuid in before.used and now - before.used[uuid][0] < _calm_s(before.evicted, uuid)
        if not closed and any(uuid in one.devices for one in running):
            times += 1
        if times:
            found[uuid] = (times, now)
    return found


def _calm_s(evicted: Mapping[str, tuple[int, float]], uuid: str) -> float:
    """Return for how long the owner's programs must leave a GPU alone."""
    times = evicted[uuid][0] if uuid in evicted else 0
    return min(CALM_S * 2.0 ** max(0, times - 1), MOST_CALM_S)


def _closed(wishes: OwnerSettings, seen: Seen, used: Mapping[str, tuple[float, float]], uuid: str) -> Pause | None:
    name = seen.names.get(uuid, uuid)
    snoozed = gpu_pause(wishes, uuid, name, seen.clock, seen.zone)
    if snoozed is not None or uuid not in used:
        return snoozed
    return Pause(why=f"its owner uses {name} ({used[uuid][1]:.0f} %, more than {wishes.gpu_busy} %)")


def _not_now(task: Running, paused: Pause | None, closed: Mapping[str, Pause]) -> str:
    """Return why something may not run now on this node, or on its GPUs; "" when it may."""
    if paused is not None:
        return f"the node {paused.why}"
    return next((closed[uuid].why for uuid in task.devices if uuid in closed), "")


def _beyond(task: Running, cpus: int, mem_mib: int, left_mem: int) -> str:
    if task.cpus > cpus:
        return f"its owner gives {_count(cpus, 'CPU')}, this needs {task.cpus}"
    if task.mem_mib > left_mem:
        return f"its owner gives {mem_mib} MiB of memory, this needs {task.mem_mib} MiB beside what runs"
    return ""


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}s"

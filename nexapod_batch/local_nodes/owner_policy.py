"""What the owner of a machine says of its node: snoozes and limits, by files in the spool alone.

None of it needs a coordinator, its key or its database: the worker obeys the file, whoever it works for. A coordinator
that can read it places nothing where nothing may start.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.errors import ConfigError, NotFoundError, Problem, UsageError
from nexapod_batch.files import careful
from nexapod_batch.model import hours
from nexapod_batch.model.node import JOINED, LOCAL
from nexapod_batch.runner.owner import machine_state, rules
from nexapod_batch.runner.processes import descendants
from nexapod_batch.schema.units import duration, show_size, size
from nexapod_batch.spool import layout, owner_settings, status_file
from nexapod_batch.spool.claims import Claim, claim
from nexapod_batch.spool.lock import live_incarnation
from nexapod_batch.spool.owner_settings import FOREVER, KEYS, MAX_SNOOZE_S, OwnerSettings, Snooze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.model.hardware import Gpu
    from nexapod_batch.model.node import Node
    from nexapod_batch.spool.owner_settings import Stop

__all__ = [
    "Owned",
    "change",
    "closed_gpus",
    "device",
    "effective",
    "end_left_over",
    "find",
    "given",
    "limits_of",
    "paused",
    "seconds_until",
    "snooze",
    "stop",
    "wait_for_end",
    "wake",
    "withdraw",
]

_WANTED: Mapping[str, str] = {
    "max_cpus": "a number of CPUs, as in 4",
    "max_mem": "a size, as in 8G",
    "hours": hours.GRAMMAR,
    "gpu_busy": "a percentage from 0 to 100, as in 20",
    "grace": "a duration, as in 30s",
    "nice": "a whole number from 0 to 19",
    "io": "idle or normal",
    "cpu": "idle or normal",
    "free_cpus": "a number of CPUs, as in 1",
    "free_mem": "a size, as in 4G",
    "free_disk": "a size, as in 20G",
    "on_battery": "pause or run",
    "pause_while": "names of programs with commas, as in blender,steam",
    "idle_for": "a duration, as in 5m",
}


_SIZES, _DURATIONS = frozenset({"max_mem", "free_mem", "free_disk"}), frozenset({"grace", "idle_for"})
_WORDS = frozenset({"hours", "io", "cpu", "on_battery", "pause_while"})


_LOOK_S = 0.2  # between two looks at a worker that is to end


class Owned(Struct, frozen=True, kw_only=True):
    """A node of this machine, as its spool tells."""

    name: str
    spool: Path
    settings: Mapping[str, Any]  # node.json


def is_here(paths: Paths, name: str) -> bool:
    """Say whether a node of this name has its files here."""
    return name in spools(paths)


def spools(paths: Paths) -> dict[str, Path]:
    """Return the spool of each node that has its files here, by its name, also of those that joined from here."""
    found = {file.parent.name: file.parent for file in paths.spool("x").parent.glob(f"*/{layout.NODE_CONFIG}")}
    for file in (paths.home / "agent").glob(f"*/spool/{layout.NODE_CONFIG}"):
        found[file.parent.parent.name] = file.parent
    return found


def only(paths: Paths) -> str:
    """Return the name of the only node that has its files here; UsageError where there are several, or none."""
    names = sorted(spools(paths))
    if len(names) != 1:
        raise UsageError("which node?", got="no name", wanted=f"one of: {', '.join(names) or 'none is here'}")
    return names[0]


def find(paths: Paths, name: str) -> Owned:
    """Return a node of this machine; NotFoundError when there is none, UsageError when it is elsewhere.

    Raises:
        ConfigError: What is known of it cannot be read.

    """
    here = spools(paths)
    spool = here.get(name, paths.spool(name))
    try:
        if name not in here:
            raise FileNotFoundError
        settings: Any = careful.load(spool / layout.NODE_CONFIG)
        backend, host = settings["backend"], settings["host"]
    except FileNotFoundError as error:
        known = ", ".join(sorted(here)) or "none"
        raise NotFoundError("no such node has its files here", got=repr(name), wanted=f"one of: {known}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "nexapod-batch reconcile writes it again"
        raise ConfigError(f"{spool / layout.NODE_CONFIG} cannot be read", got=str(error), hint=hint) from error
    if backend not in {LOCAL, JOINED}:
        raise UsageError(
            f"node {name} runs where its scheduler says, not on a machine of yours", got=f"backend {backend}",
            hint=f"to give it nothing more: nexapod-batch node drain {name}",
        )  # fmt: skip
    if host != socket.gethostname():
        raise UsageError(f"node {name} is another machine", got=socket.gethostname(), wanted=host, hint="say it there")
    return Owned(name=name, spool=spool, settings=settings)


def snooze(owned: Owned, seconds: float | None, device: str = "") -> OwnerSettings:
    """Let the node, or one GPU of it, be quiet for so long, None: until `wake`; an earlier snooze is replaced.

    Raises:
        UsageError: It has no such GPU, or the time is too long.

    """
    if seconds is None:
        seconds = FOREVER
    elif not 0 < seconds <= MAX_SNOOZE_S:
        raise UsageError(
            "a snooze of that length is none", got=f"{seconds:.0f} s", wanted="up to 31 days",
            hint=f"until you say otherwise: nexapod-batch node snooze {owned.name}",
        )  # fmt: skip
    now = owner_settings.clock()
    one = Snooze(device=device, seconds=seconds, at=now.now, boot=now.boot, uptime=now.uptime)
    return _update(owned, lambda old: replace(old, snoozes=(*_others(old, device), one)))


def wake(owned: Owned, device: str = "") -> OwnerSettings:
    """End the snooze of the node, or of one GPU."""
    return _update(owned, lambda old: replace(old, snoozes=_others(old, device)))


def change(owned: Owned, pairs: Sequence[str]) -> OwnerSettings:
    """Set limits, `key=value` each; an empty value takes a limit away. UsageError names all that cannot be."""
    values: dict[str, Any] = {}
    problems = []
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if key not in KEYS or not equals:
            problems.append(Problem(key, f"got {pair!r}, wanted key=value with one of: {', '.join(KEYS)}"))
            continue
        try:
            values[key] = _value(owned, key, text)
        except ValueError as error:
            why = "" if str(error).startswith("must be") else f"{error}: "  # that is what is wanted
            problems.append(Problem(key, f"{why}got {text!r}, wanted {_WANTED[key]}, or nothing for no limit"))
    if problems:
        raise UsageError("nothing was changed\n" + "\n".join(f"  {problem}" for problem in problems))
    return _update(owned, lambda old: replace(old, **values))


def seconds_until(text: str, now: float) -> float:
    """Return the seconds until the clock on the wall shows `18:00`; UsageError for what is no time of the day."""
    if not re.fullmatch(r"\d{1,2}:\d\d", text) or int(text[-2:]) > 59 or int(text[:-3]) > 23:
        raise UsageError("--until", got=repr(text), wanted="a time of the day, as in 18:00")
    local = datetime.fromtimestamp(now)  # noqa: DTZ006 - the owner's clock
    when = local.replace(hour=int(text[:-3]), minute=int(text[-2:]), second=0, microsecond=0)
    return (when if when > local else when + timedelta(days=1)).timestamp() - now


def limits_of(settings: OwnerSettings) -> dict[str, str]:
    """Return the limits that are set, as `change` reads them."""
    how: dict[str, Callable[[Any], str]] = {"hours": hours.show, "pause_while": ",".join}
    how |= dict.fromkeys(_SIZES, show_size) | dict.fromkeys(_DURATIONS, lambda seconds: f"{seconds}s")
    set_ = {key: getattr(settings, key) for key in KEYS if getattr(settings, key) != getattr(OwnerSettings(), key)}
    return {key: how.get(key, str)(value) for key, value in set_.items()}


def device(owned: Owned, word: str) -> tuple[str, str]:
    """Return the UUID of a GPU that the node offers, and what people call it; UsageError when there is no such GPU."""
    from nexapod_batch.hardware import machine  # noqa: PLC0415 - for who has one

    offers: Sequence[str] | None = owned.settings.get("gpus")
    found, faults = machine.gpus()
    mine = _offered(found, offers)
    for gpu in mine:
        if word in (gpu.index, gpu.uuid):
            return gpu.uuid, f"GPU {gpu.index}"
    if word in (offers or ()):  # it does not answer now
        return word, f"GPU {word}"
    there = ", ".join([f"{gpu.index} ({gpu.model})" for gpu in mine] or list(offers or ()))
    raise _no_such_gpu(owned.name, word, there, faults)


def _offered(gpus: Iterable[Gpu], offers: Sequence[str] | None) -> list[Gpu]:
    """Return the GPUs that work and that a node offers; a node that names none offers every one."""
    return [gpu for gpu in gpus if not gpu.unusable and (offers is None or gpu.uuid in offers)]


def _no_such_gpu(node: str, word: str, there: str, faults: Sequence[str]) -> UsageError:
    """Return the error for a GPU that a node does not offer; `there` are those that it does, in words."""
    what, wanted = f"node {node} offers no GPU", None
    if there:
        what, wanted = f"node {node} offers no such GPU", f"one of: {there}"
    hint = "; ".join(fault.split("\n")[0] for fault in faults) or "nexapod-batch node profile tells which there are"
    return UsageError(what, got=repr(word), wanted=wanted, hint=hint)


def closed_gpus(spool: Path, live: Mapping[str, str]) -> dict[str, str]:
    """Return the GPUs on which nothing may start, by UUID with the reason: snoozed, or what a `live` worker says."""
    try:
        found = owner_settings.load(spool)
    except ConfigError:
        return dict(live)
    now = owner_settings.clock()
    devices = {snooz.device for snooz in found.snoozes if snooz.device} - live.keys()
    pauses = {uuid: rules.gpu_pause(found, uuid, f"GPU {uuid[:12]}", now) for uuid in devices}
    return {**{uuid: pause.why for uuid, pause in pauses.items() if pause}, **live}


def paused(spool: Path, device: str = "", called: str = "") -> tuple[str, float | None]:
    """Return why a node, or one GPU, starts nothing now and until when; "" when it may, or nobody can read the file."""
    try:
        told, now = owner_settings.load(spool), owner_settings.clock()
        found = rules.gpu_pause(told, device, called, now) if device else _pause(spool, told)
    except ConfigError as error:
        return _unread(error), None
    if found:
        return (found.why, found.until)
    return ("", None)


def given(owned: Owned) -> tuple[int, int]:
    """Return the CPUs and the MiB of memory that the owner gives now."""
    cpus, mem_mib = owned.settings["cpus"], owned.settings["mem_mib"]
    try:
        found = owner_settings.load(owned.spool)
    except ConfigError:
        return cpus, mem_mib
    return rules.given(found, cpus, mem_mib)


def effective(node: Node, spool: Path) -> tuple[Node, str]:
    """Return a local node as large as its owner lets it be, and why it may start nothing now, or ""."""
    try:
        found = owner_settings.load(spool)
    except ConfigError as error:
        return node, _unread(error)
    if found == OwnerSettings():
        return node, ""
    cpus, mem = rules.given(found, node.cpus, node.mem_mib)
    pause = _pause(spool, found)
    limited = (*(["cpus"] if cpus < node.cpus else []), *(["mem"] if mem < node.mem_mib else []))
    return replace(node, cpus=cpus, mem_mib=mem, limited=limited), pause.why if pause else ""


def _pause(spool: Path, wishes: OwnerSettings) -> rules.Pause | None:
    """Return why a node may start nothing now; of the machine only what a wish depends on is looked at."""
    work, host = str(spool), socket.gethostname()
    if machine_state.matters(wishes):
        with suppress(OSError, ValueError, KeyError, TypeError):
            settings: Any = careful.load(spool / layout.NODE_CONFIG)
            work, host = str(settings["work"]), settings["host"]
    seen = machine_state.look(wishes, work) if host == socket.gethostname() else rules.Machine()
    return rules.pause(wishes, owner_settings.clock(), seen) or rules.no_start(wishes, seen)


def stop(owned: Owned, how: Stop | None) -> Stop | None:
    """Let a node stop until it is started again, or with None start it: its worker obeys, and so does the next one.

    Returns how it was stopped before.
    """
    before = _readable(owned).stop
    _update(owned, lambda old: replace(old, stop=how))
    return before


def wait_for_end(owned: Owned, seconds: float) -> bool:
    """Wait until the worker of a node has nothing more to do with it, for so long at most; False when it still has.

    The worker that systemd keeps lives on, without executors and without a notice.
    """
    end = time.monotonic() + seconds
    while (holder := live_incarnation(owned.spool)) is not None:
        if holder and status_file.read(owned.spool, holder) is None:
            time.sleep(_LOOK_S)  # one that just came has no notice either
            if live_incarnation(owned.spool) == holder and status_file.read(owned.spool, holder) is None:
                return True
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_S)
    return True


def end_left_over(owned: Owned) -> int:
    """Kill what a worker left running that was killed itself, if none lives; return how many processes."""
    if live_incarnation(owned.spool) is not None:
        return 0
    found = descendants.find_strays(str(owned.settings["work"]))
    descendants.signal_all(found, signal.SIGKILL)
    return len(found)


def withdraw(spool: Path, key: str) -> bool:
    """Claim a launch that nobody began, so that nobody ever does; False when its worker was faster."""
    bundle = spool / layout.bundle(key)
    if not bundle.exists() or not claim(spool / layout.claim(key), Claim("withdrawn", socket.gethostname())):
        return False
    bundle.unlink(missing_ok=True)
    (spool / layout.key(key)).unlink(missing_ok=True)
    return True


def _unread(error: ConfigError) -> str:
    return f"starts nothing: {str(error).split(chr(10))[0]}"


def _value(owned: Owned, key: str, text: str) -> Any:  # noqa: ANN401 - one of the fields of OwnerSettings
    """Return what a limit's text means for a node; ValueError for nonsense."""
    if text in {"", "none", "off"}:
        return getattr(OwnerSettings(), key)
    if key in _SIZES:
        text = str(size(text))
    elif key in _DURATIONS:
        text = str(duration(text))
    if key in _WORDS:
        return KEYS[key](text)
    value = KEYS[key](int(text))
    if key == "free_cpus" and value >= owned.settings["cpus"]:
        raise ValueError(f"the node has {owned.settings['cpus']} only, and must keep one")
    has = {"max_cpus": "cpus", "max_mem": "mem_mib"}.get(key)
    if has and value > owned.settings[has]:
        unit = " MiB" if key == "max_mem" else ""
        raise ValueError(f"the node has {owned.settings[has]}{unit} only")
    return value


def _update(owned: Owned, how: Callable[[OwnerSettings], OwnerSettings]) -> OwnerSettings:
    """Write the wishes anew, without snoozes that are over; one that writes at the same time is not lost."""
    import fcntl  # noqa: PLC0415 - most of the program never locks here

    try:
        lock = os.open(owned.spool / f".{layout.OWNER_SETTINGS}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new, now = how(_readable(owned)), owner_settings.clock()
            new = replace(new, snoozes=tuple(snooz for snooz in new.snoozes if snooz.left(now) > 0))
            owner_settings.save(owned.spool, new)
        finally:
            os.close(lock)
    except OSError as error:
        raise ConfigError(f"{owned.spool / layout.OWNER_SETTINGS} cannot be written", got=error.strerror) from error
    return new


def _readable(owned: Owned) -> OwnerSettings:
    """Return the wishes; a file that nobody understands is replaced, which is what whoever says something wants."""
    try:
        return owner_settings.load(owned.spool)
    except ConfigError:
        return OwnerSettings()


def _others(old: OwnerSettings, device: str) -> tuple[Snooze, ...]:
    return tuple(snooz for snooz in old.snoozes if snooz.device != device)

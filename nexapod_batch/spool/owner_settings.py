"""What the owner of a machine wants: `manners.json` in the node's spool, and how long a snooze goes on.

The file is the owner's. It is written whole or not at all by `node set` and `node snooze`, works without a coordinator,
and is read by the worker when it changes. A snooze cannot last longer than it was asked for, whatever the clock does:
within one boot it is counted by a clock that only runs forward and through sleep, after a reboot the time since the
boot counts as a part of it.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch.errors import ConfigError
from nexapod_batch.files import atomic, careful
from nexapod_batch.model import hours
from nexapod_batch.spool import layout
from nexapod_batch.spool.claims import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = [
    "FOREVER",
    "KEYS",
    "MAX_SNOOZE_S",
    "NO_LIMIT",
    "Clock",
    "OwnerSettings",
    "Snooze",
    "Stop",
    "clock",
    "is_stopped",
    "load",
    "reserve",
    "save",
]  # fmt: skip

#: The longest snooze in seconds that ends by itself, and the one that does not.
MAX_SNOOZE_S = 31 * 86_400
FOREVER = float("inf")
#: Percent of a GPU, as `gpu_busy`, with which nobody needs to look at it.
NO_LIMIT = 100

#: Room on the disk for the next wishes, kept so that an owner can say `node snooze` when it is full.
_SPARE, _SPARE_BYTES = ".manners.spare", 16 * 1024
_MOST_PROGRAMS = 100
_HINT = "nexapod-batch node set NAME key=value writes it anew"


class Stop(StrEnum):
    """How the owner wants a node to stop until they start it again."""

    NOW = "now"  # what runs is given up
    FINISH = "finish"  # when nothing runs any more; nothing new starts


class Clock(Struct, frozen=True, kw_only=True):
    """One look at the clocks."""

    now: float  # seconds since 1970
    boot: str  # the kernel's id of this boot; "" where there is none
    uptime: float  # seconds since the boot, sleep included


def clock() -> Clock:
    """Look at the clocks of this machine, and how far its time is from that of the world."""
    time.tzset()  # the owner may have travelled
    return Clock(now=time.time(), boot=boot_id(), uptime=time.clock_gettime(time.CLOCK_BOOTTIME))


class Snooze(Struct, frozen=True, kw_only=True):
    """The owner wants quiet for a while."""

    device: str  # UUID of a GPU; "" for the whole node
    seconds: float  # for how long; FOREVER: until somebody says otherwise
    at: float  # when it was asked for: seconds since 1970
    boot: str  # and on which boot
    uptime: float  # and how long after it

    def left(self, clock: Clock) -> float:
        """Return for how many seconds it goes on; 0 or less: it is over."""
        if self.seconds == FOREVER:
            return FOREVER
        if clock.boot == self.boot and clock.uptime >= self.uptime:
            return self.uptime + self.seconds - clock.uptime
        return min(self.at + self.seconds - clock.now, self.seconds - clock.uptime)


class OwnerSettings(Struct, frozen=True, kw_only=True):
    """The owner's limits and snoozes; None is no limit."""

    max_cpus: int | None = None
    max_mem: int | None = None  # MiB
    hours: tuple[hours.Window, ...] = ()  # in which the node may work; () is always
    gpu_busy: int = 20  # percent of a GPU that the owner's programs may use before ours leave it; 100: all of it
    grace: int = 30  # seconds for which what cannot be suspended may stay when it must go
    nice: int | None = None  # of commands, 0 to 19; None: as the node was made
    io: str | None = None  # of commands, `idle` or `normal`; None: as the node was made
    cpu: str | None = None  # of commands, `idle`: CPUs that nobody else wants, or `normal`
    free_cpus: int = 0  # CPUs of the node that are left to the owner
    free_mem: int = 0  # MiB of memory that must be free for something to start
    free_disk: int = 0  # MiB on the disk of the work folders, likewise
    on_battery: str | None = None  # `pause`: nothing runs on battery; `run`
    pause_while: tuple[str, ...] = ()  # names of programs while which nothing runs
    idle_for: int = 0  # seconds for which nobody must have typed for something to run
    snoozes: tuple[Snooze, ...] = ()
    stop: Stop | None = None


def _whole(minimum: int, maximum: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:  # noqa: ANN401 - straight from JSON
        if type(value) is not int or not minimum <= value <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return value

    return check


def _choice(*known: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:  # noqa: ANN401
        if value not in known:
            raise ValueError(f"must be {' or '.join(known)}")
        return str(value)

    return check


def _programs(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return names of programs, from text with commas, or a list of them; as in TOML, if somebody writes it so."""
    words = value.strip("[] ").split(",") if isinstance(value, str) else value
    names = tuple(dict.fromkeys(str(word).strip(" \"'") for word in words))
    if not names or len(names) > _MOST_PROGRAMS or any(not name or "/" in name or "\0" in name for name in names):
        raise ValueError(f"must be 1 to {_MOST_PROGRAMS} names of programs, without folders, with commas")
    return names


#: The limits: key -> what makes of its JSON value what `OwnerSettings` holds, or raises ValueError.
KEYS: Mapping[str, Callable[[Any], Any]] = {
    "max_cpus": _whole(1, 1_000_000),
    "max_mem": _whole(1, 1_000_000_000),
    "hours": lambda value: hours.parse(str(value)),
    "gpu_busy": _whole(0, NO_LIMIT),
    "grace": _whole(0, 3600),
    "nice": _whole(0, 19),
    "io": _choice("idle", "normal"),
    "cpu": _choice("idle", "normal"),
    "free_cpus": _whole(0, 1_000_000),
    "free_mem": _whole(0, 1_000_000_000),
    "free_disk": _whole(0, 1_000_000_000_000),
    "on_battery": _choice("pause", "run"),
    "pause_while": _programs,
    "idle_for": _whole(0, 86_400),
}


def load(spool: Path) -> OwnerSettings:
    """Read the owner's wishes; no file is no wish. ConfigError when it cannot be understood whole."""
    file = spool / layout.OWNER_SETTINGS
    try:
        document: Any = careful.load(file)
    except FileNotFoundError:
        return OwnerSettings()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read", got=str(error), hint=_HINT) from error
    try:
        if document["schema"] != 1:
            raise ConfigError(f"{file} is of another version", got=document["schema"], wanted="schema 1", hint=_HINT)
        unknown = document["limits"].keys() - KEYS.keys()
        if unknown:
            raise ConfigError(f"{file} says what is not known", got=", ".join(sorted(unknown)), wanted=", ".join(KEYS))
        limits = {key: KEYS[key](value) for key, value in document["limits"].items()}
        stop = Stop(document["stop"]) if document.get("stop") else None
        return OwnerSettings(**limits, snoozes=tuple(map(_snooze, document["snoozes"])), stop=stop)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{file} is of the wrong shape", got=problem, hint=_HINT) from error


def is_stopped(spool: Path) -> bool:
    """Say whether the owner wants no worker at all; a file that nobody understands stops none."""
    with suppress(ConfigError):
        return load(spool).stop is not None
    return False


def save(spool: Path, wishes: OwnerSettings) -> None:
    """Write the owner's wishes, whole or not at all; OSError when that cannot be."""
    limits = {key: value for key in KEYS if (value := getattr(wishes, key)) != getattr(OwnerSettings(), key)}
    if "hours" in limits:
        limits["hours"] = hours.show(wishes.hours)
    snoozes = [
        {
            "device": s.device, "seconds": None if s.seconds == FOREVER else s.seconds,
            "at": s.at, "boot": s.boot, "uptime": s.uptime,
        }
        for s in wishes.snoozes
    ]  # fmt: skip
    document = {"schema": 1, "limits": limits, "snoozes": snoozes, "stop": wishes.stop}
    data = json.dumps(document, indent=2).encode() + b"\n"
    try:
        atomic.write(spool / layout.OWNER_SETTINGS, data, mode=0o600)
    except OSError as error:
        if error.errno not in atomic.FULL or not _save_in_spare(spool, data):
            raise
    reserve(spool)


def reserve(spool: Path) -> None:
    """Keep room for the next wishes; where there is none now, the next time."""
    spare = spool / _SPARE
    with suppress(OSError):
        if spare.lstat().st_size == _SPARE_BYTES:
            return
    with suppress(OSError):
        atomic.write(spare, b" " * _SPARE_BYTES, mode=0o600)


def _save_in_spare(spool: Path, data: bytes) -> bool:
    """Write into the room that was kept, and give it the name; False when there is none."""
    with suppress(OSError):
        fd = os.open(spool / _SPARE, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if len(data) > os.fstat(fd).st_size:
                return False
            os.pwrite(fd, data.ljust(os.fstat(fd).st_size), 0)  # JSON may be followed by blanks
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(spool / _SPARE, spool / layout.OWNER_SETTINGS)
        return True
    return False


def _snooze(document: Mapping[str, Any]) -> Snooze:
    seconds = FOREVER if document["seconds"] is None else float(document["seconds"])
    if not (0 <= seconds <= MAX_SNOOZE_S or seconds == FOREVER):
        raise ValueError(f"seconds of a snooze must be from 0 to {MAX_SNOOZE_S}, or null")
    at, uptime = float(document["at"]), float(document["uptime"])
    return Snooze(device=str(document["device"]), seconds=seconds, at=at, boot=str(document["boot"]), uptime=uptime)

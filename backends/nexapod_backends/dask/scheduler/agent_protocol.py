"""What agents on workers answer: hostile until it was parsed here. Pure.

A worker may answer anything. What comes out of here is plain, bounded and printable; names stay inside a folder. What
our agent would never say is a ForeignAnswerError, which names the worker: it is given nothing more for a while, and
what it has is lost and replaced.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field

from nexapod_batch.errors import SchedulerError
from nexapod_batch.spool import layout
from nexapod_batch.trust.dsse import MAX_ENVELOPE
from nexapod_batch.trust.statement_rules import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = [
    "MAX_LINE",
    "ForeignAnswerError",
    "Found",
    "Met",
    "Seen",
    "Spool",
    "ended_by",
    "found_files",
    "met",
    "printable",
    "spools",
]

#: Longest line of a report segment: an envelope and the small files carried with it.
MAX_LINE = MAX_ENVELOPE + 64 * 1024
#: Stands for who claimed, where the file does not say it (yet).
UNREAD = "?"
_LARGEST = 1 << 50  # bytes of one file
_TEXT = 1_000  # characters of what a worker says in words
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_STORAGE = re.compile(r"[0-9a-f]{32}")

T = TypeVar("T")


class ForeignAnswerError(SchedulerError):
    """A worker answers what an agent of ours never would."""


class Met(Struct, frozen=True, kw_only=True):
    """Who a worker is, and what lies on its storage."""

    id: str  # of its process; "" when another one answers at its address
    storage: str
    time: float  # by its clock
    ends: float | None  # when it is to end, by its clock; None: nobody knows
    machine: str  # the same for all workers of one machine; "" where it cannot be told
    settings: str  # digest
    inputs: frozenset[str]


class Spool(Struct, frozen=True, kw_only=True):
    """The spool of one worker, as it was seen."""

    inbox: frozenset[str]
    claims: Mapping[str, str]  # launch -> incarnation
    refused: Mapping[str, str]  # launch -> reason
    reports: Mapping[str, int]  # segment -> size
    holder: str | None  # incarnation of the runner that lives
    through: str  # address of the worker through which it was seen
    storage: str

    def runs(self, key: str) -> bool:
        """Say whether the runner that lives claimed a launch; a claim that is not yet written whole is its own."""
        return self.holder is not None and self.claims.get(key) in (self.holder, UNREAD)


class Seen(Struct, kw_only=True):
    """What a look at all storages in reach found."""

    spools: dict[tuple[str, str], Spool] = field(default_factory=dict)  # by storage and worker
    at: float = 0.0


class Found(Struct, frozen=True, kw_only=True):
    """The files of a replica."""

    root: str  # its work folder there; "" when there is nothing of it
    beside: Mapping[str, int]  # ending -> size
    files: Mapping[str, int]  # name inside -> size


def printable(text: object, max_length: int = _TEXT) -> str:
    """Return words of a stranger as one line that a terminal can show."""
    clean = "".join(char if char.isprintable() else " " for char in str(text)[: 4 * max_length])
    return " ".join(clean.split())[:max_length]


def ended_by(address: str, events: object, killed: object) -> str:
    """Say who ended a worker, by what the scheduler noted of it and of those that nannies killed; "" for nobody."""
    if any(event.get("worker") == address for event in _events(killed)):
        return "its nanny ended it for its memory"
    noted = _events(events)
    if any("lifetime" in str(event.get("reason")) for event in noted):
        return "its lifetime was over"
    if any(event.get("action") == "retired" for event in noted):
        return "it was retired"
    return ""


def _events(answer: object) -> list[Mapping[str, object]]:
    """Return what the scheduler noted under a topic: pairs of a time and an event."""
    pairs = answer if isinstance(answer, (list, tuple)) else ()
    whole = [pair for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2]
    return [event for _, event in whole if isinstance(event, dict)]


def met(worker: str, answer: Mapping[str, Any]) -> Met:
    """Return what a worker says of itself."""

    def parse() -> Met:
        return Met(
            id=_matching(answer["id"], _ID) if answer["id"] else "",
            storage=_matching(answer["storage"], _STORAGE),
            time=float(answer["time"]),
            ends=None if answer["ends"] is None else _moment(answer["ends"]),
            machine=_matching(answer["machine"], re.compile("(?:[0-9a-f]{32})?")),
            settings=_matching(answer["settings"], re.compile("[0-9a-f]{0,64}")),
            inputs=frozenset(map(_text, answer["inputs"])),
        )

    return _parsed(worker, parse)


def spools(worker: str, answer: Mapping[str, Any]) -> list[tuple[str, Spool]]:
    """Return the spools that a worker sees, by the ids of the processes that they belong to."""

    def parse() -> list[tuple[str, Spool]]:
        storage = _matching(answer["storage"], _STORAGE)
        return [(_matching(one, _ID), _spool(spool, worker, storage)) for one, spool in answer["spools"].items()]

    return _parsed(worker, parse)


def _spool(answer: Mapping[str, Any], through: str, storage: str) -> Spool:
    holder = answer["holder"]
    return Spool(
        inbox=frozenset(_text(key) for key in answer["inbox"]),
        claims={_text(key): _text(who) for key, who in answer["claims"].items()},
        refused={_text(key): printable(_text(why)) for key, why in answer["refused"].items()},
        reports={name: _size(size) for name, size in answer["reports"].items() if layout.is_segment(name)},
        holder=None if holder is None else _text(holder),
        through=through,
        storage=storage,
    )


def _escapes(name: str) -> bool:
    """Say whether a name leads out of the folder that it is in."""
    return name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/"))


def found_files(worker: str, answer: Mapping[str, Any], base: str, names: Collection[str] | None) -> Found:
    """Return what a worker has of a replica, below `base`; of `names` when these are known."""

    def parse() -> Found:
        root = _text(answer["root"])
        if not root:
            return Found(root="", beside={}, files={})
        if not root.startswith(f"{base}/work/"):
            raise ValueError(root)
        asked = None if names is None else set(names)
        files: dict[str, int] = {}
        for name, size in answer["files"]:
            if _escapes(_text(name)) or (asked is not None and name not in asked):
                raise ValueError(name)
            if safe_name(name):  # a command may call its files anything
                files[name] = _size(size)
        beside = {ending: _size(size) for ending, size in answer["beside"].items() if ending in layout.BESIDE_WORK}
        return Found(root=root, beside=beside, files=files)

    return _parsed(worker, parse)


def _parsed(worker: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        got = f"{type(error).__name__}: {error}"
        raise ForeignAnswerError(f"worker {worker} answers what no agent would", got=printable(got, 200)) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__}, wanted text")
    return value


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(_text(value)):
        raise ValueError(f"{value!r}, wanted {pattern.pattern}")
    return str(value)


def _moment(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e12:  # type: ignore[operator]
        raise ValueError(f"{value!r:.40}, wanted seconds since 1970")
    return float(value)  # type: ignore[arg-type]


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r}, wanted a size")
    return value

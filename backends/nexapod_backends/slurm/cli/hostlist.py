"""Slurm's small notations: host lists, array indexes, durations, times, GPUs. Pure; nothing raises, all is bounded."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = [
    "MAX_HOSTS",
    "MAX_INDEXES",
    "NOTHING",
    "expand_hosts",
    "expand_indexes",
    "read_duration",
    "read_gpus",
    "read_time",
]

MAX_HOSTS = 100_000  # names that a host list may stand for
MAX_INDEXES = 1_000_000  # array elements in one list
#: How Slurm's commands print that there is nothing.
NOTHING = frozenset({"", "(null)", "N/A", "None", "none", "Unknown", "None assigned", "n/a"})

_INDEXES = re.compile(r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?", re.ASCII)


def expand_indexes(text: str) -> tuple[tuple[int, ...], bool] | None:
    """Return the elements of `7`, `[5-9,12%4]`, `0-100:10` and whether Slurm cut the list (`1-5,7,...`).

    None for what is no such list or stands for more than a million elements.
    """
    body = text.strip().removeprefix("[").removesuffix("]")
    body = re.sub(r"%\d{1,10}\Z", "", body, flags=re.ASCII)
    cut = body.endswith("...")
    parts = body.rstrip(".").split(",") if cut else body.split(",")
    if cut:
        parts = parts[:-1]  # the last number may lack its last digits
    found: list[int] = []
    for part in parts:
        numbers = _index_span(part)
        if not numbers or len(found) + len(numbers) > MAX_INDEXES:
            return None
        found += numbers
    return (tuple(found), cut) if found or cut else None


def _index_span(text: str) -> range:
    """Return the elements of `7`, `5-9` or `0-100:10`; none for what is no such span."""
    match = _INDEXES.fullmatch(text)
    if not match:
        return range(0)
    first = int(match[1])
    return range(first, int(match[2] or first) + 1, int(match[3] or 1) or 1)


_HOST = re.compile(r"((?:[A-Za-z0-9_.-]|\[[0-9,-]+\])+)(?:,(?=.)|\Z)", re.ASCII)
_SPAN = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?", re.ASCII)


def expand_hosts(text: str) -> tuple[str, ...] | None:
    """Return the names that `a[1-3,07],b02` stands for, in order; () for none.

    None for what is no host list or stands for more than 100,000 names.
    """
    text = text.strip()
    if text in NOTHING:
        return ()
    found: list[str] = []
    position = 0
    while position < len(text):
        word = _HOST.match(text, position)
        if not word:
            return None
        position = word.end()
        pieces: list[list[str]] = []
        room = MAX_HOSTS - len(found)
        for piece in re.findall(r"\[[^\]]*\]|[^\[]+", word[1]):
            choices = _numbers(piece[1:-1], room) if piece.startswith("[") else [piece]
            if not choices:
                return None
            room //= len(choices)
            pieces.append(choices)
        if room < 1:
            return None
        found += map("".join, product(*pieces))
    return tuple(found)


def _numbers(text: str, room: int) -> list[str] | None:
    """Return the numbers of `1-3,07` with their leading zeros; None when it is wrong or too many."""
    found: list[str] = []
    for part in text.split(","):
        match = _SPAN.fullmatch(part)
        if not match:
            return None
        first, last = match[1], match[2] or match[1]
        if not 0 <= int(last) - int(first) < room - len(found):
            return None
        found += (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return found


_FLAGS = frozenset({"no_consume"})


def read_gpus(gres: str) -> dict[str, int]:
    """Return how many GPUs of each type `gpu:a100:no_consume:4(S:0-1),nvme:1` stands for; the type may be ""."""
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]{0,10000}\)", "", gres).split(","):
        kind, *words = item.strip().split(":")
        words = [word for word in words if word not in _FLAGS]
        if kind != "gpu" or len(words) > 2:
            continue
        count = words.pop() if words and re.fullmatch(r"\d{1,6}", words[-1], re.ASCII) else "1"
        name = words[0] if words else ""
        if re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", name, re.ASCII):
            found[name] = found.get(name, 0) + int(count)
    return found


_DURATION = re.compile(r"(?:(?:(\d{1,6})-)?(\d{1,6}):)?(\d{1,9}):(\d{2})", re.ASCII)


def read_duration(text: str) -> int | None:
    """Return seconds for `1-00:30:00`, `02:00:00`, `30:00`; None for UNLIMITED and what is no duration."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def read_time(text: str, zone: tzinfo | None = None) -> int | None:
    """Return seconds since the epoch; a time without a zone is read in `zone`, and not at all without one."""
    text = text.strip()
    if re.fullmatch(r"\d{9,11}", text, re.ASCII):
        return int(text)
    if zone is None or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text, re.ASCII):
        return None
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())
    except (ValueError, OverflowError):
        return None

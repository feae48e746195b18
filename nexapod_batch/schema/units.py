"""Durations and sizes in Slurm's grammar.

Durations become whole seconds, sizes whole MiB (rounded up). A bare number is what it is for Slurm: minutes, MiB.
Source: sbatch(1), options --time and --mem; the `1h30m` form is ours.
"""

from __future__ import annotations

import re

__all__ = ["DURATION", "SIZE", "duration", "show_duration", "show_size", "size"]

#: The two grammars as one pattern each; also used in the JSON Schema.
DURATION = (
    r"(\d{1,9}|\d{1,7}:\d{1,2}|\d{1,7}:\d{1,2}:\d{1,2}|\d{1,5}-\d{1,2}(:\d{1,2}){0,2}"
    r"|(?=\d)(\d{1,5}d)?(\d{1,7}h)?(\d{1,9}m)?(\d{1,9}s)?)"
)
SIZE = r"\d{1,12}([KMGTkmgt](i?[Bb])?)?"

_DURATION = re.compile(DURATION, re.ASCII)
_SIZE = re.compile(SIZE, re.ASCII)
_PART = re.compile(r"(\d+)([dhms])", re.ASCII)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_KIB = {"k": 1, "m": 1024, "g": 1024**2, "t": 1024**3}


def duration(value: int | str) -> int:
    """Return seconds for `30` (minutes), `"1:30:00"`, `"2-12:30"` or `"1h30m"`; ValueError for anything else."""
    text = str(value) if isinstance(value, int) else value
    if not _DURATION.fullmatch(text):
        raise ValueError("not a duration")
    if parts := _PART.findall(text):
        return sum(int(number) * _SECONDS[unit] for number, unit in parts)
    days, dash, rest = text.rpartition("-")
    fields = [int(part) for part in rest.split(":")]
    if dash:
        return _with_days(int(days), fields)
    if len(fields) == 3:
        hours, minutes, seconds = fields
        _up_to_59(minutes, seconds)
        return hours * 3_600 + minutes * 60 + seconds
    minutes, seconds = (*fields, 0)[:2]  # minutes[:seconds]
    _up_to_59(seconds)
    return minutes * 60 + seconds


def _with_days(days: int, fields: list[int]) -> int:
    """Return the seconds of days-hours[:minutes[:seconds]]."""
    hours, minutes, seconds = (*fields, 0, 0)[:3]
    _up_to_59(minutes, seconds)
    if hours > 23:
        raise ValueError("hours after days go up to 23")
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds


def _up_to_59(*parts: int) -> None:
    if max(parts) > 59:
        raise ValueError("minutes and seconds go up to 59")


def size(value: int | str) -> int:
    """Return MiB for `512` (MiB), `"4G"` or `"4GiB"`, rounded up; ValueError for anything else."""
    text = str(value) if isinstance(value, int) else value
    if not _SIZE.fullmatch(text):
        raise ValueError("not a size")
    number = text.rstrip("KMGTkmgtiBb")
    kib = int(number) * _KIB[text[len(number) :][:1].lower() or "m"]
    return -(-kib // 1024)


def show_duration(seconds: int) -> str:
    """Return seconds as Slurm prints them: `[D-]HH:MM:SS`."""
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    if days:
        return f"{days}-{text}"
    return text


def show_size(mib: int) -> str:
    """Return MiB with the largest unit that divides it, as `size` reads it."""
    for unit, factor in (("TiB", 1024**2), ("GiB", 1024)):
        if mib and mib % factor == 0:
            return f"{mib // factor}{unit}"
    return f"{mib}MiB"

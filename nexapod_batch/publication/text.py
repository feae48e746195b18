"""Strings that others chose, made fit to be shown: nothing invisible, nothing endless. Escaping is the template's."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["day", "duration", "energy", "memory", "moment", "shown"]

_MAX_SHOWN = 4_000


def shown(text: str, limit: int = _MAX_SHOWN) -> str:
    """Return a text with characters that nobody sees, or that turn others around, spelt out; long ones are cut."""
    cut = text[:limit]
    if not cut.replace("\n", "").isprintable():
        cut = "".join(char if char.isprintable() or char == "\n" else _spelt(char) for char in cut)
    if len(text) > limit:
        return f"{cut}... ({len(text)} characters)"
    return cut


def _spelt(char: str) -> str:
    if char == "\t":
        return "    "
    return char.encode("unicode_escape").decode("ascii")


def moment(milliseconds: int) -> str:
    """Return a time as people and machines read it: `2026-11-30 06:12:37 UTC`."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms since 1970"


def day(milliseconds: int) -> str:
    """Return the day of a time, in UTC: `2026-11-30`."""
    return moment(milliseconds)[:10]


def duration(milliseconds: int) -> str:
    """Return how long something took."""
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def energy(millijoules: int) -> str:
    """Return an energy, in the unit that suits it."""
    joules = millijoules / 1000
    if joules < 3600:
        return f"{joules:.3g} J"
    watt_hours = joules / 3600
    if watt_hours < 1000:
        return f"{watt_hours:.3g} Wh"
    return f"{watt_hours / 1000:.3g} kWh"


def memory(kib: int) -> str:
    """Return an amount of memory, in the unit that suits it."""
    if kib < 1024:
        return f"{kib} KiB"
    if kib < 1024 * 1024:
        return f"{kib / 1024:.3g} MiB"
    return f"{kib / 1024 / 1024:.3g} GiB"

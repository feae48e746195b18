"""Hours of the week in which a node may work: `22:00-08:00`, `mon-fri 18:00-8:00, sat-sun 00:00-24:00`. Pure.

Hours are what the owner's clock shows: a window holds whenever the local time lies in it, on the night of a change to
or from summer time too. A window that ends before it starts goes on past midnight and belongs to the day on which it
began.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GRAMMAR", "Window", "is_open", "next_change", "parse", "show"]

#: What `parse` understands, for messages.
GRAMMAR = "as in 22:00-08:00, or mon-fri 18:00-08:00, sat-sun 00:00-24:00"

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60  # minutes
_NAME = "|".join(_DAYS)
_WINDOW = re.compile(
    rf"(?:({_NAME})(?:-({_NAME}))? +)?(\d{{1,2}})(?::(\d\d))? ?- ?(\d{{1,2}})(?::(\d\d))?", re.ASCII | re.IGNORECASE
)


class Window(Struct, frozen=True, kw_only=True):
    """From one time of the day to another, on some days of the week."""

    first: int  # weekday, 0 is Monday
    last: int  # weekday; before `first` when the days go past Sunday
    start: int  # minutes since midnight, below 1440
    end: int  # minutes since midnight, 1 to 1440; up to `start`: on the next day

    def starts_on(self, day: int) -> bool:
        """Say whether a window begins on this weekday."""
        return (day - self.first) % 7 <= (self.last - self.first) % 7

    def holds(self, local: datetime) -> bool:
        """Say whether a local time lies in it."""
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return self.starts_on(day) and self.start <= minute < self.end
        return (self.starts_on(day) and minute >= self.start) or (self.starts_on((day - 1) % 7) and minute < self.end)


def parse(text: str) -> tuple[Window, ...]:
    """Return the windows of a text, one at least; ValueError says what cannot be read."""
    return tuple(_window(part.strip()) for part in text.split(","))


def show(windows: Sequence[Window]) -> str:
    """Return windows as `parse` reads them."""
    return ", ".join(map(_shown, windows))


def is_open(windows: Sequence[Window], local: datetime) -> bool:
    """Say whether a local time lies in one of the windows; without windows it always does."""
    return not windows or any(window.holds(local) for window in windows)


def next_change(windows: Sequence[Window], local: datetime) -> datetime | None:
    """Return the next local time at which `is_open` changes; None when it never does."""
    now_open = is_open(windows, local)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = {minute % _DAY for window in windows for minute in (window.start, window.end)}
    for minute in sorted(_DAY * day + minute for day in range(9) for minute in minutes):
        when = midnight + timedelta(minutes=minute)
        if when > local and is_open(windows, when) != now_open:
            return when
    return None


def _window(text: str) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time of the day" if text else "a window is empty")
    first, last, *clock = found.groups()
    start, end = _minutes(text, clock)
    first_day, last_day = _days(first, last)
    return Window(first=first_day, last=last_day, start=start, end=end or _DAY)


def _minutes(text: str, clock: Sequence[str | None]) -> tuple[int, int]:
    """Return start and end in minutes after midnight, from the hours and minutes of both."""
    start_h, start_m, end_h, end_m = (int(part or 0) for part in clock)
    start, end = start_h * 60 + start_m, end_h * 60 + end_m
    if start_m > 59 or end_m > 59 or start >= _DAY or end > _DAY:
        raise ValueError(f"{text!r} is no time of the day")
    if start == end:
        raise ValueError(f"{text!r} ends when it starts (the whole day is 00:00-24:00)")
    return start, end


def _days(first: str | None, last: str | None) -> tuple[int, int]:
    """Return the first and last weekday: all of them where none is named, one where it stands alone."""
    if not first:
        return 0, 6
    return _DAYS.index(first.lower()), _DAYS.index((last or first).lower())


def _shown(window: Window) -> str:
    days = f"{_DAYS[window.first]}-{_DAYS[window.last]} "
    if window.first == window.last:
        days = f"{_DAYS[window.first]} "
    elif (window.last - window.first) % 7 == 6:
        days = ""
    return f"{days}{window.start // 60:02}:{window.start % 60:02}-{window.end // 60:02}:{window.end % 60:02}"

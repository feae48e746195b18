"""Hours of the week: what is understood, when they hold, when they change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.model import hours

MONDAY = datetime(2026, 11, 23)  # noqa: DTZ001 - what a clock on the wall shows

windows = st.builds(
    hours.Window,
    first=st.integers(0, 6),
    last=st.integers(0, 6),
    start=st.integers(0, 1439),
    end=st.integers(1, 1440),
).filter(lambda one: one.start != one.end)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22:00-08:00", ["Mon 22:00", "Tue 07:59", "Sun 23:30", "Mon 00:00"], ["Mon 21:59", "Mon 08:00"]),
        ("9-17", ["Sat 09:00", "Sat 16:59"], ["Sat 17:00", "Sat 08:59"]),
        ("mon-fri 18:00-08:00", ["Fri 18:00", "Sat 07:59"], ["Sat 18:00", "Sun 03:00", "Mon 07:00"]),
        ("SAT 00:00-24:00", ["Sat 00:00", "Sat 23:59"], ["Fri 23:59", "Sun 00:00"]),
        ("fri-mon 12:00-13:00", ["Fri 12:00", "Sun 12:30", "Mon 12:30"], ["Tue 12:30", "Thu 12:30"]),
        ("mon 8-9, wed 10:30 - 11", ["Mon 08:00", "Wed 10:59"], ["Wed 08:30", "Mon 10:45"]),
    ],
)
def test_windows_hold_when_the_clock_shows_them(text: str, inside: list[str], outside: list[str]) -> None:
    """A window holds from its start up to its end, past midnight it belongs to the day on which it began."""
    found = hours.parse(text)
    assert [hours.is_open(found, at(moment)) for moment in inside] == [True] * len(inside)
    assert [hours.is_open(found, at(moment)) for moment in outside] == [False] * len(outside)


def at(text: str) -> datetime:
    """Return `Tue 07:59` of one week."""
    day, _, clock = text.partition(" ")
    hour, _, minute = clock.partition(":")
    week = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    return MONDAY + timedelta(days=week.index(day), hours=int(hour), minutes=int(minute))


@pytest.mark.parametrize(
    "text", ["", "22:00", "22:00-", "25-26", "22:60-23:00", "8-8", "foo 8-9", "mon-foo 8-9", "8-9,", "24:00-8:00", "8-24:30"]
)
def test_nonsense_is_refused(text: str) -> None:
    """What is no window of the day is a ValueError."""
    with pytest.raises(ValueError, match=r"no time of the day|ends when it starts|empty"):
        hours.parse(text)


@given(st.lists(windows, min_size=1, max_size=3))
def test_what_is_shown_is_read_as_the_same(found: list[hours.Window]) -> None:
    """`parse(show(x))` holds at the same times as x."""
    assert hours.show(hours.parse(hours.show(found))) == hours.show(found)
    for hour in range(7 * 24):
        moment = MONDAY + timedelta(hours=hour, minutes=30)
        assert hours.is_open(hours.parse(hours.show(found)), moment) == hours.is_open(found, moment)


@given(st.lists(windows, max_size=3), moments)
def test_nothing_changes_before_the_next_change(found: list[hours.Window], now: datetime) -> None:
    """Up to the next change it stays as it is, and there it is otherwise; without a change it stays so for a week."""
    change = hours.next_change(found, now)
    state = hours.is_open(found, now)
    end = change or now + timedelta(days=8)
    moment = now
    while moment < end:
        assert hours.is_open(found, moment) == state
        moment += timedelta(minutes=29)
    if change is not None:
        assert hours.is_open(found, change) != state
        assert hours.is_open(found, change - timedelta(minutes=1)) == state or change - timedelta(minutes=1) < now


@pytest.mark.parametrize(
    ("night", "opens"),
    [
        (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), "2026-03-29T06:00:00+00:00"),  # clocks go from 2 to 3
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25T07:00:00+00:00"),  # clocks go from 3 back to 2
    ],
)
def test_summer_time_moves_the_hours_with_the_clock(night: datetime, opens: str) -> None:
    """`08:00` is eight by the owner's clock, one hour sooner or later in the night that the clocks change."""
    berlin = ZoneInfo("Europe/Berlin")
    change = hours.next_change(hours.parse("8-20"), night.astimezone(berlin))
    assert change is not None
    assert change.astimezone(UTC).isoformat() == opens


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2026-03-29 00:59", False),  # 01:59
        ("2026-03-29 01:00", True),  # 03:00: the clock went over 02:30, and shows a time of the window
        ("2026-03-29 01:29", True),
        ("2026-03-29 01:30", False),  # 03:30
        ("2026-10-25 00:29", False),  # 02:29
        ("2026-10-25 00:30", True),  # 02:30
        ("2026-10-25 00:59", True),
        ("2026-10-25 01:00", False),  # 02:00, once more
        ("2026-10-25 01:30", True),  # 02:30, once more
        ("2026-10-25 02:30", False),  # 03:30
    ],
)
def test_a_window_in_the_night_of_the_change_holds_when_the_clock_shows_it(utc: str, expected: bool) -> None:
    """An hour that is not there is passed over, one that is there twice counts twice."""
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    assert hours.is_open(hours.parse("02:30-03:30"), moment) == expected


def test_a_night_past_midnight_belongs_to_the_day_on_which_it_began() -> None:
    """Through the night of the change as well: Saturday's window ends on Sunday morning by the clock."""
    found = hours.parse("sat 22:00-06:00")
    berlin = ZoneInfo("Europe/Berlin")
    for night in ("2026-03-29", "2026-10-25"):
        morning = datetime.fromisoformat(f"{night} 05:59").replace(tzinfo=berlin)
        assert hours.is_open(found, morning)
        assert not hours.is_open(found, morning + timedelta(minutes=1))
        assert not hours.is_open(found, morning + timedelta(days=1))


@given(st.lists(windows, min_size=1, max_size=3), moments, st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_a_clock_that_jumps_is_obeyed_as_it_is(found: list[hours.Window], now: datetime, jump: timedelta) -> None:
    """What was before a jump does not matter: a week later the same minute is ruled the same."""
    later = now + jump
    assert hours.is_open(found, later) == hours.is_open(found, later + timedelta(days=7))
    change = hours.next_change(found, later)
    assert change is None or later < change <= later + timedelta(days=8)

"""When folders are looked at again: no change is missed, whatever their file system's clock says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.spool.news import TICK_S, News

HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize("skew_ns", [0, 3 * HOUR_NS, -3 * HOUR_NS])
def test_folders_are_left_alone_when_a_tick_is_past(skew_ns: int) -> None:
    """Looked at when they changed and once more after a tick, then not before they change again."""
    now = [1000.0]
    news, version = News(lambda: now[0]), (10 * HOUR_NS + skew_ns, 0)
    assert [news.there(version), news.there(version)] == [True, True]
    now[0] += 2 * TICK_S
    assert [news.there(version), news.there(version), news.there(version)] == [True, False, False]
    assert news.there((version[0] + 1, 0))


@given(
    ticks=st.lists(st.floats(0, 0.2), min_size=1, max_size=30),
    pauses=st.lists(st.floats(0.001, 0.3), min_size=60, max_size=60),
    skew=st.integers(-HOUR_NS, HOUR_NS),
)
def test_no_change_is_missed(ticks: list[float], pauses: list[float], skew: int) -> None:
    """A folder changes at any time and shows the time of its tick; after the last look nothing is unseen."""
    changes, at = [], 1000.0
    for one in ticks:
        at += one
        changes.append(at)
    now, seen = [1000.0], 0
    news = News(lambda: now[0])
    while now[0] <= at + 1:
        done = [one for one in changes if one <= now[0]]
        version = (int(done[-1] / TICK_S) + skew, 0) if done else (skew, 0)
        if news.there(version):
            seen = len(done)
        now[0] += pauses[seen % len(pauses)]
    assert seen == len(changes)

"""How often passes follow one another while somebody waits, and when they publish results."""

from __future__ import annotations

from math import inf

import pytest

from nexapod_batch.coordinator.commands.reconcile import Pass
from nexapod_batch.coordinator.commands.waiting import _BUSY, _SHORT, _SLICE_S, PUBLISH_S, Pace
from nexapod_batch.coordinator.steps.publish import _BATCH, _as_many


@pytest.mark.parametrize(
    ("ingested", "left", "shortest", "soon", "later"),
    [
        pytest.param(0, 500, _SHORT, inf, inf, id="nothing comes"),
        pytest.param(1, inf, _SHORT, _SLICE_S, _SLICE_S, id="a few come, and not all were placed"),
        pytest.param(5, 500, _SHORT, _SLICE_S, _SLICE_S, id="a few come"),
        pytest.param(100, inf, _BUSY, 0.0, _SLICE_S, id="they pour in, and not all were placed"),
        pytest.param(100, 500, _BUSY, 0.0, _SLICE_S, id="they pour in"),
        pytest.param(100, 151, _BUSY, 0.0, _SLICE_S, id="the rest comes in more than one pass"),
        pytest.param(100, 150, _SHORT, 0.0, 0.0, id="the rest comes in about one more pass"),
        pytest.param(1, 0, _SHORT, 0.0, 0.0, id="the last one came, and another is to be placed"),
    ],
)
def test_a_pass_follows_what_the_last_one_took_in(
    ingested: int, left: float, shortest: float, soon: float, later: float
) -> None:
    """While reports pour in passes are few and publish little; just before the end nothing keeps verdicts waiting."""
    pace = Pace(published=0.0)
    pace.note(Pass(ingested=ingested, to_come=left), 100.0, 1.0)
    assert pace.shortest == shortest
    assert (pace.results_s(100.0 + PUBLISH_S / 2), pace.results_s(100.0 + PUBLISH_S * 2)) == (soon, later)


def test_the_end_is_near_until_nothing_comes_any_more() -> None:
    """A last straggler that takes its time keeps no results waiting; all of them are published when the jobs ended."""
    pace = Pace(published=0.0)
    pace.note(Pass(ingested=100, to_come=140), 1.0, 0.0)
    pace.note(Pass(ingested=3, to_come=100), 2.0, 0.0)
    assert pace.results_s(3.0) == 0.0
    pace.note(Pass(to_come=100), 3.0, 0.0)
    assert pace.results_s(4.0) == inf
    pace.note(Pass(ingested=100, to_come=0), 4.0, 0.0)
    pace.ended = True
    assert pace.results_s(5.0) == inf


@pytest.mark.parametrize(
    ("done", "took", "left", "next_batch"),
    [
        pytest.param(100, 0.05, 0.1, 200, id="as fast as the last ones"),
        pytest.param(100, 0.2, 0.05, 25, id="a slow disk gets few"),
        pytest.param(100, 1.0, 0.001, 1, id="never none"),
        pytest.param(100, 0.5, -0.35, 1, id="the time is over: the caller ends"),
        pytest.param(100, 0.0, 0.1, _BATCH, id="a clock that stood still"),
        pytest.param(3, 0.25, 0.5, 6, id="few were there"),
    ],
)
def test_the_next_batch_of_results_is_as_large_as_will_be_done_in_time(
    done: int, took: float, left: float, next_batch: int
) -> None:
    """By the speed of the last one, between one task and a full batch."""
    assert _as_many(done, took, left) == next_batch

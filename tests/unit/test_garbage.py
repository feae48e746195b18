"""The collector of garbage: it rests while a batch is made, and looks at what comes later."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from nexapod_batch.coordinator.garbage import no_collection


@no_collection()
def failing() -> None:
    """Make a batch within a batch, and fail."""
    with no_collection():
        pass
    assert not gc.isenabled()
    raise ValueError("inside")


def test_the_collector_rests_and_works_again() -> None:
    """Also after an error, and not before the outer one of two ends."""
    with pytest.raises(ValueError, match="inside"):
        failing()
    assert gc.isenabled()


#: Makes many objects that are kept, and then garbage; prints whether the first are looked through, the second collected.
KEPT = """
import gc, weakref
from nexapod_batch.coordinator.garbage import collect_again, no_collection
class Knot: pass
with no_collection(kept=True):
    made = [(number,) for number in range(50_000)]
    {stays}
    knot = Knot(); knot.own = knot; seen = weakref.ref(knot); del knot
    more = [(number, number) for number in range(50_000)]
    within = seen() is None
knot = Knot(); knot.own = knot; seen = weakref.ref(knot); del knot
more = [(number, number) for number in range(50_000)]
print(gc.isenabled(), gc.get_freeze_count() >= 50_000, within, seen() is None)
"""


@pytest.mark.parametrize(("stays", "within"), [("pass", False), ("collect_again()", True)])
def test_what_is_kept_is_not_looked_through_and_later_garbage_is(stays: str, within: bool) -> None:
    """From the end on, or from when a command begins to wait."""
    argv = [sys.executable, "-c", KEPT.format(stays=stays)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", str(within), "True"]

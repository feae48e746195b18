"""What was said once is known for as long as it must be, and forgotten soon after that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.server import nonces
from nexapod_batch.server.nonces import Nonces

if TYPE_CHECKING:
    import pytest

SECONDS = 600.0


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(0, 5)), max_size=60))
def test_nothing_counts_twice_in_time(steps: list[tuple[float, int]]) -> None:
    """However much time passes between two questions."""
    known, now, since = Nonces(SECONDS), 1000.0, dict[int, float]()
    for pause, name in steps:
        now += pause
        is_new = known.is_new(f"nonce {name}", now)
        assert not is_new or now - since.get(name, float("-inf")) >= SECONDS
        if is_new:
            since[name] = now


def test_what_is_over_is_forgotten() -> None:
    """Where questions keep coming."""
    known = Nonces(SECONDS)
    assert all(known.is_new(f"nonce {number}", float(number)) for number in range(3000))
    assert not known.is_new("nonce 2400", 3000.0)
    assert known.is_new("nonce 2399", 3000.0)


def test_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten, whatever time it is."""
    monkeypatch.setattr(nonces, "_MOST", 500)
    known = Nonces(SECONDS)
    assert all(known.is_new(f"nonce {number}", 1.0) for number in range(1000))
    assert not known.is_new("nonce 999", 1.0)
    assert known.is_new("nonce 0", 1.0)

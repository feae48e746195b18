"""JSON that others wrote: how deep it may be, and how it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.trust import nesting

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.sampled_from('[]{}"\\a'), max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=60,
)


def depth(value: Any) -> int:
    """Return how deep a value is nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(VALUES, st.integers(0, 8))
def test_depth_is_that_of_the_value(value: Any, most: int) -> None:
    """Brackets in texts count as nothing; what lies in each other counts exactly."""
    text = json.dumps(value).encode()
    few = text.count(b"[") + text.count(b"{") <= most
    assert nesting.depth_within(text, most) == (few or depth(value) <= most)


@pytest.mark.parametrize("levels", [65, 100, 900, 949, 950, 1000, 1010, 1023, 1024, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"payloadType":'])
def test_deep_texts_are_refused_before_they_are_parsed(levels: int, opening: str) -> None:
    """The depths that parsers let through, and Python then trips over, above all."""
    closing = "".join({"[": "]", "{": "}"}[one] for one in reversed(opening) if one in "[{")
    with pytest.raises(ValueError, match="deep"):
        nesting.loads((opening * levels + "1" + closing * levels).encode())


@pytest.mark.parametrize("value", [[[[1]]], "x" * 1_000_000, "\u202e\x1b[2J", {"a": "b" * 1000}, 10**500, b"\0" * 500])
def test_what_others_wrote_is_shown_short_and_plain(value: object) -> None:
    """No value is shown at length, nor with characters that do something to a terminal."""
    shown = nesting.quoted(value)
    assert len(shown) <= 80
    assert shown.isascii()
    assert shown.isprintable()

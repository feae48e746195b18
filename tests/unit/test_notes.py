"""The list that stops many replicas at once: the same for the same wish, read as it was meant or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.spool import cancellations, layout

ONE, TWO = "1" * 32, "2" * 32


def test_the_same_cancellation_is_the_same_file() -> None:
    """Whatever the order; another one is another file."""
    name, content = cancellations.listing({ONE: ["1_1.1", "1_0.1"], TWO: None})
    assert cancellations.listing({TWO: None, ONE: ["1_0.1", "1_1.1"]}) == (name, content)
    assert layout.is_list(name)
    assert cancellations.listing({ONE: ["1_0.1"], TWO: None})[0] != name
    assert cancellations.read(content) == {ONE: ["1_0.1", "1_1.1"], TWO: None}
    assert cancellations.read(content, {TWO, "3" * 32}) == {TWO: None}


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=40), st.none() | st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5), max_size=5))
def test_what_is_written_is_read(launches: dict[str, list[str] | None]) -> None:
    """Names come back, sorted."""
    wanted = {key: None if names is None else sorted(names) for key, names in launches.items()}
    assert cancellations.read(cancellations.listing(launches)[1]) == wanted


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"7", b'{"a": 7}', b"\xff\xfe", b'"text"'])
def test_what_makes_no_sense_stops_nothing(content: bytes) -> None:
    """A list that was not written by us."""
    assert cancellations.read(content) == {}

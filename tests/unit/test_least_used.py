"""A folder stays within its limit: what was used longest ago goes first, and never what is needed."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.files.least_used import LEFT_S, Kept, drop, listed, note_use, over

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_000_000.0


def name(number: int) -> str:
    """Return a digest."""
    return hashlib.sha256(b"%d" % number).hexdigest()


FILES = st.lists(
    st.builds(Kept, st.integers(0, 20).map(name), st.integers(0, 100), st.integers(0, 9)), max_size=20, unique_by=lambda one: one.name
)


@given(FILES, st.sets(st.integers(0, 20).map(name)), st.integers(0, 500))
def test_what_goes(files: list[Kept], needed: set[str], limit: int) -> None:
    """No more than must, nothing that is needed, and nothing that was used later than what stays of what is not."""
    gone = over(files, needed, limit, NOW)
    stay = [file for file in files if file.name not in gone]
    assert not needed & set(gone)
    total = sum(file.size for file in stay)
    spare = [file for file in stay if file.name not in needed]
    assert total <= limit or not spare
    used = {file.name: file.used for file in files}
    assert [used[one] for one in gone] == sorted(used[one] for one in gone)
    if gone:
        last = next(file for file in files if file.name == gone[-1])
        assert total + last.size > limit
        assert all(file.used >= last.used for file in spare)


#: Names that are no digests, and how long ago they were written -> whether they go.
LEFT = {
    (f".{name(1)}.77.ab", LEFT_S + 1): True, (f".{name(1)}.77.ab", LEFT_S - 1): False, ("x", LEFT_S + 1): True,
    (name(1)[:-1], 0): False, (name(1).upper(), LEFT_S + 1): True, ("", LEFT_S + 1): True,
}  # fmt: skip


@pytest.mark.parametrize(("left", "age"), LEFT)
def test_what_a_killed_process_left_goes_after_a_week(left: str, age: int) -> None:
    """It may be on its way until then; and it counts for nothing."""
    assert (left in over([Kept(left, 100, NOW - age), Kept(name(2), 10, 0)], (), 10, NOW)) == LEFT[left, age]


def test_a_folder(tmp_path: Path) -> None:
    """What lies there is listed with its times; what is gone already is no error, nor is a folder that is not there."""
    for number in range(3):
        (tmp_path / name(number)).write_bytes(bytes(number))
        os.utime(tmp_path / name(number), (number, number))
    assert sorted(listed(str(tmp_path)), key=lambda one: one.size) == [Kept(name(number), number, number) for number in range(3)]
    assert drop(str(tmp_path), [name(0), name(2), name(7)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [name(1)]
    assert listed(str(tmp_path / "none")) == []


def test_a_use_is_noted_once_an_hour(tmp_path: Path) -> None:
    """A mark for each use would cost more than it tells; of what is gone nothing is noted."""
    file = tmp_path / name(1)
    file.write_bytes(b"")
    note_use(str(tmp_path / "none"))
    for age, wanted in ((7200, True), (60, False), (-7200, True)):
        before = time.time() - age
        os.utime(file, (before, before))
        note_use(str(file))
        assert (abs(file.stat().st_mtime - time.time()) < 50) == wanted

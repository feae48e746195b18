"""Tables of times in logs are told apart from tables of values."""

from __future__ import annotations

import pytest

from nexapod_batch.compare.time_tables import rows_of_times

TIMES = ["MPI task timing:", "Section |  min time  | %total", "------------------", "Pair    | 0.1 | 84.9", "Comm    | 0.2 |  3.1", "", "E | 1.5 | 2"]


@pytest.mark.parametrize(
    ("lines", "number", "found"),
    [
        (TIMES, 4, r"^(?:Pair|Comm) *\|"),
        (TIMES, 5, r"^(?:Pair|Comm) *\|"),
        (TIMES, 7, None),
        (TIMES, 1, None),
        (TIMES, 99, None),
        (["name | time | energy", "a | 1.0 | -3.5"], 2, None),
        (["name | energy", "a | -3.5"], 2, None),
        (["1.0 | 2.0", "1.5 | 2.5"], 2, None),
        (["what | time", "(?:.*) | 1.0"], 2, None),
        (["what | time", *[f"a | {number}" for number in range(200)]], 2, None),
        ([], 1, None),
    ],
)
def test_only_rows_below_a_heading_of_times_are_told(lines: list[str], number: int, found: str | None) -> None:
    """One expression for all of its rows, which no other line begins like; a column of values keeps the table."""
    assert rows_of_times(iter(lines), number) == found

"""Durations and sizes in Slurm's grammar."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.schema import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (30, 1_800),
        ("30", 1_800),
        ("30:15", 1_815),
        ("1:30:00", 5_400),
        ("00:30:00", 1_800),
        ("2-12", 216_000),
        ("2-12:30", 217_800),
        ("2-12:30:05", 217_805),
        ("1h30m", 5_400),
        ("90s", 90),
        ("1d", 86_400),
        ("1d2h3m4s", 93_784),
    ],
)
def test_duration_is_slurms(text: int | str, seconds: int) -> None:
    """Every form of sbatch(1) --time, and ours with letters."""
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1h30", "30m1h", "-5", "1:2:3:4", "1-", "-12", "1.5h", "1:60:00", "1-24", "0x10", "٣", "1 h", "1h\n"]
)
def test_other_durations_are_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"not a duration|go up to"):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        (512, 512),
        ("512", 512),
        ("512M", 512),
        ("4G", 4_096),
        ("4GiB", 4_096),
        ("4GB", 4_096),
        ("1t", 1_048_576),
        ("1K", 1),
        ("2049K", 3),
        ("0", 0),
    ],
)
def test_size_is_slurms(text: int | str, mib: int) -> None:
    """Binary units, bare numbers are MiB, kibibytes are rounded up."""
    assert units.size(text) == mib


@pytest.mark.parametrize("text", ["", "G", "4Gi", "-1", "1.5G", "4 G", "4X", "4GBB", "٣"])
def test_other_sizes_are_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not a size"):
        units.size(text)


@given(st.integers(0, 10**7))
def test_shown_durations_are_read_back(seconds: int) -> None:
    """What we print, Slurm and we read as the same."""
    assert units.duration(units.show_duration(seconds)) == seconds


@given(st.integers(0, 10**9))
def test_shown_sizes_are_read_back(mib: int) -> None:
    """What we print we read as the same."""
    assert units.size(units.show_size(mib)) == mib


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """ValueError is the only exception."""
    for read in (units.duration, units.size):
        with suppress(ValueError):
            assert read(text) >= 0

"""Which sentences say the same of two things, and which only look so."""

from __future__ import annotations

import pytest

from nexapod_batch.wording import pattern


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Slurm job 24_0: FAILED (exit code 1)", "Slurm job 9_17: FAILED (exit code 1)"),
        ("waits; start estimated for 2026-11-24 04:48", "waits; start estimated for 2027-01-02 23:59"),
        ("node vm: launch 0123456789abcdef is refused", "node vm: launch fedcba9876543210 is refused"),
        ("jobs of higher priority go first (12 ahead)", "jobs of higher priority go first (3 ahead)"),
    ],
)
def test_numbers_ids_and_estimates_make_no_difference(one: str, other: str) -> None:
    """They change from job to job, and from look to look."""
    assert pattern(one) == pattern(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("module gcc/12 is not loaded", "module intel/12 is not loaded"),
        ("Slurm job 4: FAILED", "Slurm job 4: TIMEOUT"),
        ("", "anything"),
        ("site alpha waits", "site beta waits"),
    ],
)
def test_words_do(one: str, other: str) -> None:
    """Another cause is another sentence."""
    assert pattern(one) != pattern(other)

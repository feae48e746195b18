"""What `report` advises: from what was measured, of what ended well, and nothing else."""

from __future__ import annotations

import pytest

from nexapod_batch.coordinator.queries.efficiency import notes_on
from nexapod_batch.model.job import Job, Resources


@pytest.mark.parametrize(
    ("cpus", "mem", "busy", "peak", "longest", "words"),
    [
        (4, None, 0.3, 10.0, 60.0, ["ask for fewer"]),
        (1, None, 1.09, 10.0, 60.0, []),
        (1, None, 1.2, 10.0, 60.0, ["1.2 CPUs were busy, 1 asked for"]),
        (2, None, 3.9, 10.0, 60.0, ["7.8 CPUs were busy, 2 asked for"]),
        (1, None, 3.0, 10.0, 0.01, []),  # too short to tell
        (1, 1000, None, None, 60.0, []),  # nobody measured it
        (4, 1000, None, 100.0, 60.0, ["150MiB would do"]),
        (1, 1000, 0.9, 950.0, 60.0, ["ask for more"]),
        (1, 1000, 0.9, None, 0.0, []),  # nothing ended well
    ],
)
def test_advice_follows_from_what_was_measured(
    cpus: int, mem: int | None, busy: float | None, peak: float | None, longest: float, words: list[str]
) -> None:
    """More than 110 % of the CPUs is worth a note, as is little of what was asked for; what is not known is not."""
    job = Job(name="t", command=("true",), resources=Resources(cpus_per_task=cpus, mem_mib=mem))
    notes = notes_on(job, busy, peak, longest)
    assert [word in note for word, note in zip(words, notes, strict=True)] == [True] * len(words)

"""What Slurm's accounting says of ranks: added up by step, and never taken for a figure where nothing was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.runner.execution.launcher.steps import Steps, of_allocation, read_steps

if TYPE_CHECKING:
    from pathlib import Path

#: sacct of Slurm 22.05, of an array element whose script calls srun twice.
TWICE = """\
7_3|RUNNING|60|00:05.131|
7_3.batch|RUNNING|60|00:00:00|
7_3.extern|RUNNING|60|00:00:00|
7_3.0|COMPLETED|60|00:01.131|cpu=00:00:01,energy=0,fs/disk=1437676,mem=144556K,pages=0,vmem=150888K
7_3.1|COMPLETED|60|00:04.000|cpu=00:00:04,energy=0,fs/disk=1437676,mem=9M,pages=0,vmem=150888K
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TWICE, Steps(2, True, (), 5_131, 144_556)),
        ("", None),
        ("sacct: error: Problem talking to the database: Connection refused\n", None),
        ("9|RUNNING|60|00:00:00|\n9.batch|RUNNING|60|00:00:00|\n", Steps()),  # mpiexec started the ranks itself
        ("9|RUNNING|60||\n9.0|RUNNING|60|00:00:00|\n", Steps(1, False)),
        ("9|RUNNING|60||\n9.0|OUT_OF_MEMORY|60|00:00.500|cpu=00:00:00,mem=1G\n", Steps(1, True, ("9.0",), 500, 1_048_576)),
        ("9|RUNNING|60||\n9.0|OUT_OF_ME+|60|00:00.500|\n", Steps(1, True, ("9.0",), 500)),
        ("9|RUNNING|60||\n9.0|CANCELLED by 1000|60|1-02:03:04|mem=1.5M,cpu=1\n", Steps(1, True, (), 93_784_000, 1_536)),
        ("9|RUNNING|60||\n9.0|COMPLETED|60|02:03:04|mem=2048\n", Steps(1, True, (), 7_384_000, 2)),
        ("9|RUNNING|60||\n9.0|COMPLETED|60|00:00:00|\n", Steps(1)),  # JobAcctGatherType=none
        ("9|RUNNING|60||\n9.0|COMPLETED|60|00:00:00|vmem=9K\n", Steps(1)),
        ("9|RUNNING|70||\n9.0|COMPLETED|59|00:50|mem=8K\n9.1|COMPLETED|0|00:01|mem=9K\n", Steps(2, True, (), 51_000, None)),  # too short
        ("9|RUNNING|70||\n9.0|COMPLETED|59|00:50|mem=8K\n9.1|COMPLETED|61|00:01|mem=9K\n", Steps(2, True, (), 51_000, 9)),
        ("9|PENDING|1|00:00.308|\n9.0|COMPLETED|1|00:00.308|energy=0\n", Steps(1, True, (), 308)),  # ended before it was looked at
        ("9+1|RUNNING|60||\n9+1.0|COMPLETED|60|00:01:00|mem=5K\n", Steps(1, True, (), 60_000, 5)),  # of a heterogeneous job
        ("9|RUNNING|60||\n9.0|COMPLETED|60|soon|mem=manyK\n9.x|FAILED|60|1:1|mem=1K\nnonsense\n", Steps(1)),
    ],
)
def test_steps_are_added_up(text: str, wanted: Steps | None) -> None:
    """CPU time of all, memory of the largest; the script, of which the runner is part, is not one of them."""
    assert read_steps(text) == wanted


@pytest.mark.parametrize("script", ["exit 1", "printf '\\377\\n'", None])
def test_where_nobody_answers_nothing_is_said(tmp_path: Path, script: str | None) -> None:
    """No sacct on the compute node, an accounting that is off, bytes that are no text."""
    if script is not None:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "sacct").chmod(0o755)
    assert of_allocation(str(tmp_path), {"SLURM_JOB_ID": "9", "PATH": "/usr/bin:/bin"}) is None

"""A Dask site whose workers are Slurm jobs: no replica may take longer than they live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.config.site.sites import limit_problems, load_sites
from nexapod_batch.model.job import Job, QuorumPolicy, Resources

if TYPE_CHECKING:
    from pathlib import Path

SLURM = """schema = 1
[site]
name = "alpha"
[scheduler]
type = "slurm"
[limits.pack]
time = "{pack}"
[[partitions]]
name = "short"
{most}
"""
POOL = """schema = 1
[site]
name = "pool"
[scheduler]
type = "dask"
[dask]
cluster = "jobqueue"
on = "alpha"
[filesystem]
work_dir = "/shared"
[[partitions]]
name = "short"
{own}
"""


@pytest.mark.parametrize(
    ("pack", "most", "own", "fits", "fails"),
    [
        ("1h", "", "", "58m", "59m"),
        ("1h", 'max_time = "30m"', "", "28m", "29m"),
        ("1m", 'max_time = "2h"', "", "8m", "9m"),  # ten minutes at least
        ("1h", "", 'max_time = "10m"', "10m", "11m"),
    ],
)
def test_a_job_that_no_worker_outlives_is_refused(
    tmp_path: Path, pack: str, most: str, own: str, fits: str, fails: str
) -> None:
    """The shorter of what partition, packing and the site itself allow, less what a worker needs for itself."""
    (tmp_path / "alpha.toml").write_text(SLURM.format(pack=pack, most=most))
    (tmp_path / "pool.toml").write_text(POOL.format(own=own))
    sites, faults = load_sites([tmp_path])
    assert faults == ()
    for time, refused in ((fits, False), (fails, True)):
        job = Job(name="j", command=("true",), resources=Resources(time_s=int(time[:-1]) * 60), quorum=QuorumPolicy())
        problems = limit_problems(sites["pool"], job)
        assert bool(problems) is refused
        assert all("time" in one.path for one in problems)

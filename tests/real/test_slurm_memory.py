"""A real kernel that kills for memory, and a Slurm that says so of jobs whose runners saw nothing and reported ok."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters.confs import Shape
from clusters.slurm import Cluster, Clusters
from real.slurm_homes import SlurmHome, mark, slurm_jobs, until

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUPS = Path("/sys/fs/cgroup/memory")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.access(_CGROUPS / "cgroup.procs", os.W_OK), reason="no memory cgroup can be made here"),
]

#: A Python of a site's own. Behind the first runner, when everything was reported, something of the job is killed.
WRAPPER = """#!/bin/sh
{python} "$@"
case "$*" in *--group*) mkdir '{once}' 2>/dev/null && {python} -c 'held = b"x" * (400 << 20)';; esac
exit 0
"""


@pytest.fixture(scope="module")
def constrained() -> Iterator[Cluster]:
    """Yield a cluster whose jobs have no more memory than they ask for."""
    with Clusters.start(shapes=(Shape(name="mu", nodes=("m1",), constrains=True),)) as clusters:
        yield clusters.each["mu"]


@pytest.fixture
def there(home: SlurmHome, constrained: Cluster, tmp_path: Path) -> SlurmHome:
    """Return a home on that cluster, where something is killed for memory behind the first runner."""
    wrapper = tmp_path / "python3"
    wrapper.write_text(WRAPPER.format(python=sys.executable, once=tmp_path / "once"))
    wrapper.chmod(0o755)
    home.site(constrained, partition={"hosts": 1}, runner={"python": str(wrapper)})
    return home


def test_slurms_word_takes_the_vote_from_a_report(there: SlurmHome) -> None:
    """It reported ok, and was accepted; then Slurm says OUT_OF_MEMORY: the quorum is no longer met, until a retry."""
    job = there.start(there.tasks(1, more='mem = "100MiB"\n', quorum="max_errors = 0\n"))
    there.ended(job, "any")
    (told,) = there.reasons(job)
    assert told.startswith("reported as well, which does not count: Slurm job 1_0: OUT_OF_MEMORY")
    assert there.replicas(job, "execution, voided") == [("errored", 0)]
    assert "replica 1 did not end well by its scheduler's word, and 0 of 1 needed still agree" in there.explain(job)
    checked = there.call("verify", job)
    assert checked.code == 1
    assert "the quorum is no longer met" in checked.out + checked.err
    assert there.call("retry", job).code == 0
    there.ended(job)
    assert there.replicas(job) == ["errored", "reported"]
    assert there.call("verify", job).code == 0


def test_of_a_pack_no_report_counts(there: SlurmHome, constrained: Cluster) -> None:
    """Which of its replicas missed something is not known: none of them counts, and a retry runs each on its own."""
    before = mark(constrained)
    job = there.start(there.tasks(3, more='mem = "100MiB"\n'))
    there.ended(job)
    assert there.replicas(job) == ["errored"] * 3
    assert there.explain(job).count("the quorum is no longer met") == 3
    assert there.call("retry", job).code == 0
    there.ended(job)
    assert there.replicas(job) == ["errored", "reported"] * 3
    assert there.call("verify", job).code == 0
    until(lambda: sum(map(len, slurm_jobs(constrained, before).values())) == 1 + 3, "the accounting to know one job and three")

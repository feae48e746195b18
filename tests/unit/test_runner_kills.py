"""Which cgroup counts what the kernel kills, and what a rise of that count means for a replica."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cgroups import limited

from nexapod_batch.runner.processes.oom_kills import Kills, Rise, judge, locate
from nexapod_batch.trust.statement import Outcome

V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
BOTH = f"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n{V1}\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
DOCKER = "900 880 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"
ODD = r"35 31 0:32 / /mnt/two\040words rw - cgroup2 none rw"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "wanted"),
    [
        ("4:memory:/slurm/uid_1\n1:cpu:/\n0::/\n", BOTH, ("/sys/fs/cgroup/memory/slurm/uid_1", False)),
        ("4:cpu,memory:/a:b\n", V1, ("/sys/fs/cgroup/memory/a:b", False)),
        ("0::/user.slice/session-2.scope\n", V2, ("/sys/fs/cgroup/user.slice/session-2.scope", True)),
        ("0::/\n", V2, ("/sys/fs/cgroup", True)),
        ("0::/s/slurmstepd.scope/job_7/step_batch/user/task_0", V2, ("/sys/fs/cgroup/s/slurmstepd.scope/job_7", True)),
        ("4:memory:/slurm/uid_0/job_7/step_0/task_0", V1, ("/sys/fs/cgroup/memory/slurm/uid_0/job_7/step_0/task_0", False)),
        ("4:memory:/docker/abc/x\n", DOCKER, ("/sys/fs/cgroup/memory/x", False)),
        ("4:memory:/docker/abcd\n", DOCKER, None),
        ("0::/x\n", ODD, ("/mnt/two words/x", True)),
        ("0::/../../elsewhere\n", V2, None),
        ("1:cpu:/\n", BOTH, None),
        ("", "", None),
    ],
)
def test_the_cgroup_is_found_where_the_kernel_says_it_is(
    cgroups: str, mounts: str, wanted: tuple[str, bool] | None
) -> None:
    """Both versions, each alone or beside the other, from within a container, and within a job of Slurm."""
    assert locate(cgroups, mounts) == wanted


@pytest.mark.parametrize(
    ("killed", "own", "explained", "shared", "wanted"),
    [
        (0, False, 0, False, None),
        (0, True, 0, True, None),  # somebody else sent that KILL
        (1, False, 0, False, Outcome.MEMORY),  # alone
        (3, True, 0, False, Outcome.MEMORY),
        (1, True, 0, True, Outcome.MEMORY),  # beside others, and it was itself the one
        (1, False, 1, True, None),  # another one was
        (2, False, 1, True, Outcome.NODE),  # and one more: whose?
        (1, False, 0, True, Outcome.NODE),
    ],
)
def test_nobody_is_accused_of_what_another_may_have_done(
    killed: int, own: bool, explained: int, shared: bool, wanted: Outcome | None
) -> None:
    """A rise is an error only where nothing else can have caused it; what is not known is a loss."""
    found = judge(Rise(killed, own, explained, shared, 150))
    assert (found and found[0]) is wanted


def test_a_process_in_no_cgroup_that_counts_looks_at_the_whole_machine(tmp_path: Path) -> None:
    """At the root of version 2 the kernel counts for nobody: what it kills anywhere is seen, and may be anybody's."""
    nowhere = tmp_path / "cgroup"
    nowhere.write_text("1:cpu:/\n")
    kills = Kills(str(nowhere))
    with limited(32) as cgroup:
        before = kills.count()
        hungry = (*cgroup.inside, sys.executable, "-c", "bytearray(100 << 20)")
        assert subprocess.run(hungry, check=False, capture_output=True).returncode == -9
        assert (kills.count() > before, kills.strangers(1), kills.limit_mib()) == (True, True, None)

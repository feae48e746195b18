"""Jobs of several ranks on this machine: started by its mpiexec, or refused with what to do."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from homes import Home

JOB = """[job]
command = ["sh", "-c", "echo rank of $NEXAPOD_NTASKS; echo $PMI_SIZE > size.$PMI_RANK"]
env = { LD_BIND_NOW = "1" }
[resources]
ntasks = 3
[quorum]
distinct = "run"
[[outputs]]
path = "size.*"
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the test extra has MPICH for x86_64 alone")
def test_each_rank_runs_and_knows_who_it_is(home: Home) -> None:
    """Every replica has as many as were asked for."""
    assert Path(sys.prefix, "bin/mpiexec").exists(), "the test extra brings mpich: pip install -e '.[test]'"
    assert home.call("node", "init", "--cpus", "2").code == 0
    refused = home.submit(JOB)
    assert refused.code == 65  # three CPUs of two
    text = JOB.replace("ntasks = 3", "ntasks = 2")
    done = home.submit(text, "--wait=90s")
    assert done.code == 0, done.out + done.err + home.call("logs", "--stderr", "--all", "last").out
    assert home.call("logs", "last").out == "rank of 2\n" * 2
    results = home.path / "results"
    assert {one.name: one.read_text() for one in results.rglob("size.*")} == {"size.0": "2\n", "size.1": "2\n"}
    assert not list((home.path / "work").rglob("*.start"))


def test_without_a_launcher_they_are_refused(home: Home, tmp_path: Path) -> None:
    """One process in the place of several is never run; a container gets none here either."""
    if shutil.which("mpiexec"):
        done = home.submit(JOB.replace("ntasks = 3", "ntasks = 1") + '[container]\nimage = "docker://x"\n')
        assert "ntasks" not in done.err
    else:
        done = home.submit(JOB.replace("ntasks = 3", "ntasks = 2"))
        assert done.code == 65
        assert "install an MPI" in done.err
    image = tmp_path / "box.sif"
    image.write_bytes(b"x")
    done = home.submit(JOB.replace("ntasks = 3", "ntasks = 2") + f'[container]\nimage = "{image}"\n')
    assert done.code == 65
    assert "starts no ranks in containers" in done.err

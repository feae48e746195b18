"""Jobs of two ranks whose site starts them by `mpiexec` (MPICH's, of the test extra) inside a real Slurm allocation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clusters.slurm import Cluster
    from real.slurm_homes import SlurmHome

pytestmark = pytest.mark.slow

#: Each rank leaves a file that says who it is, uses some CPU time, and waits for nobody.
CODE = (
    "import os, pathlib; rank = os.environ['PMI_RANK']; sum(range(5_000_000)); "
    "pathlib.Path('rank-' + rank + '.txt').write_text(os.environ['PMI_SIZE'] + chr(10))"
)
JOB = f"""[job]
name = "mpi"
command = ["python3", "-c", {json.dumps(CODE)}]
[resources]
ntasks = 2
MOREtime = "2m"
[quorum]
agree = 1
distinct = "run"
[[outputs]]
path = "rank-*.txt"
"""


def mpiexec() -> str:
    """Return the folder of the launcher; MPICH is for x86-64 alone."""
    found = shutil.which("mpiexec")
    if found is None:
        pytest.skip("no mpiexec: PyPI has MPICH for x86_64 alone")
    return str(Path(found).parent)


@pytest.mark.parametrize(("more", "words"), [("", []), ("nodes = 2\n", []), ("nodes = 2\n", ["-ppn", "1"]), ("", ["-launcher", "fork"])])
def test_ranks_of_mpiexec_find_each_other(home: SlurmHome, alpha: Cluster, more: str, words: list[str]) -> None:
    """On one host and on two there are two ranks of two; what they used is known, whoever started them."""
    path = f"{alpha.bin}:{mpiexec()}:/usr/local/bin:/usr/bin:/bin"
    home.site(alpha, scheduler={"launcher": ["mpiexec", *words, "-n", "{ntasks}"]}, runner={"path": path})
    job = home.start(JOB.replace("MORE", more))
    home.ended(job)
    results = home.path / "results" / str(job) / "0"
    assert {file.name: file.read_text() for file in results.glob("rank-*")} == {"rank-0.txt": "2\n", "rank-1.txt": "2\n"}
    found = home.json("report", job)
    assert found["cpu_s"] > 0.1
    assert not [note for note in found["notes"] if "not measured" in note]

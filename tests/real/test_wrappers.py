"""What a job's variables can do to the programs around its command, with real ones: nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real.slurm_homes import SlurmHome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.slurm import Cluster

pytestmark = pytest.mark.slow

#: A command of two ranks that says who it is, whether it sees the host, and what it was given.
CODE = (
    "import os; print('rank', os.environ.get('SLURM_PROCID'), os.path.exists('/host'), os.environ['APPTAINER_BIND'], "
    "os.environ['SLURM_TASK_PROLOG'], flush=True)"
)
JOB = """[job]
name = "tries"
command = ["{python}", "-c", "{code}"]
[job.env]
LD_PRELOAD = "./loot.so"
LD_AUDIT = "./loot.so"
APPTAINER_BIND = "/:/host"
APPTAINERENV_LD_PRELOAD = "./loot.so"
SINGULARITY_BIND = "/:/host"
SLURM_TASK_PROLOG = "/nowhere"
PYTHONSTARTUP = "loot.so"
BASH_ENV = "loot.so"
[resources]
ntasks = {ntasks}
[quorum]
agree = 1
distinct = "run"
[[inputs]]
source = "loot.so"
target = "loot.so"
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SlurmHome]:
    """Yield a home beside which lies a library that tells who loaded it."""
    made = SlurmHome(tmp_path)
    source, library, loot = Path(__file__).parents[1] / "apptainer/loot.c", tmp_path / "loot.so", tmp_path / "loot"
    subprocess.run(["gcc", "-shared", "-fPIC", f'-DLOOT="{loot}"', "-o", str(library), str(source)], check=True)
    yield made
    made.end()


def run(home: SlurmHome, text: str) -> list[str]:
    """Run a job to its verdict; return what its ranks said, sorted."""
    done = home.submit(text, "--wait=90s")
    assert done.code == 0, done.out + done.err + home.describe() + home.call("logs", "--stderr", "--all", "last").out
    return sorted(line for line in home.call("logs", "last").out.splitlines() if line.startswith("rank"))


def test_ranks_in_a_container_are_started_by_programs_that_a_job_cannot_reach(
    home: SlurmHome, alpha: Cluster, python_image: Path
) -> None:
    """No library of the job's is loaded outside, nothing of the host is bound; the command has its variables as text."""
    home.site(alpha)
    text = JOB.format(python="python3", code=CODE, ntasks=2) + f'[container]\nimage = "{python_image}"\n'
    assert run(home, text) == [f"rank {number} False /:/host /nowhere" for number in (0, 1)]
    assert not (home.folder / "loot").exists()


def test_a_launcher_loads_nothing_of_the_jobs(home: SlurmHome, alpha: Cluster) -> None:
    """Without a container the library is loaded by the command, and by nothing before it."""
    home.site(alpha)
    text = JOB.format(python="/usr/bin/python3", code=CODE, ntasks=2)
    assert run(home, text) == [f"rank {number} False /:/host /nowhere" for number in (0, 1)]
    assert set((home.folder / "loot").read_text().split()) == {str(Path("/usr/bin/python3").resolve())}


def test_one_process_in_a_container(home: SlurmHome, python_image: Path) -> None:
    """The same on this machine, without a launcher."""
    text = JOB.format(python="python3", code=CODE, ntasks=1) + f'[container]\nimage = "{python_image}"\n'
    assert run(home, text) == ["rank None False /:/host /nowhere"]
    assert not (home.folder / "loot").exists()


def test_somebody_elses_job_is_confined_on_a_cluster(home: SlurmHome, alpha: Cluster) -> None:
    """On a compute node it sees the machine, not our spool beside its work folder, nor Slurm's sockets in /run."""
    home.site(alpha)
    secret = home.path / "keys/coordinator"
    script = f"echo rank $(ls {secret} {home.path}/spool/*/node.json 2>/dev/null; ls /run; ls / | grep -c usr)"
    text = f'[job]\nname = "walled"\ncommand = ["sh", "-c", "{script}"]\n[quorum]\nagree = 1\ndistinct = "run"\n'
    done = home.submit(text, "--wait=90s", "--foreign")
    assert done.code == 0, done.out + done.err + home.describe()
    assert home.call("logs", "last").out == "rank 1\n"
    (replica,) = home.json("show", "last", "--tasks", "0")["tasks"][0]["replicas"]
    assert replica["isolation"] == "files"
    assert home.submit(text, "--wait=90s").code == 0
    assert "node.json" in home.call("logs", "last").out

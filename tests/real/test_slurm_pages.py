"""What pages print of two clusters is what comes out on two clusters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import transcripts

if TYPE_CHECKING:
    from clusters.slurm import Cluster
    from real.slurm_homes import SlurmHome

pytestmark = pytest.mark.slow

PAGES = ("README.md", "docs/how-to/slurm-researcher.md")
SUBMIT = "submit examples/ising/job.toml --set quorum.distinct=site --wait"


def test_two_clusters_that_must_agree(home: SlurmHome, alpha: Cluster, beta: Cluster) -> None:
    """Reach, verdict and replicas, on every page that shows them; numbers of jobs and folders are the pages' own."""
    for cluster in (alpha, beta):
        home.site(cluster)
    words = SUBMIT.replace("examples", str(transcripts.ROOT / "examples")).split()
    done = home.call(*words)
    assert done.code == 0, done.err
    after = {"": done.err + done.out, "show": home.call("show", "last").out}
    for page in PAGES:
        text = (transcripts.ROOT / page).read_text(encoding="utf-8")
        (block,) = [one for one in transcripts.blocks_of(text) if SUBMIT in one.commands]
        found = "".join(output for word, output in after.items() if word in block.commands)
        found = re.sub(rf"{re.escape(str(home.path))}/results/1\b", "RESULTS", found)
        printed = re.sub(r"\b18(_|\b)", r"1\1", re.sub(r"~/\S*/results/18\b", "RESULTS", block.printed or ""))
        assert transcripts.differences(printed, found) == [], page


#: Findings that depend on what a machine has; others stand in the page as they come.
MACHINES = {"file", "commands", "controller", "pyslurm", "launcher", "ranks", "container", "python"}


def test_what_a_check_finds(home: SlurmHome, alpha: Cluster) -> None:
    """The admin's page shows the findings of a real check, by name and in their order."""
    home.path.mkdir(mode=0o700)
    assert home.call("site", "init", "--from-slurm", "--bin", alpha.bin, "--conf", alpha.conf).code == 0
    found = [one["probe"] for one in home.json("site", "check", "alpha")["findings"]]
    text = (transcripts.ROOT / "docs/how-to/slurm-admin.md").read_text(encoding="utf-8")
    (block,) = [one for one in transcripts.blocks_of(text) if one.commands == "nexapod-batch site check alpha\n"]
    printed = [re.split(r"  +", line)[1] for line in (block.printed or "").splitlines()]
    shown = [one for one in found if not one.startswith("partition ") or one == "partition short"]
    assert [one for one in printed if one not in MACHINES] == [one for one in shown if one not in MACHINES]

"""Site files beside one that works on a real cluster: broken ones, and new ones that no submit has seen yet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from real.slurm_homes import SlurmHome, queue

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster

ONE = '[job]\nname = "t"\ncommand = ["echo", "1"]\n[resources]\ntime = "60s"\n[quorum]\nagree = 1\n'


def break_file(home: SlurmHome, name: str) -> Path:
    """Put an unknown key into a site file; return it."""
    file = home.path / f"sites.d/{name}.toml"
    file.write_text(file.read_text().replace('type = "slurm"', 'type = "slurm"\nbinn = "/x"'))
    return file


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("how", ["plain", "--json", "--parsable", "--wait", "named"])
def test_a_broken_file_beside_a_site_that_works(home: SlurmHome, alpha: Cluster, beta: Cluster, how: str, *, known: bool) -> None:
    """One line says where and what, once, whether or not the broken site has nodes; the job runs on the other site."""
    home.site(alpha)
    home.site(beta)
    if known:
        assert home.submit(ONE, "--wait").code == 0
    file = break_file(home, "beta")
    options = {"plain": (), "named": ("--site", "alpha")}.get(how, (how,))
    done = home.submit(ONE, *options)
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if "beta" in line]
    assert said == [f"warning: site beta is left out: {file}:6: scheduler.binn: unknown key (did you mean 'bin'?)"]
    if how == "--json":
        assert json.loads(done.out)["warnings"] == [said[0].removeprefix("warning: ")]
    if how == "--parsable":
        assert done.out.strip().isdigit()
    job = 2 if known else 1
    home.ended(job)
    assert [one["site"] for one in home.json("show", job)["tasks"][0]["replicas"]] == ["alpha"]


def test_the_first_dry_run_prints_the_script(home: SlurmHome, alpha: Cluster, beta: Cluster) -> None:
    """The same as when the sites have nodes, asked of Slurm as well; nothing is made, here or there."""
    home.site(alpha)
    home.site(beta)
    first = home.submit(ONE, "--dry-run").out
    assert "# node alpha (slurm), which the next submit registers\n" in first
    assert "#SBATCH --partition=short\n" in first
    assert f"{home.path}/spool/beta/logs/" in first
    asked = home.submit(ONE, "--dry-run=slurm", "--site", "alpha").out
    assert "\n# sbatch: Job " in asked
    assert "beta" not in asked
    everything = home.submit(ONE + '[array]\nids = "0-1"\n', "--dry-run=all").out
    assert "task 1 on " in everything
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]
    assert queue(alpha) == queue(beta) == []
    assert home.submit(ONE, "--wait").code == 0
    assert home.submit(ONE, "--dry-run").out == first.replace(", which the next submit registers", "")


def test_a_dry_run_with_a_new_site(home: SlurmHome, alpha: Cluster, beta: Cluster, tmp_path: Path) -> None:
    """A site that came since the last submit is described too; with a work folder all but its name is known."""
    home.site(alpha)
    assert home.submit(ONE, "--wait").code == 0
    home.site(beta, filesystem={"work_dir": str(tmp_path / "work")})
    shown = home.submit(ONE, "--dry-run").out
    assert "# node alpha (slurm)\n" in shown
    assert "# node beta (slurm), which the next submit registers\n" in shown
    assert f"{tmp_path}/work/nexapod-" in shown
    assert "gets a name of its own" not in shown
    fresh = SlurmHome(tmp_path, "fresh")
    fresh.site(beta, filesystem={"work_dir": str(tmp_path / "work")})
    assert "# the folder nexapod-HEX below work_dir gets a name of its own" in fresh.submit(ONE, "--dry-run").out
    assert not (tmp_path / "work").exists()

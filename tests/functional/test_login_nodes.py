"""No local node is made unasked where jobs must not run: on machines that look like a login node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home

JOB = '[job]\nname = "a"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n'
#: What each program called sbatch says, and whether it is the sign of a cluster.
SBATCH = {
    "that works": ("echo slurm 25.11.7", True),
    "whose controller does not answer": ("echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1", True),
    "that cannot be started": ("exec /nowhere/sbatch", True),
    "that says nothing": ("exit 3", True),
    "without a configuration": ("echo 'sbatch: fatal: Could not establish a configuration source' >&2; exit 1", False),
    "that warns and works": ("echo 'sbatch: error: fetch_config: failed to fetch config' >&2; echo slurm 25", True),
}


def with_sbatch(folder: Path, body: str) -> dict[str, str]:
    """Return variables whose PATH has an sbatch that does this."""
    folder.mkdir()
    (folder / "sbatch").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "sbatch").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize("kind", list(SBATCH))
@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["submit", "dry run"])
def test_where_jobs_are_submitted_to_slurm_no_node_is_made(home: Home, kind: str, options: tuple[str, ...]) -> None:
    """The refusal names the sbatch that was found and both ways out; nothing runs, and no job is stored."""
    body, refused = SBATCH[kind]
    env = with_sbatch(home.folder / "slurm", body)
    done = home.call("submit", home.descriptor(JOB), *options, env=env)
    assert done.code == (78 if refused else 0), done.err
    if refused:
        assert str(home.folder / "slurm/sbatch") in done.err
        assert "nexapod-batch node init" in done.err
        assert not (home.path / "spool").exists() or not list((home.path / "spool").iterdir())


def test_a_node_that_was_asked_for_runs_there(home: Home) -> None:
    """`node init` is the asking."""
    env = with_sbatch(home.folder / "slurm", "echo slurm 25.11.7")
    assert home.call("node", "init", env=env).code == 0
    assert home.call("submit", home.descriptor(JOB), "--wait=50s", env=env).code == 0

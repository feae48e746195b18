"""The ready site files, and the reference of what they may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nexapod_batch.config.reference import site_reference
from nexapod_batch.config.site.sites import (
    load_site,
)

ROOT = Path(__file__).parents[2]
READY = sorted((ROOT / "site-configs").glob("*.toml"))


def test_there_are_ready_files() -> None:
    """For the kinds of sites that people have."""
    kinds = {"slurm", "slurm-gpu", "slurm-no-mem", "slurm-ssh", "dask", "workstation", "archer2", "lumi"}
    assert kinds <= {file.stem for file in READY}


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_every_ready_file_is_sound(file: Path) -> None:
    """No fault, a comment for who reads it, and one line with its name, so that it can be called something else."""
    text = file.read_text(encoding="utf-8")
    site = load_site(file)
    assert text.startswith("# ")
    assert len(re.findall(rf'^name = "{site.name}"', text, flags=re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", ["archer2", "lumi"])
def test_files_of_real_clusters_say_where_they_come_from(name: str) -> None:
    """Source, date, and that nobody tried them."""
    text = (ROOT / f"site-configs/{name}.toml").read_text(encoding="utf-8")
    assert re.search(r"^# Source: https://", text, flags=re.MULTILINE)
    assert re.search(r"read on \d{4}-\d\d-\d\d", text)
    assert "NOT TRIED" in text


def test_the_files_do_what_they_are_for() -> None:
    """One forbids memory options, one is reached over SSH, one has GPUs on hosts of their own."""
    sites = {file.stem: load_site(file) for file in READY}
    assert sites["slurm-no-mem"].scheduler.memory == "none"
    assert sites["slurm-ssh"].ssh is not None
    assert list(sites["slurm-gpu"].groups()) == ["slurm-gpu", "slurm-gpu-gpu"]
    assert sites["workstation"].scheduler.type == "local"
    assert list(sites["workstation"].groups()) == ["workstation"]  # else its policy would hold for nobody


def test_the_site_reference_is_current() -> None:
    """Made again with `python -m nexapod_batch.config.reference site > docs/reference/site.md`."""
    assert (ROOT / "docs/reference/site.md").read_text(encoding="utf-8") == site_reference()

"""Manifests for people: more outputs than a statement lists have a text beside the results, which `sha256sum` reads."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = """[job]
name = "many"
command = ["sh", "-c", "mkdir out; i=0; while [ $i -lt 120 ]; do echo $i > out/$i.txt; i=$((i+1)); done"]
[quorum]
distinct = "run"
[[outputs]]
path = "out/*.txt"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with an accepted job of 120 outputs."""
    with ended(Home(tmp_path_factory.mktemp("many")), "mine") as made:
        done = made.submit(JOB, "--wait=90s")
        assert done.code == 0, done.out + done.err
        yield made


def test_the_text_is_beside_the_results_and_is_the_signed_one(home: Home) -> None:
    """One line for each output; the same bytes as in the proof and in the archive; standard tools check it."""
    path = home.path / "results/1/0.manifest"
    assert len(path.read_text().splitlines()) == 120
    subprocess.run(["sha256sum", "--check", "--quiet", str(path)], cwd=home.path / "results/1/0", check=True)
    assert home.call("attestations", "1", "--out", "proof").code == 0
    assert (home.folder / "proof/1_0.manifest").read_bytes() == path.read_bytes()
    assert home.call("archive", "1", "--out", "bag").code == 0
    assert (home.folder / "bag/data/proof/1_0.manifest").read_bytes() == path.read_bytes()
    assert home.call("verify", "1").code == 0
    assert home.call("results", "1", "--out", "copy").code == 0
    assert (home.folder / "copy/1_0.manifest").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("how", ["a digest", "a line less", "a link", "empty"])
def test_a_changed_text_is_found(home: Home, how: str) -> None:
    """By `verify`, whatever was done to it; with the right text again everything holds."""
    path = home.path / "results/1/0.manifest"
    right = path.read_bytes()
    other = {"a digest": b"0" * 64 + right[64:], "a line less": right[right.index(b"\n") + 1 :], "empty": b""}
    path.unlink()
    if how == "a link":
        (home.folder / "elsewhere").write_bytes(right)
        path.symlink_to(home.folder / "elsewhere")
    else:
        path.write_bytes(other[how])
    done = home.call("verify", "1")
    assert done.code == 1
    assert "0.manifest beside it is not the manifest that was signed" in done.out + done.err
    path.unlink()
    path.write_bytes(right)
    assert home.call("verify", "1").code == 0


def test_a_changed_text_beside_copied_results_is_found(home: Home) -> None:
    """A proof is checked with the folder of the job's results, and what lies beside each task."""
    shutil.rmtree(home.folder / "proof", ignore_errors=True)
    shutil.copytree(home.path / "results/1", home.folder / "taken")
    assert home.call("attestations", "1", "--out", "proof").code == 0
    assert home.call("verify", "--folder", "proof", "--results", "taken").code == 0
    (home.folder / "taken/0.manifest").write_text(f"{hashlib.sha256(b'').hexdigest()}  out/0.txt\n")
    assert home.call("verify", "--folder", "proof", "--results", "taken").code == 1


def test_backups_have_it(home: Home, tmp_path: Path) -> None:
    """It comes back with the results."""
    home.json("backup", tmp_path / "b.tar.gz", "--results")
    there = Home(tmp_path, "there")
    assert there.json("db", "restore", tmp_path / "b.tar.gz")["results"] == 1
    assert (there.path / "results/1/0.manifest").read_bytes() == (home.path / "results/1/0.manifest").read_bytes()
    assert there.call("verify", "1").code == 0

"""One place for all replicas: what records a command line, a folder or a home agrees where commands are kept apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from homes import Home
from nexapod_backends.bubblewrap import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = """[job]
name = "records"
workdir = "{workdir}"
script = '''
#!/bin/sh
{{ echo "$0 $*"; pwd; echo "$HOME $TMPDIR $PWD"; env | grep ^NEXAPOD_ | grep -v ^NEXAPOD_NODE= | sort; }} > record.txt
echo kept > "$TMPDIR/x" && cat "$TMPDIR/x" >> record.txt
'''
[quorum]
agree = 2
max_replicas = 2
distinct = "node"
[[outputs]]
path = "{output}"
"""


def home_with(folder: Path, *options: str) -> Iterator[Home]:
    """Yield a home with two nodes, each for one replica at a time."""
    home = Home(folder)
    for name in ("alice", "bob"):
        assert home.call("node", "init", "--name", name, "--cpus", "1", *options).code == 0
    yield home
    home.end()


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[Home]:
    """Yield a home whose nodes confine every command."""
    yield from home_with(tmp_path, "--confine", "all")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Home]:
    """Yield a home whose nodes confine nobody."""
    yield from home_with(tmp_path, "--confine", "never")


@pytest.mark.parametrize(("workdir", "output"), [(".", "record.txt"), ("in/here", "in/here/record.txt")])
def test_confined_replicas_record_the_same(confined: Home, workdir: str, output: str) -> None:
    """Command line, script, folder, home, temporary folder, and every variable of ours but the node's name."""
    done = confined.submit(JOB.format(workdir=workdir, output=output), "--wait=90s")
    assert done.code == 0, done.out + done.err + confined.call("explain", "1").out
    lines = (confined.path / "results/1/0" / output).read_text().splitlines()
    there = f"{PLACE}/work" + ("" if workdir == "." else f"/{workdir}")
    assert lines[:3] == [f"{PLACE}/script ", there, f"{PLACE}/work {PLACE}/{'tmp'} {there}"]
    assert lines[-1] == "kept"
    assert str(confined.path) not in "".join(lines)


def test_bare_replicas_do_not_and_the_cause_is_told(bare: Home) -> None:
    """Paths end in the replica's name; `explain` names them as all that differs, in words and as data."""
    assert bare.submit(JOB.format(workdir=".", output="record.txt"), "--wait=90s").code == 3
    assert "only paths differ" in bare.call("explain", "1").out
    (pair,) = bare.json("explain", 1)["tasks"][0]["differences"]
    assert pair["files"][0]["figures"]["causes"] == ["paths"]


def test_reproducible_variables_reach_the_command(bare: Home) -> None:
    """Also where what submits has others; what is the job's own is told at submit and stays."""
    text = """[job]
name = "pinned"
reproducible = true
command = ["sh", "-c", "date -d @$SOURCE_DATE_EPOCH +%F_%Z > a.txt; echo $LC_ALL $PYTHONHASHSEED $OMP_NUM_THREADS $MKL_NUM_THREADS >> a.txt"]
[job.env]
MKL_NUM_THREADS = "2"
[resources]
cpus_per_task = 1
[quorum]
distinct = "node"
[[outputs]]
path = "a.txt"
"""
    done = bare.call("submit", bare.descriptor(text), "--wait=90s", env={"TZ": "Asia/Seoul", "LC_ALL": "C"})
    assert done.code == 0, done.out + done.err
    assert "MKL_NUM_THREADS is '2', not '1'" in done.err
    assert (bare.path / "results/1/0/a.txt").read_text() == "1980-01-01_UTC\nC.UTF-8 0 1 2\n"

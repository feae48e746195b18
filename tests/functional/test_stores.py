"""A store of Zarr as an output: many files in the statement, one answer, from the descriptor to the verified result."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from pathlib import Path

#: Every run writes other chunks and codecs and has its own noise; the second one writes another value.
WRITE = """
import pathlib, sys, numpy, zarr
def is_first(number):  # of those that run side by side
    try:
        pathlib.Path(sys.argv[1], str(number)).mkdir()
    except FileExistsError:
        return False
    return True
run = next(filter(is_first, (1, 2, 3)))
many = int(sys.argv[2])
values = numpy.linspace(1, 2, many) * (1 + run * 1e-15)
if run == 2:
    values[many // 2] *= 1.001
group = zarr.open_group("out.zarr", mode="w")
group.attrs["run"] = run
group.create_array("T", shape=values.shape, chunks=(run,), dtype="f8")[:] = values
if run == 3:
    zarr.consolidate_metadata("out.zarr")
"""
JOB = """[job]
name = "store"
command = [{python}, "-W", "ignore", "write.py", {flag}, "{many}"]
[quorum]
agree = {agree}
replicas = 3
max_replicas = 3
distinct = "run"
[[inputs]]
source = "write.py"
[[outputs]]
path = "out.zarr"
ignore = ["run"]
"""
RULES = {"significant": 'compare = "significant"\ndigits = 9', "allclose": 'compare = "allclose"\nrtol = 1e-9'}


def submitted(home: Home, rule: str, many: int, agree: int = 2) -> int:
    """Run the job; return how that ended."""
    (home.folder / "write.py").write_text(WRITE)
    flag = home.folder / f"flag{len(home.jobs())}"
    flag.mkdir()
    text = JOB.format(python=json.dumps(sys.executable), flag=json.dumps(str(flag)), many=many, agree=agree)
    return home.submit(text + RULES[rule], "--wait=120s").code


@pytest.mark.parametrize("many", [12, 250], ids=["listed", "in a manifest"])
@pytest.mark.parametrize("rule", RULES)
def test_two_honest_runs_are_a_result_and_a_falsified_one_is_told_apart(tmp_path: Path, rule: str, many: int) -> None:
    """Whatever their chunks are; `explain` names variable and index, and the result is proved by those who have it alone."""
    with ended(Home(tmp_path), "mine") as home:
        assert submitted(home, rule, many) == 0
        replicas = home.json("show", 1)["tasks"][0]["replicas"]
        assert sorted(one["validation"] for one in replicas) == ["invalid", "valid", "valid"]
        said = home.call("explain", 1).out
        assert f"out.zarr, /T, index ({many // 2})" in said
        assert (home.path / "results/1/0/out.zarr/T/zarr.json").is_file()
        assert home.call("verify", 1).code == 0
        assert home.proof_code(1) == 0


def test_stores_may_be_judged_by_other_rules(tmp_path: Path) -> None:
    """What had no result under nine digits has one within a hundredth, in which all three agree."""
    with ended(Home(tmp_path), "mine") as home:
        assert submitted(home, "significant", 12, agree=3) == 3
        for words in (("--compare", "significant", "--digits", 2), ("--compare", "allclose", "--rtol", 0.01)):
            assert home.call("judge", 1, *words, "--ignore", "run").code == 0
        assert home.call("judge", 1, "--compare", "exact", "--dry-run").code == 3
        assert home.call("verify", 1).code == 0

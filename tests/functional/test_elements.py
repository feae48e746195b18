"""Pipelines element by element: a task begins when its own element before is accepted, and all of it verifies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAD = 'schema = 1\n[array]\nids = "1-4"\n[quorum]\nagree = 1\ndistinct = "run"\n[[outputs]]\npath = "out"\n[job]\n'
#: Its last element is not done before the first one of the job behind it has run.
FIRST = 'name = "first"\nscript = """#!/bin/sh\nn=0\n[ $NEXAPOD_TASK = 4 ] && until [ -e %s ]; do n=$((n+1)); [ $n -lt 2000 ] || exit 9; sleep 0.05; done\necho $NEXAPOD_TASK > out\n"""\n'
SECOND = 'name = "second"\nscript = """#!/bin/sh\n[ $NEXAPOD_TASK = 1 ] && : > %s\ncat state > out; echo x >> out\n"""\n'
THIRD = 'name = "third"\ncommand = ["sh", "-c", "cat one two > out"]\n'
OF_FIRST = '[[inputs]]\nsource = "job:first_{task}/out"\ntarget = "state"\n'
OF_BOTH = '[[inputs]]\nsource = "job:first_{task}/out"\ntarget = "one"\n[[inputs]]\nsource = "job:second_{task}/out"\ntarget = "two"\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own."""
    with ended(Home(tmp_path)) as made:
        yield made


def pipeline(home: Home, *, bad: str = "") -> list[Path]:
    """Write three descriptors that follow one another."""
    flag = home.folder / "flag"
    texts = {"first": FIRST % flag, "second": SECOND % flag + OF_FIRST, "third": THIRD + OF_BOTH}
    texts["first"] = texts["first"].replace("echo $NEXAPOD_TASK", f"{bad}echo $NEXAPOD_TASK")
    for name, text in texts.items():
        (home.folder / f"{name}.toml").write_text(HEAD + text)
    return [home.folder / f"{name}.toml" for name in texts]


def test_an_element_begins_when_its_own_is_accepted(home: Home) -> None:
    """Else this would never end; chain, proof by our tools and by others', and archive verify afterwards."""
    done = home.call("submit", *pipeline(home), "--wait")
    assert done.code == 0, done.err
    results = home.path / "results"
    assert [(results / f"3/{task}/out").read_text() for task in (1, 4)] == ["1\n1\nx\n", "4\n4\nx\n"]
    assert home.call("verify", 3, "--chain").code == 0
    assert home.call("ledger", "verify").code == 0
    assert home.proof_code(2) == 0
    proof = home.folder / "proof"
    assert home.call("attestations", 2, "--out", proof).code == 0
    document = json.loads((proof / "job.json").read_text())
    assert len(document["elements"]["forms"]) > 1  # it grew, and statements name the forms of their time
    keys = [argument for key in proof.glob("*.pem") for argument in ("--key", key)]
    checked = subprocess.run([sys.executable, proof / "check.py", *keys, "--results", results / "2"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("change", ["inputs", "tasks", "forms"])
def test_a_document_that_grew_otherwise_is_refused(home: Home, change: str) -> None:
    """What a statement names must be the beginning of the document: by our tools, and by others'."""
    assert home.call("submit", *pipeline(home)[:2], "--wait").code == 0
    proof = home.folder / "proof"
    assert home.call("attestations", 2, "--out", proof).code == 0
    document = json.loads((proof / "job.json").read_text())
    if change == "inputs":
        document["inputs"][0]["sha256"] = "0" * 64
    else:
        document["elements"][change] = document["elements"][change][1:]
    (proof / "job.json").write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    keys = [argument for key in proof.glob("*.pem") for argument in ("--key", key)]
    assert home.call("verify", "--folder", proof, *keys).code == 1
    checked = subprocess.run([sys.executable, proof / "check.py", *keys], capture_output=True, text=True, check=False)
    assert checked.returncode != 0


def test_an_element_that_fails_holds_its_own_alone(home: Home) -> None:
    """The others are accepted; the wait ends and says what is waited for; a retry of the one before lets it go on."""
    broken = home.folder / "broken"
    broken.write_text("")
    bad = f"if [ $NEXAPOD_TASK = 2 -a -e {broken} ]; then exit 3; fi; "
    done = home.call("submit", *pipeline(home, bad=bad)[:2], "--wait")
    assert done.code == 1, done.err
    assert home.json("show", 2)["job"]["counts"] == {
        "waiting": 1, "active": 0, "accepted": 3, "failed": 0, "inconclusive": 0, "cancelled": 0,
    }  # fmt: skip
    assert "waits for job 1 to be accepted" in home.json("show", 2)["job"]["blocked"]
    assert home.call("verify", 2).code == 0
    broken.unlink()
    again = home.call("retry", 1, "--wait")
    assert again.code == 0, again.err
    last = home.call("wait", 2)
    assert last.code == 0, last.err
    assert (home.path / "results/2/2/out").read_text() == "2\nx\n"
    assert home.call("verify", 2, "--chain").code == 0


def test_the_example_of_a_pipeline(home: Home) -> None:
    """Its three steps are accepted, and the chain of them verifies."""
    steps = [EXAMPLES / f"pipeline/{step}.toml" for step in ("equilibrate", "produce", "analyse")]
    done = home.call("submit", *steps, "--wait")
    assert done.code == 0, done.err
    assert (home.path / "results/3/0/result").read_text().startswith("40000 samples, mean square ")
    assert home.call("verify", 3, "--chain").code == 0

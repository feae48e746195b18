"""Statements that contradict their job, signed with the right key: never a vote, and held against who signed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from forging import line_of, said_in, stolen_key
from homes import Home
from spools import until

from nexapod_batch.trust.statement import ContainerUse, Outcome, Statement, Subject, vote_of_subjects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = (
    '[job]\nname = "a"\ncommand = ["sh", "-c", "cat in.txt > a.txt; echo 1.0 > b.csv"]\n'
    '[[inputs]]\nsource = "in.txt"\ntarget = "in.txt"\n[[outputs]]\npath = "a.txt"\n'
    '[[outputs]]\npath = "*.csv"\ncompare = "significant"\ndigits = 3\n[quorum]\ndistinct = "run"\n'
)
IMAGE = ContainerUse("docker://x", "1" * 64, "apptainer", "1", "userns", "none")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    one = Home(tmp_path)
    (tmp_path / "in.txt").write_text("1\n")
    assert one.call("node", "init", "--name", "n").code == 0
    yield one
    one.end()


def _with(said: Statement, *subjects: Subject) -> dict[str, Any]:
    """Return what changes with other subjects."""
    return {"subjects": subjects, "vote": vote_of_subjects(subjects)}


def lies(said: Statement) -> dict[str, dict[str, Any]]:
    """Return what a liar says otherwise, by kind."""
    csv, text = sorted(said.subjects, key=lambda one: one.name, reverse=True)
    other = Subject(name="evil.txt", sha256=text.sha256, size=2)
    stdout = Subject(name="stdout", sha256=said.stdout_sha256, size=0)
    return {
        "isolation": {"isolation": "container"},
        "a container": {"isolation": "container", "container": IMAGE},
        "a dependency more": {"inputs": (*said.inputs, ("lib.so", "2" * 64))},
        "another dependency": {"inputs": ((said.inputs[0][0], "2" * 64),)},
        "no dependency": {"inputs": ()},
        "another subject": _with(said, csv, other),
        "a subject more": _with(said, csv, other, text),
        "a subject less": _with(said, text),
        "stdout alone": _with(said, stdout),
        "no normalised digest": _with(said, csv._replace(normalized=None), text),
        "a normalised digest more": _with(said, csv, text._replace(normalized="3" * 64)),
        "exit code 7": {"exit_code": 7},
        "no exit code": {"exit_code": None},
        "agree": {"agree": 1},
        "distinct": {"distinct": ("node",)},
        "finished first": {"started_ms": said.finished_ms + 1},
        "from 1970": {"started_ms": 0},
        "from the year 5138": {"finished_ms": 10**14},
        "another backend": {"backend": "slurm"},
        "another host": {"host": "elsewhere"},
        "a failure with outputs": {"outcome": Outcome.FAILED, "exit_code": 1},
        "figures of no machine": {"cpu_ms": 2**52},
    }


def test_what_contradicts_the_job_is_no_vote(home: Home) -> None:
    """Each lie about a replica is quarantined with its reason and blamed; what the replica said itself counts."""
    assert home.submit(JOB).code == 0
    until(lambda: len(home.lines()) == 2, "two reports")
    said = said_in(home.lines()[0])
    key = stolen_key(home, str(said.replica))
    told = lies(said)
    lines = [line_of(key, said._replace(**changes)) for changes in told.values()]
    (home.spool() / "reports/00.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    assert home.json("reconcile")["quarantined"] == len(told)
    assert home.json("node", "show", "n")["node"]["blame"] == len(told)
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    task = home.json("show", 1)["tasks"][0]
    assert [(one["validation"], one["voided"]) for one in task["replicas"]] == [("valid", False)] * 2
    assert sorted(one.name for one in (home.path / "results/1/0").iterdir()) == ["a.txt", "b.csv"]


@pytest.mark.parametrize(("words", "counts"), [("echo 1", False), ("seq 2000", True)], ids=["came along", "lies there"])
@pytest.mark.parametrize("size", [0, 7, 70_000])
def test_a_size_that_is_not_that_of_the_file_harms_nobody(home: Home, words: str, size: int, *, counts: bool) -> None:
    """The right digest beside a wrong size: that replica's files are not published, and the results hold."""
    job = f'[job]\nname = "a"\ncommand = ["sh", "-c", "{words} > a.txt"]\n[quorum]\ndistinct = "run"\n[[outputs]]\npath = "a.txt"\n'
    assert home.submit(job).code == 0
    until(lambda: len(home.lines()) == 2, "two reports")
    first = next(line for line in home.lines() if said_in(line).replica.number == 1)
    said = said_in(first)
    (output,) = said.subjects
    lie = _with(said, output._replace(size=size)) | {"output_bytes": max(said.output_bytes, size)}
    forged = json.loads(line_of(stolen_key(home, "1_0.1"), said._replace(**lie)))
    if "carried" in first:
        forged["carried"] = first["carried"]
    for segment in (home.spool() / "reports").glob("[!z]*.jsonl"):
        lines = segment.read_bytes().split(b"\n")[:-1]
        kept = [json.dumps(forged).encode() if json.loads(line) == first else line for line in lines]
        segment.write_bytes(b"".join(line + b"\n" for line in kept))
    assert home.json("reconcile")["quarantined"] == (not counts)
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    assert home.json("show", 1)["tasks"][0]["published_from"] != 1
    assert home.call("verify", "1").code == 0

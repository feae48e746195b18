"""Selectors and filters: the same for every command; what `ls` and `show` make of them; results that are collected."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
from homes import Home

from nexapod_batch.cli import main, selectors
from nexapod_batch.cli.command_table import COMMANDS
from nexapod_batch.coordinator.queries.parameters import matches, parameters
from nexapod_batch.model.job import Array
from nexapod_batch.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Commands that take one job or task at most, as their help says.
ONE = {"explain", "logs", "report", "verify", "attestations"}
TAKERS = ("ls", "show", "results", "wait", "cancel", "hold", "release", "retry")
DOCUMENT: dict[str, Any] = {"quorum": {"agree": 2, "distinct": ["run"], "max_replicas": 6}, "labels": [], "array": None}


def add_job(home: Path, number: int, name: str, state: str, *, tasks: int = 1, created: int = 0, **document: Any) -> None:
    """Insert a job of equal tasks."""
    with sqlite3.connect(home / "state.db") as db:
        db.execute(
            "INSERT INTO job (id, uuid, name, user, digest, folder, held, created_at, n_tasks, n_waiting, n_want)"
            " VALUES (?, ?, ?, 'ada', ?, '/', 0, ?, ?, ?, 0)",
            (number, f"u{number}", name, "0" * 64, created, tasks, tasks),
        )
        body = json.dumps({**DOCUMENT, **document}).encode()
        db.execute("INSERT INTO document (job_id, body) VALUES (?, ?)", (number, body))
        db.executemany("INSERT INTO task (job_id, idx) VALUES (?, ?)", [(number, index) for index in range(tasks)])
        db.execute("UPDATE task SET state = ? WHERE job_id = ?", (state, number))
    db.close()


SWEEP = {"ranges": [], "matrix": [["T", ["300", "310"]], ["k", ["a", "b"]]], "values": [], "max_running": None}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home with an old failed job, a sweep, a labelled job of today, and one of 200 tasks."""
    monkeypatch.setenv("NEXAPOD_HOME", str(tmp_path))
    Store.open(tmp_path / "state.db", create=True).close()
    now = int(time.time() * 1000)
    add_job(tmp_path, 1, "old", "failed", created=1_700_000_000_000)
    add_job(tmp_path, 2, "sweep", "waiting", tasks=4, created=now - 7_200_000, array=SWEEP)
    add_job(tmp_path, 3, "sweep-b", "accepted", created=now, labels=[["project", "weather"], ["run", "1"]])
    add_job(tmp_path, 4, "many", "accepted", tasks=200, created=now)
    return tmp_path


def found(home: Path, *texts: str) -> list[str]:
    """Return what selectors name."""
    with Store.open(home / "state.db", write=False) as store:
        return [str(target) for target in selectors.resolve(store, texts)]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["2,3"], ["2", "3"]),
        (["1-2,4"], ["1", "2", "4"]),
        (["2_1-2"], ["2_1", "2_2"]),
        (["2_[0,2-3]"], ["2_0", "2_2", "2_3"]),
        (["2_[0,2],3"], ["2_0", "2_2", "3"]),
        (["last_198-250"], ["4_198", "4_199"]),
        (["last_[5]"], ["4_5"]),
        (["last", "1,last"], ["4", "1"]),
        (["all,1"], ["1", "2", "3", "4"]),
    ],
)
def test_selectors(home: Path, texts: list[str], wanted: list[str]) -> None:
    """Lists, ranges of tasks and Slurm's brackets name what is there, in their order, each once."""
    assert found(home, *texts) == wanted


@pytest.mark.parametrize("text", [",", "1,", "2_[", "2_[]", "2_[3-1]", "2_[1,]", "all_1", "2_1-", "1,x", "2__1", "[1]", "2_[-1]"])
def test_what_is_no_selector(home: Path, text: str) -> None:
    """Anything else is a usage error."""
    assert main(["show", text]) == 2


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (["--state", "accepted"], [4, 3]),
        (["--state", "failed", "--state", "waiting"], [2, 1]),
        (["--name", "sweep*"], [3, 2]),
        (["--name", "s?eep"], [2]),
        (["--label", "project=weather"], [3]),
        (["--label", "project=weather", "--label", "run=2"], []),
        (["--since", "1h"], [4, 3]),
        (["--since", "1d"], [4, 3, 2]),
        (["--since", "2023-11-01"], [4, 3, 2, 1]),
        (["--since", "3h ago", "--state", "waiting"], [2]),
        (["1-3", "--state", "accepted"], [3]),
        (["2,3"], [3, 2]),
        (["--open"], [2]),
    ],
)
def test_ls_filters(home: Path, capsys: pytest.CaptureFixture[str], filters: list[str], wanted: list[int]) -> None:
    """`ls` lists jobs by state, name, label and age, and those that are named."""
    assert main(["ls", *filters, "--json"]) == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == wanted


@pytest.mark.parametrize(
    "argv", [["ls", "--since", "soon"], ["ls", "--label", "x"], ["ls", "--sort", "size"], ["ls", "--format", "id,x"],
             ["ls", "--format", "{id.x}"], ["ls", "--format", "{nope}"], ["show"], ["cancel"], ["show", "2", "--where", "T"]],
)  # fmt: skip
def test_what_cannot_be_asked(home: Path, argv: list[str]) -> None:
    """A filter, column or format that does not exist is a usage error; so is no selector at all."""
    assert main(argv) == 2


def test_ls_sorts_and_formats(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are chosen, sorted either way, or put into a text; labels have a column where there are some."""
    assert main(["ls", "--sort", "-tasks", "--format", "id,tasks"]) == 0
    assert capsys.readouterr().out.split() == ["ID", "TASKS", "4", "200", "2", "4", "3", "1", "1", "1"]
    assert main(["ls", "--sort", "name", "--format", "{id}:{labels}", "--limit", "3"]) == 0
    assert capsys.readouterr().out == "4:-\n2:-\n3:project=weather,run=1\n"
    assert main(["ls"]) == 0
    assert "LABELS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["2", "--where", "T=300"], [0, 1]),
        (["2", "--where", "T=3e2", "--where", "k=b"], [1]),
        (["2_2-3", "--where", "k=a"], [2]),
        (["--name", "sweep", "--where", "k=b"], [1, 3]),
    ],
)
def test_tasks_by_parameter(home: Path, capsys: pytest.CaptureFixture[str], argv: list[str], wanted: list[int]) -> None:
    """`--where` chooses the tasks that have these values, numbers however they are written; they are shown."""
    assert main(["show", *argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    shown = document.get("jobs", [document])
    assert [task["index"] for one in shown for task in one["tasks"]] == wanted
    assert main(["show", *argv]) == 0
    assert "T=300" in capsys.readouterr().out or wanted != [0, 1]


def test_nothing_like_that_is_not_found(home: Path) -> None:
    """A filter that leaves nothing ends with 66."""
    assert main(["show", "--name", "nope"]) == 66
    assert main(["show", "2", "--where", "T=1"]) == 66


def test_show_folds_what_stands_alike(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """200 tasks that stand alike take a line; `--tasks` and a task show each."""
    assert main(["show", "4"]) == 0
    out = capsys.readouterr().out
    assert "4_0 to 4_199  accepted" in out
    assert len(out.splitlines()) < 12
    assert main(["show", "4", "--tasks", "0-99"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 100


def test_times_are_the_readers(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """People see their own zone with its offset, programs UTC."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert main(["show", "1"]) == 0
        assert "2023-11-15 03:43:20 +0530" in capsys.readouterr().out
        assert main(["show", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["job"]["submitted"] == "2023-11-14T22:13:20Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("name", TAKERS)
def test_every_command_that_takes_ids_takes_the_filters(name: str) -> None:
    """Who takes jobs takes them by state, name, label, age and parameter."""
    assert {"--state", "--name", "--label", "--since", "--where"} <= set(COMMANDS[name].words)


@pytest.mark.parametrize(
    "array",
    [
        Array(matrix=(("a", ("1", "2")), ("b", ("x", "y", "z")))),
        Array(values=((("a", "1"), ("b", "2")), (("a", "3"), ("b", "4")))),
        Array(ranges=((1, 5, 2),)),
    ],
)
def test_parameters_are_those_of_the_job(array: Array) -> None:
    """What listings read from the document is what the runner is told."""
    document = {
        "ranges": [list(part) for part in array.ranges],
        "matrix": [[name, list(values)] for name, values in array.matrix],
        "values": [[list(pair) for pair in row] for row in array.values],
    }
    for index in array.indexes():
        assert parameters(document, index) == array.parameters(index)
    assert parameters(None, 0) == {}
    assert parameters(document, 10**6) == {}


def test_numbers_match_however_they_are_written() -> None:
    """Text is compared as text, numbers as numbers."""
    assert matches({"T": "300.0", "k": "a"}, (("T", "300"), ("k", "a")))
    assert not matches({"T": "300"}, (("T", "301"),))
    assert not matches({"T": "300"}, (("U", "300"),))


SWEEP_JOB = """[job]
name = "sweep"
command = ["sh", "-c", "test {seed} != 3 && echo '{{\\"square\\": '$(({seed}*{seed}))'}}' > out.json"]
[array]
matrix = { seed = [1, 2, 3] }
[quorum]
distinct = "run"
max_errors = 0
[[outputs]]
path = "out.json"
"""


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Home]:
    """Give a home, and end its workers."""
    home = Home(tmp_path)
    yield home
    home.end()


def test_a_sweep_is_collected(real: Home) -> None:
    """Folders, flat names and a table with parameters; what is missing is named and is the exit code."""
    assert real.submit(SWEEP_JOB, "--wait").code == 1
    done = real.call("results", "last", "--out", "a")
    assert done.code == 1
    assert "missing: 1_2 failed\n  why: nexapod-batch explain 1_2\n" in done.err
    assert (real.folder / "a/1_1/out.json").read_text() == '{"square": 4}\n'
    assert real.call("results", "1", "--state", "accepted", "--out", "f", "--flat").code == 0
    assert (real.folder / "f/1_0.out.json").is_file()
    assert real.call("results", "1_0-1", "--out", "t", "--table").code == 0
    with (real.folder / "t/table.csv").open() as stream:
        assert list(csv.DictReader(stream)) == [
            {"task": "1_0", "seed": "1", "square": "1"},
            {"task": "1_1", "seed": "2", "square": "4"},
        ]
    assert real.call("results", "1", "--flat").code == 2
    assert "task 1_2 (seed=3): failed" in real.call("explain", "1").out
    listed = real.json("results", "1", code=1)
    assert [row["parameters"] for row in listed["results"]] == [{"seed": "1"}, {"seed": "2"}]
    assert listed["missing"][0]["parameters"] == {"seed": "3"}

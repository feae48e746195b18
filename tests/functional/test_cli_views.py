"""Listings, selectors and refusals of the command line, on a database that was filled by hand."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.cli import main, selectors
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.store import Store, queries

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = {"quorum": {"agree": 2, "distinct": ["node"], "max_replicas": 6}}


def add_job(db: sqlite3.Connection, tasks: int, state: str = "waiting", *, held: int = 0) -> None:
    """Insert a job of equal tasks."""
    number = db.execute("SELECT count(*) FROM job").fetchone()[0] + 1
    db.execute(
        "INSERT INTO job (uuid, name, user, digest, folder, held, created_at, n_tasks, n_waiting, n_want)"
        " VALUES (?, ?, 'ada', ?, '/', ?, 1700000000000, ?, ?, 0)",
        (f"uuid-{number}", f"job-{number}", "0" * 64, held, tasks, tasks),
    )
    db.execute("INSERT INTO document (job_id, body) VALUES (?, ?)", (number, json.dumps(DOCUMENT).encode()))
    db.executemany("INSERT INTO task (job_id, idx) VALUES (?, ?)", ((number, index) for index in range(tasks)))
    if state != "waiting":
        db.execute("UPDATE task SET state = ? WHERE job_id = ?", (state, number))


def add_replica(db: sqlite3.Connection, job: int, task: int, number: int, reason: str = "") -> None:
    """Insert a node, if there is none, and an errored replica on it."""
    db.execute(
        "INSERT OR IGNORE INTO node (id, name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib,"
        " max_queued, created_at) VALUES (1, 'n1', 'SHA256:x', zeroblob(32), 's', 'o', 'h', 'cpu', 'local', 2, 9, 9, 0)"
    )
    db.execute(
        "INSERT INTO replica (job_id, task, number, node_id, nonce, execution, exit_code, reason, created_at, deadline)"
        " VALUES (?, ?, ?, 1, ?, 'errored', 7, ?, 0, 1)",
        (job, task, number, f"{job:08}{task:016}{number:08}", reason),
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home with jobs 1 (failed), 2 (three accepted tasks), 3 (waiting, held), and one hostile reason."""
    monkeypatch.setenv("NEXAPOD_HOME", str(tmp_path))
    Store.open(tmp_path / "state.db", create=True).close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        add_job(db, 1, "failed")
        add_replica(db, 1, 0, 1, "\x1b[2Jgone\nforged line")
        add_job(db, 3, "accepted")
        add_job(db, 1, held=1)
    db.close()
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    """Run a command with --json and return its object."""
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_ls_lists_the_newest_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls --json` has the states derived from the tasks, newest job first."""
    found = printed(capsys, "ls")
    assert found["schema"] == 1
    assert [(job["id"], job["state"]) for job in found["jobs"]] == [(3, "waiting"), (2, "accepted"), (1, "failed")]
    assert [job["id"] for job in printed(capsys, "ls", "--open")["jobs"]] == [3]


def test_show_has_the_shape_that_programs_rely_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show --json` has the documented keys of job, task and replica."""
    found = printed(capsys, "show", "1")
    assert {"id", "uuid", "name", "state"} <= found["job"].keys()
    (task,) = found["tasks"]
    assert {"index", "state", "reason", "agree", "replicas"} <= task.keys()
    (replica,) = task["replicas"]
    wanted = "id node node_key site owner host backend class isolation execution validation exit_code reason"
    assert set(wanted.split()) <= replica.keys()
    assert tuple(replica[key] for key in ("id", "node", "execution", "exit_code")) == ("1_0.1", "n1", "errored", 7)


def test_show_pages(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--tasks` and a task selector return just those tasks; a page that is not the last says so."""
    assert [task["index"] for task in printed(capsys, "show", "2", "--tasks", "1-2")["tasks"]] == [1, 2]
    assert [task["index"] for task in printed(capsys, "show", "2_1")["tasks"]] == [1]
    with Store.open(home / "state.db", write=False) as store:
        assert views.tasks(store, 2, limit=2)["more"] is True
        assert views.tasks(store, 2, limit=3)["more"] is False


def test_text_of_nodes_cannot_touch_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in a reason are spelt out, and a newline forges no line."""
    assert main(["show", "1"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Jgone\\nforged line" in out


def test_selectors_resolve(home: Path) -> None:
    """Every form of selector names the jobs and tasks that are there, each once."""
    with Store.open(home / "state.db", write=False) as store:
        assert selectors.resolve(store, ["2"]) == [(2, None)]
        assert selectors.resolve(store, ["2_1"]) == [(2, 1)]
        assert selectors.resolve(store, ["2-9"]) == [(2, None), (3, None)]
        assert selectors.resolve(store, ["last", "3"]) == [(3, None)]
        assert selectors.resolve(store, ["last_0"]) == [(3, 0)]
        assert selectors.resolve(store, ["all"]) == [(1, None), (2, None), (3, None)]
        assert selectors.resolve(store, ["all"], only_open=True) == [(3, None)]


@pytest.mark.parametrize("bad", ["9", "2_9", "last_9", "7-9", str(10**18 - 1), f"2_{10**18 - 1}"])
def test_selector_of_nothing_is_not_found(home: Path, bad: str) -> None:
    """A job or task that is not there is named and refused with 66."""
    with Store.open(home / "state.db", write=False) as store, pytest.raises(NotFoundError):
        selectors.resolve(store, [bad])
    assert main(["show", bad]) == 66


@pytest.mark.parametrize(
    "bad", ["", "0", "-1", "x", "4 2", "42_", "_7", "42_7.1", "last_", "last_x", "all_0", "9-3", "\uff14\uff12", "1" * 30, "1\n"]
)
def test_selector_that_is_none_is_a_usage_error(bad: str) -> None:
    """Anything else is a usage error that shows the known forms."""
    with pytest.raises(UsageError):
        selectors.parse(bad)


@pytest.mark.parametrize("bad", ["", "a", "5-1", "1-", "1-2-3", "-1"])
def test_task_range_that_is_none(bad: str) -> None:
    """A range of tasks runs upwards and holds two plain numbers."""
    with pytest.raises(UsageError):
        selectors.parse_range(bad)


@pytest.mark.parametrize(("job", "code"), [("1", 1), ("2", 75), ("3", 75)])
def test_results_that_are_not_there(home: Path, job: str, code: int) -> None:
    """Failed for good is 1; not yet is "try again"."""
    assert main(["results", job]) == code


def test_first_listing_of_a_new_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first job a listing is empty, makes nothing, and `show` says how to begin."""
    monkeypatch.setenv("NEXAPOD_HOME", str(tmp_path / "none"))
    assert printed(capsys, "ls") == {"schema": 1, "jobs": []}
    assert printed(capsys, "node", "ls") == {"schema": 1, "nodes": []}
    assert main(["reconcile", "--quiet"]) == 0
    assert main(["show", "1"]) == 66
    assert "nexapod-batch submit" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_corrupt_database_is_refused_without_a_traceback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no database is a configuration error."""
    (home / "state.db").write_bytes(b"not a database" * 1000)
    assert main(["ls"]) == 78
    assert "Traceback" not in capsys.readouterr().err


def test_million_tasks_cost_a_page(home: Path) -> None:
    """Listings and one task read by index: no plan scans a table, or all tasks of a job."""
    with Store.open(home / "state.db", write=False) as store:
        params = {"id": 2, "first": 0, "last": 9, "limit": 9, "before": 9}
        sql = queries.load("views")
        for name in ("view_jobs", "view_open_jobs", "view_job", "view_tasks", "view_replicas"):
            plan = store._database.connection.execute("EXPLAIN QUERY PLAN " + sql[name], params).fetchall()
            scans = [detail for *_, detail in plan if detail.startswith("SCAN") or detail.endswith("PRIMARY KEY (job_id=?)")]
            assert scans == [], name


def test_reader_that_leaves_is_no_fault(home: Path) -> None:
    """When the reader of stdout goes away there is no message."""
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-c", "from nexapod_batch.cli import main; raise SystemExit(main(['ls']))"]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(write)
    assert done.stderr == b""


@pytest.mark.parametrize("how", ["cron", "systemd", "scrontab"])
def test_reconcile_prints_how_to_run_it(home: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed entry calls this installation with this home."""
    assert main(["reconcile", "--print", how]) == 0
    out = capsys.readouterr().out
    assert f"NEXAPOD_HOME={home}" in out
    assert "reconcile --quiet" in out


def test_table_aligns_and_shows_what_is_missing() -> None:
    """Numbers stand to the right, None is a dash, a newline in a cell stays in its line."""
    lines = list(renderers.table([{"a": 1, "b": None}, {"a": 100, "b": "x\ny"}], ["a", "b"]))
    assert lines == ["  A  B", "  1  -", "100  x\\ny"]


@pytest.mark.parametrize("selector", ["1", "1_0", "2", "last"])
def test_a_look_at_a_job_needs_nothing_heavy(home: Path, selector: str) -> None:
    """With tasks, replicas and reasons to show, too: what a look needs is imported for every look."""
    argv = ["show", selector]
    script = (
        "import sys, click; before = set(sys.modules); from nexapod_batch.cli import main; "
        f"main({argv}); print(*set(sys.modules) - before, file=sys.stderr)"
    )
    env = {**os.environ, "NEXAPOD_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("job ")
    assert not {"msgspec", "orjson", "pathlib", "nacl", "logging", "jinja2"} & set(done.stderr.split())

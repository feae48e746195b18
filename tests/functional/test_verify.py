"""`verify` works everything out again: whatever is changed in the database or in the results, it fails and says what."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from homes import Home
from ledgers import tamper
from msgspec.structs import replace

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.coordinator.verification import job_evidence
from nexapod_batch.coordinator.verification.statements import row_faults
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Two tasks: one with an output and both logs, one that fails alike everywhere. Outputs above and below what a statement lists.
FEW = """echo out; cat /proc/sys/kernel/random/uuid >&2; test {task} = 0 || exit 7; mkdir d; echo 1 > d/a.txt; echo 2 > b.txt"""
MANY = """echo out; cat /proc/sys/kernel/random/uuid >&2; test {task} = 0 || exit 7; mkdir d; for i in $(seq 120); do echo $i > d/$i.txt; done; echo 1 > d/a.txt"""
JOB = """[job]
name = "small"
command = ["sh", "-c", "%s"]
[array]
ids = "0-1"
[quorum]
distinct = "run"
replicas = 2
[[outputs]]
path = "d/*.txt"
[[outputs]]
path = "%s"
compare = "round"
digits = 3
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Home]:
    """Return homes with one job each that ended, of few outputs and of many; nobody may change them."""
    homes = {}
    for name, command, other in (("few", FEW, "b.txt"), ("many", MANY, "d/a.txt")):
        home = homes[name] = Home(tmp_path_factory.mktemp(name))
        assert home.call("node", "init", "--name", "mine").code == 0
        assert home.submit(JOB % (command, other), "--wait").code == 1  # its second task fails
        assert home.json("wait", "1", code=1)["jobs"][0]["counts"]["accepted"] == 1
        assert home.call("verify", "1").code == 0
        home.end()  # nothing may change while it is copied
    return homes


@pytest.fixture(params=["few", "many"])
def home(request: pytest.FixtureRequest, ended: dict[str, Home], tmp_path: Path) -> Home:
    """Return a copy of such a home, to be changed."""
    shutil.copytree(ended[request.param].path, tmp_path / "home", symlinks=True)
    return Home(tmp_path)


def change(home: Home, sql: str) -> int:
    """Change rows as whoever owns the file can; return how many."""
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        changed = connection.execute(sql).rowcount
        connection.commit()
    return changed


def refused(home: Home) -> str:
    """Return what `verify` finds wrong; it must find something, and say so in a sentence."""
    with open_coordinator(Paths.from_environment(home.env), write=False) as c:
        found = job_evidence.verify(c, 1)
    assert not found.ok
    return "; ".join(f"{one['of']}: {one['problem']}" for one in found.checks if not one["ok"])


#: What is changed, and a word that the sentence about it has. Columns that say nothing of the verdict are not among them.
ROWS = {
    "UPDATE job SET uuid = '0190-other' WHERE id = 1": "another job",
    "UPDATE job SET name = 'other' WHERE id = 1": "called",
    "UPDATE job SET digest = replace(digest, substr(digest, 1, 1), 'x') WHERE id = 1": "pinned",
    "UPDATE job SET n_accepted = 2, n_failed = 0 WHERE id = 1": "counted",
    "UPDATE document SET body = CAST(replace(CAST(body AS TEXT), '\"agree\":2', '\"agree\":1') AS BLOB)": "pinned",
    "DELETE FROM document": "document is missing",
    "DELETE FROM task WHERE idx = 1": "not those of its document",
    "INSERT INTO task (job_id, idx) VALUES (1, 9)": "not those of its document",
    "UPDATE task SET reason = '3 of 3 agree, from 3 sites' WHERE idx = 0": "reason",
    "UPDATE task SET reason = '' WHERE idx = 1": "reason",
    "UPDATE task SET agree = 9 WHERE idx = 0": "agree",
    "UPDATE task SET basis = substr(basis, 1, length(basis) - 1) WHERE idx = 0": "replicas are stored",
    "UPDATE task SET basis = 'rl' WHERE idx = 0": "replicas make it",
    "UPDATE task SET basis = 'ee' WHERE idx = 0": "replicas make it",
    "UPDATE task SET basis = NULL WHERE idx = 0": "record of what the verdict",
    "UPDATE task SET basis = NULL WHERE idx = 1": "record of what the verdict",
    "UPDATE task SET basis = '' WHERE idx = 0": "record of what the verdict",
    "UPDATE task SET basis = 'xy' WHERE idx = 0": "damaged",
    "UPDATE task SET published_from = 2 WHERE idx = 0": "stderr",
    "UPDATE task SET published_from = 9 WHERE idx = 0": "no statement",
    "UPDATE task SET published = 0, published_from = NULL WHERE idx = 0": "nothing of it was published",
    "UPDATE task SET published = 1, published_from = 1 WHERE idx = 1": "is gone",
    "UPDATE task SET published = 0 WHERE idx = 0": "it was published before, and is not now",
    "UPDATE task SET shown = NULL WHERE idx = 0": "the ledger has no publication of it",
    "UPDATE task SET shown = decided WHERE idx = 0": "the ledger has no publication of it",
    "UPDATE task SET doubt = 'nobody knows' WHERE idx = 0": "doubt",
    "UPDATE replica SET nonce = '00000000000000000000000000000007' WHERE task = 0 AND number = 1": "another nonce",
    "UPDATE replica SET vote = zeroblob(32) WHERE task = 0 AND number = 1": "vote is 0000",
    "UPDATE replica SET execution = 'lost' WHERE task = 0 AND number = 2": "execution is",
    "UPDATE replica SET exit_code = 0 WHERE task = 1 AND number = 1": "exit_code is 0",
    "UPDATE replica SET failure = 'failed:1' WHERE task = 1 AND number = 1": "failure is",
    "UPDATE replica SET host = 'elsewhere' WHERE task = 0 AND number = 1": "host is 'elsewhere'",
    "UPDATE replica SET machine = '' WHERE task = 0 AND number = 1": "machine is ''",
    "UPDATE replica SET isolation = 'container' WHERE task = 0 AND number = 1": "isolation is 'container'",
    "UPDATE replica SET wall_ms = wall_ms + 1 WHERE task = 0 AND number = 1": "wall_ms is",
    "UPDATE replica SET max_rss_kib = 1 WHERE task = 0 AND number = 1": "max_rss_kib is 1",
    "UPDATE replica SET voided = 1 WHERE task = 0 AND number = 1": "void",
    "UPDATE replica SET validation = 'invalid' WHERE task = 0 AND number = 1": "replica 1 is invalid",
    "UPDATE replica SET validation = 'valid' WHERE task = 1 AND number = 1": "replica 1 is valid",
    "UPDATE replica SET validation = 'unneeded' WHERE task = 1 AND number = 2": "replica 2 is unneeded",
    "DELETE FROM replica WHERE task = 0 AND number = 2": "replicas are stored",
    "DELETE FROM replica WHERE task = 0 AND number = 1": "gaps",
    "DELETE FROM report WHERE replica_id = (SELECT id FROM replica WHERE task = 0 AND number = 2)": "statement is missing",
    "DELETE FROM report WHERE replica_id = (SELECT id FROM replica WHERE task = 1 AND number = 2)": "statement is missing",
    "UPDATE report SET replica_id = (SELECT id FROM replica WHERE task = 0 AND number = 2) "
    "WHERE replica_id = (SELECT id FROM replica WHERE task = 0 AND number = 1)": "no signature verifies",
    "UPDATE report SET signature = zeroblob(64) WHERE id = 1": "no signature verifies",
    "UPDATE report SET packed = zeroblob(10) WHERE id = 1": "damaged",
    "UPDATE report SET payload_sha256 = zeroblob(32) WHERE id = 1": "damaged",
    "UPDATE dictionary SET payload = zeroblob(20)": "damaged",
    "UPDATE node SET public_key = randomblob(32)": "registered key",
    "UPDATE node_key SET public_key = randomblob(32)": "registered key",
    "DELETE FROM node_key": "registered key",
    "DELETE FROM node": "not registered",
    "UPDATE delegation SET signature = zeroblob(64)": "no signature verifies",
    "UPDATE delegation SET payload = CAST(replace(CAST(payload AS TEXT), 'nonces', 'nonzes') AS BLOB)": "delegation",
    "DELETE FROM delegation": "no signature verifies",
    "UPDATE node SET key_id = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'": "registered key",
}  # fmt: skip


@pytest.mark.parametrize("home", ["few"], indirect=True)
@pytest.mark.parametrize("sql", ROWS)
def test_no_changed_row_passes(home: Home, sql: str) -> None:
    """Any one row of what a verdict rests on is changed, removed or added, and the sentence says what is wrong."""
    assert change(home, sql) > 0
    assert ROWS[sql] in refused(home)


def outputs(home: Home) -> list[Path]:
    """Return the published files."""
    return sorted(path for path in (home.path / "results/1/0").rglob("*") if path.is_file())


def grow(path: Path) -> None:
    """Add a byte."""
    path.write_bytes(path.read_bytes() + b"\n")


def flip(path: Path) -> None:
    """Change one byte and no size."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))


def as_link(path: Path) -> None:
    """Put a link to the same bytes in its place."""
    other = path.parents[3] / f"copy-{os.urandom(4).hex()}"
    path.rename(other)
    path.symlink_to(other)


def as_fifo(path: Path) -> None:
    """Put a fifo in its place, which nobody ever writes to."""
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def huge(path: Path) -> None:
    """Make it sparse and endless."""
    with path.open("r+b") as stream:
        stream.truncate(1 << 42)


@pytest.mark.parametrize("name", ["d/a.txt", "stdout", "stderr", "last"])
@pytest.mark.parametrize("how", [grow, flip, os.unlink, as_link, as_fifo, as_folder], ids=lambda how: how.__name__)
def test_no_changed_file_passes(home: Home, name: str, how: Callable[[Path], Any]) -> None:
    """Any one published file, output or log, is changed, removed or replaced."""
    path = outputs(home)[-3] if name == "last" else home.path / "results/1/0" / name
    how(path)
    said = refused(home)
    assert path.name in said or "cannot be trusted" in said


@pytest.mark.parametrize("home", ["few"], indirect=True)
def test_a_file_of_terabytes_is_not_read(home: Home) -> None:
    """What is larger than what was signed is named by its size."""
    huge(home.path / "results/1/0/b.txt")
    assert "4398046511104" in refused(home)


ADDED = {
    "an output": "results/1/0/d/more.txt",
    "a hidden file": "results/1/0/.hidden",
    "a log": "results/1/0/stdout.1",
    "a task": "results/1/7/d/a.txt",
    "a file beside the tasks": "results/1/README",
    "results of a failed task": "results/1/1/d/a.txt",
}


@pytest.mark.parametrize("what", ADDED)
def test_no_added_file_passes(home: Home, what: str) -> None:
    """A file that nobody signed is named."""
    path = home.path / ADDED[what]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("more\n")
    refused(home)


@pytest.mark.parametrize("what", ["results/1/0", "results/1"])
def test_missing_folders_do_not_pass(home: Home, what: str) -> None:
    """Results that are gone are no results."""
    shutil.rmtree(home.path / what)
    assert "is gone" in refused(home)


def test_verdicts_from_before_their_record_was_kept(home: Home) -> None:
    """They are held to what can still be known: what won is a quorum, and what was published is a winner's."""
    tables = ("ledger_entry", "ledger_node", "checkpoint", "verdict", "manifest")
    tamper(home.path / "state.db", *[(f"DELETE FROM {table}",) for table in tables])  # noqa: S608 - names of ours
    change(home, "UPDATE task SET basis = '', published_from = NULL, decided = NULL")
    assert home.call("verify", "1").code == 0
    flip(outputs(home)[0])
    assert "not" in refused(home)
    shutil.rmtree(home.path / "results/1/0")
    assert "is gone" in refused(home)
    change(home, "UPDATE replica SET validation = 'invalid' WHERE task = 0 AND number = 1")
    assert "no quorum" in refused(home)


@pytest.mark.parametrize("home", ["many"], indirect=True)
def test_manifest_rows_do_not_pass(home: Home) -> None:
    """The list of many outputs is held against its signed digest."""
    assert change(home, "UPDATE manifest SET packed = zeroblob(9)") == 1
    assert "manifest" in refused(home)
    change(home, "DELETE FROM manifest")
    assert "manifest" in refused(home)


@pytest.mark.parametrize("home", ["few"], indirect=True)
def test_the_command_says_what_fails(home: Home) -> None:
    """The exit code is 1, and both formats have the sentence."""
    flip(home.path / "results/1/0/b.txt")
    done = home.call("verify", "1")
    assert done.code == 1
    assert "FAIL  1_0  results from replica 1: b.txt is not what was signed: got sha256" in done.out
    document = home.json("verify", "1", code=1)
    assert [one["of"] for one in document["checks"] if not one["ok"]] == ["1_0"]


@pytest.mark.parametrize("home", ["few"], indirect=True)
def test_a_report_adds_up_the_largest_numbers(home: Home) -> None:
    """Nodes may sign what they like: figures that are too large to be added up as whole numbers are no fault of ours."""
    largest = 2**63 - 1
    assert change(home, f"UPDATE replica SET wall_ms = {largest}, cpu_ms = {largest}, output_bytes = {largest}, max_rss_kib = {largest}") == 4  # noqa: S608 - a number
    assert home.json("report", "1")["wall_s"] > largest / 1000
    assert "4 executions" in home.call("report", "1").out
    assert home.call("show", "1").code == 0


def test_empty_outputs_are_said(tmp_path: Path) -> None:
    """An accepted task whose outputs are empty says so, by name."""
    home = Home(tmp_path)
    text = '[job]\nname = "none"\ncommand = ["sh", "-c", "touch a.txt b.txt; %s"]\n[quorum]\ndistinct = "run"\n'
    text += '[[outputs]]\npath = "*.txt"\n'
    assert home.submit(text % "true", "--wait").code == 0
    assert home.submit(text % "echo 1 > b.txt", "--wait").code == 0
    try:
        assert home.call("show", "1").out.count("it wrote nothing: all outputs are empty") == 2
        assert "empty outputs: a.txt, b.txt" in home.call("explain", "1").out
        assert "are empty" not in home.call("show", "2").out
        assert "empty outputs: a.txt\n" in home.call("explain", "2").out
        assert home.call("verify", "1").code == 0
    finally:
        home.end()


STOPPED = Reason(code=Code.SIGNED, parameters={"text": "stopped"})
NODE_FAILED = Reason(code=Code.BACKEND, parameters={"text": "the node failed"})


def imported(text: str) -> Reason:
    """Return a sentence of a database that kept no codes."""
    return Reason(code=Code.IMPORTED, parameters={"text": text})


@pytest.mark.parametrize(
    ("reason", "holds"),
    [
        (STOPPED, True),
        (Reason(code=Code.SIGNED, parameters={"text": "stopped", "also": NODE_FAILED}), True),
        (NODE_FAILED, False),
        (Reason(code=Code.SIGNED, parameters={"text": "stopped early"}), False),
        (Reason(code=Code.SIGNED, parameters={"text": "stopped; the node failed"}), False),
        (Reason(code=Code.BACKEND, parameters={"text": "stopped"}), False),
        (imported("stopped"), True),
        (imported("stopped; the node failed"), True),
        (imported("the node failed"), False),
        (imported("stopped early"), False),
    ],
)
def test_a_backend_may_add_why_a_replica_was_lost(ended: dict[str, Home], reason: Reason, holds: bool) -> None:
    """What it knew stands behind what was signed; it takes nothing of that away."""
    with open_coordinator(Paths.from_environment(ended["few"].env), write=False) as c:
        (row, *_) = c.store.replicas.of_task(1, 0)
        said = statement_of(c, row.id)._replace(outcome=Outcome.PREEMPTED, detail="stopped")
        lost = replace(row, execution="lost", vote=None, reason=reason.stored())
        assert (row_faults(c.job(1), lost, [said]) == []) == holds


def test_what_it_rests_on_is_said(ended: dict[str, Home]) -> None:
    """The policy, whose keys signed and where these came from, and what was counted."""
    done = ended["few"]
    document = done.json("verify", "1")
    assert document["policy"] == {"agree": 2, "distinct": ["run"], "max_replicas": 6, "class": "any"}
    (key,) = document["keys"]
    assert (key["node"], key["site"], key["private_key_here"]) == ("mine", "local", True)
    assert (document["statements"], document["verdicts"]) == (4, 2)
    text = done.call("verify", "1").out
    assert "2 must agree, distinct by run" in text
    assert "made here on 20" in text
    assert "all holds: 4 statements, 2 verdicts" in text

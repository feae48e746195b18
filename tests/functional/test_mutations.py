"""Any one value of any one row is changed, or the row is gone: `verify` or `ledger verify` names it, or it is no evidence."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from homes import Home
from ledgers import tamper

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.verification import job_evidence
from nexapod_batch.coordinator.verification import ledger as ledger_check
from nexapod_batch.errors import NexapodError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A task whose outputs need a manifest, one that fails; each replica waits for a note of its logs.
JOB = """[job]
name = "all"
command = ["sh", "-c", '''
echo out
while ! grep -q "trail.:.$(basename "$PWD")" HOME/spool/n/reports/*.jsonl; do sleep 0.1; done
test {task} = 0 || exit 7; mkdir d; for i in $(seq 101); do echo $i > d/$i; done
''']
[array]
ids = "0-1"
[quorum]
distinct = "run"
[[outputs]]
path = "d/*"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with a job that ended and whose evidence holds."""
    made = Home(tmp_path_factory.mktemp("mutations"))
    assert made.call("node", "init", "--name", "n").code == 0
    config = made.path / "spool/n/node.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "trail_s": 0.2}))
    assert made.submit(JOB.replace("HOME", str(made.path)), "--wait").code == 1
    made.end()
    assert made.call("node", "init", "--name", "other").code == 0  # whose key the launches are not of
    assert found(made) == []
    yield made
    made.end()


def found(home: Home) -> list[str]:
    """Return what does not hold of a home, or that it cannot be read."""
    try:
        with open_coordinator(Paths.from_environment(home.env), write=False) as c:
            faults = [str(fault) for fault in ledger_check.verify(c).faults]
            if faults:
                return faults
            checks = job_evidence.verify(c, 1).checks
            return [check["problem"] for check in checks if not check["ok"]]
    except NexapodError as error:
        return [error.what]


def other(value: object) -> object:
    """Return another value of the same type; of what is stored deflated the middle, whose ends can be spelled otherwise."""
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, bytes):
        middle = len(value) // 2
        return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
    if isinstance(value, str):
        return value[:-1] + ("y" if value[-1:] != "y" else "z")
    return 1


#: Tables of what goes on, not of what was: nothing that is decided or signed rests on them.
NO_EVIDENCE = {"lease", "segment", "fault", "stop_owed", "start_failure", "usage"}
#: Columns that say nothing of who signed, decided or published what; `DELETE` of a row likewise.
SAYS_NOTHING = {
    # what the node may be given now; what its machine is, it signed in its profile and in each statement
    "node": {
        "host", "backend", "cpus", "mem_mib", "gpus", "gpu_type", "hosts", "max_queued", "active", "blame", "created_at", "dropped",
        "made_by", "cluster", "cluster_at",
    },
    # how it was asked for, and how far it is; what it is stands in its document
    "job": {
        "user", "folder", "priority", "held", "blocked", "max_running", "created_at", "finished_at", "n_want", "collected", "foreign",
        "derived",
    },
    # what is still to be done
    "task": {"want", "news", "class", "not_before", "extra", "unpublished"},
    # what the scheduler said of it, which nobody signs
    "launch": {"state", "native_id", "reason", "host_set", "hosts", "created_at", "native_state", "native_reason"},
    "replica": {"created_at", "deadline", "ended_at", "cleaned"},
    "report": {"id", "received_at"},
    # files on their way to the results, which are compared with the statement there
    "carried": {"replica_id", "files", "DELETE"},
    # when; the order is the ledger's
    "node_key": {"since", "until", "id"},
    "coordinator_key": {"id", "since", "until", "until_ms", "DELETE"},
    "coordinator": {"id", "DELETE"},
    # copies of what is in the payload, for looking up
    "delegation": {"not_after", "claim"},
    "verdict": {"confirmed"},
    # a head that somebody else kept shows it
    "checkpoint": {"DELETE"},
}  # fmt: skip


def mutations(file: Path) -> Iterator[tuple[str, str, str, list[object]]]:
    """Yield table, column, statement and values of each change of the first row of each table with evidence."""
    with closing(sqlite3.connect(file)) as connection:
        names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        for (table,) in connection.execute(names).fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            first = connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608
            if first is None or table in NO_EVIDENCE:
                continue
            where = " AND ".join(f'"{name}" IS ?' for name in columns)
            yield table, "DELETE", f"DELETE FROM {table} WHERE {where}", list(first)  # noqa: S608 - names of the schema
            for column, value in zip(columns, first, strict=True):
                yield table, column, f'UPDATE {table} SET "{column}" = ? WHERE {where}', [other(value), *first]  # noqa: S608


def test_no_change_of_a_row_is_overlooked(home: Home, tmp_path: Path) -> None:
    """Each column of a row of each table, and the row: what is not found says nothing, and what is found is a sentence."""
    copy = Home(tmp_path, "copy")
    shutil.copytree(home.path, copy.path)
    file = copy.path / "state.db"
    tamper(file, ("PRAGMA journal_mode = DELETE",))
    good = file.read_bytes()
    assert found(copy) == []
    overlooked, seen = [], set()
    for table, column, statement, values in list(mutations(file)):
        if column in SAYS_NOTHING.get(table, set()):
            continue
        file.write_bytes(good)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            try:
                connection.execute(statement, values)
            except sqlite3.Error:  # no such row can be: two with one key, or a value of another type
                continue
            connection.commit()
        seen.add(table)
        if not found(copy):
            overlooked.append(f"{table}.{column}")
    assert overlooked == []
    assert {"job", "document", "task", "replica", "report", "verdict", "delegation", "node", "node_key", "manifest"} <= seen
    assert {"ledger_entry", "checkpoint", "trail", "profile", "launch", "dictionary"} <= seen


#: What is changed together, or into what no single change makes it.
CHANGES = {
    "a launch is another key's": "UPDATE delegation SET key_id = (SELECT max(id) FROM node_key)",
    "not kept which was published": "UPDATE task SET published_from = NULL WHERE state = 'accepted'",
    "nor where the ledger has it": "UPDATE task SET published_from = NULL, shown = NULL WHERE state = 'accepted'",
    "accepted and never published": (
        "UPDATE task SET published = 0, published_from = NULL, shown = NULL, unpublished = '{}' WHERE state = 'accepted'"
    ),
    "a failure was published": "UPDATE task SET published_from = 1 WHERE state = 'failed'",
    "a failure is in the ledger": (
        "UPDATE task SET shown = (SELECT shown FROM task WHERE state = 'accepted') WHERE state = 'failed'"
    ),
    "a node's key is longer": "UPDATE node_key SET public_key = CAST(public_key || x'00' AS BLOB)",
    "a node's key is nothing": "UPDATE node_key SET public_key = x''",
    "the coordinator's key is nothing": "UPDATE coordinator_key SET public_key = x''",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=list(CHANGES))
def test_no_change_of_several_values_is_overlooked(home: Home, tmp_path: Path, statement: str) -> None:
    """What rests on several columns, or has no other value of its kind: it is found, in a sentence."""
    copy = Home(tmp_path, "copy")
    shutil.copytree(home.path, copy.path)
    tamper(copy.path / "state.db", ("PRAGMA ignore_check_constraints = ON",), (statement,))
    assert found(copy) != []
    for command in (("attestations", "1", "--out", "proof"), ("key", "ls"), ("archive", "1", "--out", "a.tar")):
        copy.call(*command)  # in sentences, whatever they make of it

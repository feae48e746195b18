"""Databases of SQLite with changes in a file beside them are no result, however much two of them are alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from homes import Home, ended

if TYPE_CHECKING:
    from pathlib import Path

#: Makes a.db with one row that is in it, and goes on as it is told.
PROGRAM = """\
import gzip, os, sqlite3, sys
database = sqlite3.connect("a.db", isolation_level=None)
def do(*statements):
    for statement in statements:
        database.execute(statement)
MORE = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO t SELECT i || 'x' FROM n"
do("CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
exec(sys.argv[1])
os._exit(0)
"""
WAL = "do('PRAGMA journal_mode = WAL', 'INSERT INTO t VALUES (2)')"
JOB = """[job]
name = "database"
command = ["python3", "make.py", {how}]
[[inputs]]
source = "make.py"
[quorum]
agree = 1
distinct = "run"
max_replicas = 1
max_errors = 0
"""


def written(home: Home, how: str, rest: str) -> str:
    """Return a job that makes a database, with the rest of its text."""
    (home.folder / "make.py").write_text(PROGRAM)
    return JOB.format(how=json.dumps(how)) + rest


def test_a_database_without_its_last_changes_fails_its_replica(tmp_path: Path) -> None:
    """With the file that has them, and what to do; those that are whole are results, also with an empty or a spent file beside them."""
    cases = {
        WAL: "a.db-wal",
        f"{WAL}; do('PRAGMA wal_checkpoint(TRUNCATE)')": "",
        f"{WAL}; database.close()": "",
        "do('PRAGMA cache_size = 1', 'BEGIN', MORE)": "a.db-journal",
        "do('PRAGMA cache_size = 1', 'BEGIN', MORE, 'ROLLBACK')": "",
        "do('PRAGMA journal_mode = PERSIST', MORE)": "",
        "do('PRAGMA journal_mode = TRUNCATE', MORE)": "",
        "os.mkdir('a.db-wal'); open('a.db-journal', 'w').write('of the author')": "",
    }
    rest = f'[[outputs]]\npath = "a.db"\ncompare = "content"\n[array.matrix]\nhow = {json.dumps(list(cases))}\n'
    with ended(Home(tmp_path), "mine") as home:
        text = written(home, "{how}", rest)
        done = home.submit(text, "--wait=120s")
        assert done.code == 1, done.out + done.err
        for task, (how, beside) in zip(home.json("show", 1)["tasks"], cases.items(), strict=True):
            assert (how, task["state"]) == (how, "failed" if beside else "accepted"), task
            for replica in task["replicas"]:
                reason = replica["reason"] or ""
                assert (f"changes that are in '{beside}' alone" in reason) is bool(beside), reason
                assert ("end with PRAGMA wal_checkpoint(TRUNCATE), or commit and close" in reason) is bool(beside)
        assert home.call("verify", "1").code == 0


def test_it_fails_by_every_rule_but_none(tmp_path: Path) -> None:
    """Bytes, tolerances, commands and packed files; not where the bytes of the file beside it must agree, too."""
    pack = "open('a.db.gz', 'wb').write(gzip.compress(open('a.db', 'rb').read()))"
    cases = [
        ('path = "a.db"', "failed"),
        ('path = "a.d*"\ncompare = "allclose"\nrtol = 1e-6', "failed"),
        ('path = "a.db"\nnormalize = ["wc", "-c"]', "failed"),
        ('path = "a.db.gz"\ncompare = "content"', "failed"),
        ('path = "*"', "accepted"),
        ('path = "a.db.gz"\ncompare = "none"\n[[outputs]]\npath = "make.py"', "accepted"),
    ]
    with ended(Home(tmp_path), "mine") as home:
        for number, (rule, state) in enumerate(cases, 1):
            home.submit(written(home, f"{WAL}; {pack}", f"[[outputs]]\n{rule}\n"), "--wait=60s")
            (task,) = home.json("show", number)["tasks"]
            assert (rule, task["state"]) == (rule, state), task
            assert ("changes that are in 'a.db-wal' alone" in (task["replicas"][0]["reason"] or "")) is (state == "failed")

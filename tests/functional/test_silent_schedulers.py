"""Schedulers that do not say which cluster they are: they are let alone for a while, and keep nobody waiting."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from homes import Home
from plugin_packages import NULL, SITE, install

if TYPE_CHECKING:
    from pathlib import Path

JOB = '[job]\nname = "far"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n[schedule]\nsites = ["far"]\n'

#: Notes each question in a file; every task of this backend waits for ever.
ASKED = """

def cluster_id(self, context):
    with open({file!r}, "a") as file:
        file.write("x")
    {answer}

NullBackend.cluster_id = cluster_id
"""


@pytest.mark.parametrize("answer", ["raise OSError('no route to host')", "raise ValueError('a bug')", "return ''", "return 7"])
def test_a_scheduler_that_says_nothing_is_asked_once_a_minute(tmp_path: Path, answer: str) -> None:
    """Passes and submits within the minute do not ask again; afterwards they do."""
    asked = tmp_path / "asked"
    code = NULL + ASKED.format(file=str(asked), answer=answer)
    home = Home(tmp_path)
    package = install(tmp_path / "package", "odd-backend", code, {"backends": "odd = odd_backend:NullBackend"})
    home.env["PYTHONPATH"] = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    (home.path / "sites.d").mkdir(mode=0o700, parents=True)
    (home.path / "sites.d" / "far.toml").write_text(SITE)
    for _ in range(2):
        assert home.submit(JOB).code == 0
        home.call("reconcile")
    assert asked.read_text() == "x"
    with closing(sqlite3.connect(home.path / "state.db")) as connection, connection:
        connection.execute("UPDATE node SET cluster_at = cluster_at - 60000")
    for _ in range(2):
        assert home.submit(JOB).code == 0
        home.call("reconcile")
    assert asked.read_text() == "xx"

"""`kill -9` of coordinator and worker at random instants: nothing reported is lost, nothing runs twice, all ends right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from logged_homes import LoggedHome
from storms import Storm

if TYPE_CHECKING:
    from pathlib import Path

#: So few that one job meets few of the kills: a task waits longer with every loss, up to five minutes.
TASKS = 150


@pytest.mark.slow
def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """At least 200 kills under load; the jobs are accepted, executions are unique, every complete report is stored."""
    home = LoggedHome(tmp_path)
    storm = Storm(home, seed=20261123, wanted=200)
    storm.longest_s = 900
    try:
        for name in ("a", "b"):
            assert home.call("node", "init", "--name", name).code == 0
        quorum = 'agree = 2\ndistinct = "node"\nmax_replicas = 100\nmax_lost = 10000\n'
        text = home.tasks(TASKS, time_s=None).replace('agree = 1\ndistinct = "run"\n', quorum)
        jobs = storm.rage(text, busy=1)
        storm.calm()
        left = list(home.path.glob("spool/*/reports/*.jsonl"))
        storm.nothing_was_lost_or_repeated(jobs, left)
        assert [one for one in left if one.read_bytes().endswith(b"}")] == []  # a line and its end are written at once
    finally:
        storm.end()

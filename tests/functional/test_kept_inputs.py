"""Inputs after submit: what `retry` runs, what it says of files that changed, and how long copies stay."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from homes import TRUE
from spools import until

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.commands.resubmit import only
from nexapod_batch.coordinator.commands.upkeep import retention
from nexapod_batch.coordinator.placement.on_the_way import OnTheWay
from nexapod_batch.files.known_digests import KnownDigests
from nexapod_batch.model.job import Array, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from homes import Home

DAY = 86_400
#: Prints its input, and fails unless a file of the machine is there.
JOB = """\
[job]
name = "reads"
command = ["sh", "-c", "cat in.txt; test -e {flag}"]
[[inputs]]
source = "in.txt"
[quorum]
distinct = "run"
"""


@pytest.fixture
def flag(home: Home) -> Path:
    """Run a job that fails, with the input `old`; return the file by which it succeeds."""
    (home.folder / "in.txt").write_text("old\n")
    assert home.submit(JOB.format(flag=home.folder / "flag"), "--wait=50s").code == 1
    return home.folder / "flag"


def gc_later(home: Home, seconds: int) -> int:
    """Run `gc` as if it were later; return how many kept inputs went."""
    with open_coordinator(Paths.of(home.path)) as c:
        c.clock = lambda: time.time() + seconds
        return retention.gc(c, dry_run=False)["inputs"]


def test_jobs_with_the_same_many_inputs_share_their_list_and_verify(home: Home) -> None:
    """They run, are verified by their documents, and an audit finds an input that was changed in the database."""
    (home.folder / "data").mkdir()
    for number in range(256):
        (home.folder / "data" / f"{number}").write_text(f"{number}\n")
    text = '[job]\nname = "sums"\ncommand = ["sh", "-c", "cat data/* | wc -l"]\n[[inputs]]\nsource = "data/*"\n[quorum]\ndistinct = "run"\n'
    for _ in range(2):
        assert home.submit(text, "--wait=50s").code == 0
    assert (home.path / "results" / "2" / "0" / "stdout").read_text().split() == ["256"]
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        assert connection.execute("SELECT count(*) FROM input_list").fetchone() == (1,)
    assert [home.call("verify", job).code for job in "12"] == [0, 0]
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        connection.execute("UPDATE input_list SET body = CAST(replace(CAST(body AS TEXT), 'data/17', 'data/71') AS BLOB)")
        connection.commit()
    assert home.call("verify", "1").code != 0


def test_retry_runs_what_was_submitted_and_says_what_changed(home: Home, flag: Path) -> None:
    """An edit changes nothing; without one nothing is said."""
    assert "changed since" not in home.call("retry", "1").err
    assert home.call("wait", "1", "--timeout", "50s").code == 1
    (home.folder / "in.txt").write_text("new\n")
    flag.touch()
    said = home.call("retry", "1")
    assert "changed since: in.txt" in said.err
    assert "retry 1 --fresh" in said.err
    assert home.call("wait", "1", "--timeout", "50s").code == 0
    assert home.call("logs", "1").out == "old\n"


def test_a_remembered_digest_that_is_wrong_is_forgotten(home: Home) -> None:
    """A file that changed without any sign is found out when it is copied, and the next submit reads it."""
    (home.folder / "in.txt").write_text("new\n")
    home.call("db", "init")
    about = (home.folder / "in.txt").stat()
    known = KnownDigests(Paths.of(home.path).digests, home.folder)
    known.add(about, about, "ab" * 32, read_at=1 << 62, is_local=True)
    known.save()
    refused = home.submit(JOB.format(flag="/"), "--wait=50s")
    assert refused.code != 0
    assert "changed while it was read" in refused.err
    assert home.submit(JOB.format(flag="/"), "--wait=50s").code == 0
    assert home.call("logs", "1").out == "new\n"


#: What became of a copy.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "edited": lambda kept: kept.write_bytes(b"odd\n"),
    "grown": lambda kept: kept.write_bytes(b"old\nand more\n"),
    "cut": lambda kept: kept.write_bytes(b"ol"),
    "emptied": lambda kept: kept.write_bytes(b""),
    "a link": lambda kept: (kept.unlink(), kept.symlink_to("/etc/hostname")),
    "a fifo": lambda kept: (kept.unlink(), os.mkfifo(kept)),
    "a folder": lambda kept: (kept.unlink(), kept.mkdir()),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_copy_that_was_changed_is_made_again(home: Home, kind: str) -> None:
    """Nodes find it out; it is copied again from its file, and the job goes on, with what was pinned."""
    (home.folder / "in.txt").write_text("old\n")
    assert home.submit(JOB.format(flag="/") + "[schedule]\nhold = true\n").code == 0
    (kept,) = (home.path / "inputs").iterdir()
    DAMAGE[kind](kept)
    home.call("release", "1")
    assert home.call("wait", "1", "--timeout", "100s").code == 0
    assert home.call("logs", "1").out == "old\n"
    assert not kept.is_symlink()
    assert kept.read_bytes() == b"old\n"


def test_a_file_that_is_gone_has_changed(home: Home, flag: Path) -> None:
    """Its copy runs all the same."""
    (home.folder / "in.txt").unlink()
    flag.touch()
    assert "changed since: in.txt" in home.call("retry", "1").err
    assert home.call("wait", "1", "--timeout", "50s").code == 0
    assert home.call("retry", "1", "--fresh").code != 0


def test_fresh_takes_the_files_of_now(home: Home, flag: Path) -> None:
    """As a job of its own, for another input is another result."""
    (home.folder / "in.txt").write_text("new\n")
    flag.touch()
    done = home.json("retry", "1", "--fresh")
    assert done["reopened"] == []
    assert done["submitted"] == [{"job": 2, "of": ["1_0"], "changed": ["in.txt"]}]
    assert home.call("wait", "2", "--timeout", "50s").code == 0
    assert home.call("logs", "2").out == "new\n"
    assert home.json("ls")["jobs"][1]["state"] == "failed"
    again = home.call("retry", "2", "--fresh")
    assert again.code == 2
    assert "no task that failed" in again.err


def test_gc_keeps_the_inputs_of_what_ended(home: Home, flag: Path) -> None:
    """For 90 days, or as long as `[retention] inputs` says."""
    assert gc_later(home, 89 * DAY) == 0
    flag.touch()
    home.call("retry", "1")
    assert home.call("wait", "1", "--timeout", "50s").code == 0
    (home.path / "config.toml").write_text('[retention]\ninputs = "1d"\n')
    assert gc_later(home, DAY // 2) == 0
    until(lambda: home.call("reconcile").code == 0 and gc_later(home, 2 * DAY) == 1, "the runner to end, which may read them")


def test_gc_removes_parts_that_nobody_goes_on_with(home: Home) -> None:
    """Of fetches that were given up, and of copies that were cut: after a week, and not before."""
    (home.folder / "in.txt").write_text("old\n")
    assert home.submit(JOB.format(flag="/") + "[schedule]\nhold = true\n").code == 0
    inputs = home.path / "inputs"
    whole = [file.name for file in inputs.iterdir()]
    for name in (".fetch-0123", ".fetch-0123.json", f".{whole[0]}.4711"):
        (inputs / name).write_text("a part")
    assert gc_later(home, 6 * DAY) == 0
    assert gc_later(home, 8 * DAY) == 3
    assert [file.name for file in inputs.iterdir()] == whole


def test_what_is_gone_is_copied_again_where_it_is_unchanged(home: Home, flag: Path) -> None:
    """Else the retry is refused, with the way to take the files of now."""
    until(lambda: home.call("reconcile").code == 0 and gc_later(home, 91 * DAY) == 1, "the runner to end, which may read them")
    (home.folder / "in.txt").write_text("new\n")
    refused = home.call("retry", "1")
    assert refused.code != 0
    assert "in.txt" in refused.err
    assert "nexapod-batch retry 1 --fresh" in refused.err
    assert home.json("show", "1")["job"]["state"] == "failed"
    (home.folder / "in.txt").write_text("old\n")
    flag.touch()
    assert home.call("retry", "1").code == 0
    assert home.call("wait", "1", "--timeout", "50s").code == 0


def test_a_kept_input_that_vanished_is_no_error_of_the_task(home: Home) -> None:
    """The job waits, and the pass names what is missing; put back, it goes on."""
    (home.folder / "in.txt").write_text("old\n")
    text = JOB.format(flag="/") + "[schedule]\nhold = true\n"
    assert home.submit(text).code == 0
    (kept,) = (home.path / "inputs").iterdir()
    os.rename(kept, home.folder / "away")
    home.call("release", "1")
    done = home.json("reconcile")
    assert any("in.txt" in str(fault) for fault in done["faults"] + done["standing"]), done
    (task,) = home.json("show", "1")["tasks"]
    assert (task["state"], task["replicas"]) == ("waiting", [])
    os.rename(home.folder / "away", kept)
    assert home.call("wait", "1", "--timeout", "50s").code == 0


@pytest.mark.parametrize(
    ("array", "indexes", "tasks", "parameters"),
    [
        (Array(ranges=((1, 9, 2),)), [3, 7], [3, 7], [{}, {}]),
        (Array(matrix=(("a", ("x", "y")), ("b", ("1", "2")))), [1, 2], [0, 1], [{"a": "x", "b": "2"}, {"a": "y", "b": "1"}]),
        (Array(values=((("a", "x"),), (("a", "y"),))), [1], [0], [{"a": "y"}]),
        (None, [0], [0], [{}]),
    ],
)
def test_a_job_of_some_tasks_keeps_their_parameters(
    array: Array | None, indexes: list[int], tasks: list[int], parameters: list[dict[str, str]]
) -> None:
    """Ids stay, for commands use them; rows of parameters are counted anew."""
    job = only(Job(name="a", command=("true",), array=array), indexes)
    assert list(job.task_indexes()) == tasks
    assert [dict(job.parameters(index)) for index in tasks] == parameters


def test_show_tells_what_is_on_its_way(home: Home) -> None:
    """Apart from the states of tasks, for people and programs; and nothing when it is there."""
    assert home.submit(TRUE + "[schedule]\nhold = true\n").code == 0
    way = OnTheWay(home.path / "staging/1.json", "far", 1, None)
    way.begin(400, 1000)
    way.sent(400)
    way.end()
    assert "staging:" not in home.call("show", "1").out
    way.begin(400, 1000)
    assert "  staging:   0 % of 0.977 KiB (400 files) sent to far\n" in home.call("show", "1").out
    (told,) = json.loads(home.call("show", "1", "--json").out)["job"]["staging"]
    assert {**told, "since": 0} == {"node": "far", "files": 400, "size": 1000, "sent": 0, "since": 0}

"""`judge`: kept outputs decided on again by other rules, beside the verdict by the job's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: `$n` counts executions.
JOB = """[job]
name = "noisy"
command = ["sh", "-c", "n=$(mkdir {flag}/1 2>/dev/null && echo 1 || (mkdir {flag}/2 2>/dev/null && echo 2) || echo 3); {say}"]
[quorum]
agree = 2
max_replicas = 3
distinct = "run"
[[outputs]]
path = "a.csv"
[[outputs]]
path = "run.log"
compare = "none"
"""
NOISE = "echo x,1.0000000000$n > a.csv; echo run $n > run.log"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own, without workers afterwards."""
    one = Home(tmp_path)
    (tmp_path / "flag").mkdir()
    assert one.call("node", "init", "--name", "mine", "--cpus", "1").code == 0
    yield one
    one.end()


def run(home: Home, say: str, code: int) -> None:
    """Run the job to its end."""
    done = home.submit(JOB.format(flag=home.folder / "flag", say=say), "--wait=90s")
    assert done.code == code, done.out + done.err


@pytest.mark.parametrize("rule", [("significant", "--digits", "8"), ("allclose", "--rtol", "1e-8")])
def test_no_quorum_becomes_a_result_beside_the_verdict(home: Home, rule: tuple[str, ...]) -> None:
    """Three answers that differ in the last digit agree by another rule; the task stays what its own verdict says."""
    run(home, NOISE, 3)
    tried = home.json("judge", "1_0", "--compare", *rule, "--dry-run")
    assert tried["tasks"][0]["entry"] is None
    assert home.json("ledger", "log", "1_0")["entries"][-1]["kind"] == "verdict"
    done = home.json("judge", "1_0", "--compare", *rule)["tasks"][0]
    assert (done["state"], done["before"]["state"], done["agreeing"]) == ("accepted", "inconclusive", [1, 2, 3])
    assert done["policy"] != done["before"]["policy"]
    assert home.json("show", 1)["tasks"][0]["state"] == "inconclusive"
    assert home.json("ledger", "log", "1_0")["entries"][-1]["kind"] == "judged-again"
    folder = home.path / "results/1/0.judged-1"
    assert (folder / "a.csv").read_text().startswith("x,1.0000000000")
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0
    explained = home.call("explain", "1_0").out
    assert 'judged again, under other rules: accepted (a.csv: compare = "' in explained
    assert str(folder) in explained
    assert home.json("show", 1)["tasks"][0]["judged_again"][0]["state"] == "accepted"
    assert home.call("ledger", "verify").code == 0


def test_a_signed_judgement_cannot_be_changed(home: Home) -> None:
    """Another file in the result, another answer or no entry in the ledger: `verify` says so."""
    run(home, NOISE, 3)
    assert home.call("judge", "1_0", "--compare", "round", "--digits", "6").code == 0
    (home.path / "results/1/0.judged-1/a.csv").write_text("x,2\n")
    said = home.call("verify", "1")
    assert said.code == 1
    assert "a.csv is not what was signed" in said.out
    (home.path / "results/1/0.judged-1/a.csv").unlink()
    assert home.call("verify", "1").code == 1


def test_what_does_not_agree_is_signed_as_well(home: Home) -> None:
    """A second judgement by a rule under which they still differ: no result, exit code 3, and both are listed."""
    run(home, "echo x,$n > a.csv; echo > run.log", 3)
    assert home.call("judge", "1", "--compare", "significant", "--digits", "4").code == 3
    assert home.call("judge", "1", "--compare", "none", "--output", "a.csv").code == 2
    found = home.json("explain", "1_0")["tasks"][0]["judged_again"]
    assert [(one["number"], one["state"], one["folder"]) for one in found] == [(1, "inconclusive", None)]
    assert home.call("verify", "1").code == 0


def test_an_accepted_task_is_judged_by_what_is_published(home: Home) -> None:
    """Equal bytes: the published files stand for every replica that signed them, though the work folders are gone."""
    run(home, "echo x,1 > a.csv; echo > run.log", 0)
    done = home.json("judge", "1_0", "--ignore", "^never")["tasks"][0]
    assert (done["state"], done["gone"]) == ("accepted", {})
    assert done["folder"] == str(home.path / "results/1/0")
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0


def test_what_is_gone_is_named_with_the_setting_that_keeps_it(home: Home) -> None:
    """Work folders that were removed: no verdict, exit code 66, which replica and which setting."""
    (home.path / "config.toml").write_text("[retention]\nfailed = 0\n")
    run(home, "head -c 300000 /dev/zero | tr '\\\\0' $n > a.csv; echo > run.log", 3)
    assert home.call("gc").code == 0
    said = home.call("judge", "1_0", "--compare", "significant", "--digits", "8")
    assert said.code == 66
    assert "replica 1: its work folder was removed" in said.err
    assert "failed in [retention]" in said.err
    assert home.call("judge", "1_0", "--compare", "exact").code == 3  # needs no file


def test_a_task_that_has_not_ended_waits(home: Home) -> None:
    """Exit code 75, and what to do."""
    assert home.submit('[job]\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n[schedule]\nhold = true\n').code == 0
    done = home.call("judge", "1_0", "--compare", "content")
    assert done.code == 75
    assert "nexapod-batch wait 1_0" in done.err


ARRAY = """[job]
name = "array"
command = ["sh", "-c", "n=1; while ! mkdir {flag}/{task}.$n 2>/dev/null; do n=$((n+1)); done; test {task} != 2 || exit 7; test {task} != 1 || n=5; echo x,1.0000000000$n > a.csv"]
[array]
ids = "0-2"
[quorum]
max_replicas = 2
distinct = "run"
max_errors = 0
[[outputs]]
path = "a.csv"
"""


def test_a_whole_array_is_judged_where_there_are_answers(home: Home) -> None:
    """Without a quorum, accepted, and failed without an answer, which is left out; the dry run says the same, and writes nothing."""
    assert home.submit(ARRAY.replace("{flag}", str(home.folder / "flag")), "--wait=90s").code != 0
    assert home.call("gc").code == 0  # what has no result stays for a week
    entries = len(home.json("ledger", "log", 1)["entries"])
    tried = home.json("judge", 1, "--compare", "round", "--digits", "8", "--dry-run")
    assert [(task["task"], task["before"]["state"], task["state"]) for task in tried["tasks"]] == [
        ("1_0", "inconclusive", "accepted"), ("1_1", "accepted", "accepted"),
    ]  # fmt: skip
    assert len(home.json("ledger", "log", 1)["entries"]) == entries
    assert sorted(path.name for path in (home.path / "results/1").iterdir()) == ["1"]
    done = home.json("judge", 1, "--compare", "round", "--digits", "8")
    assert [task["state"] for task in done["tasks"]] == ["accepted", "accepted"]
    assert sorted(path.name for path in (home.path / "results/1").iterdir()) == ["0.judged-1", "1"]
    failed = home.call("judge", "1_2", "--compare", "round", "--digits", "8")
    assert (failed.code, "no replica of task 1_2 has an answer that could be judged" in failed.err) == (66, True)
    assert home.call("verify", 1).code == 0


def test_a_job_that_was_cancelled_before_it_answered_has_nothing_to_judge(home: Home) -> None:
    """Exit code 66, and where the reason stands: for the job and for its task."""
    assert home.submit('[job]\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n[schedule]\nhold = true\n').code == 0
    assert home.call("cancel", 1).code == 0
    for name, words in (("1", "no task of job 1 has ended with an answer"), ("1_0", "no replica of task 1_0 has an answer")):
        done = home.call("judge", name, "--compare", "round", "--digits", "3")
        assert done.code == 66
        assert words in done.err
        assert "nexapod-batch explain 1" in done.err

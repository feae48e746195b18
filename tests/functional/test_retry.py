"""`retry` through the command line: what it allows a task, and what it leaves of what was voted before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home

#: Says something new at every execution, until a file is there: then always the same.
FICKLE = """\
[job]
name = "fickle"
command = ["sh", "-c", "if [ -e {flag} ]; then {then}; else {before}; fi"]
[quorum]
distinct = "run"
"""
NOISE = "cat /proc/sys/kernel/random/uuid"


def fickle(home: Home, before: str, quorum: str, code: int) -> Path:
    """Run a job that does `before` at every execution to its end; return the file that makes it say `same`."""
    flag = home.folder / "flag"
    text = FICKLE.format(flag=flag, then="echo same", before=before) + quorum
    assert home.submit(text, "--wait").code == code
    return flag


def replicas(home: Home) -> list[dict[str, Any]]:
    """Return the replicas of the only task."""
    (task,) = home.json("show", "1")["tasks"]
    return list(task["replicas"])


def test_a_used_up_task_gets_room_for_an_agreement(home: Home) -> None:
    """Two replicas beyond the cap agree with each other: one alone could not have."""
    flag = fickle(home, NOISE, "max_replicas = 3", code=3)
    assert len(replicas(home)) == 3
    flag.touch()
    said = home.call("retry", "1")
    assert "1: at least 2 more replicas may run for each task" in said.out
    assert home.call("wait", "1").code == 0
    judged = [one["validation"] for one in replicas(home)]
    assert judged == ["invalid", "invalid", "invalid", "valid", "valid"]


def test_retry_after_retry_has_room_again(home: Home) -> None:
    """Every retry that finds the cap used up raises it; the reason names what was allowed."""
    fickle(home, NOISE, "max_replicas = 2", code=3)
    for most in (4, 6):
        assert home.json("retry", "last_0") == {"schema": 1, "reopened": ["1_0"], "at_least_more": {"1_0": 2}}
        assert home.call("wait", "1").code == 3
        assert len(replicas(home)) == most
        assert f"max_replicas = 2 ({most} by retry) is used up" in home.call("explain", "1").out


def test_a_tie_gets_room_to_be_broken_by_a_third_answer(home: Home) -> None:
    """With two answers of one size a new one needs more than `agree` to win by itself."""
    # Two of four make a folder each; whatever their order, the others find both there.
    split = f"mkdir {home.folder}/a 2>/dev/null || mkdir {home.folder}/b 2>/dev/null && echo one || echo two"
    flag = fickle(home, split, "replicas = 4\nmax_replicas = 4", code=3)
    assert "two answers tie with 2 each" in home.call("explain", "1").out
    flag.touch()
    home.call("retry", "1")
    assert home.call("wait", "1").code == 0
    assert [one["validation"] for one in replicas(home)] == ["invalid"] * 4 + ["valid"] * 3


def test_errors_no_longer_count_after_a_retry(home: Home) -> None:
    """What errored is set aside, so that the task starts afresh within its cap, all of it at once."""
    flag = fickle(home, "exit 7", "max_errors = 1\nmax_replicas = 2", code=1)
    flag.touch()
    home.call("retry", "1")
    assert home.call("wait", "1").code == 0
    assert [one["validation"] for one in replicas(home)] == ["unneeded", "unneeded", "valid", "valid"]


def test_retry_of_what_is_open_or_accepted_changes_nothing(home: Home) -> None:
    """An accepted task stays accepted, a task that was just reopened is not reopened again."""
    fickle(home, "echo same", "", code=0)
    assert home.json("retry", "1")["reopened"] == []
    assert home.submit(FICKLE.format(flag="/none", then="true", before="true") + "[schedule]\nhold = true").code == 0
    assert home.json("cancel", "2")["cancelled"] == ["2"]
    assert home.json("retry", "2_0")["reopened"] == ["2_0"]
    assert home.json("retry", "2_0")["reopened"] == []
    assert home.json("show", "1")["job"]["state"] == "accepted"

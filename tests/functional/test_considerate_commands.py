"""What the owner of a machine says by the command line, and what `node status` tells of it."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from homes import PROGRAM, Home
from spools import alive, until

from nexapod_batch.runner.processes import descendants

SPIN = """[job]
name = "spin"
script = '''#!/bin/sh
echo $$ > {flag}.new; mv {flag}.new {flag}; while [ ! -e {stop} ]; do :; done
'''
[quorum]
distinct = "run"
agree = 1
"""


def until_told(home: Home, *argv: str, word: str = "suspended") -> str:
    """Repeat a command until it says a word; return what it printed."""
    said = until(lambda: word in (out := home.call(*argv).out) and out, f"{argv} to say {word}")
    return str(said)


def test_status_tells_in_one_look_what_runs_for_whom_and_at_which_cost(home: Home, tmp_path: Path) -> None:
    """Replica, job, user, CPUs, times and memory; nothing of it writes the database, and it works without one."""
    nobody = home.call("node", "status")
    assert (nobody.code, nobody.out) == (0, "no node of this machine; to make one: nexapod-batch node init\n")
    home.call("node", "init", "mine", "--cpus", 2)
    assert "nothing runs: no job wants it" in home.call("node", "status", "mine").out
    flag, stop = tmp_path / "flag", tmp_path / "stop"
    home.submit(SPIN.format(flag=flag, stop=stop))
    pid = int(until(lambda: flag.exists() and flag.read_text(), "the command"))
    before = (home.path / "state.db").read_bytes()
    node = until(lambda: (one := home.json("node", "status", "mine")["node"])["replicas"] and one, "the notice")
    (replica,) = node["replicas"]
    user = home.json("ls")["jobs"][0]["user"]
    assert ("1_0.1", "spin", user, 1) == tuple(replica[key] for key in ("replica", "job", "user", "cpus"))
    assert pid in replica["pids"]
    assert replica["seconds"] >= replica["cpu_s"] >= 0
    assert replica["rss_kib"] > 0
    assert (node["idle"], node["drained"], node["worker"] is None) == ("", False, False)
    assert (home.path / "state.db").read_bytes() == before
    home.call("node", "snooze", "mine", "2h")
    home.call("node", "drain", "mine")
    told = until_told(home, "node", "status")
    assert "mine on " in told
    assert ": drained, is snoozed by its owner until " in told
    assert "nothing runs: its owner: mine is snoozed" in told
    (home.path / "state.db").rename(home.path / "away")
    assert home.json("node", "status", "mine")["node"]["replicas"][0]["user"] is None
    (home.path / "away").rename(home.path / "state.db")
    home.call("node", "snooze", "mine", "off")
    stop.touch()
    assert home.call("wait", "all", "--timeout", "90s").code == 0
    assert home.call("node", "status", "other").code == 66


def test_snooze_and_off_by_the_command_line(home: Home, tmp_path: Path) -> None:
    """A snooze suspends what runs, keeps jobs back with the reason, and its end lets them be accepted."""
    home.call("node", "init", "mine", "--cpus", 2)
    flag, stop = tmp_path / "flag", tmp_path / "stop"
    home.submit(SPIN.format(flag=flag, stop=stop))
    pid = int(until(lambda: flag.exists() and flag.read_text(), "the command"))
    told = home.json("node", "snooze", "mine", "2h")
    assert told["paused"].startswith("is snoozed by its owner until ")
    until(lambda: descendants.state(pid) == "T", "the command to be stopped")
    assert f"mine says ACTIVE, 1_0.1 is suspended: the node {told['paused']}" in until_told(home, "explain", "1")
    home.call("reconcile")
    assert f"1_0.1 is suspended: the node {told['paused']}" in home.call("show", "1").out
    home.submit('[job]\nname = "t"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\nagree = 1\n')
    assert f"not on mine: {told['paused']}" in home.call("explain", "2").out
    assert f"mine {told['paused']}" in home.call("show", "2").out
    assert home.call("node", "snooze", "mine", "off").out == "node mine may work\n"
    stop.touch()
    assert home.call("wait", "all", "--timeout", "90s").code == 0
    assert "was suspended for" in home.call("show", "1").out


def test_limits_are_set_shown_and_taken_away(home: Home) -> None:
    """All that is wrong is said at once, and nothing changed then; the planner sees the node as small as it is."""
    home.call("node", "init", "mine", "--cpus", 2)
    wrong = home.call("node", "set", "mine", "max_cpus=9", "hours=8-8", "io=fast", "max_mem", "x=1", "gpu_busy=101")
    assert wrong.code == 2
    for word in ("the node has 2 only", "ends when it starts", "wanted idle or normal", "'max_mem'", "'x=1'", "from 0 to 100"):
        assert word in wrong.err
    assert home.json("node", "set", "mine")["limits"] == {}
    wanted = {"max_cpus": "1", "max_mem": "512MiB", "hours": "mon-fri 22:00-08:00", "grace": "60s", "nice": "19"}
    said = home.json("node", "set", "mine", *(f"{key}={value}" for key, value in wanted.items()))
    assert said["limits"] == wanted
    refused = home.submit('[job]\nname = "t"\ncommand = ["true"]\n[resources]\ncpus_per_task = 2\n[quorum]\nagree = 1\n')
    assert refused.code == 65
    assert "the largest node (mine) has 1 CPU: its owner gives no more" in refused.err
    assert home.json("node", "set", "mine", *(f"{key}=" for key in wanted))["limits"] == {}


def test_the_only_node_needs_no_name(home: Home) -> None:
    """A time, `off` or a setting is none; of several nodes one must be named."""
    assert home.call("node", "init", "--name", "mine").code == 0
    assert home.json("node", "snooze", "2h")["node"] == "mine"
    assert home.call("node", "snooze", "off").out == "node mine may work\n"
    assert home.json("node", "snooze")["paused"].startswith("is snoozed")
    assert home.json("node", "set", "max_cpus=1")["node"] == "mine"
    assert home.call("node", "init", "--name", "other").code == 0
    several = home.call("node", "snooze", "2h")
    assert several.code == 2
    assert "mine, other" in several.err
    assert home.call("node", "init", "--name", "2h").code == 0
    assert home.json("node", "snooze", "2h")["node"] == "2h"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["mine", "2h", "--until", "18:00"], "how long?"),
        (["mine", "soon"], "not a duration"),
        (["mine", "99999h"], "up to 31 days"),
        (["mine", "0m"], "up to 31 days"),
        (["mine", "-1h"], "No such option"),
        (["mine", "--", "-1h"], "not a duration"),
        (["mine", "2h", "--gpu", "7"], "node mine offers no GPU"),
        (["mine", "--until", "25:00"], "a time of the day"),
        (["other", "2h"], "wanted one of: mine"),
        (["../mine", "2h"], "wanted one of: mine"),
    ],
)
def test_a_snooze_that_means_nothing_is_refused(home: Home, argv: list[str], words: str) -> None:
    """What was got, what was wanted."""
    home.call("node", "init", "mine")
    done = home.call("node", "snooze", *argv)
    assert done.code in {2, 66}
    assert words in done.err


def test_a_snooze_without_a_time_lasts_until_its_owner_says_so(home: Home) -> None:
    """Nothing ends it but its owner; it is told as that."""
    home.call("node", "init", "mine")
    told = home.json("node", "snooze", "mine")
    assert (told["paused"], told["until"]) == ("is snoozed by its owner until they say otherwise", None)
    assert "until they say otherwise" in home.call("node", "status", "mine").out
    assert home.call("node", "snooze", "mine", "off").out == "node mine may work\n"


def test_a_snooze_works_on_a_full_disk(home: Home) -> None:
    """The room for it was kept; when there is room again it is kept anew."""
    home.path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "none", home.path], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert home.call("node", "init", "mine").code == 0
        for words in (["2h"], ["off"], ["3h"]):
            fill = os.open(home.path / "fill", os.O_WRONLY | os.O_CREAT)
            with suppress(OSError):
                while os.write(fill, bytes(4096)):
                    pass
            os.close(fill)
            snoozed = home.call("node", "snooze", "mine", *words)
            assert snoozed.code == 0, snoozed.err
            assert bool(home.json("node", "status", "mine")["node"]["paused"]) == (words != ["off"])
            (home.path / "fill").unlink()
            home.call("node", "set", "mine", "grace=5s")
    finally:
        subprocess.run(["umount", "-l", home.path], check=True)


def test_stopped_commands_of_a_killed_worker_are_told_and_ended(home: Home, tmp_path: Path) -> None:
    """Use kill -9 on worker and executor while the node is snoozed: status counts what is left, the next pass ends it."""
    home.call("node", "init", "mine", "--cpus", 2)
    flag, stop = tmp_path / "flag", tmp_path / "stop"
    home.submit(SPIN.format(flag=flag, stop=stop))
    pid = int(until(lambda: flag.exists() and flag.read_text(), "the command"))
    home.call("node", "snooze", "mine")
    until(lambda: descendants.state(pid) == "T", "the command to be stopped")
    worker = home.json("node", "status", "mine")["node"]["worker"]["pid"]
    executors = descendants.find(worker, frozenset([pid]))
    os.kill(worker, signal.SIGSTOP)
    for one in (*executors, worker):
        os.kill(one, signal.SIGKILL)
    until(lambda: home.json("node", "status", "mine")["node"]["worker"] is None, "nobody to be there")
    left = home.json("node", "status", "mine")["node"]["left"]
    assert {"pid": pid, "state": "T"} in left
    assert "their worker was killed" in home.call("node", "status", "mine").out
    home.call("reconcile")
    until(lambda: not alive(pid), "the command to be ended")


def test_snoozes_at_once_are_all_kept(home: Home) -> None:
    """Two commands that write at the same time lose nothing of one another."""
    home.call("node", "init", "mine", "--cpus", 2)
    words = [f"{key}={value}" for key, value in {"max_cpus": 1, "grace": "5s", "nice": 3, "io": "idle"}.items()]
    running = [subprocess.Popen([PROGRAM, "node", "set", "mine", one], env=home.env, stdout=subprocess.DEVNULL) for one in words]
    assert [one.wait(timeout=120) for one in running] == [0] * len(words)
    assert len(home.json("node", "set", "mine")["limits"]) == 4

"""An owner who has enough: `node stop`, `node start`, `node remove`, and what was given meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from spools import alive, until

from nexapod_batch.spool.lock import live_incarnation

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home

WAITS = """[job]
name = "waits"
script = '''#!/bin/sh
echo $$ > {flag}.new; mv {flag}.new {flag}; while [ ! -e {stop} ]; do sleep 0.1; done
'''
[quorum]
distinct = "run"
agree = 1
"""


def running(home: Home, tmp_path: Path) -> int:
    """Submit a job that runs until there is a file `stop`; return the process of its command."""
    flag = tmp_path / "flag"
    flag.unlink(missing_ok=True)
    home.submit(WAITS.format(flag=flag, stop=tmp_path / "stop"))
    return int(until(lambda: flag.exists() and flag.read_text(), "the command"))


def test_a_stopped_node_runs_nothing_until_it_is_started(home: Home, tmp_path: Path) -> None:
    """What runs is given up without blame, no pass starts a worker, all say why; then it goes on, and is counted."""
    home.call("node", "init", "mine", "--cpus", 2)
    pid = running(home, tmp_path)
    assert home.json("node", "stop")["ended"] is True
    assert not alive(pid)
    home.call("reconcile")
    assert live_incarnation(home.path / "spool/mine") is None
    for argv in (("node", "ls"), ("node", "show", "mine"), ("node", "status"), ("explain", "1"), ("show", "1")):
        assert "is stopped by its owner" in home.call(*argv).out
    (tmp_path / "stop").touch()
    assert home.call("node", "start").out == "node mine may work\nnext: nexapod-batch reconcile\n"
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    assert [node["blame"] for node in home.json("node", "ls")["nodes"]] == [0]
    (row,) = home.json("node", "history", "mine", "--by", "all")["history"]
    assert (row["tasks"], row["replicas"], row["valid"], row["gpu_energy_kwh"]) == (1, 2, 1, None)
    assert row["core_hours"] > 0
    assert home.call("node", "history", "other").code == 66


def test_a_stop_ends_what_a_dead_worker_left(home: Home, tmp_path: Path) -> None:
    """No worker will come to do it: commands of one that was killed with its executor do not go on."""
    home.call("node", "init", "mine", "--cpus", 2)
    pid = running(home, tmp_path)
    node = until(lambda: (one := home.json("node", "status", "mine")["node"])["replicas"] and one, "the notice")
    notice = json.loads((home.path / "spool/mine/running.json").read_bytes())
    for process in (notice["replicas"][0]["pid"], node["worker"]["pid"]):
        os.kill(process, signal.SIGSTOP)
    # The executor first: the kernel lets what is stopped go on when the first of its session dies.
    for process in (notice["replicas"][0]["pid"], node["worker"]["pid"]):
        os.kill(process, signal.SIGKILL)
    until(lambda: live_incarnation(home.path / "spool/mine") is None, "the lock to be free")
    assert alive(pid)
    assert home.json("node", "stop")["ended"] is True
    until(lambda: not alive(pid), "the command to end")


def test_a_node_stops_after_what_runs(home: Home, tmp_path: Path) -> None:
    """With --finish what runs ends well and nothing new starts."""
    home.call("node", "init", "mine", "--cpus", 2)
    running(home, tmp_path)
    assert home.json("node", "stop", "mine", "--finish")["ended"] is False
    home.submit('[job]\nname = "later"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\nagree = 1\n')
    (tmp_path / "stop").touch()
    until(lambda: live_incarnation(home.path / "spool/mine") is None, "the worker to end")
    home.call("reconcile")
    assert [job["state"] for job in home.json("ls")["jobs"]] == ["waiting", "accepted"]


def test_a_node_is_removed_with_what_is_its_own(home: Home, tmp_path: Path) -> None:
    """Refused while work is open, told beforehand; forced it stops that, and results and statements stay and verify."""
    home.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    home.call("node", "init", "mine", "--cpus", 2)
    home.call("node", "unit", "mine", "--write")
    home.submit('[job]\nname = "t"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\nagree = 1\n', "--wait")
    pid = running(home, tmp_path)
    refused = home.call("node", "remove", "mine")
    assert refused.code == 75
    assert "it has 1 replica out" in refused.err
    assert alive(pid)
    own = [home.path / name for name in ("keys/node-mine", "keys/node-mine.pub", "spool/mine", "work/mine")]
    own.append(tmp_path / "config/systemd/user/nexapod-node-mine.service")
    told = home.call("node", "remove", "mine", "--force", "--dry-run").out
    assert all(f"would be deleted: {path}" in told for path in own)
    assert alive(pid)
    assert home.json("node", "remove", "mine", "--force")["registry"] == "drained"
    assert [path for path in own if path.exists()] == []
    assert not alive(pid)
    home.call("reconcile")
    assert [path for path in own if path.exists()] == []
    assert home.call("verify", "1").code == 0
    assert "was removed" in home.call("node", "resume", "mine").err
    assert "removed: its public key stays on record" in home.call("doctor").out


def test_a_node_that_ran_nothing_leaves_no_trace(home: Home, tmp_path: Path) -> None:
    """It goes from the registry as well; a unit that somebody else wrote stays, and is told."""
    home.env["XDG_CONFIG_HOME"] = str(tmp_path)
    home.call("node", "init", "mine")
    unit = tmp_path / "systemd/user/nexapod-node-mine.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    assert "is not of nexapod-batch" in home.call("node", "remove", "mine").err
    unit.unlink()
    assert home.json("node", "remove", "mine")["registry"] == "deleted"
    assert home.json("node", "ls")["nodes"] == []
    assert os.listdir(home.path / "spool") == []
    assert home.call("node", "remove", "mine").code == 66


def test_a_program_of_the_owner_pauses_the_node(home: Home, tmp_path: Path) -> None:
    """What runs is suspended while the program does, with the reason everywhere, and goes on after it."""
    home.call("node", "init", "mine", "--cpus", 2)
    running(home, tmp_path)
    program = tmp_path / "my-game"
    program.write_text("#!/bin/sh\nread line\n")
    program.chmod(0o755)
    assert home.json("node", "set", "mine", "pause_while=my-game", "free_cpus=1")["limits"] == {
        "free_cpus": "1", "pause_while": "my-game",
    }  # fmt: skip
    with subprocess.Popen([program], stdin=subprocess.PIPE) as game:
        until(lambda: "suspended" in home.call("node", "status").out, "the command to be suspended")
        for argv in (("node", "ls"), ("node", "show", "mine"), ("node", "status"), ("explain", "1")):
            assert "is paused while my-game runs" in home.call(*argv).out
        game.kill()
    (tmp_path / "stop").touch()
    assert home.call("wait", "1", "--timeout", "90s").code == 0


def test_a_consumer_gpu_without_a_gpu_is_warned_of_and_a_laptop_s_unit_wants_mains(home: Home) -> None:
    """A tier that is a mistake is told; the unit of a node that pauses on battery is not started there."""
    assert "offers no GPU" in home.call("node", "init", "mine", "--tier", "consumer-gpu", "--gpus", "none").err
    assert "ConditionACPower" not in home.call("node", "unit", "mine").out
    home.call("node", "set", "mine", "on_battery=pause")
    assert "\nConditionACPower=true\n" in home.call("node", "unit", "mine").out

"""A node on somebody's own machine: snoozed, limited, by the command line and with real commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from spools import House, alive, until

from nexapod_batch.model import hours
from nexapod_batch.model.job import Job, Resources
from nexapod_batch.runner.processes import descendants
from nexapod_batch.spool import layout, owner_settings
from nexapod_batch.spool.owner_settings import OwnerSettings, Snooze
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from homes import Home


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node with two CPUs; its workers are ended afterwards."""
    made = House(tmp_path)
    yield made
    made.end()


def ask(house: House, **values: object) -> None:
    """Write the owner's wishes."""
    owner_settings.save(house.spool, OwnerSettings(**values))  # type: ignore[arg-type]


def snoozed(seconds: float = 3600) -> tuple[Snooze, ...]:
    """Return a snooze that begins now."""
    now = owner_settings.clock()
    return (Snooze(device="", seconds=seconds, at=now.now, boot=now.boot, uptime=now.uptime),)


def busy(tmp_path: Path, name: str = "a", children: int = 1, **resources: Any) -> Job:
    """Return a job that computes without end, in processes that each leave their id, until a file says stop."""
    script = f"""#!/bin/sh
spin() {{ sh -c 'echo $$ >> {tmp_path}/{name}.pids; while [ ! -e {tmp_path}/stop ]; do :; done'; }}
for i in $(seq {children}); do spin & done
wait
echo done
"""
    return Job(name="busy", script=script, resources=Resources(**resources))


def pids(tmp_path: Path, count: int, name: str = "a") -> list[int]:
    """Wait until so many processes left their ids, and return these."""
    file = tmp_path / f"{name}.pids"
    return until(
        lambda: file.exists() and len(found := [int(one) for one in file.read_text().split()]) == count and found,
        f"{count} processes of {name}",
    )


def states(found: list[int]) -> set[str]:
    """Return the kernel's letters for some processes."""
    return {descendants.state(pid) for pid in found}


def cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_snooze_suspends_the_whole_tree_and_its_end_lets_it_go_on(house: House, tmp_path: Path) -> None:
    """Every process is stopped and uses no CPU; afterwards it ends as if nothing had been, and says so."""
    house.put(house.launch(busy(tmp_path, children=2, cpus_per_task=2)))
    worker = house.start()
    found = pids(tmp_path, 2)
    ask(house, snoozes=snoozed())
    until(lambda: states(found) == {"T"}, "both processes to be stopped")
    parent = int(Path(f"/proc/{found[0]}/stat").read_text().rpartition(")")[2].split()[1])
    assert descendants.state(parent) == "T"
    used = [cpu_ticks(pid) for pid in found]
    house.put(house.launch(Job(name="t", command=("true",)), job_id=2))
    assert [cpu_ticks(pid) for pid in found] == used
    ask(house)
    until(lambda: not states(found) & {"T"}, "both processes to go on")
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0
    first, second = house.reports()
    assert {first.statement.outcome, second.statement.outcome} == {Outcome.OK}
    (told,) = (one.statement for one in (first, second) if one.statement.replica.job == 1)
    assert "was suspended for" in told.detail
    assert told.wall_ms < told.finished_ms - told.started_ms


def test_suspended_time_is_not_the_tasks(house: House, tmp_path: Path) -> None:
    """The limit on its time stands still: one of 2 s is suspended for longer, and then ends well."""
    house.put(house.launch(busy(tmp_path, time_s=2)))
    worker = house.start()
    found = pids(tmp_path, 1)
    ask(house, snoozes=snoozed(2.5))
    until(lambda: states(found) == {"T"}, "the command to be stopped")
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0
    (report,) = house.reports()
    assert (report.statement.outcome, report.statement.exit_code) == (Outcome.OK, 0)
    assert report.statement.finished_ms - report.statement.started_ms > 2000 > report.statement.wall_ms


def test_nothing_starts_and_nothing_is_claimed_while_snoozed(house: House, tmp_path: Path) -> None:
    """A launch that came during a snooze stays what it was, free to be taken back, until the snooze is over."""
    ask(house, snoozes=snoozed())
    key = house.put(house.launch(Job(name="t", command=("true",))))
    worker = house.start()
    until((house.spool / "worker.lock").exists, "the worker")
    other = house.put(house.launch(busy(tmp_path), job_id=2))
    (house.spool / "cancel" / key).touch()
    assert list((house.spool / "claims").iterdir()) == []
    ask(house)
    pids(tmp_path, 1)
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0
    assert sorted(one.name for one in (house.spool / "claims").iterdir()) == sorted([key, other])
    assert sorted(one.statement.outcome for one in house.reports()) == [Outcome.CANCELLED, Outcome.OK]


def test_what_a_command_stopped_itself_stays_stopped(house: House, tmp_path: Path) -> None:
    """Only what was stopped for the owner goes on after the snooze."""
    script = f"""#!/bin/sh
sleep 60 & kill -STOP $!; echo $! > {tmp_path}/a.pids; sleep 60 & echo $! >> {tmp_path}/a.pids
while [ ! -e {tmp_path}/stop ]; do sleep 0.05; done; kill -KILL $(cat {tmp_path}/a.pids)
"""
    house.put(house.launch(Job(name="t", script=script)))
    worker = house.start()
    stopped, sleeping = pids(tmp_path, 2)
    until(lambda: (descendants.state(stopped), descendants.state(sleeping)) == ("T", "S"), "the start")
    ask(house, snoozes=snoozed())
    until(lambda: states([stopped, sleeping]) == {"T"}, "both to be stopped")
    ask(house)
    until(lambda: descendants.state(sleeping) == "S", "the other one to go on")
    assert descendants.state(stopped) == "T"
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0


def test_fewer_cpus_suspend_the_younger_replica(house: House, tmp_path: Path) -> None:
    """With one CPU of two the replica that came first goes on; the other waits for more."""
    house.put(house.launch(busy(tmp_path, "a")))
    worker = house.start()
    first = pids(tmp_path, 1, "a")
    house.put(house.launch(busy(tmp_path, "b"), job_id=2))
    second = pids(tmp_path, 1, "b")
    ask(house, max_cpus=1)
    until(lambda: states(second) == {"T"}, "the younger one to be stopped")
    assert states(first) == {"R"}
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0
    assert {one.statement.outcome for one in house.reports()} == {Outcome.OK}


def test_a_replica_that_never_fits_again_is_given_up(house: House, tmp_path: Path) -> None:
    """What needs more than the owner gives now is preempted, running or not, with the reason; the rest goes on."""
    house.put(house.launch(busy(tmp_path, cpus_per_task=2), 2))
    house.put(house.launch(Job(name="t", command=("true",)), job_id=2))
    worker = house.start()
    found = pids(tmp_path, 1)
    ask(house, max_cpus=1, grace=0)
    assert worker.wait(timeout=120) == 0
    assert not alive(found[0])
    told = {str(one.statement.replica): (one.statement.outcome, one.statement.detail) for one in house.reports()}
    assert told == {
        "1_0.1": (Outcome.PREEMPTED, "given up: its owner gives 1 CPU, this needs 2"),
        "1_1.1": (
            Outcome.PREEMPTED,
            "not started: its owner gives CPUs: 1, MiB of memory: 4096; this needs 2 and 0",
        ),
        "2_0.1": (Outcome.OK, ""),
    }


def test_hours_that_are_over_suspend(house: House, tmp_path: Path) -> None:
    """A window that does not hold now is as good as a snooze."""
    house.put(house.launch(busy(tmp_path)))
    worker = house.start()
    found = pids(tmp_path, 1)
    later = datetime.now() + timedelta(hours=2)  # noqa: DTZ005 - the clock on the wall
    ask(house, hours=hours.parse(f"{later.hour}:00-{later.hour}:59"))
    until(lambda: states(found) == {"T"}, "the command to be stopped")
    ask(house, hours=hours.parse("00:00-24:00"))
    until(lambda: states(found) == {"R"}, "the command to go on")
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0


def test_a_cancelled_replica_ends_although_it_is_suspended(house: House, tmp_path: Path) -> None:
    """What is stopped hears no TERM before it is continued."""
    house.put(house.launch(busy(tmp_path)))
    worker = house.start()
    found = pids(tmp_path, 1)
    ask(house, snoozes=snoozed())
    until(lambda: states(found) == {"T"}, "the command to be stopped")
    (house.spool / "cancel" / "1_0.1").touch()
    until(house.reports, "its report")
    assert not alive(found[0])
    assert house.reports()[0].statement.outcome is Outcome.CANCELLED
    worker.terminate()
    assert worker.wait(timeout=120) == 0


@pytest.mark.parametrize("whole", [False, True])
def test_a_worker_that_is_killed_leaves_nothing_stopped(house: House, tmp_path: Path, whole: bool) -> None:
    """Use kill -9 on the worker, or on it and its executor: the suspended command ends, now or with the next worker."""
    house.put(house.launch(busy(tmp_path)))
    worker = house.start()
    found = pids(tmp_path, 1)
    ask(house, snoozes=snoozed())
    until(lambda: states(found) == {"T"}, "the command to be stopped")
    executors = descendants.find(worker.pid, frozenset(found)) if whole else []
    if whole:
        os.kill(worker.pid, signal.SIGSTOP)  # so that it cannot clean up in between
        os.kill(executors[0], signal.SIGKILL)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(timeout=120)
    if whole:
        assert alive(found[0])
        house.start()
    until(lambda: not alive(found[0]), "the command to end")
    if not whole:
        until(house.reports, "the report of the executor")
    assert [one.statement.outcome for one in house.reports()] == ([] if whole else [Outcome.PREEMPTED])


def test_a_file_that_nobody_understands_lets_nothing_start(house: House, tmp_path: Path) -> None:
    """What runs goes on, nothing new starts, the log says why; a good file puts it right."""
    house.put(house.launch(busy(tmp_path)))
    worker = house.start()
    found = pids(tmp_path, 1)
    (house.spool / layout.OWNER_SETTINGS).write_text("{")
    until(lambda: "manners.json cannot be read" in house.log(), "the log")
    house.put(house.launch(busy(tmp_path, "b"), job_id=2))
    assert states(found) == {"R"}
    assert not (tmp_path / "b.pids").exists()
    ask(house)
    pids(tmp_path, 1, "b")
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0


# ---- standing back

def bearing(pid: int) -> tuple[int, str, str]:
    """Return niceness, I/O class, and niceness of the session's group ("" where the kernel has no such groups)."""
    nice = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
    io = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.split()[0]
    try:
        group = Path(f"/proc/{pid}/autogroup").read_text()
    except FileNotFoundError:
        group = ""
    return nice, io.rstrip(":"), group.rpartition(" ")[2].strip()


def grouped(nice: int) -> str:
    """Return what a session's group says at this niceness: nothing where the kernel was built or set to have no such groups."""
    group = subprocess.run(["setsid", "cat", "/proc/self/autogroup"], capture_output=True, text=True, check=False).stdout
    return str(nice) if group.strip() else ""


def test_what_runs_stands_back_as_its_owner_wants(house: House, tmp_path: Path) -> None:
    """Commands and their children are as nice as the node was made to be; when it changes, from the next one on."""
    file = house.spool / "node.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "nice": 19, "io": "idle"}))
    house.put(house.launch(busy(tmp_path, "a")))
    worker = house.start()
    (first,) = pids(tmp_path, 1, "a")
    until(lambda: bearing(first)[2] == grouped(19), "the session to stand back")
    assert bearing(first)[:2] == (19, "idle")
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert bearing(worker.pid)[0] == mine
    ask(house, nice=3, io="normal")
    less = max(3, mine)  # nobody comes forward before who started the worker
    house.put(house.launch(busy(tmp_path, "b"), job_id=2))
    (second,) = pids(tmp_path, 1, "b")
    until(lambda: bearing(second)[2] == grouped(less), "the session to stand back less")
    assert bearing(second)[0] == less
    assert bearing(second)[1] != "idle"
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0
    assert {one.statement.outcome for one in house.reports()} == {Outcome.OK}


COME_FORWARD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import os, time\\n{how}\\nopen(%r, 'w').write(str(os.getpid()))\\ntime.sleep(60)" % sys.argv[1]], start_new_session={session})
while not os.path.exists(sys.argv[2]): time.sleep(0.02)
child.kill()
"""


@pytest.mark.parametrize("session", [True, False])
@pytest.mark.parametrize("how", ["pass", "os.setpriority(os.PRIO_PROCESS, 0, 0)", "os.system('ionice -c 2 -p ' + str(os.getpid()))"])
def test_whoever_comes_forward_is_sent_back(house: House, tmp_path: Path, session: bool, how: str) -> None:
    """A child with a session of its own, or which takes another niceness or I/O class, is made to stand back as well."""
    file = house.spool / "node.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "nice": 19, "io": "idle"}))
    code = COME_FORWARD.replace("{how}", how).replace("{session}", str(session))
    there, stop = tmp_path / "there", tmp_path / "stop"
    (tmp_path / "code.py").write_text(code)
    house.put(house.launch(Job(name="t", command=(sys.executable, str(tmp_path / "code.py"), str(there), str(stop)))))
    worker = house.start()
    pid = int(until(lambda: there.exists() and there.read_text(), "the child"))
    until(lambda: bearing(pid) == (19, "idle", grouped(19)), "the child to stand back")
    stop.touch()
    assert worker.wait(timeout=120) == 0


def test_where_a_scheduler_decides_nothing_stands_back(house: House, tmp_path: Path) -> None:
    """A node of which nobody said otherwise leaves niceness and I/O class as they are."""
    house.put(house.launch(busy(tmp_path)))
    worker = house.start()
    (pid,) = pids(tmp_path, 1)
    assert bearing(pid)[:2] == bearing(worker.pid)[:2]
    (tmp_path / "stop").touch()
    assert worker.wait(timeout=120) == 0


@pytest.mark.parametrize(("tier", "nice"), [("cpu", 5), ("consumer-gpu", 19)])
def test_a_node_is_made_to_stand_back(home: Home, tier: str, nice: int) -> None:
    """A workstation somewhat, the computer that somebody plays on as far as it goes; idle I/O on both."""
    home.call("node", "init", "mine", "--tier", tier)
    made = json.loads((home.spool("mine") / "node.json").read_text())
    assert (made["nice"], made["io"]) == (nice, "idle")

"""GPUs handed out to replicas: real nodes and workers, and the real binding under a small driver."""

from __future__ import annotations

import base64
import fcntl
import json
from typing import TYPE_CHECKING, Any

import pytest
from homes import Home
from nvml import FIRST, SECOND, Driver, gpu
from spools import House, until

from nexapod_batch.files.machine_locks import locks_folder
from nexapod_batch.model.job import Job, Resources
from nexapod_batch.spool.layout import GPU_HEALTH
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, driver: Driver) -> Iterator[Home]:
    """Give a home on a machine with these GPUs; what runs in it is ended afterwards."""
    made = Home(tmp_path)
    made.env |= driver.env
    yield made
    made.end()


#: Leaves beside the node's name which devices a command was shown; its output does not depend on them.
SEEN = """[job]
name = "g"
script = '''#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES|$ROCR_VISIBLE_DEVICES|$HIP_VISIBLE_DEVICES" > {}/$NEXAPOD_NODE; echo 42'''
"""


def test_a_job_for_a_gpu_on_two_nodes_is_accepted(home: Home, tmp_path: Path) -> None:
    """Each node offers one GPU; each replica sees the one that it was given, and the output does not depend on it."""
    for name, owner, index in (("a", "ann", "0"), ("b", "bob", "1")):
        assert home.json("node", "init", name, "--owner", owner, "--gpus", index)["node"]["gpus"] == 1
    done = home.submit(SEEN.format(tmp_path) + "[resources]\ngpus = 1\n", "--wait")
    assert done.code == 0, done.err
    assert [(tmp_path / name).read_text() for name in "ab"] == [f"{FIRST}||\n", f"{SECOND}||\n"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("gpus = 3", "resources.gpus: a replica wants 3 GPUs, the largest node (a) has 2 GPUs"),
        ('gpus = 1\ngpu_type = "h100"', "no node has a GPU of type h100: a has NVIDIA GeForce RTX 4090"),
        ('gpus = 1\ngpu_mem = "80GiB"', "a has GPUs with 24564 MiB of memory, 80 GiB of memory wanted"),
    ],
)
def test_gpus_that_no_node_has_are_refused_at_submit(home: Home, asked: str, words: str) -> None:
    """With what there is; nothing is stored."""
    home.json("node", "init", "a")
    done = home.submit(f'[job]\ncommand = ["true"]\n[resources]\n{asked}\n[quorum]\nagree = 1\n')
    assert done.code in {3, 65}
    assert words in done.err
    assert home.jobs() == []


def test_a_gpu_that_is_not_there_cannot_be_offered(home: Home) -> None:
    """What is there stands in the message."""
    done = home.call("node", "init", "a", "--gpus", "0,7")
    assert (done.code, home.json("node", "ls")["nodes"]) == (2, [])
    assert "--gpus: there is no such GPU: got '7', wanted all, none, or of these: 0 (NVIDIA GeForce RTX 4090), 1" in done.err


def statements(home: Home, tmp_path: Path, job: int = 1) -> list[Any]:
    """Return the internal parameters of every statement of a job."""
    assert home.call("attestations", job, "--out", tmp_path / f"signed{job}").code == 0
    envelopes = [json.loads(one.read_bytes()) for one in sorted((tmp_path / f"signed{job}").glob("*.dsse.json"))]
    payloads = [json.loads(base64.b64decode(one["payload"])) for one in envelopes]
    return [one["predicate"]["buildDefinition"]["internalParameters"] for one in payloads]


def test_time_memory_and_energy_of_each_replica_are_signed(home: Home, driver: Driver, tmp_path: Path) -> None:
    """By process where the driver tells it; and which GPU it was."""
    for name, index in (("a", "0"), ("b", "1")):
        home.json("node", "init", name, "--owner", name, "--gpus", index)
    driver.add(f"energy {FIRST} 1000", f"energy {SECOND} 1000")
    script = f"""#!/bin/sh
echo "busy $CUDA_VISIBLE_DEVICES 50
process $CUDA_VISIBLE_DEVICES $$ 300 c 50
energy $CUDA_VISIBLE_DEVICES 9000" >> {driver.file}
sleep 1
echo 42
"""
    done = home.submit(f"[job]\nname = 'g'\nscript = '''{script}'''\n[resources]\ngpus = 1\n", "--wait")
    assert done.code == 0, done.err
    found = [one["gpus"] for one in statements(home, tmp_path)]
    assert sorted(one["uuid"] for (one,) in found) == [FIRST, SECOND]
    for (one,) in found:
        assert (one["model"], one["peakMemoryMiB"], one["energyMj"]) == ("NVIDIA GeForce RTX 4090", 300, 8000)
        assert one["timeMs"] > 0
    shown = home.call("show", 1).out
    assert shown.count("300 MiB, 8 J") == 2
    report = home.call("report", 1).out
    assert "GPU time:" in report
    assert "GPU memory: 300 MiB at most" in report
    assert "GPU energy: 16 J" in report
    given = home.json("node", "history", "--by", "year")["history"]
    assert [(row["node"], row["gpu_energy_kwh"]) for row in given] == [(node, round(8 / 3.6e6, 6)) for node in "ab"]
    assert all(row["gpu_hours"] > 0 for row in given)
    assert f"on NVIDIA GeForce RTX 4090 ({FIRST})" in home.call("explain", 1).out


def test_slots_and_memory_limit_what_runs_side_by_side(house: House, tmp_path: Path) -> None:
    """Three replicas on two GPUs: never two on one, whatever CPUs are free; the third waits for the first that ends."""
    started = until_started(house, tmp_path, gpus=1, replicas=3, count=2)
    assert {FIRST, SECOND} == set(started)
    for uuid in started:
        (tmp_path / f"stop.{uuid}").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    reports = [one.statement for one in house.reports()]
    assert [one.outcome for one in reports] == [Outcome.OK] * 3
    for one in reports:
        for other in reports:
            if one is not other and one.gpus[0].uuid == other.gpus[0].uuid:
                assert one.finished_ms <= other.started_ms or other.finished_ms <= one.started_ms


def test_a_replica_gets_distinct_gpus(house: House, tmp_path: Path) -> None:
    """Who asks for two has both, and nobody else one of them."""
    (started,) = until_started(house, tmp_path, gpus=2, replicas=1, count=1)
    assert f"{FIRST},{SECOND}" == started
    (tmp_path / f"stop.{started}").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    (report,) = house.reports()
    assert [one.uuid for one in report.statement.gpus] == [FIRST, SECOND]


def test_an_instance_of_a_divided_gpu_is_handed_out(house: House, driver: Driver, tmp_path: Path) -> None:
    """By its own UUID; never the whole. Nobody can tell its time or energy."""
    driver.say("driver 550.90.07", gpu(FIRST, model="NVIDIA A100"), "mig 0 on", "instance 0 MIG-9 4864 NVIDIA A100 MIG 1g.5gb")
    assert until_started(house, tmp_path, gpus=1, replicas=1, count=1) == ["MIG-9"]
    (tmp_path / "stop.MIG-9").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    (report,) = house.reports()
    (used,) = report.statement.gpus
    assert (used.uuid, used.model, used.time_ms, used.energy_mj) == ("MIG-9", "NVIDIA A100 MIG 1g.5gb", None, None)


def test_several_slots_let_replicas_share_a_gpu(house: House, tmp_path: Path) -> None:
    """Where its owner says so."""
    settings = json.loads((house.spool / "node.json").read_text())
    (house.spool / "node.json").write_text(json.dumps({**settings, "gpus": [FIRST], "gpu_slots": 2}))
    started = until_started(house, tmp_path, gpus=1, replicas=2, count=2)
    assert started == [FIRST, FIRST]
    (tmp_path / f"stop.{FIRST}").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()


def test_a_killed_worker_leaves_its_gpus_free(house: House, tmp_path: Path) -> None:
    """Its commands are ended by its executors; the next worker hands the same GPUs out again."""
    until_started(house, tmp_path, gpus=2, replicas=1, count=1)
    house.workers[0].kill()
    house.workers[0].wait()
    (tmp_path / f"stop.{FIRST},{SECOND}").touch()
    house.put(house.launch(waiting(tmp_path, 2), 1, job_id=2))
    assert house.start().wait(timeout=120) == 0, house.log()
    assert {
        one.statement.replica.job: one.statement.outcome for one in house.reports()
    } == {1: Outcome.PREEMPTED, 2: Outcome.OK}


def test_nobody_waits_for_a_gpu_that_wants_none(house: House, tmp_path: Path) -> None:
    """A launch without a GPU overtakes one that waits for it."""
    (started,) = until_started(house, tmp_path, gpus=2, replicas=1, count=1)
    house.put(house.launch(waiting(tmp_path, 1), 1, job_id=2))
    house.put(house.launch(Job(name="t", command=("true",)), 1, job_id=3))
    until(lambda: any(one.statement.replica.job == 3 for one in house.reports()), "the one without a GPU")
    assert not any(one.statement.replica.job == 2 for one in house.reports())
    for name in (started, FIRST, SECOND):
        (tmp_path / f"stop.{name}").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()


def test_a_gpu_held_by_another_node_of_this_machine_is_waited_for(house: House, tmp_path: Path) -> None:
    """Two nodes that offer the same GPU never use it at once."""
    settings = json.loads((house.spool / "node.json").read_text())
    (house.spool / "node.json").write_text(json.dumps({**settings, "gpus": [FIRST]}))
    with open(f"{locks_folder()}/{FIRST}.0", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        house.put(house.launch(waiting(tmp_path, 1), 1))
        house.put(house.launch(Job(name="t", command=("true",)), 1, job_id=2))
        house.start()
        until(lambda: any(one.statement.replica.job == 2 for one in house.reports()), "the one without a GPU")
        assert list(tmp_path.glob("ran.*")) == []
    (tmp_path / f"stop.{FIRST}").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    assert [one.statement.outcome for one in house.reports()] == [Outcome.OK] * 2


def test_a_gpu_that_is_lost_while_it_is_used_is_the_nodes_fault(house: House, driver: Driver, tmp_path: Path) -> None:
    """The command is ended, however long it would wait; the node keeps what is wrong, and gives no more such work."""
    until_started(house, tmp_path, gpus=2, replicas=1, count=1)
    driver.add(f"lost {FIRST}")
    house.put(house.launch(waiting(tmp_path, 2), 1, job_id=2))
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    first, second = (one.statement for one in house.reports())
    assert (first.outcome, first.detail) == (Outcome.NODE, f"a GPU failed while this ran: {FIRST} does not answer: got GPU is lost")
    assert second.outcome is Outcome.NODE
    assert "not started: 2 GPUs wanted, there is GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB)" in second.detail
    assert json.loads((house.spool / GPU_HEALTH).read_text())["works"] == 1


def test_a_critical_error_that_no_program_causes_is_the_nodes_fault(house: House, driver: Driver, tmp_path: Path) -> None:
    """Xid 79 is, and 31 (a page fault of the program) is not."""
    until_started(house, tmp_path, gpus=2, replicas=1, count=1)
    driver.add(f"xid {FIRST} 31", f"xid {SECOND} 79")
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    (report,) = house.reports()
    assert report.statement.outcome is Outcome.NODE
    assert f"{SECOND} failed: got Xid 79, it has fallen off the bus" in report.statement.detail


@pytest.mark.parametrize("old", [False, True])
def test_a_gpu_that_tells_next_to_nothing_is_used(tmp_path: Path, old: bool) -> None:
    """Neither its memory nor who is there: a node is made with it, a replica has it, what nobody measured is null."""
    driver = Driver(tmp_path, old=old)
    home = Home(tmp_path)
    home.env |= driver.env
    driver.add("lacks GetMemoryInfo", "lacks Process", "lacks GetUtilizationRates")
    try:
        assert home.json("node", "init", "a")["node"]["gpus"] == 2
        job = "[resources]\ngpus = 1\ngpu_mem = '1GiB'\n[quorum]\nagree = 1\n"
        done = home.submit(SEEN.format(tmp_path) + job, "--wait")
        assert done.code == 0, done.err
        report = home.json("report", "1")
        assert [report[key] for key in ("gpus", "gpu_s", "gpu_efficiency", "gpu_peak_mib")] == [1, None, None, None]
        assert "out of order" not in home.call("node", "status").out
    finally:
        home.end()


def test_a_driver_that_is_gone_is_told_and_the_job_is_not_to_blame(house: House, driver: Driver) -> None:
    """No replica is started without its GPU."""
    driver.vanish()
    settings = json.loads((house.spool / "node.json").read_text())
    (house.spool / "node.json").write_text(json.dumps({**settings, "gpus": [FIRST]}))
    (report,) = house.run(Job(name="g", command=("true",), resources=Resources(gpus=1)))
    assert report.statement.outcome is Outcome.NODE
    assert "there is none that works; NVIDIA's driver does not answer: got Driver Not Loaded" in report.statement.detail


def test_of_what_a_scheduler_gave_never_more_is_used(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner inside a Dask worker shares out what that one sees, index or UUID, and says what is missing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    settings = json.loads((house.spool / "node.json").read_text())
    (house.spool / "node.json").write_text(json.dumps({**settings, "native_id": "tcp://127.0.0.1:1"}))
    assert until_started(house, tmp_path, gpus=1, replicas=2, count=1) == [SECOND]
    house.put(house.launch(waiting(tmp_path, 2), 1, job_id=2))
    (tmp_path / f"stop.{SECOND}").touch()
    assert house.workers[0].wait(timeout=120) == 0, house.log()
    outcomes = {(one.statement.replica.job, one.statement.replica.task): one.statement for one in house.reports()}
    assert [outcomes[1, task].gpus[0].uuid for task in (0, 1)] == [SECOND] * 2
    assert outcomes[2, 0].outcome is Outcome.NODE
    assert "2 GPUs wanted, there is GPU 1" in outcomes[2, 0].detail


@pytest.fixture
def house(tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Give a node with six CPUs on a machine with two GPUs; its workers are ended afterwards."""
    for name, value in driver.env.items():
        monkeypatch.setenv(name, value)
    made = House(tmp_path, cpus=6)
    yield made
    made.end()


def waiting(tmp_path: Path, gpus: int) -> Job:
    """Return a job that tells which GPUs it sees, and waits for a file of their name."""
    script = f"""#!/bin/sh
echo $CUDA_VISIBLE_DEVICES > {tmp_path}/ran.$NEXAPOD_JOB.$NEXAPOD_TASK
while [ ! -e "{tmp_path}/stop.$CUDA_VISIBLE_DEVICES" ]; do sleep 0.02; done
"""
    return Job(name="waiting", script=script, resources=Resources(gpus=gpus))


def until_started(house: House, tmp_path: Path, *, gpus: int, replicas: int, count: int) -> list[str]:
    """Start a worker with so many waiting replicas; return which GPUs are seen once so many have begun."""
    house.put(house.launch(waiting(tmp_path, gpus), replicas))
    house.start()
    until(lambda: len([one for one in tmp_path.glob("ran.*") if one.read_text()]) == count, f"{count} to begin")
    return sorted(one.read_text().strip() for one in tmp_path.glob("ran.*"))


def test_a_node_whose_gpu_is_lost_gets_no_more_such_work_until_it_is_back(home: Home, driver: Driver, tmp_path: Path) -> None:
    """It is said where people look; other work goes on; once the GPU answers again the job ends well."""
    for name, index in (("a", "0"), ("b", "1")):
        home.json("node", "init", name, "--owner", name, "--gpus", index)
    driver.add(f"lost {FIRST}")
    job = home.submit(SEEN.format(tmp_path) + "[resources]\ngpus = 1\n")
    assert job.code == 0, job.err
    told = "GPU 0 does not answer: got GPU is lost"
    until(lambda: home.call("reconcile") and f"has GPUs out of order ({told})" in home.call("explain", 1).out, "a to be left out")
    assert told in home.call("node", "ls").out
    assert home.submit(SEEN.format(tmp_path), "--wait").code == 0
    driver.drop("lost")
    home.end()
    (home.spool("a") / GPU_HEALTH).unlink()  # five minutes later it counts no more
    assert home.call("wait", 1).code == 0
    assert told not in home.call("node", "ls").out

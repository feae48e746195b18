"""The runner as a program: bundles in, signed reports out, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
from spools import COORDINATOR, DEADLINE_S, House, alive, until

from nexapod_batch.model.job import Array, Comparator, CompareRule, Input, Job, Output, Resources
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.statement import NO_DIGEST, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


#: As it is; and with what stands in for modules while a runner starts (`runner/startup/stand_ins`).
PROGRAMS = ["nexapod_batch.runner", pytest.param("nexapod_batch.runner.startup.fast_start", marks=pytest.mark.slow)]


@pytest.fixture(params=PROGRAMS, ids=["plain", "stand-ins"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    """Give a node with two CPUs; its workers are ended afterwards."""
    made = House(tmp_path, program=request.param)
    yield made
    made.end()


def sh(text: str, **more: object) -> Job:
    """Return a job that runs a line of shell."""
    return Job(name="test", script=text, **more)  # type: ignore[arg-type]


def sha(data: bytes) -> str:
    """Return a hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def test_a_command_is_run_and_signed(house: House) -> None:
    """Exit 0 becomes a statement whose one subject is stdout; its bytes travel in the line, nothing stays on disk."""
    (report,) = house.run(Job(name="t", command=("echo", "hello")))
    s = report.statement
    assert (s.outcome, s.exit_code, s.detail) == (Outcome.OK, 0, "")
    assert [(one.name, one.sha256, one.size) for one in s.subjects] == [("stdout", sha(b"hello\n"), 6)]
    assert (s.builder, s.host, s.isolation) == (house.key.key_id, socket.gethostname(), "none")
    assert report.carried == {"stdout": b"hello\n", "stderr": b""}
    assert list(house.work.iterdir()) == []
    assert list((house.spool / "inbox").iterdir()) == []
    assert len(list((house.spool / "claims").iterdir())) == 1


def test_many_replicas_run_once_each(house: House) -> None:
    """Every replica of a launch is reported exactly once, by several executors."""
    reports = house.run(Job(name="t", command=("true",), array=Array(ranges=((0, 299, 1),))), 300)
    assert [report.statement.replica.task for report in reports] == list(range(300))
    assert {report.statement.outcome for report in reports} == {Outcome.OK}


def test_the_environment_is_made_from_nothing(house: House) -> None:
    """A command sees the documented variables, the descriptor's, and no other of the worker's."""
    job = Job(name="t", command=("env",), env=(("GREETING", "task {task}"),), resources=Resources(cpus_per_task=2))
    (report,) = house.run(job)
    assert report.carried is not None
    found = dict(line.split("=", 1) for line in report.carried["stdout"].decode().splitlines())
    root, name = str(house.work / "1_0.1"), pwd.getpwuid(os.geteuid()).pw_name
    assert re.fullmatch(r"/(var/)?tmp/nxtmp-[0-9a-f]{8}", found.pop("TMPDIR"))
    wanted = {
        "HOME": root, "PWD": root, "LANG": "C.UTF-8", "SHELL": "/bin/sh", "USER": name, "LOGNAME": name,
        "GREETING": "task 0", "NEXAPOD_NODE": "testnode",
        "NEXAPOD_JOB": "1", "NEXAPOD_TASK": "0", "NEXAPOD_NAME": "t", "NEXAPOD_CPUS_PER_TASK": "2",
        "NEXAPOD_NODES": "1", "NEXAPOD_NTASKS": "1", "NEXAPOD_MEM_MIB": "0", "NEXAPOD_GPUS": "0",
        "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "GOTO_NUM_THREADS": "2", "MKL_NUM_THREADS": "2",
        "BLIS_NUM_THREADS": "2", "NUMEXPR_NUM_THREADS": "2", "JULIA_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "",
    }  # fmt: skip
    assert {name: value for name, value in found.items() if name != "PATH"} == wanted


@pytest.mark.parametrize("first", ["", "#!/bin/bash\n"])
def test_a_script_is_run_by_its_interpreter(house: House, first: str) -> None:
    """A script without #! is read by /bin/sh; the script itself is not in the work folder."""
    (report,) = house.run(sh(first + 'echo "${BASH_VERSION:+bash}"; ls -A; tty || true; ls /proc/self/fd\n'))
    assert report.carried is not None
    bash = "bash" if first else ""
    assert report.carried["stdout"].decode().splitlines() == [bash, "not a tty", "0", "1", "2", "3"]
    assert list(house.work.iterdir()) == []


def test_inputs_are_staged_and_outputs_digested(house: House, tmp_path: Path) -> None:
    """Inputs are copied to their targets with their mode; outputs are named by path and digest."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nmkdir -p out; cat ../data/in > out/a; printf 1.00001 > out/b.txt\n")
    tool.chmod(0o755)
    data = tmp_path / "data"
    data.write_bytes(b"payload")
    digests = {path: sha(path.read_bytes()) for path in (tool, data)}
    job = Job(
        name="t",
        command=("./tool",),
        workdir="bin",
        inputs=(
            Input(source=str(tool), target="bin/tool", sha256=digests[tool]),
            Input(source=str(data), target="data/in", sha256=digests[data]),
        ),
        outputs=(
            Output(path="bin/out/a"),
            Output(path="bin/out/*.txt", rule=CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-3, atol=0.0)),
        ),
    )
    (report,) = house.run(job, paths={digest: str(path) for path, digest in digests.items()})
    s = report.statement
    assert (s.outcome, s.detail) == (Outcome.OK, "")
    assert [(one.name, one.sha256, one.normalized) for one in s.subjects] == [
        ("bin/out/a", sha(b"payload"), None),
        ("bin/out/b.txt", sha(b"1.00001"), NO_DIGEST),
    ]
    assert report.carried is not None
    assert report.carried["bin/out/a"] == b"payload"
    assert list(house.work.iterdir()) == []


def test_a_key_that_the_node_got_meanwhile_is_known(house: House, tmp_path: Path) -> None:
    """A worker that runs accepts bundles for a new key of its node as soon as the node's settings say so."""
    gate, new = tmp_path / "gate", Signer.from_seed(b"n" * 32).key_id
    house.put(house.launch(sh(f"while ! [ -e {gate} ]; do sleep 0.05; done")))
    worker = house.start()
    until((house.spool / "running.json").exists, "the first job to run")
    settings = json.loads((house.spool / "node.json").read_text())
    (tmp_path / "settings").write_text(json.dumps({**settings, "keys": [*settings["keys"], new]}))
    (tmp_path / "settings").replace(house.spool / "node.json")
    house.put(house.launch(sh("echo second"), audience=new, job_id=2))
    until(lambda: len(list((house.spool / "claims").iterdir())) == 2, "the second launch to be claimed")
    gate.touch()
    assert worker.wait(timeout=DEADLINE_S) == 0
    assert [report.statement.outcome for report in house.reports()] == [Outcome.OK, Outcome.OK]


def test_a_changed_input_is_refused(house: House, tmp_path: Path) -> None:
    """An input whose digest differs stops the replica before the command runs."""
    data = tmp_path / "data"
    data.write_bytes(b"other")
    wanted = sha(b"payload")
    job = Job(name="t", command=("true",), inputs=(Input(source=str(data), target="in", sha256=wanted),))
    (report,) = house.run(job, paths={wanted: str(data)})
    assert report.statement.outcome is Outcome.NODE
    assert "was changed" in report.statement.detail


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "is no plain file"),
        (os.mkdir, "is no plain file"),
        (lambda path: os.symlink("/dev/zero", path), "is no plain file"),
        (lambda path: os.symlink("/etc/hostname", path), "is no plain file"),
        (lambda _: None, "is missing"),
    ],
    ids=["fifo", "folder", "device", "link", "nothing"],
)
def test_what_lies_in_the_place_of_an_input_is_opened_carefully(
    house: House, tmp_path: Path, put: Callable[[Path], None], why: str
) -> None:
    """Whatever is found there, the replica ends with a reason, at once."""
    wanted = sha(b"payload")
    put(tmp_path / "data")
    job = Job(name="t", command=("true",), inputs=(Input(source="data", target="in", sha256=wanted),))
    (report,) = house.run(job, paths={wanted: str(tmp_path / "data")})
    assert report.statement.outcome is Outcome.NODE
    assert why in report.statement.detail


def test_large_outputs_stay_on_disk(house: House) -> None:
    """Files above 4 KiB are left in the work folder with the logs under the replica's name."""
    (report,) = house.run(sh("head -c 5000 /dev/zero > big; echo note", outputs=(Output(path="big"),)))
    assert report.carried is None
    assert (house.work / "1_0.1" / "big").stat().st_size == 5000
    assert (house.work / "1_0.1.out").read_text() == "note\n"
    assert sorted(path.name for path in house.work.iterdir()) == ["1_0.1", "1_0.1.err", "1_0.1.out"]


def test_more_outputs_than_a_statement_lists_become_a_manifest(house: House) -> None:
    """The subject of 150 outputs is their manifest, which lies beside the work folder."""
    (report,) = house.run(sh("for i in $(seq 150); do echo $i > $i.txt; done", outputs=(Output(path="*.txt"),)))
    s = report.statement
    text = (house.work / "1_0.1.manifest").read_bytes()
    assert s.manifest
    assert (s.subjects[0].sha256, s.vote) == (sha(text), sha(text))
    assert len(text.splitlines()) == 150


@pytest.mark.parametrize(
    ("script", "outcome", "exit_code", "words"),
    [
        ("echo oops >&2; exit 3", Outcome.FAILED, 3, "exit code 3"),
        ("kill -9 $$", Outcome.FAILED, 137, "signal 9"),
        ("true", Outcome.OUTPUT, 0, "out"),
        ("ln -s /etc/passwd out", Outcome.OUTPUT, 0, "out"),
        ("mkfifo out", Outcome.OUTPUT, 0, "out"),
    ],
)
def test_a_failure_says_why(house: House, script: str, outcome: Outcome, exit_code: int, words: str) -> None:
    """Exit codes, signals and outputs that cannot be used are told apart and explained."""
    (report,) = house.run(sh(script, outputs=(Output(path="out"),)))
    s = report.statement
    assert (s.outcome, s.exit_code) == (outcome, exit_code)
    assert words in s.detail
    assert [one.name for one in s.subjects] == ["stdout"]


@pytest.mark.parametrize("script", ["echo 1 > stdout", "mkdir stderr; echo 1 > stderr/x", "mkdir d; touch d/stdout stdout"])
def test_an_output_is_not_called_as_a_log(house: House, script: str) -> None:
    """What a glob takes and is called as the published logs are could not be published beside them: the node says so."""
    (report,) = house.run(sh(script, outputs=(Output(path="**"),)))
    assert report.statement.outcome is Outcome.OUTPUT
    assert "is called as what is kept of std" in report.statement.detail


def test_what_is_called_so_further_down_is_an_output(house: House) -> None:
    """Only what lies beside the logs is in their way."""
    (report,) = house.run(sh("mkdir d; echo 1 > d/stdout; echo 2 > stdout.txt", outputs=(Output(path="**"),)))
    assert [one.name for one in report.statement.subjects] == ["d/stdout", "stdout.txt"]


def test_a_command_that_is_not_there(house: House) -> None:
    """An unknown command fails as in a shell: 127, and named."""
    (report,) = house.run(Job(name="t", command=("no-such-command",)))
    assert (report.statement.outcome, report.statement.exit_code) == (Outcome.FAILED, 127)
    assert "'no-such-command'" in report.statement.detail


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "setsid -f sleep 60; exit 0",
        "(setsid sh -c 'trap \"\" TERM; sleep 60' &) ; exit 0",
    ],
)
def test_time_is_a_limit_for_every_descendant(house: House, script: str) -> None:
    """Whatever left the session or ignores TERM ends with the limit, and nothing is digested before."""
    (report,) = house.run(sh(script, resources=Resources(time_s=1)))
    assert report.statement.outcome is Outcome.TIME
    assert "1 s" in report.statement.detail
    assert report.statement.wall_ms >= 1000


def test_a_descendant_is_waited_for(house: House) -> None:
    """What a daemonised child writes after its parent ended belongs to the output."""
    (report,) = house.run(sh("(setsid sh -c 'sleep 0.3; echo late > out' &)", outputs=(Output(path="out"),)))
    assert report.carried is not None
    assert report.carried["out"] == b"late\n"


def test_memory_is_a_limit(house: House) -> None:
    """A tree that grows over its memory is killed and says so."""
    code = "x = bytearray(400 << 20); x[::4096] = b'1' * len(x[::4096]); import time; time.sleep(60)"
    (report,) = house.run(Job(name="t", command=("python3", "-c", code), resources=Resources(mem_mib=100)))
    assert report.statement.outcome is Outcome.MEMORY
    assert "100 MiB" in report.statement.detail


@pytest.mark.parametrize(
    "script", ["head -c 3000000 /dev/zero > big", "head -c 700000 /dev/zero | tee a b > /dev/null", "yes", "yes >&2"]
)
def test_disk_is_a_limit(house: House, script: str) -> None:
    """One large file, several small ones, and endless logs are all too much."""
    (report,) = house.run(sh("exec " + script if "|" not in script else script, resources=Resources(disk_mib=1)))
    assert report.statement.outcome is Outcome.DISK
    assert "[resources] disk" in report.statement.detail


def test_a_cancelled_replica_is_stopped_and_reported(house: House, tmp_path: Path) -> None:
    """A note in cancel/ ends the replica it names; the others of the launch go on."""
    flag = tmp_path / "started"
    house.put(house.launch(sh(f"if [ $NEXAPOD_TASK = 0 ]; then touch {flag}; sleep 60; fi"), 2))
    worker = house.start()
    until(flag.exists, "the command to start")
    (house.spool / "cancel" / "1_0.1").touch()
    worker.wait(timeout=120)
    assert [report.statement.outcome for report in house.reports()] == [Outcome.CANCELLED, Outcome.OK]
    assert list((house.spool / "cancel").iterdir()) == []


def test_a_cancelled_launch_is_reported_whole(house: House, tmp_path: Path) -> None:
    """A launch key in cancel/ ends what runs and keeps the rest from starting."""
    flag = tmp_path / "started"
    key = house.put(house.launch(sh(f"touch {flag}; sleep 60"), 5))
    worker = house.start()
    until(flag.exists, "the command to start")
    (house.spool / "cancel" / key).touch()
    worker.wait(timeout=120)
    assert {report.statement.outcome for report in house.reports()} == {Outcome.CANCELLED}
    assert len(house.reports()) == 5


def test_a_long_replica_is_announced_and_can_be_read_along(house: House, tmp_path: Path) -> None:
    """A replica that takes its time leaves a start note, and its log has its name while it runs."""
    go = tmp_path / "go"
    house.put(house.launch(sh(f"echo begin; while [ ! -e {go} ]; do sleep 0.05; done")))
    worker = house.start()
    until(lambda: [line for line in house.lines() if line.get("start") == "1_0.1"], "the start note")
    assert (house.work / "1_0.1.out").read_text() == "begin\n"
    go.touch()
    worker.wait(timeout=120)
    assert house.reports()[0].statement.outcome is Outcome.OK
    assert list(house.work.iterdir()) == []


def test_bundles_of_others_are_refused(house: House) -> None:
    """A stranger's signature, another node's bundle, an expired one and plain junk are set aside with the reason."""
    job = Job(name="t", command=("true",))
    stranger = Signer.from_seed(b"s" * 32)
    bad = {
        house.put(house.launch(job, signer=stranger)): "no signature verifies",
        house.put(house.launch(job, audience=COORDINATOR.key_id)): "another node",
        house.put(house.launch(job, not_after=time.time() - 10)): "expired",
        house.put(house.launch(Job(name="t", command=("true",), resources=Resources(cpus_per_task=3)))): "more CPUs",
    }
    (house.spool / "inbox" / f"{'0' * 32}.json").write_bytes(b"\xff junk")
    (house.spool / "inbox" / "..json").write_bytes(b"{}")
    bad["0" * 32] = "not JSON"
    reports = house.run(job)
    assert len(reports) == 1
    for key, reason in bad.items():
        assert reason in (house.spool / "refused" / f"{key}.reason").read_text()
        assert (house.spool / "refused" / f"{key}.json").exists()
        assert not (house.spool / "claims" / key).exists()


def test_a_claimed_launch_is_never_run_again(house: House) -> None:
    """A claim of a dead worker forbids the launch for ever; the inbox file stays as the sign of it."""
    key = house.put(house.launch(Job(name="t", command=("true",))))
    (house.spool / "claims" / key).write_text("{}")
    assert house.start().wait(timeout=120) == 0
    assert house.reports() == []
    assert (house.spool / "inbox" / f"{key}.json").exists()


def test_there_is_one_worker(house: House, tmp_path: Path) -> None:
    """A second worker leaves at once; it runs nothing."""
    go = tmp_path / "go"
    house.put(house.launch(sh(f"while [ ! -e {go} ]; do sleep 0.05; done")))
    first = house.start()
    until(house.lines, "the start note")
    assert house.start().wait(timeout=120) == 0
    assert first.poll() is None
    go.touch()
    assert first.wait(timeout=120) == 0
    assert len(house.reports()) == 1


def _pid_of(house: House, job_script: str, tmp_path: Path) -> tuple[int, int]:
    """Start a worker on a job that writes its pid; return (worker, command)."""
    file = tmp_path / "pid"
    house.put(house.launch(sh(f"echo $$ > {file}.new; mv {file}.new {file}; {job_script}")))
    worker = house.start()
    until(file.exists, "the command to start")
    return worker.pid, int(file.read_text())


def test_a_killed_worker_leaves_no_process_and_a_free_lock(house: House, tmp_path: Path) -> None:
    """Use kill -9 on the main process: executor and command end, what ran is reported, a new worker can start."""
    worker, command = _pid_of(house, "sleep 60", tmp_path)
    os.kill(worker, signal.SIGKILL)
    house.workers[0].wait(timeout=120)
    until(lambda: not alive(command), "the command to end")
    until(house.reports, "the report of the executor")
    assert house.reports()[0].statement.outcome is Outcome.PREEMPTED
    assert house.start().wait(timeout=120) == 0
    assert len(house.reports()) == 1


def test_a_killed_executor_costs_only_what_it_held(house: House, tmp_path: Path) -> None:
    """Use kill -9 on an executor: its command is killed, its replica given up, and the worker goes on."""
    worker, command = _pid_of(house, "setsid sleep 60", tmp_path)
    executor = int(next(line for line in _status(command) if line.startswith("PPid")).split()[1])
    os.kill(executor, signal.SIGKILL)
    until(lambda: not alive(command), "the command to end")
    key = house.put(house.launch(Job(name="t", command=("true",)), job_id=2))
    assert house.workers[0].wait(timeout=120) == 0
    assert [str(report.statement.replica) for report in house.reports()] == ["2_0.1"]
    assert not (house.spool / "inbox" / f"{key}.json").exists()
    assert f"executor {executor} died; given up: 1_0.1" in house.log()
    assert worker == house.workers[0].pid


def _status(pid: int) -> list[str]:
    with open(f"/proc/{pid}/status") as file:
        return file.read().splitlines()


def test_what_survived_a_whole_worker_is_ended_by_the_next(house: House, tmp_path: Path) -> None:
    """After kill -9 of worker and executor at once the next worker kills the orphan, and runs nothing again."""
    worker, command = _pid_of(house, "exec sleep 60", tmp_path)
    executor = int(next(line for line in _status(command) if line.startswith("PPid")).split()[1])
    os.kill(worker, signal.SIGSTOP)  # so that it cannot clean up in between
    os.kill(executor, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    house.workers[0].wait(timeout=120)
    assert alive(command)
    assert house.start().wait(timeout=120) == 0
    until(lambda: not alive(command), "the orphan to be killed")
    assert house.reports() == []


def test_a_terminated_worker_reports_what_it_stops(house: House, tmp_path: Path) -> None:
    """TERM (the allocation is over) stops what runs and signs it as preempted."""
    worker, command = _pid_of(house, "sleep 60", tmp_path)
    os.kill(worker, signal.SIGTERM)
    assert house.workers[0].wait(timeout=120) == 0
    assert not alive(command)
    assert [report.statement.outcome for report in house.reports()] == [Outcome.PREEMPTED]


def test_memory_of_the_node_is_shared_out(house: House, tmp_path: Path) -> None:
    """Replicas that need more than half of the memory run one after the other."""
    lock = tmp_path / "lock"
    script = f"mkdir {lock} || exit 9; sleep 0.2; rmdir {lock}"
    reports = house.run(sh(script, resources=Resources(mem_mib=3000)), 3)
    assert [report.statement.exit_code for report in reports] == [0, 0, 0]


def test_unreadable_configuration_is_told(house: House) -> None:
    """A broken node.json ends the worker with 78 and one message."""
    (house.spool / "node.json").write_text("{")
    assert house.start().wait(timeout=120) == 78
    assert "node.json cannot be read" in house.log()
    assert "Traceback" not in house.log()


def deep(levels: int) -> bytes:
    """Return JSON that is nested so far."""
    return b'{"payloadType":' + b"[" * levels + b"]" * levels + b"}"


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a fifo": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "4 TB of nothing": lambda path: (path.touch(), os.truncate(path, 4 << 40)),
    **{f"{levels} levels": lambda path, levels=levels: path.write_bytes(deep(levels)) for levels in (64, 950, 1_010, 1_023, 90_000)},
    "a long type": lambda path: path.write_bytes(b'{"payloadType":"' + b"x" * (1 << 20) + b'","payload":"","signatures":[]}'),
}  # fmt: skip


def test_whatever_lies_in_an_inbox_the_worker_goes_on(house: House) -> None:
    """Nothing that somebody puts there in place of a bundle stops the worker, and each thing is refused with a reason."""
    for number, put in enumerate(HOSTILE.values()):
        put(house.spool / "inbox" / f"{number:032x}.json")
    os.mkfifo(house.spool / "inbox" / f"{'y' * 249}.json")
    (report,) = house.run(Job(name="t", command=("true",)))
    assert report.statement.outcome is Outcome.OK
    reasons = {path.stem: path.read_text() for path in (house.spool / "refused").glob("0*.reason")}
    assert sorted(reasons) == [f"{number:032x}" for number in range(len(HOSTILE))]
    assert max(map(len, reasons.values())) < 5_000
    assert list((house.spool / "inbox").iterdir()) == []

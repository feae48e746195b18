"""A cluster that is reached over a real sshd: the same jobs, through connections that are cut, refused and changed."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real.slurm_homes import FarHome, Wrapped, mark, queue, slurm_jobs, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd
from real.ssh_sites import listening

ISING = Path(__file__).resolve().parents[2] / "examples" / "ising"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FarHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = FarHome(tmp_path)
    yield made
    made.end()


# ---- whole jobs


def test_the_first_example_over_ssh_and_beside_it(home: FarHome, alpha: Cluster, beta: Cluster, sshd: Sshd, tmp_path: Path) -> None:
    """One replica comes from a cluster over SSH, one from another, and they agree."""
    home.over_ssh(alpha, sshd)
    home.site(beta)
    for name in ("job.toml", "ising.py"):
        shutil.copy(ISING / name, tmp_path / name)
    done = home.call("submit", tmp_path / "job.toml", "--wait")
    assert done.code == 0, done.err
    (task,) = home.json("show", "last")["tasks"]
    assert (task["state"], task["reason"]) == ("accepted", "2 of 2 agree, from 2 sites, all run by one account")
    assert home.call("verify", "last").code == 0
    assert queue(alpha) == []


def test_the_runner_is_brought_along_once(home: FarHome, alpha: Cluster, sshd: Sshd) -> None:
    """The process above a task is the interpreter that was brought; the second job brings none."""
    home.over_ssh(alpha, sshd)
    command = "[job]\nname = \"who\"\ncommand = ['sh', '-c', 'readlink /proc/$PPID/exe']\n[resources]\ntime = \"1m\"\n[quorum]\nagree = 1\n"
    for job in (1, 2):
        assert home.submit(command, "--wait").code == 0
        (runner,) = home.there("runner-*")
        assert (home.path / "results" / str(job) / "0" / "stdout").read_text() == f"{runner}/bin/python3\n"
        if job == 1:
            stamp = runner.stat().st_ctime_ns
        assert runner.stat().st_ctime_ns == stamp
    earlier = runner.rename(runner.with_name("runner-of-an-earlier-version"))
    assert home.submit(command, "--wait").code == 0
    assert home.there("runner-*") == [runner]
    assert not earlier.exists()
    assert home.there(".runner-*") == []


def test_a_check_brings_the_runner_and_tries_it(home: FarHome, alpha: Cluster, sshd: Sshd) -> None:
    """The interpreter that will run is tried where it will run; nothing is left."""
    home.over_ssh(alpha, sshd)
    found = {one["probe"]: one for one in home.json("site", "check", "alpha")["findings"]}
    assert {one["mark"] for one in found.values()} <= {"ok", "skip", "warn"}
    assert found["python"]["mark"] == "ok"
    assert found["python"]["text"].startswith(f"the interpreter that is brought along is {sys.version.split()[0]}, with nexapod-batch ")
    assert "verified" in found["test job"]["text"]
    assert home.there("*") == []


def test_an_installed_runner_is_used_where_the_site_names_one(home: FarHome, alpha: Cluster, sshd: Sshd) -> None:
    """Then nothing is brought."""
    home.over_ssh(alpha, sshd, runner={"python": sys.executable})
    assert home.submit('[job]\nname = "t"\ncommand = ["true"]\n[quorum]\nagree = 1\n', "--wait").code == 0
    assert home.there("runner-*") == []


def test_inputs_go_there_and_large_outputs_come_back(home: FarHome, alpha: Cluster, sshd: Sshd, tmp_path: Path) -> None:
    """Several MiB, many files in folders, hostile names; links stay away; the far work folder is cleared after."""
    home.over_ssh(alpha, sshd)
    data = os.urandom(3 << 20)
    (tmp_path / "in.bin").write_bytes(data)
    text = """[job]
name = "big"
script = '''#!/bin/sh
cat in.bin in.bin > out.bin; mkdir -p d/e; for i in $(seq 60); do echo $i > "d/e/two words $i"; done; ln -s /etc/passwd d/link
touch "$(printf 'd/\\\\377')"; echo done
'''
[resources]
time = "1m"
[quorum]
agree = 1
[[inputs]]
source = "in.bin"
target = "in.bin"
[[outputs]]
path = "out.bin"
[[outputs]]
path = "d/e/*"
"""
    done = home.submit(text, "--wait")
    assert done.code == 0, done.out + done.err + home.describe()
    results = home.path / "results" / "1" / "0"
    assert hashlib.sha256((results / "out.bin").read_bytes()).digest() == hashlib.sha256(data + data).digest()
    small = {path.name: path.read_text() for path in (results / "d" / "e").iterdir()}
    assert small == {f"two words {number}": f"{number}\n" for number in range(1, 61)}
    assert not [path for path in home.path.rglob("*") if path.is_symlink()]
    home.drive(lambda: home.there("alpha/work/*") == [], "the far work folder to be cleared")


def test_many_small_inputs_go_there_once(home: FarHome, alpha: Cluster, sshd: Sshd, tmp_path: Path) -> None:
    """A folder of them travels in one stream, to a site on which nothing of ours is; the second job sends none again."""
    home.over_ssh(alpha, sshd)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    for number in range(120):
        (tmp_path / "data" / "deep" / f"{number}.txt").write_text(f"number {number}\n")
    text = """[job]
name = "many"
command = ["sh", "-c", "cat $(ls data/deep/* | sort -V)"]
[resources]
time = "1m"
[quorum]
agree = 1
[[inputs]]
source = "data/**"
"""
    wanted = "".join(f"number {number}\n" for number in range(120))
    size = len(wanted)
    told = {1: f"120 files, {size / 1024:.3g} KiB, all to be sent to alpha", 2: f"120 files, {size / 1024:.3g} KiB, all on alpha already"}
    files: dict[str, int] = {}
    for job in (1, 2):
        assert f"# inputs: {told[job]}\n" in home.submit(text, "--dry-run").out
        done = home.submit(text, "--wait")
        assert done.code == 0, done.out + done.err + home.describe()
        assert f"  inputs:  {told[job]}\n" in done.out
        assert (home.path / "results" / str(job) / "0" / "stdout").read_text() == wanted
        there = {path.name: path.stat().st_ino for path in home.there("alpha/spool/inputs/*")}
        assert len(there) == 120
        assert files in ({}, there)
        files = there


def test_logs_of_a_replica_that_failed_are_brought(home: FarHome, alpha: Cluster, sshd: Sshd) -> None:
    """Nobody publishes them, so `logs` looks where they lie; an unreachable host is said."""
    home.over_ssh(alpha, sshd)
    words = "seq 20000; echo this went wrong >&2; sleep 1; exit 3"
    assert home.submit(f"[job]\nname = \"f\"\ncommand = ['sh', '-c', '{words}']\n[resources]\ntime = \"1m\"\n[quorum]\nagree = 1\nmax_errors = 0\n", "--wait").code == 1
    assert home.call("logs", "last", "--stderr").out == "this went wrong\n"
    assert home.call("logs", "last").out.splitlines()[-1] == "20000"


def test_cancelling_leaves_nothing_in_the_queue(home: FarHome, alpha: Cluster, sshd: Sshd) -> None:
    """Of tasks that run and of tasks that wait."""
    home.over_ssh(alpha, sshd, pack={"tasks": 1})
    job = home.start(home.tasks(20, "sleep 600"))
    home.drive(home.executed, "a task to start")
    assert home.call("cancel", job).code == 0
    home.drive(lambda: queue(alpha) == [] and home.job(job)["finished_at"], "an empty queue")
    assert home.job(job)["n_cancelled"] == 20


def test_looking_never_connects(home: FarHome, alpha: Cluster, server: Sshd) -> None:
    """`ls`, `show`, `explain`, `node ls`: only what is known here."""
    home.over_ssh(alpha, server)
    assert home.submit('[job]\nname = "t"\ncommand = ["true"]\n[quorum]\nagree = 1\n', "--wait").code == 0
    server.stop()
    with listening(server.port) as listener:
        for argv in (["ls"], ["show", "last"], ["explain", "last"], ["node", "ls"], ["site", "ls"], ["results", "last"]):
            assert home.call(*argv).code == 0, argv
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


# ---- faults in the middle of jobs


def test_a_host_that_is_away_is_waited_for(home: FarHome, alpha: Cluster, server: Sshd) -> None:
    """The job is kept and told why it waits; when sshd is back, it runs."""
    home.over_ssh(alpha, server)
    server.stop()
    done = home.call("submit", home.descriptor(home.tasks(3)), "--parsable")
    job, away = int(done.out), f"site alpha: 127.0.0.1:{server.port} cannot be reached"
    assert (done.err.count(away), done.err.count("alpha")) == (1, 1)  # once, whatever needed it
    assert home.call("reconcile", "--quiet").err == ""  # it was told
    assert f"still: {away}" in home.call("reconcile").out
    assert away in home.explain()
    assert home.job(job)["finished_at"] is None
    server.start()
    home.ended(job)
    assert home.executed() == {f"{job}_{task}.1": 1 for task in range(3)}


def test_a_changed_host_key_stops_this_site_alone(home: FarHome, alpha: Cluster, beta: Cluster, server: Sshd) -> None:
    """Nothing is sent to it; the other site goes on; when somebody trusts the new key, so does this one."""
    home.over_ssh(alpha, server)
    home.site(beta)
    server.rotate_host_key()
    job = home.start(home.tasks(2, quorum="agree = 2\n").replace('distinct = "run"', 'distinct = "site"').replace("agree = 1\n", "", 1))
    home.drive(lambda: home.replicas(job).count("reported") == 2, "the other site to report")
    said = home.call("reconcile").err + home.explain(job)
    assert "has changed, or somebody is in between" in said
    assert home.job(job)["finished_at"] is None
    assert not home.there("alpha")
    server.trust_host_key()
    home.ended(job)


def test_a_full_quota_there_is_told_and_survived(home: FarHome, alpha: Cluster, sshd: Sshd, tmp_path: Path) -> None:
    """Inputs do not fit: nothing half is left, the job waits with the reason, and runs when somebody made room."""
    home.far.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "quota", home.far], check=True)
    try:
        home.over_ssh(alpha, sshd, runner={"python": sys.executable})
        (home.far / "hog").write_bytes(bytes(10 << 20))
        (tmp_path / "input.bin").write_bytes(os.urandom(3 << 20))
        job = home.start(home.tasks(2, "cat input.bin | wc -c") + f'[[inputs]]\nsource = "{tmp_path}/input.bin"\ntarget = "input.bin"\n')
        said = home.call("reconcile")
        assert "cannot be written: is there room, or is the quota used up?" in said.out + said.err
        assert home.executed() == {}
        assert home.there("*/*/inputs/*") == []
        (home.far / "hog").unlink()
        home.ended(job)
        assert set(home.executed().values()) == {1}
    finally:
        home.end()
        subprocess.run(["umount", "--lazy", home.far], check=True)


def test_connections_that_are_cut_all_the_time(home: FarHome, alpha: Cluster, server: Sshd) -> None:
    """During submit, collect, fetch: every task ends right, runs once, and is one Slurm job."""
    home.over_ssh(alpha, server, pack={"tasks": 4})
    before = mark(alpha)
    stop = threading.Event()
    cuts = []

    def cut() -> None:
        while not stop.wait(0.4):
            server.kill_sessions()
            cuts.append(1)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        text = home.tasks(24, "sleep 0.3; head -c 600000 /dev/zero > out.bin", more="") + '[[outputs]]\npath = "out.bin"\n'
        job = home.start(text)
        until(lambda: len(cuts) > 5, "some cuts")
        for _ in range(8):
            home.call("reconcile")
    finally:
        stop.set()
        thread.join()
    home.ended(job, timeout=180)
    assert home.executed() == {f"{job}_{task}.1": 1 for task in range(24)}
    until(lambda: slurm_jobs(alpha, before), "accounting to know them")
    masters = {name: {element.partition("_")[0] for element in told} for name, told in slurm_jobs(alpha, before).items()}
    assert [name for name, ids in masters.items() if len(ids) != 1] == []
    assert all((home.path / "results" / str(job) / str(task) / "out.bin").stat().st_size == 600_000 for task in range(24))


def test_a_job_that_slurm_took_before_the_cut_is_adopted(home: FarHome, alpha: Cluster, server: Sshd, tmp_path: Path) -> None:
    """It had done its work, the answer never came: it is found by its name, and not submitted again."""
    commands = Wrapped(tmp_path, alpha)
    taken, gate = tmp_path / "taken", tmp_path / "gate"
    commands.break_("sbatch", f'"$REAL" "$@"; code=$?; touch {shlex.quote(str(taken))}; while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.1; done; exit $code')
    home.over_ssh(alpha, server, bin_folder=commands.bin)
    before = mark(alpha)
    descriptor = home.descriptor(home.tasks(1))
    with subprocess.Popen([*program(), "submit", str(descriptor)], env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as submitting:
        until(taken.exists, "Slurm to take it")
        server.kill_sessions()
        assert submitting.wait(60) == 0
    gate.touch()
    commands.mend("sbatch")
    home.ended(1)
    assert len(commands.calls("sbatch")) == 1
    assert home.executed() == {"1_0.1": 1}
    until(lambda: slurm_jobs(alpha, before), "accounting to know it")
    assert len(slurm_jobs(alpha, before)) == 1


def test_a_call_that_may_still_be_under_way_is_not_made_again(home: FarHome, alpha: Cluster, server: Sshd, tmp_path: Path) -> None:
    """The connection is cut while sbatch has not reached Slurm yet; it does so later, once."""
    commands = Wrapped(tmp_path, alpha)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    commands.break_("sbatch", f'touch {shlex.quote(str(begun))}; while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.1; done; exec "$REAL" "$@"')
    home.over_ssh(alpha, server, bin_folder=commands.bin)
    before = mark(alpha)
    descriptor = home.descriptor(home.tasks(1))
    with subprocess.Popen([*program(), "submit", str(descriptor)], env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as submitting:
        until(begun.exists, "sbatch to start")
        server.kill_sessions()
        assert submitting.wait(60) == 0
    (group,) = home.groups().values()
    assert group["unsure"]
    tried = group["tried"]
    until(lambda: time.time() - tried > 6, "the next try to be due")
    home.reconcile()
    assert len(commands.calls("sbatch")) == 1
    gate.touch()
    home.ended(1)
    assert len(commands.calls("sbatch")) == 1
    until(lambda: slurm_jobs(alpha, before), "accounting to know it")
    assert len(slurm_jobs(alpha, before)) == 1


def program() -> list[str]:
    """Return how the program is called."""
    return [str(Path(sys.executable).with_name("nexapod-batch"))]

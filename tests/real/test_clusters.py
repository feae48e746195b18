"""The clusters and the sshd that the other tests rely on are real, private, breakable, and leave nothing behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from clusters.daemons import ClusterError, Daemon, free_ports, lives, poll, program
from clusters.slurm import Cluster, Clusters
from clusters.sshd import Sshd

TESTS = Path(__file__).resolve().parents[1]
HOSTILE = ["two words", "it's", 'a "quote"', "$(id)", "`id`", "a;b", "#", "back\\slash", "umlaut-\u00e4", "", "*", "~", "x" * 300]


def submit(cluster: Cluster, folder: Path, command: str, *options: str) -> str:
    """Submit a command, its output in `<folder>/<job id>.out`; return the job id."""
    argv = ["sbatch", "--parsable", f"--output={folder}/%j.out", *options, f"--wrap={command}"]
    return cluster.run(*argv, check=True, cwd=folder).stdout.strip()


def states(cluster: Cluster, job: str) -> set[str]:
    """Return the states that accounting has for a job, without its steps."""
    argv = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State"]
    return set(cluster.run(*argv, check=True).stdout.split())


def ended(cluster: Cluster, job: str, state: str = "COMPLETED") -> None:
    """Wait until accounting has one state for a job."""
    poll(f"job {job} is {state}", lambda: states(cluster, job) == {state}, log=lambda: str(states(cluster, job)))


def queued(cluster: Cluster, job: str, form: str) -> str:
    """Return what the queue says of a job."""
    return cluster.run("squeue", "--noheader", f"--jobs={job}", f"--format={form}", check=True).stdout.strip()


def appears(path: Path) -> str:
    """Wait until a file has content, and return it."""
    poll(f"{path} has content", lambda: path.exists() and path.stat().st_size > 0)
    return path.read_text().strip()


def speaks_of(pid: int, folder: Path) -> bool:
    """Tell whether a process has a folder in its words, its environment or its open files."""
    with suppress(OSError):
        said = b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for what in ("cmdline", "environ"))
        files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
        return os.fsencode(folder) in said or any(file.startswith(f"{folder}/") for file in files)
    return False


def test_every_node_runs_a_job_and_accounting_knows_it(cluster: Cluster, tmp_path: Path) -> None:
    """A batch job on each node of each cluster, from the queue to sacct."""
    for node in cluster.nodes:
        job = submit(cluster, tmp_path, "echo $SLURM_CLUSTER_NAME $SLURMD_NODENAME", f"--nodelist={node}")
        ended(cluster, job)
        assert f"{cluster.name} {node}" == appears(tmp_path / f"{job}.out")


def test_a_job_of_two_nodes_starts_steps_on_both(cluster: Cluster, tmp_path: Path) -> None:
    """A step started inside a job reaches the other slurmd."""
    job = submit(cluster, tmp_path, "srun sh -c 'echo $SLURMD_NODENAME'", "--nodes=2")
    ended(cluster, job)
    assert list(cluster.nodes) == sorted((tmp_path / f"{job}.out").read_text().split())


def test_nodes_have_more_cpus_than_the_machine(alpha: Cluster, tmp_path: Path) -> None:
    """Sixteen jobs of one CPU run at the same time."""
    job = submit(alpha, tmp_path, "sleep 300", "--array=0-15")
    poll("all of them run", lambda: alpha.run("squeue", "--noheader", "--array", f"--jobs={job}", "--format=%t").stdout.split() == ["R"] * 16)


def test_the_clusters_differ_in_the_largest_array(slurm: Clusters, tmp_path: Path) -> None:
    """The largest index is MaxArraySize minus one."""
    for cluster, largest in ((slurm.alpha, 1_000), (slurm.beta, 2_000)):
        submit(cluster, tmp_path, "true", "--hold", f"--array={largest}")
        refused = cluster.run("sbatch", "--hold", f"--array={largest + 1}", "--wrap=true", cwd=tmp_path)
        assert refused.returncode != 0
        assert "Invalid job array specification" in refused.stderr
        cluster.cancel_all()


def test_the_partition_limits_hold(cluster: Cluster, tmp_path: Path) -> None:
    """`short` is the default; what `limited` cannot ever run stays in the queue with a reason."""
    assert queued(cluster, submit(cluster, tmp_path, "true", "--hold"), "%P") == "short"
    job = submit(cluster, tmp_path, "true", "--partition=limited", "--time=6")
    poll("the reason is known", lambda: queued(cluster, job, "%r") == "PartitionTimeLimit")
    job = submit(cluster, tmp_path, "true", "--partition=limited", "--nodes=2")
    poll("the reason is known", lambda: queued(cluster, job, "%r") == "PartitionNodeLimit")


@pytest.mark.slow
def test_a_scavenger_is_preempted(cluster: Cluster, tmp_path: Path) -> None:
    """A job of `short` takes the nodes; in `scavenge` that is the end, in `requeue` a new start."""
    for partition, state in (("scavenge", "PREEMPTED"), ("requeue", "REQUEUED")):
        job = submit(cluster, tmp_path, "echo on; sleep 600", f"--partition={partition}", "--nodes=2", "--exclusive")
        appears(tmp_path / f"{job}.out")
        winner = submit(cluster, tmp_path, "true", "--nodes=2", "--exclusive")
        ended(cluster, winner)
        if state == "PREEMPTED":
            ended(cluster, job, state)
        else:
            assert cluster.run("scontrol", "show", "job", job, check=True).stdout.count("Restarts=1") == 1
        cluster.cancel_all()


def test_gpus_are_handed_out_and_used_up(beta: Cluster, tmp_path: Path) -> None:
    """Two made-up gpus: a job sees the numbers of its own, a third waits."""
    jobs = [submit(beta, tmp_path, "echo $CUDA_VISIBLE_DEVICES; sleep 600", "--partition=gpu", "--gpus-per-node=1") for _ in range(2)]
    assert sorted(appears(tmp_path / f"{job}.out") for job in jobs) == ["0", "1"]
    third = submit(beta, tmp_path, "true", "--partition=gpu", "--gres=gpu:fake:1")
    poll("the third waits", lambda: queued(beta, third, "%t %r") == "PD Resources")


@pytest.mark.slow
def test_a_controller_can_go_and_come_back(alpha: Cluster, beta: Cluster, tmp_path: Path) -> None:
    """While it is away its commands fail, its jobs run on, and the other cluster does not notice."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = submit(alpha, tmp_path, f"echo on; cat {gate}")
    appears(tmp_path / f"{job}.out")
    alpha.stop_controller()
    assert alpha.run("squeue").returncode != 0
    ended(beta, submit(beta, tmp_path, "true"))
    gate.write_text("through the gate\n")
    alpha.start_controller()
    ended(alpha, job)
    assert "through the gate" in (tmp_path / f"{job}.out").read_text()


@pytest.mark.slow
def test_a_crashed_controller_remembers_its_jobs(alpha: Cluster, tmp_path: Path) -> None:
    """Killed, not stopped: what was on disk is there again."""
    job = submit(alpha, tmp_path, "true", "--hold", "--job-name=survivor")
    state = alpha.conf.parent / "state" / "job_state"
    poll("the job is on disk", lambda: state.exists() and b"survivor" in state.read_bytes())
    alpha.kill_controller()
    alpha.start_controller()
    assert queued(alpha, job, "%j") == "survivor"


@pytest.mark.slow
def test_accounting_can_go_and_come_back(slurm: Clusters, alpha: Cluster, tmp_path: Path) -> None:
    """Without slurmdbd sacct fails and jobs still run; afterwards accounting has them."""
    slurm.stop_dbd()
    try:
        job = submit(alpha, tmp_path, "true")
        assert alpha.run("sacct", f"--jobs={job}").returncode != 0
        alpha.wait_idle()
    finally:
        slurm.start_dbd()
    ended(alpha, job)


@pytest.mark.slow
def test_a_killed_node_takes_its_jobs_along(alpha: Cluster, tmp_path: Path) -> None:
    """As a power cut does: the job, and what it put into a session of its own; then the node is back."""
    job = submit(alpha, tmp_path, "setsid sleep 601 & echo $! $$; wait", "--nodelist=a1", "--no-requeue")
    pids = [psutil.Process(int(pid)) for pid in appears(tmp_path / f"{job}.out").split()]
    other = submit(alpha, tmp_path, "echo on; sleep 602", "--nodelist=a2")
    appears(tmp_path / f"{other}.out")
    alpha.lose_node("a1")
    assert [lives(process) for process in pids] == [False, False]
    ended(alpha, job, "NODE_FAIL")
    assert queued(alpha, other, "%t") == "R"
    alpha.start_node("a1")
    ended(alpha, submit(alpha, tmp_path, "true", "--nodelist=a1"))


def test_the_wrappers_know_their_cluster(slurm: Clusters, tmp_path: Path) -> None:
    """Whatever SLURM_CONF the caller has, and with every word as it was."""
    for cluster, other in ((slurm.alpha, slurm.beta), (slurm.beta, slurm.alpha)):
        shown = other.run(cluster.bin / "scontrol", "show", "config", check=True).stdout
        assert f"ClusterName             = {cluster.name}\n" in shown
        said = other.run(cluster.bin / "sbatch", "--test-only", "--job-name=a  b'$x", "--wrap=true", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        assert {"sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"} <= {path.name for path in cluster.bin.iterdir()}


def test_the_callers_settings_do_not_steer(monkeypatch: pytest.MonkeyPatch, slurm: Clusters) -> None:
    """The environment of a cluster has SLURM_CONF and no other word for Slurm's commands."""
    for name in ("SLURM_CLUSTERS", "SBATCH_PARTITION", "SQUEUE_FORMAT", "SACCT_FORMAT", "SINFO_FORMAT"):
        monkeypatch.setenv(name, "nonsense")
    environment = Clusters.attach(slurm.folder).alpha.env
    steering = {name for name in environment if name.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SINFO_"))}
    assert {"SLURM_CONF"} == steering


def test_listeners_stand_on_the_loopback(slurm: Clusters, sshd: Sshd) -> None:
    """No daemon can be reached from another machine."""
    listeners = [
        one.laddr.ip
        for process in [*slurm.processes().values(), psutil.Process(sshd.pid)]
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert len(listeners) == 1 + 2 + 4 + 1  # slurmdbd, two controllers, four nodes, sshd
    assert {True} == {address.startswith("127.") for address in listeners}


@pytest.mark.slow
def test_up_and_down_by_hand(slurm: Clusters, tmp_path: Path) -> None:
    """A second pair beside the first; jobs run when `up` has returned, and after `down` nothing is left of them."""
    folder = Path(tempfile.gettempdir(), f"by-hand-{os.getpid()}")  # sockets need a short path
    by_hand = [sys.executable, str(TESTS / "clusters")]
    try:
        up = subprocess.run([*by_hand, "up", str(folder)], capture_output=True, text=True, timeout=120, check=False)
        assert up.returncode == 0, up.stderr
        reach = json.loads(up.stdout)
        sbatch = str(Path(reach["clusters"]["beta"]["bin"]) / "sbatch")
        argv = [sbatch, f"--output={tmp_path}/%j.out", "--wrap=setsid sleep 603 & echo $!; wait"]
        subprocess.run(argv, cwd=tmp_path, check=True, timeout=120, capture_output=True)
        sleeper = psutil.Process(int(appears(tmp_path / "1.out")))
        again = subprocess.run([*by_hand, "up", str(folder)], capture_output=True, text=True, timeout=120, check=False)
        assert again.returncode == 1
        assert "clusters run in" in again.stderr
        assert len(Clusters.attach(folder).processes()) == 9
    finally:
        down = subprocess.run([*by_hand, "down", str(folder)], capture_output=True, text=True, timeout=120, check=False)
    assert down.returncode == 0, down.stderr
    assert Clusters.attach(folder).processes() == {}
    assert not lives(sleeper)
    assert [process for process in psutil.process_iter() if lives(process) and speaks_of(process.pid, folder)] == []
    assert len(slurm.processes()) == 9
    shutil.rmtree(folder)


def test_a_folder_must_be_empty_and_short(tmp_path: Path) -> None:
    """Nothing is overwritten, and a path beyond a socket's limit is refused before anything starts."""
    (tmp_path / "mine").write_text("precious")
    short = Path(f"/proc/self/fd/{os.open(tmp_path, os.O_RDONLY)}")
    try:
        with pytest.raises(ClusterError, match="is not empty"):
            Clusters.start(short)
    finally:
        os.close(int(short.name))
    with pytest.raises(ClusterError, match="too long"):
        Clusters.start(tmp_path / ("x" * 60))
    assert os.listdir(tmp_path) == ["mine"]


def test_a_missing_program_says_what_to_do() -> None:
    """Not a skip: the tests cannot speak for Slurm then."""
    with pytest.raises(ClusterError, match=r"slurm-of-tomorrow is missing: run tests/clusters/install\.sh"):
        program("slurm-of-tomorrow")


def test_a_daemon_that_dies_at_start_shows_its_log(tmp_path: Path) -> None:
    """Its exit code and last words are in the error."""
    daemon = Daemon(tmp_path, "brief", ["sh", "-c", "echo last words >&2; exit 3"])
    with pytest.raises(ClusterError, match="brief ended with 3:\nlast words"):
        daemon.start(lambda: False)
    assert daemon.process() is None


def test_a_daemon_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    """No half-started process stays."""
    daemon = Daemon(tmp_path, "idle", ["sleep", "604"])
    with pytest.raises(ClusterError, match=r"not after 0\.2 s: idle is ready"):
        daemon.start(lambda: False, timeout=0.2)
    assert daemon.process() is None


def test_a_pid_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """The pid file of a dead daemon names a number that the system gave away since."""
    with subprocess.Popen(["sleep", "605"]) as other:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old.pid").write_text(f"{other.pid} 1.5\n")
        Daemon(tmp_path, "old", ["sleep", "605"]).stop()
        assert other.poll() is None
        other.kill()


def test_a_killed_test_run_takes_its_daemons_along(tmp_path: Path) -> None:
    """Nobody calls `stop` when the program that started a daemon is killed."""
    code = (
        "import os, sys, signal; from pathlib import Path; from clusters.daemons import Daemon\n"
        "d = Daemon(Path(sys.argv[1]), 'orphan', ['sleep', '606']); d.start(lambda: d.process().name() == 'sleep')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(TESTS)}, check=False)
    assert done.returncode == -signal.SIGKILL
    poll("the daemon is gone", lambda: Daemon(tmp_path, "orphan", []).process() is None)


def test_free_ports_are_distinct() -> None:
    """As many as asked for, none of them twice."""
    assert len(set(free_ports(50))) == 50


def test_login_with_the_key(sshd: Sshd) -> None:
    """The user's key opens, and every word arrives as it was."""
    done = sshd.ssh("printf", "%s\\n", *HOSTILE)
    assert (0, "".join(f"{word}\n" for word in HOSTILE)) == (done.returncode, done.stdout)
    assert str(os.geteuid()) == sshd.ssh("id", "-u").stdout.strip()


def test_login_with_another_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    """A key that nobody authorised does not open."""
    stranger = Sshd(sshd.folder, sshd.port)
    stranger.key = tmp_path / "key"
    stranger._keygen(stranger.key)
    assert "Permission denied" in stranger.ssh("true").stderr


def test_slurm_over_ssh(sshd: Sshd, slurm: Clusters) -> None:
    """A session has no SLURM_CONF; the wrappers work all the same."""
    for name, cluster in slurm.each.items():
        assert f"ClusterName             = {name}" in sshd.ssh(cluster.bin / "scontrol", "show", "config").stdout


def test_sftp_works(sshd: Sshd, tmp_path: Path) -> None:
    """Files can be put and fetched."""
    (tmp_path / "here").write_text("content\n")
    argv = ["sftp", "-q", "-b", "-", "-i", str(sshd.key), "-P", str(sshd.port), "-o", f"UserKnownHostsFile={sshd.known_hosts}"]
    batch = f"put {tmp_path}/here {tmp_path}/there\n"
    subprocess.run([*argv, f"{sshd.user}@{sshd.host}"], input=batch, text=True, check=True, timeout=120, capture_output=True)
    assert (tmp_path / "there").read_text() == "content\n"


def test_a_stopped_sshd_comes_back_as_it_was(sshd: Sshd) -> None:
    """Same port, same keys."""
    sshd.stop()
    assert "Connection refused" in sshd.ssh("true").stderr
    sshd.start()
    assert sshd.ssh("true").returncode == 0


def test_a_new_host_key_is_noticed(sshd: Sshd) -> None:
    """The client refuses until somebody trusts the new key."""
    sshd.rotate_host_key()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in sshd.ssh("true").stderr
    sshd.trust_host_key()
    assert sshd.ssh("true").returncode == 0


def test_a_cut_connection(tmp_path: Path) -> None:
    """The client loses its session, new ones are let in, and the command is ended only when the server is closed."""
    with Sshd.create(tmp_path / "sshd") as sshd:
        argv = ["ssh", "-F", "none", "-i", str(sshd.key), "-p", str(sshd.port), "-o", f"UserKnownHostsFile={sshd.known_hosts}"]
        command = shlex.join(["sh", "-c", f"echo $$ > {tmp_path}/pid; trap '' HUP PIPE; sleep 607"])
        with subprocess.Popen([*argv, f"{sshd.user}@{sshd.host}", command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
            remote = psutil.Process(int(appears(tmp_path / "pid")))
            sshd.kill_sessions()
            _, said = client.communicate(timeout=120)
        assert client.returncode == 255, said
        assert lives(remote)
        assert sshd.ssh("true").returncode == 0
    assert not lives(remote)


def test_sessions_get_the_environment_asked_for(tmp_path: Path) -> None:
    """`set_env` reaches commands, quotes and blanks included."""
    with Sshd.create(tmp_path / "sshd", set_env={"NX_PLACE": "a b", "NX_TWO": "2"}) as sshd:
        assert sshd.ssh("printenv", "NX_PLACE", "NX_TWO").stdout == "a b\n2\n"

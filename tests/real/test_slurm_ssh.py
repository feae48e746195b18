"""A cluster that is reached over a real sshd: the same jobs, through connections that are cut, refused and changed."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from clusters.sshd import Sshd
from nexapod_backends.slurm.cli.commands import TimedOutError
from nexapod_backends.slurm.ssh.transport import SshTransport
from nexapod_backends.slurm.transport import LocalTransport
from real.slurm_homes import SlurmHome, Wrapped, mark, queue, slurm_jobs, until

from nexapod_batch.errors import ConfigError, NexapodError, SchedulerError
from nexapod_batch.model.site import Scheduler, Site, Ssh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.slurm import Cluster
    from nexapod_backends.slurm.transport import Transport

ISING = Path(__file__).resolve().parents[2] / "examples" / "ising"
CUT = (SchedulerError, "the connection to 127.0.0.1 was")


def site_of(sshd: Sshd, **ssh: Any) -> Site:
    """Return a site behind an sshd."""
    reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
    scheduler = Scheduler(type="slurm", transport="ssh", cmd_timeout_s=20)
    return Site(name="far", scheduler=scheduler, ssh=Ssh(**{**reached, "connect_timeout_s": 5, **ssh}))


@contextmanager
def connected(sshd: Sshd, **ssh: Any) -> Iterator[SshTransport]:
    """Yield a transport, which is closed afterwards."""
    site = site_of(sshd, **ssh)
    assert site.ssh is not None
    transport = SshTransport(site, site.ssh)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def listening(port: int = 0, answer: bytes = b"") -> Iterator[socket.socket]:
    """Yield a socket that says something else than an sshd to whoever comes; `port` 0 is one that the kernel chooses."""

    def serve() -> None:
        while True:
            try:
                talk, _ = listener.accept()
            except OSError:
                return
            with talk:
                talk.sendall(answer)
                talk.settimeout(5)
                try:
                    while talk.recv(1024):
                        pass
                except OSError:
                    pass

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        if answer:
            thread.start()
        yield listener
        if answer:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class FarHome(SlurmHome):
    """A home on one machine, a work folder on another, which here is the same."""

    def __init__(self, folder: Path) -> None:
        """Name the folders."""
        super().__init__(folder)
        self.far = folder / "far"

    def over_ssh(self, cluster: Cluster, sshd: Sshd, *, ssh: dict[str, Any] | None = None, **more: Any) -> None:
        """Write a site file that reaches a cluster through sshd."""
        reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
        self.site(
            cluster,
            scheduler={"transport": "ssh"},
            ssh={**reached, "connect_timeout": "10s", **(ssh or {})},
            filesystem={"work_dir": str(self.far)},
            **more,
        )

    def there(self, pattern: str) -> list[Path]:
        """Return what lies on the other side, beside and in the nodes' folders."""
        return sorted(self.far.glob(f"nexapod-*/{pattern}"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FarHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = FarHome(tmp_path)
    yield made
    made.end()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """Yield an sshd that may be broken."""
    with Sshd.create(tmp_path / "sshd") as made:
        yield made


@pytest.fixture
def transport(server: Sshd) -> Iterator[SshTransport]:
    """Yield a transport through an sshd that may be broken."""
    with connected(server) as made:
        yield made


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
    assert (task["state"], task["reason"]) == ("accepted", "2 of 2 agree, from 2 sites of 2 owners")
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
    assert len(list((results / "d" / "e").iterdir())) == 60
    assert not [path for path in home.path.rglob("*") if path.is_symlink()]
    home.drive(lambda: home.there("alpha/work/*") == [], "the far work folder to be cleared")


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


# ---- who is let in, and whom we believe


def refused(sshd: Sshd, **ssh: Any) -> NexapodError:
    """Return the error of a first attempt."""
    with connected(sshd, **ssh) as transport, pytest.raises(NexapodError) as caught:
        transport.sizes("/")
    assert isinstance(caught.value, ConfigError | SchedulerError)
    assert caught.value.hint
    return caught.value


def test_a_key_that_others_can_read_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    """With the command that mends it."""
    key = tmp_path / "a key"
    shutil.copy(sshd.key, key)
    key.chmod(0o644)
    error = refused(sshd, key=str(key))
    assert isinstance(error, ConfigError)
    assert "got mode 0644, wanted 0600" in str(error)
    assert f"chmod 600 '{key}'" in str(error)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"", "cannot be used"), (b"ssh-ed25519 AAAA public\n", "cannot be used"), (b"\0" * 5000, "cannot be used")]
)
def test_what_is_no_key_is_refused(sshd: Sshd, tmp_path: Path, content: bytes | None, said: str) -> None:
    """Missing, empty, public, binary."""
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(0o600)
    error = refused(sshd, key=str(key))
    assert isinstance(error, ConfigError)
    assert said in str(error)


def test_a_key_with_a_passphrase_needs_the_agent(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it says so; with one it is used."""
    key = tmp_path / "key"
    shutil.copy(sshd.key, key)
    key.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True, capture_output=True)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert f"ssh-add {key}" in str(refused(sshd, key=str(key)))
    place = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL) as agent:
        until(place.exists, "the agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        assert "passphrase" in str(refused(sshd, key=str(key)))
        subprocess.run(["ssh-add", "-q", str(sshd.key)], check=True, capture_output=True)
        with connected(sshd, key=str(key)) as transport:
            assert transport.run(["echo", "in"], {}, text="", timeout_s=20).stdout == "in\n"
        with connected(sshd, key="") as transport:
            assert transport.run(["echo", "in"], {}, text="", timeout_s=20).stdout == "in\n"
        agent.terminate()


def test_a_key_that_nobody_authorised(sshd: Sshd, tmp_path: Path) -> None:
    """Said are user, host, key and fingerprint."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True, stdin=subprocess.DEVNULL)
    error = refused(sshd, key=str(tmp_path / "key"))
    assert isinstance(error, ConfigError)
    assert f"{sshd.user}@127.0.0.1:{sshd.port} lets none of our keys in" in str(error)
    assert "SHA256:" in str(error)


def test_a_user_who_does_not_exist(sshd: Sshd) -> None:
    """As the server sees it, it is a key that does not fit."""
    assert "nobody-at-all@127.0.0.1" in str(refused(sshd, user="nobody-at-all"))


def test_nobody_listens(server: Sshd) -> None:
    """May be better later."""
    server.stop()
    error = refused(server)
    assert isinstance(error, SchedulerError)
    assert "cannot be reached" in str(error)
    assert "Connection refused" in str(error)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\xff" * 4000, b"SSH-2.0-\r\n" + b"\xff" * 300, b"SSH-2.0-x\r\n"])
def test_something_else_answers(sshd: Sshd, answer: bytes) -> None:
    """No traceback, no noise, an error that names the place."""
    with listening(answer=answer) as listener:
        port = listener.getsockname()[1]
        error = refused(sshd, port=port, connect_timeout_s=2)
    assert isinstance(error, SchedulerError)
    assert f"no SSH server at 127.0.0.1:{port}" in str(error)


def test_an_unknown_host_is_refused_before_the_key_is_shown(sshd: Sshd, tmp_path: Path) -> None:
    """No file, and a file without this host; neither is written to."""
    for known in (tmp_path / "none", tmp_path / "other"):
        if known.name == "other":
            known.write_text(sshd.known_hosts.read_text().replace("127.0.0.1", "127.0.0.2"))
        before = known.read_bytes() if known.exists() else None
        error = refused(sshd, known_hosts=str(known))
        assert isinstance(error, ConfigError)
        assert f"{known} has no line for it" in str(error)
        assert (known.read_bytes() if known.exists() else None) == before


def test_a_changed_host_key_names_both(server: Sshd) -> None:
    """And an old connection does not come back by itself."""
    with connected(server) as transport:
        assert transport.sizes("/") == LocalTransport().sizes("/")
        server.rotate_host_key()
        with pytest.raises(ConfigError, match=r"(?s)has changed.*SHA256:.*SHA256:.*\(line 1\).*ssh-keygen -R"):
            transport.sizes("/")


def test_through_a_host_in_between(sshd: Sshd, server: Sshd, tmp_path: Path) -> None:
    """Both must be known; what is behind an unknown one is never spoken to."""
    both = tmp_path / "both"
    both.write_text(sshd.known_hosts.read_text() + server.known_hosts.read_text())
    (server.folder / "authorized_keys").write_bytes(sshd.key.with_suffix(".pub").read_bytes())
    jump = f"{sshd.user}@127.0.0.1:{sshd.port}"
    with connected(server, jump=jump, key=str(sshd.key), known_hosts=str(both)) as transport:
        said = transport.run(["sh", "-c", "echo $SSH_CONNECTION"], {}, text="", timeout_s=20).stdout
        assert said.split()[-1] == str(server.port)
        sshd.kill_sessions()
        assert transport.sizes("/") == LocalTransport().sizes("/")
    error = refused(server, jump=jump, key=str(sshd.key), known_hosts=str(server.known_hosts))
    assert f"[127.0.0.1]:{sshd.port} is not known" in str(error)
    server.stop()
    error = refused(server, jump=jump, key=str(sshd.key), known_hosts=str(both))
    assert f"cannot be reached from {jump}" in str(error)


def test_a_host_that_fails_is_asked_less_and_less_often(server: Sshd) -> None:
    """The second error is the first one again, without a connection."""
    server.stop()
    with connected(server) as transport:
        with pytest.raises(SchedulerError, match="Connection refused"):
            transport.sizes("/")
        with listening(server.port) as listener:
            with pytest.raises(SchedulerError, match="Connection refused"):
                transport.sizes("/")
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()


# ---- the port: on this machine and on another


@pytest.fixture(params=["local", "ssh"])
def way(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Transport]:
    """Yield each way to a cluster."""
    if request.param == "local":
        yield LocalTransport()
        return
    with connected(sshd) as transport:
        yield transport


def test_a_glance_at_many_paths_tells_what_changed(way: Transport, tmp_path: Path) -> None:
    """Sizes and times as the file system has them; what is not there, or lies below a file, is told apart."""
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", (1_000_000_000, 1_000_000_000))
    found = way.stamps([str(tmp_path / name) for name in ("file", "nothing", ".")])
    assert found == [(5, 1_000_000_000), (0, 0), (tmp_path.stat().st_size, int(tmp_path.stat().st_mtime))]


def test_files_are_written_whole_for_this_account_only(way: Transport, tmp_path: Path) -> None:
    """New ones, those that are there, many at once, empty ones, large ones; nothing else is left beside them."""
    folder = tmp_path / "a b" / "c"
    way.make([str(folder), str(folder)])
    assert folder.stat().st_mode & 0o777 == 0o700
    contents = {f"{folder}/{number}": os.urandom(number * 700) for number in range(150)}
    way.write_all(contents)
    way.write(f"{folder}/0", b"new")
    way.write_all({f"{folder}/1": b"newer"})
    contents.update({f"{folder}/0": b"new", f"{folder}/1": b"newer"})
    assert {str(path): path.read_bytes() for path in folder.iterdir()} == contents
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert way.sizes(str(folder)) == {Path(path).name: len(data) for path, data in contents.items()}
    assert way.read(f"{folder}/149", 5, 70_000) == contents[f"{folder}/149"][5:70_005]
    assert way.read(f"{folder}/149", -3) == contents[f"{folder}/149"][-3:]
    assert way.read(f"{folder}/2", -1_000_000) == contents[f"{folder}/2"]
    way.remove_all([*list(contents)[1:], f"{folder}/none"])
    assert way.sizes(str(folder)) == {"0": 3}


def test_faults_of_files_are_os_errors(way: Transport, tmp_path: Path) -> None:
    """A file that is not there, a folder that is not there, something in the way."""
    assert way.sizes(f"{tmp_path}/none") == {}
    with pytest.raises(FileNotFoundError):
        way.read(f"{tmp_path}/none")
    for write in (lambda: way.write(f"{tmp_path}/none/x", b"x"), lambda: way.write_all({f"{tmp_path}/none/{n}": b"x" for n in range(9)})):
        with pytest.raises(FileNotFoundError):
            write()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        way.make([f"{tmp_path}/file/x"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"folder|Failure"):
        way.write(f"{tmp_path}/folder", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_sizes_are_of_files_alone(way: Transport, tmp_path: Path) -> None:
    """No folders, links or pipes; names as they are."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name in (b"two words", b"\xff\xfe", b"new\nline", "\u00e4".encode(), b"-rf"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"12")
    assert way.sizes(str(tmp_path)) == dict.fromkeys(map(os.fsdecode, (b"two words", b"\xff\xfe", b"new\nline", "\u00e4".encode(), b"-rf")), 2)


def test_folders_are_removed_with_what_is_in_them(way: Transport, tmp_path: Path) -> None:
    """Also such names; not what links lead to; what is not there is no error."""
    (tmp_path / "kept").write_text("x")
    for name in ("-rf", "two words", "*"):
        (tmp_path / name / "d").mkdir(parents=True)
        (tmp_path / name / "d" / "link").symlink_to(tmp_path / "kept")
    way.remove_trees([f"{tmp_path}/-rf", f"{tmp_path}/two words", f"{tmp_path}/*", f"{tmp_path}/none"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_commands_run_to_their_end(way: Transport) -> None:
    """Words, input, environment, both outputs, the exit code."""
    done = way.run(["sh", "-c", 'cat; echo "$A" "$1" >&2; exit 7', "sh", "it's $(id)"], {"A": "x y"}, text="in\u00e4\n", timeout_s=20)
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\u00e4\n", "x y it's $(id)\n")
    with pytest.raises(TimeoutError):
        way.run(["sleep", "60"], {}, text="", timeout_s=1)


# ---- connections


def test_an_idle_connection_that_died_is_made_again(transport: SshTransport, server: Sshd, tmp_path: Path) -> None:
    """Files and commands alike, without a word."""
    for act in (lambda: transport.write(f"{tmp_path}/x", b"x"), lambda: transport.run(["true"], {}, text="", timeout_s=20), lambda: transport.sizes(str(tmp_path))):
        transport.sizes("/")
        server.kill_sessions()
        act()
    assert (tmp_path / "x").read_bytes() == b"x"


def test_a_command_is_not_repeated_when_it_was_cut(transport: SshTransport, server: Sshd, tmp_path: Path) -> None:
    """What it did is for others to find out."""
    log = tmp_path / "log"
    failed: list[BaseException] = []

    def run() -> None:
        try:
            transport.run(["sh", "-c", f"echo x >> {log}; sleep 600"], {}, text="", timeout_s=30)
        except TimedOutError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: log.exists() and log.read_text(), "the command to start")
    server.kill_sessions()
    thread.join()
    assert "was cut while sh ran" in str(failed[0])
    assert log.read_text() == "x\n"
    assert transport.run(["echo", "again"], {}, text="", timeout_s=20).stdout == "again\n"


def test_a_command_that_takes_too_long_is_ended_there_too(transport: SshTransport, tmp_path: Path) -> None:
    """So that it does not do its work long after we gave up."""
    with pytest.raises(TimeoutError, match=r"sh did not answer in 8 s"):
        transport.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"], {}, text="", timeout_s=8)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not psutil.pid_exists(pid), "it to end")


def test_an_answer_without_end_is_refused(transport: SshTransport) -> None:
    """And takes no more memory than it may."""
    with pytest.raises(SchedulerError, match="answers without end"):
        transport.run(["yes"], {}, text="", timeout_s=60)
    assert transport.run(["echo", "on"], {}, text="", timeout_s=20).stdout == "on\n"


def test_a_file_is_fetched_on_from_where_a_cut_ended(transport: SshTransport, server: Sshd, tmp_path: Path) -> None:
    """Through cut after cut, as often as it takes; whole in the end, with nothing beside it."""
    source, target = tmp_path / "source", tmp_path / "here" / "target"
    source.write_bytes(os.urandom(60 << 20))
    target.parent.mkdir()
    cuts, stop = [0], threading.Event()

    def cut() -> None:
        """Cut the connection each time that some MiB more have come."""
        while not stop.wait(0.002):
            come = 0
            with suppress(FileNotFoundError):  # it was renamed meanwhile
                come = sum(path.stat().st_size for path in list(target.parent.glob(".*.partial")))
            if come // (8 << 20) > cuts[0]:
                cuts[0] = come // (8 << 20)
                server.kill_sessions()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        until(lambda: _tried(transport, source, target), "the file to come through")
    finally:
        stop.set()
        cutter.join()
    assert cuts[0] >= 1
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def _tried(transport: SshTransport, source: Path, target: Path) -> bool:
    """Try to fetch a file; say whether it is there."""
    try:
        transport.get(str(source), target)
    except SchedulerError:
        transport._pause_until = 0
        return False
    return True


def test_what_is_there_in_part_is_gone_on_with(transport: SshTransport, tmp_path: Path) -> None:
    """The beginning is not brought again; one that is too long cannot be a beginning."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"0123456789" * 10_000)
    partial = tmp_path / f".{hashlib.sha256(b'target').hexdigest()[:16]}.partial"
    partial.write_bytes(b"X" * 50_000)
    transport.get(str(source), target)
    assert target.read_bytes() == b"X" * 50_000 + b"0123456789" * 5_000
    transport.get(str(source), target)  # it has the size: nothing is done
    target.unlink()
    partial.write_bytes(b"X" * 100_001)
    transport.get(str(source), target)
    assert target.read_bytes() == source.read_bytes()
    assert not partial.exists()


def test_a_folder_comes_without_links_pipes_and_escapes(transport: SshTransport, tmp_path: Path) -> None:
    """Plain files and folders alone, whatever they are called."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d" / "e").mkdir(parents=True)
    names = [b"two words", b"\xff\xfe", b"new\nline", b"..." + b"x" * 240, b"$(id)", b".hidden"]
    for name in names:
        Path(os.fsdecode(os.fsencode(source / "d") + b"/" + name)).write_bytes(name)
    (source / "link").symlink_to("/etc/passwd")
    (source / "folder").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    transport.get_tree(str(source), target)
    assert sorted(os.fsencode(path.name) for path in (target / "d").iterdir()) == sorted([*names, b"e"])
    assert sorted(path.name for path in target.iterdir()) == ["d"]
    for name in names:
        assert Path(os.fsdecode(os.fsencode(target / "d") + b"/" + name)).read_bytes() == name


def test_a_folder_without_a_floor_is_refused(transport: SshTransport, tmp_path: Path) -> None:
    """The depth is bounded."""
    folder = tmp_path / "source"
    folder.mkdir()
    here = folder
    for _ in range(80):
        here /= "d"
        here.mkdir()
    with pytest.raises(OSError, match="deeper than 64"):
        transport.get_tree(str(folder), tmp_path / "target")


def test_a_file_that_is_a_link_is_not_fetched(transport: SshTransport, tmp_path: Path) -> None:
    """Nor one that is not there."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="no plain file"):
        transport.get(f"{tmp_path}/link", tmp_path / "target")
    with pytest.raises(FileNotFoundError):
        transport.get(f"{tmp_path}/none", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_nothing_is_left_at_the_end_of_a_program(server: Sshd, tmp_path: Path) -> None:
    """No thread, no warning, no noise: neither after a good connection nor after one that was cut or refused."""
    code = f"""
import sys, threading
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from pathlib import Path
from clusters.sshd import Sshd
from nexapod_batch.model.site import Scheduler, Site, Ssh
from nexapod_batch.errors import NexapodError
from nexapod_backends.slurm.ssh.transport import SshTransport
sshd = Sshd.attach(Path({str(server.folder)!r}))
ssh = Ssh(host=sshd.host, port=sshd.port, key=str(sshd.key), known_hosts=str(sshd.known_hosts), user=sys.argv[1])
transport = SshTransport(Site(name="far", scheduler=Scheduler(type="slurm", transport="ssh"), ssh=ssh), ssh)
try:
    transport.sizes("/")
    if sys.argv[2] == "cut":
        sshd.kill_sessions()
    if sys.argv[2] == "gone":
        del transport
except NexapodError as error:
    print(type(error).__name__)
"""
    said = []
    for user, how in ((server.user, "good"), (server.user, "cut"), (server.user, "gone"), ("nobody-at-all", "refused")):
        done = subprocess.run([sys.executable, "-W", "error", "-X", "dev", "-c", code, user, how], capture_output=True, text=True, timeout=60, check=False)
        said.append((done.returncode, done.stdout, done.stderr))
    assert said == [(0, "", "")] * 3 + [(0, "ConfigError\n", "")]

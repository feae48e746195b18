"""Commands that want out of their container, or too much of the machine: as root, and as an ordinary user.

Every attempt is made on the host first, by the same account, where it succeeds: what is refused in the container is
refused by the container.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from apptainer.accounts import USER, AccountHome
from apptainer.trees import build_sif, make_tree
from homes import open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

JOB = """\
[job]
script = '''#!/bin/sh
{script}
'''
[resources]
disk = "{disk}"
time = 4
[container]
image = "{image}"
[quorum]
distinct = "run"
agree = {agree}
max_errors = 0
[[inputs]]
source = "probe"
[[inputs]]
source = "given.txt"
"""
TRY = 'try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name got"; else echo "$name refused"; fi; }\n'


class Place(NamedTuple):
    """A home in which container jobs were run, by one account."""

    home: AccountHome
    folder: Path
    image: Path
    root: bool

    def submit(self, script: str, *, agree: int = 1, disk: str = "64M", image: str | None = None) -> tuple[int, str]:
        """Run a script to its verdict; return the exit code and what was said."""
        text = JOB.format(script=script, disk=disk, image=self.image if image is None else image, agree=agree)
        if image == "":
            text = text.replace('[container]\nimage = ""\n', "")
        job = self.home.descriptor(text)
        done = self.home.call("submit", job, "--wait=90s")
        return done.code, done.out + done.err

    def output(self) -> str:
        """Return what the last job wrote."""
        return self.home.call("logs", "last").out

    def replicas(self) -> list[dict[str, object]]:
        """Return the replicas of the last job."""
        return list(self.home.json("show", "last", "--tasks", "0")["tasks"][0]["replicas"])

    def lives_on(self) -> None:
        """Run a job that is good."""
        code, said = self.submit("cat /etc/word")
        assert (code, self.output()) == (0, "hello\n"), said


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an image with nothing of interest in it."""
    folder = tmp_path_factory.mktemp("image")
    return build_sif(make_tree(folder / "tree"), folder / "box.sif")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that tries what a shell cannot; it needs nothing of the image."""
    program = tmp_path_factory.mktemp("probe") / "probe"
    source = Path(__file__).parents[1] / "apptainer/probe.c"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(program), str(source)], check=True)
    return program


@pytest.fixture(scope="module", params=["root", "user"])
def place(request: pytest.FixtureRequest, image: Path, probe: Path) -> Iterator[Place]:
    """Yield a place for each kind of account."""
    if os.geteuid() != 0 and request.param == "root":
        pytest.skip("the tests do not run as root")
    with open_folder() as folder:
        home = AccountHome(folder, USER if request.param == "user" and os.geteuid() == 0 else None)
        for source, name in ((image, "box.sif"), (probe, "probe")):
            shutil.copy(source, folder / name)
            (folder / name).chmod(0o755)
        (folder / "given.txt").write_text("given\n")
        yield Place(home, folder, folder / "box.sif", request.param == "root")
        home.end()


@contextmanager
def listeners() -> Iterator[tuple[int, str]]:
    """Yield a port of the loopback and the name of a socket without a file, at which somebody listens."""
    name = f"nexapod-{os.urandom(8).hex()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as nameless:
        nameless.bind(f"\0{name}")
        nameless.listen()
        yield tcp.getsockname()[1], name


@contextmanager
def sleeping(place: Place) -> Iterator[int]:
    """Yield the id of a process of the account that is no part of any job."""
    sleeper = subprocess.Popen([*place.home.before, "cat"], cwd=place.home.path / "work", stdin=subprocess.PIPE)
    try:
        while Path(f"/proc/{sleeper.pid}/cmdline").read_bytes() != b"cat\0":  # it has become that account
            assert sleeper.poll() is None
            time.sleep(0.01)
        yield sleeper.pid
    finally:
        sleeper.communicate()


def attempts(place: Place, sleeper: int, port: int, name: str) -> dict[str, str]:
    """Return what is tried: a word for it -> shell words."""
    home, spool, q = place.home, place.home.spool(), shlex.quote
    (key,) = [one for one in (home.path / "keys").glob("node-*") if one.suffix != ".pub"]
    work = home.path / "work" / spool.name
    neighbour, outside = work / "7_7.7", place.folder / "outside"
    found = {
        "login": f"cat {q(str(home.login / 'secret'))}",
        "key": f"cat {q(str(key))}",
        "key-by-proc": f"cat /proc/self/root{q(str(key))}",
        "key-by-runner": f"cat /proc/{sleeper}/root{q(str(key))}",
        "key-by-cwd": f"cat /proc/{sleeper}/cwd/../keys/{q(key.name)}",
        "coordinator": f"cat {q(str(home.path / 'keys/coordinator'))}",
        "database": f"cat {q(str(home.path / 'state.db'))}",
        "database-write": f"sh -c 'echo -n >> {q(str(home.path / 'state.db'))}'",
        "spool": f"cat {q(str(spool / 'node.json'))}",
        "reports": f"ls {q(str(spool / 'reports'))}",
        "inbox": f"touch {q(str(spool / 'inbox/x.json'))}",
        "claims": f"touch {q(str(spool / 'claims/x'))}",
        "cache": f"ls {q(str(home.path / 'images'))}",
        "results": f"ls {q(str(home.path / 'results'))}",
        "neighbour": f"cat {q(str(neighbour / 'secret'))}",
        "neighbour-write": f"touch {q(str(neighbour / 'x'))}",
        "outside": f"touch {q(str(outside))}",
        "tmp": f"cat {q(str(place.folder / 'given.txt'))}",
        "tcp": f"./probe tcp {port}",
        "nameless": f"./probe nameless {name}",
        "environment": f"cat /proc/{sleeper}/environ",
        "signal": f"kill -0 {sleeper}",
        "input": "sh -c 'echo changed >> given.txt'",
        "input-mode": "chmod 0777 given.txt",
        "input-gone": "rm given.txt",
    }
    if place.root:
        found |= {
            "mount": "mount -t tmpfs none .",
            "device": "mknod disk b 254 0",
            "kernel": "sh -c 'cat /proc/sys/kernel/panic > /proc/sys/kernel/panic'",
            "owner": "chown 12345 .",
        }
    return found


#: What a command may do: that the container has what is tried with, and that not simply everything fails there.
ALLOWED = {
    "own-file": "touch own",
    "own-write": "sh -c 'echo x >> own'",
    "own-mode": "chmod 0700 own",
    "own-link": "ln -s own link",
    "own-signal": "sh -c 'kill -0 $$'",
    "own-environment": "cat /proc/self/environ",
    "own-input": "cat given.txt",
    "own-program": "./probe nothing",
    "own-gone": "rm link",
}


def test_nothing_outside_is_in_reach(place: Place) -> None:
    """Files, sockets, processes, devices, mounts and the kernel: everything that the account can do, its command cannot."""
    code, said = place.submit("echo first", agree=2)
    assert code == 0, said
    home = place.home
    (home.login / "secret").write_text("secret")
    neighbour = home.path / "work" / home.spool().name / "7_7.7"
    neighbour.mkdir()
    (neighbour / "secret").write_text("secret")
    account = neighbour.parent.stat()
    for one in (home.login / "secret", neighbour, neighbour / "secret"):
        os.chown(one, account.st_uid, -1)
    with sleeping(place) as sleeper, listeners() as (port, name):
        found = attempts(place, sleeper, port, name)
        script = TRY + "\n".join(f"try {word} {words}" for word, words in (ALLOWED | found).items())
        assert on_the_host(place, script) == dict.fromkeys(ALLOWED | found, "got")
        code, said = place.submit(script, agree=2)
    assert code == 0, said
    assert read(place.output()) == dict.fromkeys(ALLOWED, "got") | dict.fromkeys(found, "refused")
    assert [(one["isolation"], one["validation"]) for one in place.replicas()] == [("container", "valid")] * 2


def on_the_host(place: Place, script: str) -> dict[str, str]:
    """Run the attempts as the same account without a container, in a folder like a replica's."""
    folder = place.folder / f"host-{place.home.folder.name}"
    folder.mkdir()
    for name in ("probe", "given.txt"):
        shutil.copy(place.folder / name, folder)
    account = place.home.login.stat()
    for one in (folder, *folder.iterdir()):
        os.chown(one, account.st_uid, -1)
    before = ["unshare", "--mount", "--propagation", "private"] if place.root else [*place.home.before]
    done = subprocess.run([*before, "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    (place.folder / "outside").unlink()
    return read(done.stdout)


def read(text: str) -> dict[str, str]:
    """Return what each attempt got."""
    return dict(line.split() for line in text.splitlines())


#: What confinement keeps from commands without a container; beside it, for somebody else's, the network.
CONFINED = (
    "login", "key", "key-by-proc", "key-by-runner", "key-by-cwd", "coordinator", "database", "database-write", "spool",
    "reports", "inbox", "claims", "results", "neighbour", "neighbour-write", "outside", "tmp", "environment", "signal",
    "mount", "device", "kernel", "owner",
)  # fmt: skip
NETWORK = ("tcp", "nameless")


def beyond(there: Place) -> dict[str, str]:
    """Return what else is tried without a container: to leave something for later, or for others."""
    home, login = shlex.quote(str(there.home.path)), shlex.quote(str(there.home.login))
    found = {
        "database-log": f"touch {home}/state.db-wal",
        "site-file": f"touch {home}/sites.d/mine.toml",
        "other-node": f"touch {home}/spool/other",
        "start-up": f"sh -c 'echo true >> {login}/.bashrc'",
        "ssh-key": f"cat {login}/.ssh/id_ed25519",
        "ssh-login": f"sh -c 'echo key >> {login}/.ssh/authorized_keys'",
        "program": f"sh -c 'mkdir -p {login}/.local/bin && touch {login}/.local/bin/ls'",
        "run": f"cat /run/{there.folder.name}",
        "shared-memory": f"cat /dev/shm/{there.folder.name}",
        "shared-memory-write": f"sh -c 'echo >> /dev/shm/{there.folder.name}'",
        "namespace": "unshare --user true",
        "remount": "mount -o remount,bind,rw /",
    }
    return {name: words for name, words in found.items() if there.root or name not in ROOTS}


#: What can be written, and is gone with the replica: folders of everybody are memory of its own.
OWN_MEMORY = ("outside", "shared-memory-write")
#: What only root can do on the machine, too.
ROOTS = ("run", "remount")


@contextmanager
def left_about(there: Place) -> Iterator[None]:
    """Leave about what a command should not find."""
    (there.home.path / "sites.d").mkdir()
    (there.home.login / ".ssh").mkdir(exist_ok=True)
    (there.home.login / ".ssh/id_ed25519").write_text("secret")
    (there.home.login / "secret").write_text("secret")
    neighbour = there.home.path / "work/quiet/7_7.7"
    neighbour.mkdir()
    (neighbour / "secret").write_text("secret")
    shared = [Path("/dev/shm", there.folder.name), Path("/run", there.folder.name)]  # noqa: S108
    account = there.home.login.stat()
    for one in shared if there.root else shared[:1]:
        one.write_text("secret")
    mine = [there.home.path / "sites.d", *there.home.login.rglob("*"), neighbour, neighbour / "secret", shared[0]]
    for one in mine:
        os.chown(one, account.st_uid, -1)
    try:
        yield
    finally:
        for one in shared:
            one.unlink(missing_ok=True)


@pytest.mark.parametrize("option", ["--confine", "--foreign"])
def test_a_confined_command_sees_the_machine_and_nothing_of_the_account(place: Place, option: str) -> None:
    """A node that confines all, and somebody else's job on any node: no file, process or socket of the account."""
    with open_folder() as folder:
        for name in ("probe", "given.txt"):
            shutil.copy(place.folder / name, folder)
        home = AccountHome(folder, None if place.root else USER)
        there = place._replace(home=home, folder=folder)
        try:
            confine = "all" if option == "--confine" else "foreign"
            assert home.call("node", "init", "--name", "quiet", "--confine", confine).code == 0
            submit = ("submit", *(["--foreign"] if option == "--foreign" else []), "--wait=90s")
            script, tried = confined_script(there, submit, NETWORK if option == "--foreign" else ())
            expected = dict.fromkeys(ALLOWED, "got") | dict.fromkeys(tried, "refused") | dict.fromkeys(OWN_MEMORY, "got")
            assert read(there.output()) == expected, script
            assert not (folder / "outside").exists()
            assert (home.login / ".bashrc").read_text() == "true\n"  # of the attempt outside
            assert [one["isolation"] for one in there.replicas()] == ["files"]
            done = home.call(*submit, there.home.descriptor(bare_job("./nothing")))
            assert (done.code, [one["exit_code"] for one in there.replicas()]) == (1, [127])
        finally:
            home.end()


def confined_script(there: Place, submit: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Run the attempts on the host, where each succeeds, then as a job; return the script and what was tried."""
    done = there.home.call(*submit, there.home.descriptor(bare_job("echo first")))
    assert done.code == 0, done.err
    with left_about(there), sleeping(there) as sleeper, listeners() as (port, name):
        found = {one: words for one, words in attempts(there, sleeper, port, name).items() if one in (*CONFINED, *more)}
        found |= beyond(there)
        script = TRY + "\n".join(f"try {word} {words}" for word, words in (ALLOWED | found).items())
        assert on_the_host(there, script) == dict.fromkeys(ALLOWED | found, "got")
        (there.home.path / "state.db-wal").unlink(missing_ok=True)
        (there.home.path / "sites.d/mine.toml").unlink()
        done = there.home.call(*submit, there.home.descriptor(bare_job(script)))
        assert Path("/dev/shm", there.folder.name).read_text() == "secret\n"  # noqa: S108 - of the attempt outside
    assert done.code == 0, done.out + done.err
    return script, found


def bare_job(script: str) -> str:
    """Return a job without a container."""
    text = JOB.format(script=script, disk="64M", image="", agree=1)
    return text.replace('[container]\nimage = ""\n', "")


def test_confined_commands_are_limited_as_others(place: Place) -> None:
    """What they write into memory of their own counts, and what they leave behind ends with them."""
    with open_folder() as folder:
        shutil.copy(place.folder / "probe", folder)
        shutil.copy(place.folder / "given.txt", folder)
        home = AccountHome(folder, None if place.root else USER)
        there = place._replace(home=home, folder=folder)
        try:
            for script, said in (
                ("./probe fill /tmp 480", "over its disk: wrote "),
                ("./probe fill /var/tmp 480", "over its disk: wrote "),
                ("./probe fill /dev/shm 480", "over its disk: wrote "),
                ("./probe bomb 6000", "too many processes: got "),
            ):
                assert home.call("submit", "--foreign", "--wait=90s", home.descriptor(bare_job(script))).code == 1
                assert all(said in str(one["reason"]) for one in there.replicas()), there.replicas()
            done = home.call("submit", "--foreign", "--wait=90s", home.descriptor(bare_job("./probe stay; echo done")))
            assert (done.code, there.output()) == (0, "done\n")
            assert b"./probe\0" not in processes()
        finally:
            home.end()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("./probe bomb 6000", "too many processes: got "),
        ("./probe fill . 480", "over its disk: wrote "),
        ("./probe fill /tmp 480", "over its disk: wrote "),
        ("./probe fill /dev/shm 480", "over its disk: wrote "),
    ],
)
def test_too_much_of_the_machine_is_stopped(place: Place, script: str, said: str) -> None:
    """Forks without end, and a full disk, in a folder or in memory: ended before the time limit, and the node lives on."""
    code, told = place.submit(script)
    assert code == 1, told
    reasons = [str(one["reason"]) for one in place.replicas()]
    assert all(said in reason for reason in reasons), reasons
    assert b"./probe\0" not in processes()
    place.lives_on()


def test_nothing_stays_behind(place: Place) -> None:
    """Processes in sessions of their own, deaf to every signal, end with the command, which is a success."""
    code, said = place.submit("./probe stay && echo done")
    assert (code, place.output()) == (0, "done\n"), said
    assert b"./probe\0" not in processes()


def processes() -> bytes:
    """Return the command lines of everything that runs on this machine."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            found.append(Path(f"/proc/{name}/cmdline").read_bytes())
    return b"\n".join(found)


def test_a_link_for_an_output_leads_nowhere(place: Place) -> None:
    """An output that is a link to the node's key is no output; nothing of the key comes out."""
    (key,) = [one for one in (place.home.path / "keys").glob("node-*") if one.suffix != ".pub"]
    job = JOB.format(script=f"ln -s {key} out", disk="64M", image=place.image, agree=1)
    done = place.home.call("submit", place.home.descriptor(job + '[[outputs]]\npath = "out"\n'), "--wait=90s")
    assert done.code == 1
    assert ["link" in str(one["reason"]) for one in place.replicas()] == [True]

"""Commands and files on another machine as on this one, through connections that are cut."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from nexapod_backends.slurm.cli.commands import TimedOutError
from nexapod_backends.slurm.transport import LocalTransport
from real.slurm_homes import until

from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.sshd import Sshd
    from nexapod_backends.slurm.ssh.transport import SshTransport
    from nexapod_backends.slurm.transport import Transport
from real.ssh_sites import connected


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
        done = subprocess.run([sys.executable, "-W", "error", "-X", "dev", "-c", code, user, how], capture_output=True, text=True, timeout=120, check=False)
        said.append((done.returncode, done.stdout, done.stderr))
    assert said == [(0, "", "")] * 3 + [(0, "ConfigError\n", "")]

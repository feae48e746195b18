"""Start-up files of login shells over a real sshd, in an account of their own: what begins is right, what does not is said."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from clusters.daemons import kill_all, lives
from clusters.sshd import Sshd
from homes import open_folder
from nexapod_backends.slurm.ssh.transport import SshTransport

from nexapod_batch.errors import ConfigError
from nexapod_batch.model.site import Scheduler, Site, Ssh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXTERNAL = "/usr/lib/openssh/sftp-server"
INTERNAL = "internal-sftp"
Way = "Callable[..., SshTransport]"


@contextmanager
def account(folder: Path) -> Iterator[str]:
    """Yield the name of an account whose home lies in a folder; it is removed afterwards."""
    name = f"nx{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--create-home", "--home-dir", str(folder / "home"), "--shell", "/bin/bash", "--password", "*", name], check=True)
    try:
        yield name
    finally:
        uid = pwd.getpwnam(name).pw_uid
        kill_all([one for one in psutil.process_iter() if lives(one) and one.uids().real == uid])  # left by start-up files
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, str]]:
    """Yield a folder and the account that has its home there."""
    with open_folder() as folder, account(folder) as name:
        yield folder, name


@pytest.fixture(scope="module")
def servers(place: tuple[Path, str]) -> Iterator[dict[str, Sshd]]:
    """Yield an sshd for each kind of SFTP that a site may have."""
    folder, name = place
    with (
        Sshd.create(folder / "in", user=name, sftp=INTERNAL) as inside,
        Sshd.create(folder / "ex", user=name, sftp=EXTERNAL) as outside,
        Sshd.create(folder / "none", user=name, sftp="") as none,
    ):
        yield {INTERNAL: inside, EXTERNAL: outside, "": none}


@pytest.fixture
def way(place: tuple[Path, str], servers: dict[str, Sshd]) -> Iterator[Callable[..., SshTransport]]:
    """Yield what gives the account a start-up file and a way there."""
    folder, _ = place
    told: list[str] = []
    made: list[SshTransport] = []

    def open_(bashrc: str, sftp: str = INTERNAL) -> SshTransport:
        (folder / "home" / ".bashrc").write_text(bashrc + "\n")
        sshd = servers[sftp]
        ssh = Ssh(host=sshd.host, port=sshd.port, user=sshd.user, key=str(sshd.key), known_hosts=str(sshd.known_hosts), connect_timeout_s=3)
        transport = SshTransport(Site(name="far", scheduler=Scheduler(type="slurm", transport="ssh", cmd_timeout_s=30)), ssh, told.append)
        transport.told = told  # type: ignore[attr-defined]
        made.append(transport)
        return transport

    yield open_
    for one in made:
        one.close()


SCRIPT = "#!/bin/sh\ntouch {mark}\n"
#: Start-up files with which our command never begins, and what is said of them.
NEVER = {
    "exit 1": "exits, or starts another shell", "echo sorry >&2; exit 3": "exit code 3, it said: sorry", "exec true": "exits, or starts another shell",
    "exec bash --norc": "starts another shell, or a program that reads the input", "exec sh": "starts another shell", "exec cat >/dev/null": "starts another shell",
    "cat >/dev/null": "reads the input that is meant for commands", "read line": "reads the input that is meant for commands",
    "while read line; do :; done": "reads the input that is meant for commands", "sleep 60": "does not come to its end",
}  # fmt: skip


@pytest.mark.parametrize("bashrc", NEVER)
def test_nothing_of_ours_is_executed_by_another_shell(way: Callable[..., SshTransport], place: tuple[Path, str], bashrc: str) -> None:
    """A script that is to be submitted is never run on the login node, and the sentence says what the start-up file does."""
    mark = place[0] / "home" / f"mark-{secrets.token_hex(4)}"
    transport = way(bashrc)
    with pytest.raises(ConfigError) as caught:
        transport.run(["cat"], {}, text=SCRIPT.format(mark=mark), timeout_s=20)
    assert NEVER[bashrc] in str(caught.value)
    assert "a start-up file of the shell at 127.0.0.1" in str(caught.value)
    assert "for people only" in str(caught.value.hint)
    assert not mark.exists()
    with pytest.raises(ConfigError) as again:  # at once: nobody waits for it at every call
        transport.run(["true"], {}, text="", timeout_s=20)
    assert str(again.value) == str(caught.value)


WELL = {
    "a word": "echo Welcome; echo news >&2", "children": "sleep 45 & sleep 46 >/dev/null 2>&1 &",
    "a trace": "set -x", "verbose": "set -v", "no newline": "printf %s '$ '", "3 MB": "head -c 3000000 /dev/zero | tr '\\0' .", "a failing line": "false; [ -e /nowhere ]",
    "other options": "set -f; set -o noclobber; IFS=:", "functions": "printf() { echo mine; }; exit() { :; }; alias head=false",
}  # fmt: skip


@pytest.mark.parametrize("bashrc", WELL)
def test_what_start_up_files_print_or_leave_behind_changes_no_answer(way: Callable[..., SshTransport], bashrc: str) -> None:
    """Input, both outputs and the exit code are the command's own, and nobody waits for children."""
    transport = way(WELL[bashrc])
    done = transport.run(["sh", "-c", "cat; echo err >&2; exit 7"], {}, text="in\n", timeout_s=20)
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")
    assert transport.run(["true"], {}, text="", timeout_s=20).stdout == ""
    assert len(transport.told) == (bashrc == "3 MB")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sftp", "bashrc", "said"),
    [
        ("", "", "offers no SFTP"), (EXTERNAL, "echo Welcome to the cluster, dear user", "offers no SFTP that works"),
        (EXTERNAL, "head -c 3000000 /dev/zero", "offers no SFTP that works"), (EXTERNAL, "exit 1", "offers no SFTP that works"),
        (EXTERNAL, "sleep 60", "offers no SFTP that works"), (EXTERNAL, "cat > /dev/null", "offers no SFTP that works"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_had_are_one_sentence(way: Callable[..., SshTransport], sftp: str, bashrc: str, said: str) -> None:
    """A server without SFTP, and start-up files that break it, are for a person, with the step that helps."""
    with pytest.raises(ConfigError, match=said) as caught:
        way(bashrc, sftp).sizes("/")
    assert "it is tried again" in str(caught.value.hint)


def test_a_mended_start_up_file_is_noticed(way: Callable[..., SshTransport], place: tuple[Path, str]) -> None:
    """After its pause the same connection is of use again."""
    transport = way("exit 1")
    with pytest.raises(ConfigError):
        transport.run(["true"], {}, text="", timeout_s=20)
    (place[0] / "home" / ".bashrc").write_text("")
    transport._pause_until = 0.0
    assert transport.run(["echo", "on"], {}, text="", timeout_s=20).stdout == "on\n"
    assert transport.sizes(str(place[0] / "home"))[".bashrc"] == 0


def test_the_account_is_not_ours() -> None:
    """These tests would change the start-up file of whoever runs them."""
    assert os.geteuid() == 0
    assert shutil.which("useradd")

"""Who is let in over SSH, and whom we believe: keys, host keys, hosts in between, and what is no sshd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nexapod_backends.slurm.transport import LocalTransport
from real.slurm_homes import until

from nexapod_batch.errors import ConfigError, NexapodError, SchedulerError

if TYPE_CHECKING:

    from clusters.sshd import Sshd
from real.ssh_sites import connected, listening


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

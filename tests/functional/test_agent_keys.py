"""Keys in ssh-agent: OpenSSH's own agent signs bundles, verdicts, heads and delegations."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home, ended

from nexapod_batch.errors import KeyFileError
from nexapod_batch.files import keyfile
from nexapod_batch.files.agent_key import AgentSigner, in_agent
from nexapod_batch.trust.dsse import Signer, open_envelope, seal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start an agent with two Ed25519 keys and one of another kind; yield the folder of their files."""
    folder = tmp_path / "agent"
    folder.mkdir(mode=0o700)
    socket = folder / "s"
    started = subprocess.run(["ssh-agent", "-s", "-a", socket], capture_output=True, text=True, check=True)
    pid = int(started.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    try:
        for kind, name in (("ed25519", "one"), ("ed25519", "two"), ("ecdsa", "other")):
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", folder / name], check=True)
            subprocess.run(["ssh-add", "-q", folder / name], check=True)
        yield folder
    finally:
        os.kill(pid, signal.SIGTERM)


@pytest.fixture
def home(agent: Path, tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, whose commands find the agent."""
    assert agent.exists()
    with ended(Home(tmp_path), "n") as made:
        yield made


def test_all_is_signed_by_keys_that_are_in_no_file(home: Home, agent: Path) -> None:
    """Of coordinator and node; what they sign verifies as ever, and a rotation leads back to files."""
    assert home.submit(TRUE, "--wait=60s").code == 0
    line = (agent / "two.pub").read_text().strip()
    told = home.json("key", "rotate", "coordinator", "--agent", "one")["rotated"]
    assert told[0]["key"] == keyfile.load(agent / "one").key_id
    assert home.call("key", "rotate", "n", "--agent", line).code == 0
    for name in ("coordinator", "node-n"):
        text = (home.path / "keys" / name).read_text()
        assert text.startswith("ssh-ed25519 ")
        assert "PRIVATE" not in text
    assert home.submit(TRUE, "--wait=60s").code == 0
    assert home.call("key", "rotate", "coordinator", "n").code == 0
    assert home.submit(TRUE, "--wait=60s").code == 0
    assert [home.call("verify", job).code for job in (1, 2, 3)] == [0, 0, 0]
    assert [home.proof_code(job) for job in (1, 2, 3)] == [0, 0, 0]
    assert home.call("ledger", "verify").code == 0


def test_without_its_agent_a_coordinator_signs_nothing(home: Home, agent: Path) -> None:
    """It says which key is missing and what to do; with the agent it goes on."""
    assert home.call("key", "rotate", "coordinator", "--agent", "one").code == 0
    key = keyfile.load(agent / "one").key_id
    subprocess.run(["ssh-add", "-q", "-d", agent / "one"], check=True)
    for env, why in (({}, f"ssh-agent does not have key {key}"), ({"SSH_AUTH_SOCK": "/nowhere"}, "ssh-agent does not answer")):
        done = home.call("ledger", "head", env=env)
        assert done.code == 78
        assert why in done.err
        assert "ssh-add FILE" in done.err
    assert home.call("key", "ls").code == 0  # which needs no signature
    subprocess.run(["ssh-add", "-q", agent / "one"], check=True)
    assert home.submit(TRUE, "--wait=60s").code == 0


@pytest.mark.parametrize(("words", "why"), [
    (("coordinator", "--agent", "x"), "ssh-agent has no Ed25519 key 'x'"),
    (("coordinator", "--agent", "other"), "ssh-agent has no Ed25519 key"),
    (("coordinator", "n", "--agent", "one"), "given to one"),
    (("n", "--agent", "ssh-ed25519 junk"), "not an OpenSSH Ed25519 public key"),
])  # fmt: skip
def test_which_key_is_meant_must_be_clear(home: Home, words: tuple[str, ...], why: str) -> None:
    """Nothing is rotated otherwise."""
    done = home.call("key", "rotate", *words)
    assert done.code != 0
    assert why in done.err
    assert {key["in_use"] for key in home.json("key", "ls")["keys"]} == {True}


def test_one_key_is_nobody_elses(home: Home) -> None:
    """What the coordinator signs with no node does, nor does it come back after it was replaced."""
    assert home.call("key", "rotate", "coordinator", "--agent", "one").code == 0
    done = home.call("key", "rotate", "n", "--agent", "one")
    assert (done.code != 0, "a key of coordinator" in done.err) == (True, True)
    assert home.call("key", "rotate", "coordinator").code == 0
    assert "a key of coordinator" in home.call("key", "rotate", "coordinator", "--agent", "one").err


def test_a_child_asks_the_agent_by_itself(agent: Path) -> None:
    """A connection that two processes share would mix their answers up."""
    signer = in_agent("one")
    message = b"before the fork"
    assert signer.sign(message) == keyfile.load(agent / "one").sign(message)
    pid = os.fork()
    if pid == 0:
        try:
            good = all(signer.sign(b"%d" % number) for number in range(50))
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert all(signer.sign(b"%d" % number) for number in range(50))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    sealed = seal(signer, "text/plain", b"hello")
    assert open_envelope(sealed, "text/plain", {signer.key_id: signer.public}).payload == b"hello"


@pytest.mark.usefixtures("agent")
def test_a_key_that_the_agent_does_not_have_signs_nothing() -> None:
    """Whatever its file says."""
    with pytest.raises(KeyFileError, match="ssh-agent does not have key"):
        AgentSigner(Signer.from_seed(b"x" * 32).public).sign(b"x")

"""The command line against a coordinator elsewhere: `NEXAPOD_URL` and a token, or `--url`."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM
from servers import Running, environment, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = """schema = 1
[job]
command = ["sh", "-c", "cat in.txt > out.txt; echo said; echo wrong >&2"]
[quorum]
distinct = "run"
[[inputs]]
source = "in.txt"
[[outputs]]
path = "out.txt"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("remote") / "home") as started:
        yield started


@pytest.fixture
def there(server: Running, tmp_path: Path) -> dict[str, str]:
    """Return the environment of somebody who has a home of their own, the URL and a token."""
    return {**environment(tmp_path / "mine"), "NEXAPOD_URL": server.url, "NEXAPOD_TOKEN": server.token}


def run(env: dict[str, str], *arguments: str, cwd: Path, code: int = 0) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run([PROGRAM, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_a_job_from_submit_to_results(there: dict[str, str], tmp_path: Path) -> None:
    """Each command as it is typed at home; nothing is made in the home of whoever types it."""
    (tmp_path / "in.txt").write_text("seven\n")
    (tmp_path / "seven.toml").write_text(JOB)
    job = run(there, "submit", "seven.toml", "--wait=10", "--parsable", cwd=tmp_path).strip()
    assert "seven" in run(there, "ls", cwd=tmp_path)
    assert json.loads(run(there, "show", job, "--json", cwd=tmp_path))["job"]["state"] == "accepted"
    assert "accepted" in run(there, "show", job, cwd=tmp_path)
    assert "accepted" in run(there, "wait", job, cwd=tmp_path)
    assert run(there, "logs", f"{job}_0", cwd=tmp_path) == "said\n"
    assert run(there, "logs", job, "--stderr", cwd=tmp_path) == "wrong\n"
    run(there, "results", job, "--out", "saved", cwd=tmp_path)
    assert (tmp_path / "saved" / "0" / "out.txt").read_text() == "seven\n"
    assert not (tmp_path / "mine").exists()


def test_a_command_and_a_verdict_against_it(there: dict[str, str], tmp_path: Path) -> None:
    """The exit code is that of the verdict."""
    wish = 'schema = 1\n[job]\ncommand = ["false"]\n[quorum]\ndistinct = "run"\n'
    (tmp_path / "no.toml").write_text(wish)
    assert "failed" in run(there, "submit", "no.toml", "--wait", cwd=tmp_path, code=1)


def test_cancelling(there: dict[str, str], tmp_path: Path) -> None:
    """And a wait that is too short says so."""
    (tmp_path / "long.toml").write_text('schema = 1\n[job]\ncommand = ["sleep", "600"]\n[quorum]\ndistinct = "run"\n')
    job = run(there, "submit", "long.toml", "--parsable", cwd=tmp_path).strip()
    assert "not ended yet" in run(there, "wait", job, "--timeout", "1s", cwd=tmp_path, code=4)
    assert "cancelled" in run(there, "cancel", job, cwd=tmp_path)


def test_by_option(server: Running, tmp_path: Path) -> None:
    """`--url` at a command, with the token from the environment."""
    env = {**environment(tmp_path / "mine"), "NEXAPOD_TOKEN": server.token}
    found = json.loads(run(env, "ls", "--url", server.url, "--json", cwd=tmp_path))
    assert found["schema"] == 1
    assert json.loads(run(env, "ls", "--json", cwd=tmp_path))["jobs"] == []  # without it, those of this home


@pytest.mark.parametrize(
    ("change", "arguments", "code", "told"),
    [
        ({}, ("show", "999999"), 66, "no such job"),
        ({}, ("submit", "bad.toml"), 65, "comand"),
        ({}, ("submit", "many.toml"), 65, "agree = 50"),
        ({"NEXAPOD_TOKEN": "nxp_" + "A" * 43}, ("ls",), 78, "fingerprint"),
        ({"NEXAPOD_URL": "http://127.0.0.1:1"}, ("show", "1"), 69, "127.0.0.1:1"),
        ({"NEXAPOD_URL": "http://example.com"}, ("ls",), 1, "in the clear"),
    ],
)
def test_what_goes_wrong(
    there: dict[str, str], tmp_path: Path, change: dict[str, str], arguments: tuple[str, ...], code: int, told: str
) -> None:
    """With the words and the exit codes of the command line."""
    (tmp_path / "bad.toml").write_text('schema = 1\n[job]\ncomand = ["true"]\n')
    (tmp_path / "many.toml").write_text('schema = 1\n[job]\ncommand = ["true"]\n[quorum]\nagree = 50\n')
    assert told in run({**there, **change}, *arguments, cwd=tmp_path, code=code)


@pytest.fixture(scope="module")
def decided(server: Running, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the number of a job that was decided."""
    folder = tmp_path_factory.mktemp("decided")
    (folder / "in.txt").write_text("seven\n")
    (folder / "seven.toml").write_text(JOB)
    env = {**environment(folder / "mine"), "NEXAPOD_URL": server.url, "NEXAPOD_TOKEN": server.token}
    return run(env, "submit", "seven.toml", "--wait=10", "--parsable", cwd=folder).strip()


@pytest.mark.parametrize("arguments", [("explain", "ID"), ("explain", "ID_0"), ("ledger", "log", "ID"), ("ledger", "log", "ID_0")])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_same_words_as_at_home(
    server: Running, there: dict[str, str], decided: str, tmp_path: Path, arguments: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """What a command says of a job elsewhere is what it says there, byte for byte."""
    named = [word.replace("ID", decided) for word in arguments]
    assert run(there, *named, *form, cwd=tmp_path) == server.command(*named, *form).stdout


def test_the_proof_of_a_job_elsewhere(server: Running, there: dict[str, str], decided: str, tmp_path: Path) -> None:
    """It is checked here, with keys that are given; the word of the server is not asked for."""
    run(there, "results", decided, "--out", "saved", cwd=tmp_path)
    found = run(there, "verify", decided, "--results", "saved", cwd=tmp_path)
    assert "all holds: 2 statements" in found
    assert "unattributed" in found
    node = json.loads(server.command("node", "ls", "--json").stdout)["nodes"][0]["name"]
    server.command("key", "export", node, "--format", "pem", "--out", str(tmp_path / "good.pem"))
    assert "given by you" in run(there, "verify", decided, "--key", "good.pem", cwd=tmp_path)
    other = running_key(tmp_path)
    assert "none of this folder" in run(there, "verify", decided, "--key", other, cwd=tmp_path, code=1)
    run(there, "attestations", decided, "--out", "proof", cwd=tmp_path)
    here = {**there, "NEXAPOD_URL": "https://127.0.0.1:1"}  # nobody is asked
    assert "all holds" in run(here, "verify", "--folder", "proof", "--results", "saved", cwd=tmp_path)
    assert "there already" in run(there, "attestations", decided, "--out", "proof", cwd=tmp_path, code=2)


def running_key(folder: Path) -> str:
    """Write a public key of nobody, and return the name of its file."""
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=made, capture_output=True, check=True).stdout
    (folder / "other.pem").write_bytes(public)
    return "other.pem"


def test_the_archive_of_a_job_elsewhere(there: dict[str, str], decided: str, tmp_path: Path) -> None:
    """As a folder and as a file, with and without inputs; both verify here, where nobody is asked."""
    here = {**there, "NEXAPOD_URL": "https://127.0.0.1:1"}
    assert f"archive-{decided}: job {decided}, " in run(there, "archive", decided, cwd=tmp_path)
    run(there, "archive", decided, "--out", "small.tar", "--without-inputs", cwd=tmp_path)
    for name in (f"archive-{decided}", "small.tar"):
        assert "all holds" in run(here, "verify", f"./{name}", cwd=tmp_path)
        assert f"job {decided} " in run(here, "archive", "show", name, cwd=tmp_path)
        assert "there already" in run(there, "archive", decided, "--out", name, cwd=tmp_path, code=2)


def test_the_head_of_the_ledger_elsewhere(server: Running, there: dict[str, str], decided: str, tmp_path: Path) -> None:
    """It can be kept, and the ledger is seen to continue it."""
    (tmp_path / "head").write_text(run(there, "ledger", "head", cwd=tmp_path))
    assert "all holds" in server.command("ledger", "verify", "--since", str(tmp_path / "head")).stdout
    assert decided in server.command("ls", "--json").stdout


@pytest.mark.parametrize(
    "arguments",
    [("explain",), ("verify",), ("attestations", "--out", "new"), ("archive", "--out", "new.tar"), ("ledger", "log")],
)
def test_what_is_not_there_is_told_alike(there: dict[str, str], tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """With exit code 66, and nothing is written."""
    words = (*arguments[:1], "999999", *arguments[1:]) if arguments[0] != "ledger" else (*arguments, "999999")
    assert "no such job" in run(there, *words, cwd=tmp_path, code=66)
    assert not list(tmp_path.glob("*new*"))

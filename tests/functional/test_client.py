"""The Python client against a real server over TLS: submit, wait, results, logs, evidence; and whom it trusts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers import Running, running

from nexapod_client import (
    AsyncNexaPodClient,
    ConflictError,
    NexaPodClient,
    NexaPodError,
    NotFoundError,
    SignInError,
    UnreachableError,
    UntrustedServerError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A flat descriptor that one machine can decide.
RUN = {"quorum": {"distinct": ["run"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("client") / "home") as started:
        yield started


@pytest.fixture
def client(server: Running) -> Iterator[NexaPodClient]:
    """Return a client that has the URL and the token, and nothing else."""
    with NexaPodClient(server.url, token=server.token) as made:
        yield made


def test_from_submit_to_evidence(client: NexaPodClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs travel with the job, results come back as they were signed, and the verdict is worked out again here."""
    (tmp_path / "in.txt").write_text("seven\n")
    monkeypatch.chdir(tmp_path)
    heard: list[str] = []
    job = client.submit_job(
        {**RUN, "command": "cat in.txt; cat in.txt > out.txt", "inputs": [{"source": "in.txt"}], "outputs": ["out.txt"]}
    )
    outcome = client.wait(job, timeout=120, progress=lambda found: heard.append(found.state))
    assert outcome.state == "accepted"
    assert "accepted" in str(outcome)
    assert heard[-1] == "accepted"
    files = {file.path: file for file in client.results(job)}
    assert files["out.txt"].read() == b"seven\n"
    saved = {file.path: file.local for file in client.results(job, to=tmp_path / "to")}
    assert saved["out.txt"] == tmp_path / "to" / "0" / "out.txt"
    assert (tmp_path / "to" / "0" / "out.txt").read_bytes() == b"seven\n"
    assert list(client.logs(job)) == ["seven"]
    nodes = [node["key"] for node in client.nodes()]
    found = client.verify(job, keys=nodes)
    assert found["ok"] is True
    assert [key["from"] for key in found["keys"] if key["key"] in nodes] == ["given by you"]


def test_why_what_happened_and_the_archive(client: NexaPodClient, tmp_path: Path) -> None:
    """Sentences and codes, every event once, and a file that anybody can check."""
    job = client.submit_job({**RUN, "command": ["true"]})
    happened = [event["kind"] for event in client.events(job, follow=True)]
    assert happened[0] == "submitted"
    assert happened[-1] == "published"
    assert happened == [event["kind"] for event in client.events(job)]
    assert job.explain()["explanation"][0] == f"job {job.id} (job): 1 task: 1 accepted"
    file = client.archive(job, tmp_path / "a.tar")
    done = subprocess.run([Path(sys.executable).with_name("nexapod-batch"), "verify", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert list(tmp_path.iterdir()) == [file]


def test_an_input_that_is_too_large_for_one_request(client: NexaPodClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent before the job, in parts, from a path, from the current folder, and from memory; once."""
    monkeypatch.chdir(tmp_path)
    content = bytes(range(256)) * 40_000  # 10 MB
    (tmp_path / "big.bin").write_bytes(content)
    wish = {**RUN, "command": "cksum < big.bin; cksum < other.bin", "inputs": [{"source": "big.bin"}, {"source": "other.bin"}]}
    job = client.submit_job(wish, files={"other.bin": content[::-1]})
    assert client.wait(job, timeout=240).state == "accepted"
    wanted = [subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout.decode().strip() for data in (content, content[::-1])]
    assert list(client.logs(job)) == wanted


def test_the_client_of_the_nexapod_documents(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """`NexaPodClient("http://localhost:5000").submit_job({...})`, but for the port: the job is decided."""
    monkeypatch.setenv("NEXAPOD_HOME", str(server.home))
    client = NexaPodClient(f"http://localhost:{server.port}")
    job = client.submit_job({"id": "nexapod_1", "script": "echo hi", "requirements": {"ram_gb": 0.1, "cores": 1}, **RUN})
    assert job["job_id"] == "nexapod_1"
    outcome = client.wait(job, timeout=120)
    assert (outcome.state, "accepted" in str(outcome)) == ("accepted", True)


def test_keys_that_are_trusted(client: NexaPodClient, tmp_path: Path) -> None:
    """By fingerprint, or as files; one that is none of the proof's is a fault."""
    job = client.submit_job({**RUN, "command": ["true"]})
    client.wait(job, timeout=120)
    keys = [node["key"] for node in client.nodes()]
    client.attestations(job, tmp_path / "proof.tar")
    with tarfile.open(tmp_path / "proof.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    (pem,) = (tmp_path / f"job-{job.id}").glob("*.pem")
    for given in (keys, [pem], [str(pem)], []):
        assert client.verify(job, keys=given)["ok"] is True
    found = client.verify(job, keys=[*keys, "SHA256:" + "A" * 43])
    assert (found["ok"], found["checks"][-1]["ok"]) == (False, False)
    with pytest.raises(NexaPodError, match="PEM"):
        client.verify(job, keys=[tmp_path / "proof.tar"])


def test_the_example_of_the_nexapod_documents(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word but for the port: no token, plain http, on the server's machine, for the server's account."""
    monkeypatch.setenv("NEXAPOD_HOME", str(server.home))
    client = NexaPodClient(f"http://localhost:{server.port}")
    assert client.url.startswith("https://")  # the key of the server is known: nobody else hears the token
    with pytest.raises(NexaPodError) as refused:
        client.submit_job({"id": "my_job", "docker_image": "python:3.9", "requirements": {"min_memory_gb": 4}})
    assert refused.value.status in {409, 422, 502}  # one machine is no quorum, or there is no registry here


def test_another_account_gets_no_token(server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Being on the same machine is not enough."""
    monkeypatch.setenv("NEXAPOD_HOME", str(tmp_path))
    with pytest.raises(SignInError):
        NexaPodClient(f"http://localhost:{server.port}").me()


def test_a_word_that_others_can_read_is_not_believed(
    server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor one that others could have written."""
    (tmp_path / "server").mkdir()
    word = tmp_path / "server" / "local.json"
    word.write_bytes((server.home / "server" / "local.json").read_bytes())
    word.chmod(0o644)
    monkeypatch.setenv("NEXAPOD_HOME", str(tmp_path))
    with pytest.raises(SignInError):
        NexaPodClient(f"http://localhost:{server.port}").me()


def test_a_token_is_shown_to_its_server_alone(server: Running, tmp_path: Path) -> None:
    """A server with another key hears nothing, whatever its address."""
    with running(tmp_path / "other") as other:
        with pytest.raises(UntrustedServerError, match="another server"):
            NexaPodClient(other.url, token=server.token).me()
        bare = server.token.partition(".")[0]
        with pytest.raises(UntrustedServerError, match="fingerprint"):
            NexaPodClient(server.url, token=bare).me()
        pinned = NexaPodClient(server.url, token=bare, fingerprint=server.join.split()[5])
        assert pinned.me()["scope"] == "admin"
        with pytest.raises(UntrustedServerError):
            NexaPodClient(other.url, token=bare, fingerprint=server.join.split()[5]).me()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com:5000", "in the clear"),
        ("ftp://localhost", "no URL"),
        ("https://user:word@localhost", "no URL"),
        ("https://localhost/?token=nxp_x", "no URL"),
    ],
)
def test_addresses_that_are_refused(url: str, told: str) -> None:
    """Before anything is sent."""
    with pytest.raises(NexaPodError, match=told):
        NexaPodClient(url, token="nxp_" + "A" * 43)


def test_nobody_there() -> None:
    """The address is named, and what to do."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
        NexaPodClient("http://127.0.0.1:1", retries=0).me()


@pytest.mark.parametrize(
    ("descriptor", "kind", "told"),
    [
        ({"comand": ["true"]}, NexaPodError, "comand"),
        ({"command": ["true"], "quorum": {"agree": "two"}}, NexaPodError, "quorum.agree"),
        ({"command": ["true"], "requirements": {"min_memory_gb": -1}}, NexaPodError, "resources.mem"),
        ({"command": ["true"], "inputs": [{"source": "/etc/passwd"}]}, NexaPodError, "outside"),
        ({"command": ["true"], "inputs": [{"source": "../x"}]}, NexaPodError, "outside"),
        ({"command": ["true"], "quorum": {"agree": 50}}, ConflictError, "agree = 50"),
        ("[job]\ncommand = [", NexaPodError, "TOML"),
    ],
)
def test_what_is_wrong_with_a_descriptor(client: NexaPodClient, descriptor: Any, kind: type[NexaPodError], told: str) -> None:
    """In the words of the command line."""
    with pytest.raises(kind, match=told):
        client.submit_job(descriptor)


def test_a_job_that_goes_on_is_waited_for_in_vain(client: NexaPodClient) -> None:
    """The error says how it stands; it can be cancelled."""
    job = client.submit_job({**RUN, "command": ["sleep", "600"]})
    with pytest.raises(WaitTimeoutError, match=f"job {job.id} "):
        client.wait(job, timeout=0.2)
    assert client.cancel(job).state == "cancelled"
    assert client.wait(job, timeout=120).state == "cancelled"


def test_jobs_have_three_names(client: NexaPodClient) -> None:
    """The number, the UUID, and the id that the submitter chose, with which nothing is submitted twice."""
    wish = {**RUN, "id": "sweep_1", "command": ["true"]}
    job = client.submit_job(wish)
    assert job["job_id"] == "sweep_1"
    assert client.submit_job(wish).id == job.id
    for name in (job.id, job.uuid, "sweep_1"):
        assert client.get_job_status(name)["id"] == job.id
    with pytest.raises(ConflictError, match="sweep_1"):
        client.submit_job({**wish, "command": ["false"]})
    with pytest.raises(NotFoundError):
        client.job("sweep_2")


def test_with_an_event_loop(server: Running) -> None:
    """The same, to be awaited."""

    async def work() -> tuple[str, list[str], bool, str, int]:
        client = AsyncNexaPodClient(server.url, server.token)
        job = await client.submit_job({**RUN, "command": ["echo", "hi"]})
        outcome = await client.wait(job, timeout=120)
        lines = [line async for line in client.logs(job)]
        held = (await client.verify(job))["ok"]
        why = (await client.explain(job))["tasks"][0]["state"]
        return outcome.state, lines, held, why, len([event async for event in client.events(job, 0)])

    state, lines, held, why, events = asyncio.run(work())
    assert (state, lines, held, why) == ("accepted", ["hi"], True, "accepted")
    assert events >= 4  # two reports, the verdict, what was published


def test_importing_it_imports_nothing_of_the_coordinator() -> None:
    """Nor what only a connection needs."""
    code = "import sys, nexapod_client; print(sorted(sys.modules))"
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    heavy = {"nexapod_batch", "nexapod_backends", "cryptography", "ssl", "http.client", "asyncio", "msgspec", "dataclasses"}
    assert not {name for name in heavy if f"'{name}'" in done.stdout}

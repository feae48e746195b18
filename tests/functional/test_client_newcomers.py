"""What people try first with the client: each shape of a job that is meant well is taken, each other one is told what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers import Running, running
from spools import until

from nexapod_client import NexaPodClient, NexaPodError, NotFoundError, SignInError, UnreachableError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What one machine can decide, and nothing of which runs.
HELD: dict[str, Any] = {"quorum": {"distinct": ["run"]}, "schedule": {"hold": True}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("newcomers") / "home") as started:
        yield started


@pytest.fixture
def client(server: Running) -> Iterator[NexaPodClient]:
    """Return a client."""
    with NexaPodClient(server.url, token=server.token, retries=0) as made:
        yield made


#: Shapes that are meant well.
TAKEN: dict[str, dict[str, Any]] = {
    "a command as text": {"command": "echo hi"},
    "a command as a list": {"command": ["echo", "hi"]},
    "a command as a tuple": {"command": ("echo", "hi")},
    "a script": {"script": "echo hi"},
    "a script with its interpreter": {"script": "#!/usr/bin/env python3\nprint(1)\n"},
    "nothing for None": {"command": "true", "docker_image": None, "requirements": None, "name": None, "outputs": None},
    "a requirement that is None": {"command": "true", "requirements": {"min_memory_gb": None, "cpus": 1}},
    "memory as NexaPod has it": {"command": "true", "requirements": {"min_memory_gb": 0.5}},
    "memory by the other name": {"command": "true", "requirements": {"ram_gb": 1}},
    "memory with a unit": {"command": "true", "requirements": {"ram_gb": "512MiB"}},
    "cpus and no gpus": {"command": "true", "requirements": {"cpus": 1, "gpus": 0}},
    "outputs as names": {"command": "true", "outputs": ["a.txt"]},
    "outputs as tables": {"command": "true", "outputs": [{"path": "a.txt", "compare": "exact"}]},
    "a quorum as a table": {"command": "true", "quorum": {"agree": 1}},
    "a quorum as a number": {"command": "true", "quorum": 1},
    "as in TOML": {"schema": 1, "job": {"command": ["true"]}},
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_meant_well_is_taken(client: NexaPodClient, what: str) -> None:
    """And waits for its release, as it says."""
    job = client.submit_job({**HELD, **TAKEN[what]})
    assert client.job(job).state == "waiting"
    assert f"job {job.id} " in str(client.job(job))


#: Jobs -> what is said.
REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "job.command: missing: wanted command"),
    "None": (None, "this is no job: got NoneType, wanted a table (dict), or TOML text"),
    "a number": (7, "this is no job: got int"),
    "a list": (["echo", "hi"], "this is no job: got list"),
    "an empty list": ([], "this is no job: got list"),
    "bytes": (b"echo", "this is no job: got bytes"),
    "an empty text": ("", "job.command: missing"),
    "a command line": ("echo hi", "not valid TOML"),
    "an empty command": ({"command": ""}, "command: is empty"),
    "a blank command": ({"command": " \n"}, "command: is empty"),
    "an empty script": ({"script": ""}, "script: is empty"),
    "a command of no words": ({"command": []}, "job.command: wrong number of values"),
    "a number in a command": ({"command": ["echo", 7]}, "job.command[1]: wrong type: got 7"),
    "a command that is a number": ({"command": 7}, "job.command: wrong type: got 7"),
    "a script that is a list": ({"script": ["a"]}, "job.script: wrong type"),
    "both": ({"command": "a", "script": "b"}, "both command and script"),
    "an image twice": ({"command": "a", "image": "a", "docker_image": "b"}, "1 problem\n  docker_image: an image stands there twice"),
    "an image that is a number": ({"command": "a", "docker_image": 7}, "docker_image: must be a text"),
    "an image with a blank": ({"command": "a", "docker_image": "a b"}, "container.image: not an image"),
    "an image that is not there": ({"command": "a", "image": "x.sif"}, "container.image: no such image file: got 'x.sif'"),
    "no memory": ({"command": "a", "requirements": {"min_memory_gb": 0}}, "resources.mem: out of range"),
    "memory that is a flag": ({"command": "a", "requirements": {"ram_gb": True}}, "resources.mem: wrong type: got true"),
    "memory twice": ({"command": "a", "requirements": {"ram_gb": 1, "min_memory_gb": 2}}, "a second time, after ram_gb"),
    "more memory than there is": ({"command": "a", "requirements": {"ram_gb": 10**6}}, "the largest node"),
    "half a cpu": ({"command": "a", "requirements": {"cpus": 0.5}}, "resources.cpus_per_task: wrong type: got 0.5"),
    "a gpu": ({"command": "a", "requirements": {"gpus": 10**4}}, "resources.gpus: a replica wants 10000 GPUs"),
    "an unknown requirement": ({"command": "a", "requirements": {"memori_gb": 1}}, "did you mean 'memory_gb'?"),
    "a requirement like no other": ({"command": "a", "requirements": {"zzz": 1}}, "wanted one of cores, cpu_cores,"),
    "requirements as a list": ({"command": "a", "requirements": ["4GB"]}, "requirements: must be a table"),
    "a requirement in the wrong place": ({"command": "a", "cpus": 2}, "cpus: belongs in requirements"),
    "a word for a requirement": ({"command": "a", "timeout": 60}, "did you mean 'requirements.time'?"),
    "a word for another": ({"comand": "a"}, "did you mean 'command'?"),
    "a word of no use": ({"command": "a", "zzz": 1}, "zzz: is no key of a descriptor"),
    "a capital": ({"Command": "a"}, "did you mean 'command'?"),
    "outputs as a text": ({"command": "a", "outputs": "a.txt"}, "outputs: wrong type: got 'a.txt'"),
    "outputs as numbers": ({"command": "a", "outputs": [7]}, "outputs[0]: wrong type: got 7"),
    "an output elsewhere": ({"command": "a", "outputs": ["../x"]}, "outputs[0].path"),
    "a quorum as a text": ({"command": "a", "quorum": "2"}, "quorum: wrong type: got '2'"),
    "a quorum as a flag": ({"command": "a", "quorum": True}, "quorum: wrong type: got true"),
    "a quorum of none": ({"command": "a", "quorum": 0}, "quorum.agree: out of range: got 0"),
    "a quorum too large": ({"command": "a", "quorum": 3}, "agree = 3 needs 3 replicas that differ in node"),
    "an unknown word in a quorum": ({"command": "a", "quorum": {"agre": 2}}, "quorum.agre: unknown key (did you mean 'agree'?)"),
    "an id of digits": ({"command": "a", "id": "7"}, "this is no id for a job"),
    "an input that is not here": ({"command": "a", "inputs": [{"source": "no.txt"}]}, "an input is not here: got 'no.txt'"),
    "files as a number": ({"command": "a", "files": 7}, "files is no table"),
    "a value like no other": ({"command": "a", "x": {1}}, "the job cannot be sent: Object of type set"),
    "a path": ({"command": "a", "name": Path("x")}, "the job cannot be sent: Object of type"),
    "no number": ({"command": "a", "x": float("nan")}, "the job cannot be sent: Out of range"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_told(client: NexaPodClient, what: str) -> None:
    """As an error of the client, with what to write instead; never as a traceback of something else."""
    wish, sentence = REFUSED[what]
    if isinstance(wish, dict) and "quorum" not in wish:
        wish = {**HELD, **wish}
    with pytest.raises(NexaPodError) as refused:
        client.submit_job(wish)
    assert sentence in str(refused.value)
    assert "\n  : " not in str(refused.value)


@pytest.mark.parametrize("timeout", ["5", float("nan"), True, [], object], ids=["text", "nan", "flag", "list", "class"])
def test_what_is_no_time(client: NexaPodClient, timeout: Any) -> None:
    """It is refused before anybody waits for ever."""
    job = client.submit_job({**HELD, "command": "true"})
    with pytest.raises(NexaPodError, match="timeout is no number of seconds"):
        client.wait(job, timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_a_job_that_waits_is_told_in_sentences(client: NexaPodClient, timeout: float) -> None:
    """Also by a server that just began: what the error says has no code in it."""
    job = client.submit_job({**HELD, "command": "true"})
    with pytest.raises(WaitTimeoutError, match=f"job {job.id} .* is waiting: it is held: nothing is dispatched before"):
        client.wait(job, timeout=timeout)


@pytest.mark.parametrize("job", ["", None, True, 1.5, [], {}], ids=repr)
def test_what_names_no_job(client: NexaPodClient, job: Any) -> None:
    """It is told here."""
    for ask in (client.wait, client.results, client.cancel, client.explain):
        with pytest.raises(NexaPodError, match="this names no job"):
            ask(job)


@pytest.mark.parametrize("job", [0, -1, 99_999, "no-such-job", "../me", "ü"])
def test_jobs_that_are_not_there(client: NexaPodClient, job: Any) -> None:
    """They are told by name."""
    with pytest.raises(NotFoundError, match=r"no such (job|path)"):
        client.wait(job, timeout=0)


@pytest.mark.parametrize("url", [7, b"http://localhost", "http://", "http://localhost:99999", "http://localhost:abc", "http://[::1", "ftp://localhost"])
def test_addresses_that_are_none(url: Any) -> None:
    """They are refused with what one looks like."""
    with pytest.raises(NexaPodError, match=r"no URL|no text"):
        NexaPodClient(url, token="nxp_" + "A" * 43)


def refusal(url: str, token: str) -> str:
    """Return what is said of a token; "" while it is good."""
    try:
        NexaPodClient(url, token=token).me()
    except SignInError as error:
        return str(error)
    return ""


def test_tokens_that_are_no_good(server: Running) -> None:
    """Unknown, cut, expired: each is told, with who makes another."""
    pin = server.token.partition(".")[2]
    made = server.ask("POST", "/v1/tokens", body={"person": "dan", "days": 0.00001}).json["token"]  # for a second
    for token in (f"nxp_{'A' * 43}.{pin}", f"nxp_.{pin}", server.token.replace("nxp_", "nxp_A", 1)):
        with pytest.raises(SignInError, match=r"unknown, expired or revoked|this is no token"):
            NexaPodClient(server.url, token=token).me()
    until(lambda: "nexapod-batch token new" in refusal(server.url, made), "the token to expire")
    with pytest.raises(NexaPodError, match="token is no text"):
        NexaPodClient(server.url, token=7)  # type: ignore[arg-type]


def test_a_server_that_is_down() -> None:
    """Each call says so, and what to look at."""
    down = NexaPodClient("http://127.0.0.1:1", token="nxp_" + "A" * 43, retries=0)
    for ask in (down.me, lambda: down.submit_job({"command": "true"}), lambda: down.wait(1, timeout=0.1)):
        with pytest.raises(UnreachableError, match=r"no answer from http.*\n  -> is the address right, and the server up"):
            ask()

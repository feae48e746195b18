"""Jobs over HTTP: under both names, private, once; and tokens."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from servers import Running, running

from nexapod_batch.coordinator.placement.on_the_way import OnTheWay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN: dict[str, Any] = {"quorum": {"distinct": ["run"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("serve") / "home") as started:
        yield started


def token_of(server: Running, person: str, scope: str = "submit") -> str:
    """Make a token."""
    made = server.ask("POST", "/v1/tokens", body={"person": person, "scope": scope})
    assert made.status == 201
    return made.json["token"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/jobs", "/submit-job"])
def test_a_job_is_taken_under_every_name(server: Running, path: str) -> None:
    """With the fields of the NexaPod documents and ours."""
    taken = server.ask("POST", path, body={**RUN, "command": ["true"]})
    assert taken.status == 202
    assert taken.json["status"] == "job submitted"
    assert taken.json["job_id"] == str(taken.json["id"])
    for under in ("/v1/jobs", "/jobs"):
        shown = server.ask("GET", f"{under}/{taken.json['id']}").json
        assert shown["uuid"] == taken.json["uuid"]
        assert shown["status"] == shown["state"]


def test_what_is_on_its_way_is_shown_apart_from_what_runs(server: Running) -> None:
    """As `show` has it: node, files, bytes, how many of them were sent, and since when; nothing where nothing is sent."""
    taken = server.ask("POST", "/v1/jobs", body={**RUN, "command": ["true"], "schedule": {"hold": True}}).json
    assert server.ask("GET", f"/v1/jobs/{taken['id']}").json["staging"] == []
    way = OnTheWay(server.home / "staging/1.json", "far", taken["id"], None)
    way.begin(400, 1000)
    (told,) = server.ask("GET", f"/v1/jobs/{taken['id']}").json["staging"]
    assert {key: value for key, value in told.items() if key != "since"} == {"node": "far", "files": 400, "size": 1000, "sent": 0}
    way.end()
    assert server.ask("GET", f"/v1/jobs/{taken['id']}").json["staging"] == []


def test_a_job_may_be_toml(server: Running) -> None:
    """As a file of the command line."""
    text = b'schema = 1\n[job]\ncommand = ["true"]\n[quorum]\ndistinct = ["run"]\n'
    taken = server.ask("POST", "/v1/jobs", body=text, Content_Type="application/toml")
    assert taken.status == 202


def test_jobs_are_private(server: Running) -> None:
    """Another person is told that there is none; who operates the coordinator sees all."""
    alice, bob, operator = token_of(server, "alice"), token_of(server, "bob"), token_of(server, "olga", "operate")
    job = server.ask("POST", "/v1/jobs", token=operator, body={**RUN, "command": ["true"]}).json["id"]
    assert server.ask("GET", f"/v1/jobs/{job}", token=operator).status == 200
    for path in ("", "/tasks", "/results", "/results/0/stdout", "/tasks/0/stdout", "/attestations"):
        answer = server.ask("GET", f"/v1/jobs/{job}{path}", token=alice)
        assert (answer.status, answer.json["detail"]) == (404, "there is no such job")
        assert server.ask("GET", f"/v1/jobs/{job + 1000}{path}", token=alice).json["detail"] == "there is no such job"
    assert server.ask("POST", f"/v1/jobs/{job}/cancel", token=bob).status == 404
    assert server.ask("GET", "/v1/jobs", token=bob).json == {"items": [], "next": None}
    assert job in [item["id"] for item in server.ask("GET", "/v1/jobs").json["items"]]


@pytest.mark.parametrize(
    "wish",
    [
        {"schedule": {"depends_on": [{"job": 1}]}},
        {"inputs": [{"source": "job:1/stdout", "target": "in"}]},
    ],
)
def test_nobody_builds_on_jobs_of_others(server: Running, wish: dict[str, Any]) -> None:
    """What they wrote is as private as they are; a job that is not there is told in the same words."""
    alice = token_of(server, "alice")
    server.ask("POST", "/v1/jobs", body={**RUN, "command": ["true"]})
    refused = server.ask("POST", "/v1/jobs", token=alice, body={**RUN, "command": ["true"], **wish})
    assert (refused.status, refused.json["detail"]) == (404, "there is no such job")


@pytest.mark.parametrize("source", ["https://example.com/x", "s3://bucket/x"])
def test_nobody_uses_the_logins_of_the_account(server: Running, source: str) -> None:
    """What the server's account may fetch is not for everybody who may submit."""
    wish = {**RUN, "command": ["true"], "inputs": [{"source": source, "target": "in", "sha256": "0" * 64}]}
    refused = server.ask("POST", "/v1/jobs", token=token_of(server, "alice"), body=wish)
    assert refused.status == 422
    assert [problem["path"] for problem in refused.json["problems"]] == ["inputs[0].source"]


@pytest.mark.parametrize("scope", ["submit", "operate"])
def test_tokens_are_for_administrators(server: Running, scope: str) -> None:
    """Nobody else makes, sees or revokes any."""
    token = token_of(server, "carol", scope)
    for method, path, body in (("GET", "", None), ("POST", "", {"person": "x"}), ("DELETE", "/1", None)):
        assert server.ask(method, f"/v1/tokens{path}", token=token, body=body).status == 403


def test_a_revoked_token_is_good_for_nothing(server: Running) -> None:
    """At once; and no listing has its secret."""
    token = token_of(server, "dave")
    assert server.ask("GET", "/v1/me", token=token).json == {"person": "dave", "scope": "submit"}
    listed = server.ask("GET", "/v1/tokens")
    assert token.partition(".")[0].encode() not in listed.body
    number = next(item["id"] for item in listed.json["items"] if item["person"] == "dave")
    assert server.ask("DELETE", f"/v1/tokens/{number}").status == 200
    assert server.ask("GET", "/v1/me", token=token).status == 401
    assert server.ask("DELETE", f"/v1/tokens/{number}").status == 404


@pytest.mark.parametrize(
    "wish",
    [
        {"person": "eve", "scope": "root"},
        {"person": "eve", "days": 0},
        {"person": "eve", "days": -1},
        {"person": "eve", "days": 1e9},
        {"person": ""},
        {"person": "a/b"},
        {"person": "a" * 64},
        {"person": 7},
        {"persons": "eve"},
        {},
        [],
        "eve",
    ],
)
def test_bad_wishes_for_a_token(server: Running, wish: object) -> None:
    """None is made."""
    assert server.ask("POST", "/v1/tokens", body=wish).status == 400


def test_a_key_makes_a_submission_one(server: Running) -> None:
    """The same again is the same job, something else a conflict; another person's key is another."""
    wish = {**RUN, "command": ["true"]}
    first = server.ask("POST", "/v1/jobs", body=wish, Idempotency_Key="k1").json
    again = server.ask("POST", "/v1/jobs", body=wish, Idempotency_Key="k1").json
    assert again["id"] == first["id"]
    other = server.ask("POST", "/v1/jobs", body={**RUN, "command": ["false"]}, Idempotency_Key="k1")
    assert (other.status, other.json["type"]) == (409, "/v1/problems/conflict")
    theirs = server.ask("POST", "/v1/jobs", token=token_of(server, "frank", "admin"), body=wish, Idempotency_Key="k1")
    assert theirs.json["id"] != first["id"]


def test_what_one_person_may_have_open(tmp_path: Path) -> None:
    """Jobs and tasks are counted for each person; what ended no longer counts."""
    with running(tmp_path / "home", "--open-jobs", "2", "--open-tasks", "5") as server:
        wish = {**RUN, "command": ["true"], "schedule": {"hold": True}}
        first = server.ask("POST", "/v1/jobs", body=wish).json["id"]
        refused = server.ask("POST", "/v1/jobs", body={**wish, "array": {"ids": "1-5"}})
        assert (refused.status, refused.json["wanted"]) == (409, "at most 5")
        assert server.ask("POST", "/v1/jobs", body={**wish, "array": {"ids": "1-4"}}).status == 202
        refused = server.ask("POST", "/v1/jobs", body=wish)
        assert (refused.status, refused.json["wanted"]) == (409, "at most 2")
        theirs = server.ask("POST", "/v1/jobs", token=token_of(server, "zoe", "admin"), body=wish)
        assert theirs.status == 202
        server.ask("POST", f"/v1/jobs/{first}/cancel")
        assert server.ask("POST", "/v1/jobs", body=wish).status == 202


def test_who_waits_is_answered_when_the_server_ends(tmp_path: Path) -> None:
    """With the job as it stands; the server ends well."""
    with running(tmp_path / "home") as server:
        job = server.ask("POST", "/v1/jobs", body={**RUN, "command": ["true"], "schedule": {"hold": True}}).json["id"]
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(server.ask, "GET", f"/v1/jobs/{job}?wait=50")
            while b"nexapod_people_waiting 1.0" not in server.ask("GET", "/metrics").body:
                pass
            server.process.send_signal(signal.SIGTERM)
            answer = waits.result()
        assert (answer.status, answer.json["ended"]) == (200, False)
    assert server.process.returncode == 0


def test_a_token_that_is_revoked_while_somebody_waits(tmp_path: Path) -> None:
    """The end of the job is told to nobody who could not ask for it any more."""
    with running(tmp_path / "home") as server:
        eve = token_of(server, "eve")
        job = server.ask("POST", "/v1/jobs", token=eve, body={**RUN, "command": ["true"], "schedule": {"hold": True}}).json["id"]
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(server.ask, "GET", f"/v1/jobs/{job}?wait=50", token=eve)
            while b"nexapod_people_waiting 1.0" not in server.ask("GET", "/metrics").body:
                pass
            (number,) = [one["id"] for one in server.ask("GET", "/v1/tokens").json["items"] if one["person"] == "eve"]
            assert server.ask("DELETE", f"/v1/tokens/{number}").status < 300
            server.ask("POST", f"/v1/jobs/{job}/cancel")
            answer = waits.result()
    assert (answer.status, "revoked" in answer.json["detail"]) == (401, True)


def test_who_has_left_does_not_count_as_waiting(server: Running) -> None:
    """However their connection ended."""
    job = server.ask("POST", "/v1/jobs", body={**RUN, "command": ["true"], "schedule": {"hold": True}}).json["id"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    head = f"GET /v1/jobs/{job}?wait=50 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(5):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            stack.enter_context(context.wrap_socket(plain)).sendall(head.encode())
        while b"nexapod_people_waiting 5.0" not in server.ask("GET", "/metrics").body:
            pass
    while b"nexapod_people_waiting 0.0" not in server.ask("GET", "/metrics").body:
        pass


def test_refusals_are_noted_without_tokens(server: Running) -> None:
    """Who was refused, and why."""
    assert server.ask("GET", "/v1/me", token="nxp_" + "S" * 43).status == 401
    text = (server.home / "server" / "refused.jsonl").read_text()
    last = json.loads(text.splitlines()[-1])
    assert (last["address"], last["path"], last["status"]) == ("127.0.0.1", "/v1/me", 401)
    assert "SSSS" not in text


def test_pages_end(server: Running) -> None:
    """Each job is on one page, and the last page says so."""
    for _ in range(3):
        server.ask("POST", "/v1/jobs", body={**RUN, "command": ["true"]})
    seen: list[int] = []
    after = None
    while True:
        page = server.ask("GET", "/v1/jobs?limit=2" + (f"&after={after}" if after else "")).json
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) >= 3


@pytest.mark.parametrize(
    "files",
    [
        {"../x": "QQ=="},
        {"/x": "QQ=="},
        {"a//b": "QQ=="},
        {"": "QQ=="},
        {"a\u0000b": "QQ=="},
        {"x" * 300: "QQ=="},
        {"x": "no base64!"},
        {"x": 7},
        {"x": None},
        ["x"],
        "x",
    ],
)
def test_files_with_bad_names_or_content(server: Running, files: object) -> None:
    """They are refused before any is written."""
    answer = server.ask("POST", "/v1/jobs", body={**RUN, "command": ["true"], "files": files})
    assert answer.status == 400
    incoming = server.home / "server" / "incoming"
    assert not incoming.exists() or list(incoming.iterdir()) == []


def test_a_result_is_known_by_its_digest(server: Running) -> None:
    """In whole, in part, and not again where it is known; what is elsewhere is not reached."""
    data = base64.b64encode(b"0123456789").decode()
    wish = {**RUN, "command": ["cat", "in"], "inputs": [{"source": "in"}], "files": {"in": data}}
    job = server.ask("POST", "/v1/jobs", body=wish).json["id"]
    while not server.ask("GET", f"/v1/jobs/{job}?wait=30").json["ended"]:
        pass
    (item,) = server.ask("GET", f"/v1/jobs/{job}/results").json["items"]
    path = f"/v1/jobs/{job}/results/0/stdout"
    whole = server.ask("GET", path)
    assert (whole.body, whole.headers["etag"]) == (b"0123456789", f'"{item["sha256"]}"')
    part = server.ask("GET", path, Range="bytes=2-4")
    assert (part.status, part.body) == (206, b"234")
    known = server.ask("GET", path, If_None_Match=whole.headers["etag"])
    assert (known.status, known.body) == (304, b"")
    for other in ("../../../state.db", "%2e%2e/%2e%2e/%2e%2e/state.db", "nothing", "/etc/passwd", "stdout/x"):
        assert server.ask("GET", f"/v1/jobs/{job}/results/0/{other}").status == 404

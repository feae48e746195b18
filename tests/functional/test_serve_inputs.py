"""Inputs that are sent before their job: in parts, by their SHA-256, each person's for that person alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from servers import Answer, Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"0123456789"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WISH: dict[str, Any] = {"quorum": {"distinct": ["run"]}, "command": ["cat", "in"], "inputs": [{"source": "in"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("inputs") / "home") as started:
        yield started


def token_of(server: Running, person: str) -> str:
    """Make a token."""
    token: str = server.ask("POST", "/v1/tokens", body={"person": person}).json["token"]
    return token


def send(server: Running, token: str, at: int, data: bytes, total: int = 10, digest: str = DIGEST) -> Answer:
    """Send a part."""
    headers = {"Upload_Offset": str(at), "Upload_Length": str(total), "Content_Type": "application/octet-stream"}
    return server.ask("PATCH", f"/v1/inputs/{digest}", token=token, body=data, **headers)


def state(server: Running, token: str) -> tuple[str, str]:
    """Return how much is there, and whether it is all."""
    headers = server.ask("HEAD", f"/v1/inputs/{DIGEST}", token=token).headers
    return headers["upload-offset"], headers["upload-complete"]


def test_what_was_cut_goes_on_where_it_ended(server: Running) -> None:
    """A part that comes twice changes nothing; the job gets what was sent, whoever else sent the same or did not."""
    alice, bob = token_of(server, "alice"), token_of(server, "bob")
    assert state(server, alice) == ("0", "?0")
    assert send(server, alice, 0, CONTENT[:4]).status == 204
    assert state(server, alice) == ("4", "?0")
    again = send(server, alice, 0, CONTENT[:4])
    assert (again.status, again.headers["upload-offset"]) == (409, "4")
    named = {**WISH, "files": {"in": {"sha256": DIGEST}}}
    early = server.ask("POST", "/v1/jobs", token=alice, body=named)
    assert (early.status, early.json["hint"]) == (409, f"PATCH /v1/inputs/{DIGEST} sends it")
    assert send(server, alice, 4, CONTENT[4:]).status == 204
    assert state(server, alice) == ("10", "?1")
    assert send(server, alice, 0, CONTENT).status == 204  # it is there
    job = server.ask("POST", "/v1/jobs", token=alice, body=named).json["id"]
    while not server.ask("GET", f"/v1/jobs/{job}?wait=30", token=alice).json["ended"]:
        pass
    assert server.ask("GET", f"/v1/jobs/{job}/results/0/stdout", token=alice).body == CONTENT
    assert state(server, bob) == ("0", "?0")
    assert server.ask("POST", "/v1/jobs", token=bob, body=named).status == 409


def test_a_digest_that_is_a_lie(server: Running) -> None:
    """What is something else is refused at its end, and gone."""
    token = token_of(server, "carol")
    answer = send(server, token, 0, CONTENT[::-1])
    assert (answer.status, answer.json["wanted"]) == (422, DIGEST)
    assert state(server, token) == ("0", "?0")


def test_nothing_at_all_can_be_sent(server: Running) -> None:
    """A file without content."""
    empty = hashlib.sha256(b"").hexdigest()
    assert send(server, token_of(server, "dave"), 0, b"", 0, empty).status == 204


@pytest.mark.parametrize(
    ("at", "data", "total", "digest", "status"),
    [
        (0, b"x", 10, "A" * 64, 400), (0, b"x", 10, "a" * 63, 400), (0, b"x", 10, "..", 400), (0, b"x", 10, "%2e%2e%2fx", 404),
        (5, b"x", 10, DIGEST, 409), (0, b"xx", 1, DIGEST, 413), (0, b"x", 10**14, DIGEST, 413), (-1, b"x", 10, DIGEST, 400),
        (0, b"x", -1, DIGEST, 400), (0, bytes((4 << 20) + 1), 5 << 20, DIGEST, 413),
    ],
)  # fmt: skip
def test_parts_that_are_refused(server: Running, at: int, data: bytes, total: int, digest: str, status: int) -> None:
    """Each with its own status, and nothing is kept."""
    token = token_of(server, "eve")
    assert send(server, token, at, data, total, digest).status == status
    assert state(server, token) == ("0", "?0")


@pytest.mark.parametrize("given", [{"sha256": "x"}, {"sha256": 7}, {}, {"sha256": DIGEST, "more": 1}, {"sha256": "../" + DIGEST[3:]}])
def test_names_of_nothing(server: Running, given: object) -> None:
    """They are no inputs."""
    answer = server.ask("POST", "/v1/jobs", body={**WISH, "files": {"in": given}})
    assert answer.status == 400


#: Inputs that did not come with a job, or are none of its: what is told of each.
ABSENT = {
    "nope.txt": "nope.txt: no such file or directory: wanted a file that is sent with the job, in `files`",
    "~/x": "~/x: no such file or directory: wanted a file that is sent with the job, in `files`",
    "../x": "../x lies outside the folder of the descriptor: wanted a file that is sent with the job, in `files`",
    "/proc/self/cwd/x": "/proc/self/cwd/x lies outside the folder of the descriptor: wanted a file that is sent with the job, in `files`",
    "file:///proc/self/exe": "/proc/self/exe lies outside the folder of the descriptor: wanted a file that is sent with the job, in `files`",
}


@pytest.mark.parametrize("source", ABSENT)
def test_inputs_that_are_not_there_show_no_place_of_the_server(server: Running, source: str) -> None:
    """Neither where files of jobs are kept, nor where links on the server lead."""
    for token in (server.token, token_of(server, "eve")):
        answer = server.ask("POST", "/v1/jobs", token=token, body={**WISH, "inputs": [{"source": source}]})
        assert [one["message"] for one in answer.json["problems"]] == [ABSENT[source]]
        assert str(server.home) not in answer.body.decode()

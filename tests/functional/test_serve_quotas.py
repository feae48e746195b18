"""What people may have: counted from the database, refused at submit with what is used and what is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from servers import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Two replicas of an hour on one CPU each: two core-hours.
HOURS: dict[str, Any] = {
    "command": ["true"], "quorum": {"distinct": ["run"]}, "schedule": {"hold": True}, "resources": {"time": "1h"},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("quotas") / "home") as started:
        yield started


def token_of(server: Running, person: str) -> str:
    """Make a token."""
    token: str = server.ask("POST", "/v1/tokens", body={"person": person}).json["token"]
    return token


def standing(server: Running, token: str) -> dict[str, tuple[float, float | None]]:
    """Return what somebody has, and has left."""
    rows = server.ask("GET", "/v1/quota", token=token).json["items"]
    return {row["what"]: (row["used"], row["left"]) for row in rows}


@pytest.mark.parametrize(
    ("person", "options", "taken", "refused", "told"),
    [
        ("jan", ("--jobs", "1"), [{}], {}, ("1 and 1 more", "at most 1", "0 left")),
        ("tom", ("--tasks", "3"), [{"array": {"ids": "1-2"}}], {"array": {"ids": "1-2"}}, ("2 and 2 more", "at most 3", "1 left")),
        ("kay", ("--core-hours", "5"), [{}, {}], {}, ("4 that open jobs may take, and 2 more", "at most 5", "1 left")),
        ("leo", ("--core-hours", "5"), [], {"resources": {"cpus_per_task": 1}}, ("without a time", None, "resources.time")),
        ("mia", ("--core-hours", "3"), [], {"resources": {"time": "1h", "cpus_per_task": 2}}, ("4 more", "at most 3", "3 left")),
        ("bob", ("--bytes", "0"), [], {}, ("0 bytes", "less than 0 bytes", "ask whoever")),
    ],
)  # fmt: skip
def test_each_kind(
    server: Running, person: str, options: tuple[str, ...], taken: list[dict[str, Any]], refused: dict[str, Any],
    told: tuple[str, str | None, str],
) -> None:  # fmt: skip
    """What fits is taken, what does not is refused in these words; whoever has no quota of their own is not concerned."""
    token = token_of(server, person)
    server.command("token", "quota", person, *options)
    for wish in taken:
        assert server.ask("POST", "/v1/jobs", token=token, body={**HOURS, **wish}).status == 202
    answer = server.ask("POST", "/v1/jobs", token=token, body={**HOURS, **refused})
    got, wanted, hint = told
    assert (answer.status, answer.json.get("wanted")) == (409, wanted)
    assert got in answer.json["got"]
    assert hint in answer.json["hint"]
    other = server.ask("POST", "/v1/jobs", token=token_of(server, f"{person}s_friend"), body={**HOURS, **refused})
    assert other.status == 202
    server.command("token", "quota", person, "--reset")
    assert server.ask("POST", "/v1/jobs", token=token, body={**HOURS, **refused}).status == 202


def test_what_is_used_is_what_was_measured(server: Running) -> None:
    """Bytes of results that were published, time that replicas took; what ended is open no longer."""
    token = token_of(server, "zoe")
    wish = {**HOURS, "command": ["sh", "-c", "sleep 0.2; head -c 5000 /dev/zero > out"], "outputs": [{"path": "out"}], "schedule": {}}
    job = server.ask("POST", "/v1/jobs", token=token, body=wish).json["id"]
    while not server.ask("GET", f"/v1/jobs/{job}?wait=30", token=token).json["ended"]:
        pass
    server.command("token", "quota", "zoe", "--core-hours", "2.5", "--bytes", "1M")
    found = standing(server, token)
    assert found["jobs"] == (0, 1_000)
    assert found["bytes"][0] >= 5_000
    assert 0 < found["core_hours"][0] < 0.5
    rows = json.loads(server.command("token", "quota", "zoe", "--json").stdout)["quotas"]
    assert {row["what"]: row["used"] for row in rows} == {what: used for what, (used, _) in found.items()}
    assert server.ask("POST", "/v1/jobs", token=token, body=HOURS).status == 202


@pytest.mark.parametrize("options", [("--jobs", "1"), ("zoe", "--jobs", "-1"), ("zoe", "--bytes", "much"), ("zoe", "--core-hours", "-1")])
def test_quotas_that_are_none(server: Running, options: tuple[str, ...]) -> None:
    """They are refused, and nothing is set."""
    assert server.command("token", "quota", *options, check=False).returncode == 2


def test_results_are_not_delivered_for_other_people(server: Running) -> None:
    """What the server's account may write to is not for everybody who may submit."""
    wish = {"job": {"command": ["true"]}, "quorum": {"distinct": ["run"]}, "results": {"to": "/srv/results"}}
    answer = server.ask("POST", "/v1/jobs", token=token_of(server, "eve"), body=wish)
    assert (answer.status, [problem["path"] for problem in answer.json["problems"]]) == (422, ["results.to"])

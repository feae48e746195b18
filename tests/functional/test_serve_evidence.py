"""What a job leaves for its submitter over HTTP: why, what happened, the proof, the archive, and the ledger around it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from servers import Running, running

from nexapod_batch.ledger import tiles
from nexapod_batch.ledger.checkpoint import head_of
from nexapod_batch.ledger.note import parse
from nexapod_batch.ledger.tree import root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN: dict[str, Any] = {"quorum": {"distinct": ["run"]}}


class Served(NamedTuple):
    """A server with a job that was decided, and one that is held, of alice."""

    server: Running
    job: int
    held: int
    alice: str
    bob: str

    def ask(self, path: str, token: str | None = None, **headers: str) -> Any:
        """Ask as alice, unless another token is given."""
        return self.server.ask("GET", path, token=self.alice if token is None else token, **headers)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a home in which alice has two jobs."""
    with running(tmp_path_factory.mktemp("evidence") / "home", "--rate", "10000") as server:
        tokens = {}
        for person in ("alice", "bob"):
            tokens[person] = server.ask("POST", "/v1/tokens", body={"person": person}).json["token"]
        data = base64.b64encode(b"seven\n").decode()
        wish = {**RUN, "command": ["cat", "in"], "inputs": [{"source": "in"}], "files": {"in": data}}
        job = server.ask("POST", "/v1/jobs", token=tokens["alice"], body=wish).json["id"]
        held = {**RUN, "command": ["true"], "schedule": {"hold": True}}
        later = server.ask("POST", "/v1/jobs", token=tokens["alice"], body=held).json["id"]
        while not server.ask("GET", f"/v1/jobs/{job}?wait=30").json["ended"]:
            pass
        yield Served(server, job, later, tokens["alice"], tokens["bob"])


PATHS = ("/explain", "/events", "/attestations", "/archive", "/proof", "/logs", "/tasks", "/results")


@pytest.mark.parametrize("path", PATHS)
def test_what_is_somebody_elses_is_not_there(served: Served, path: str) -> None:
    """The same answer as for a job that there is not, but for the name that was asked for."""
    theirs = served.ask(f"/v1/jobs/{served.job}{path}", token=served.bob)
    none = served.ask(f"/v1/jobs/{served.job + 999}{path}", token=served.bob)
    assert theirs.status == none.status == 404
    assert {**theirs.json, "got": ""} == {**none.json, "got": ""}
    assert (theirs.json["got"], none.json["got"]) == (f"'{served.job}'", f"'{served.job + 999}'")
    assert served.ask(f"/v1/jobs/{served.job}{path}", token="").status == 401


def test_why_as_the_command_line_says(served: Served) -> None:
    """The same lines, and the same reasons as data."""
    found = served.ask(f"/v1/jobs/{served.job}/explain").json
    here = json.loads(served.server.command("explain", str(served.job), "--json").stdout)
    assert (found["explanation"], found["tasks"]) == (here["explanation"], here["tasks"])
    of_task = served.ask(f"/v1/jobs/{served.job}/explain?task=0").json
    assert of_task["explanation"] == json.loads(served.server.command("explain", f"{served.job}_0", "--json").stdout)["explanation"]
    assert served.ask(f"/v1/jobs/{served.job}/explain?task=7").status == 404
    assert served.ask(f"/v1/jobs/{served.job}/explain?task=x").status == 400


def test_what_happened_comes_in_pages(served: Served) -> None:
    """Every entry of the ledger that is about the job, each once, as `ledger log` lists them."""
    rows, after = [], ""
    while True:
        page = served.ask(f"/v1/jobs/{served.job}/events?limit=2{after}").json
        rows += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    here = json.loads(served.server.command("ledger", "log", str(served.job), "--json").stdout)["entries"]
    assert rows == here
    assert [row["kind"] for row in rows][:2] == ["submitted", "placed"]


def test_the_proof_holds(served: Served, tmp_path: Path) -> None:
    """As a tar that the verifier accepts; of an undecided job there is none yet."""
    answer = served.ask(f"/v1/jobs/{served.job}/attestations")
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        tar.extractall(tmp_path, filter="data")
    done = served.server.command("verify", "--folder", str(tmp_path / f"job-{served.job}"), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in ("attestations", "archive"):
        refused = served.ask(f"/v1/jobs/{served.held}/{path}")
        assert (refused.status, refused.json["detail"]) == (409, f"job {served.held} is not decided yet")
    assert not any((served.server.home / "server" / "outgoing").iterdir())


@pytest.mark.parametrize(("query", "inputs"), [("", True), ("?inputs=no", False)])
def test_the_archive_holds(served: Served, tmp_path: Path, query: str, inputs: bool) -> None:
    """Byte for byte what `archive` writes, and `verify` accepts it."""
    answer = served.ask(f"/v1/jobs/{served.job}/archive{query}")
    file, here = tmp_path / "a.tar", tmp_path / "b.tar"
    file.write_bytes(answer.body)
    assert served.server.command("verify", str(file), check=False).returncode == 0
    more = () if inputs else ("--without-inputs",)
    served.server.command("archive", str(served.job), "--out", str(here), *more)
    assert here.read_bytes() == answer.body
    assert served.ask(f"/v1/jobs/{served.job}/archive?inputs=maybe").status == 400


def test_logs_under_both_names(served: Served) -> None:
    """The first task's stdout unless something else is said."""
    for path in ("logs", "logs?task=0&stream=stdout", "tasks/0/stdout"):
        answer = served.ask(f"/v1/jobs/{served.job}/{path}")
        assert (answer.body, answer.headers["next-offset"]) == (b"seven\n", "6")
    assert served.ask(f"/v1/jobs/{served.job}/logs?stream=stderr").body == b""
    assert served.ask(f"/v1/jobs/{served.job}/logs?stream=other").status == 404


def test_a_job_that_waits_says_where_it_stands(served: Served) -> None:
    """Why nothing runs, as codes and sentences; one that wants no place has none."""
    held = served.ask(f"/v1/jobs/{served.held}").json
    assert [reason["code"] for reason in held["why"]] == ["job.held"]
    assert held["queue"] is None
    assert served.ask(f"/v1/jobs/{served.job}").json["queue"] is None


def test_the_ledger_can_be_followed(served: Served) -> None:
    """The signed head leads to the tiles; hashes are for whoever has a token, entries for who operates it."""
    note = parse(served.ask("/v1/ledger/checkpoint").body.decode())
    head = head_of(note)
    assert served.ask("/v1/ledger/key").body.decode().startswith(f"{head.origin}+")
    fetch = tiles.nodes(head.size, lambda path: served.ask(f"/v1/ledger/{path}").body)
    assert root(head.size, fetch) == head.root
    assert head.size < tiles.WIDTH
    entries = f"/v1/ledger/tile/entries/000.p/{head.size}"
    assert served.ask(entries).status == 403
    assert len(tiles.unbundled(served.ask(entries, token=served.server.token).body)) == head.size


@pytest.mark.parametrize("path", ["/v1/ledger/tile/0/000.p/2", "/v1/openapi.json"])
def test_who_has_it_is_not_sent_it_again(served: Served, path: str) -> None:
    """By its ETag, alone, weak or among others."""
    etag = served.ask(path).headers["etag"]
    for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = served.ask(path, If_None_Match=given)
        assert (answer.status, answer.body) == (304, b"")
    for given in ('"x"', etag.strip('"')[:-1], etag.strip('"')):
        assert served.ask(path, If_None_Match=given).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "0/000.p/0", "0/000.p/257", "0/000.p/256", "0/000.p/02", "0/000.p/200", "0/000", "8/000.p/1", "-1/000.p/1", "0/0.p/1",
        "0/x001/000", "0/x000/000.p/1", "entries", "entries/000/000", "0/..", "0/000.p/1/", "x", "1/000.p/1", "0/\u0660\u0660\u0660",
    ],
)  # fmt: skip
def test_tiles_that_there_are_not(served: Served, path: str) -> None:
    """Each tile has one path, and what the ledger has not reached is not there."""
    from urllib.parse import quote

    assert served.ask(f"/v1/ledger/tile/{quote(path)}").status == 404


def test_a_proof_of_an_entry(served: Served, tmp_path: Path) -> None:
    """The very text that `ledger prove` prints, of a job, a task and a replica."""
    for query, selector in (("", f"{served.job}"), ("?task=0", f"{served.job}_0"), ("?task=0&replica=1", f"{served.job}_0.1")):
        found = served.ask(f"/v1/jobs/{served.job}/proof{query}").body.decode()
        here = served.server.command("ledger", "prove", selector).stdout
        assert found.split("\n\n")[0] == here.split("\n\n")[0]
    assert served.ask(f"/v1/jobs/{served.held}/proof?task=0").status == 404
    assert served.ask(f"/v1/jobs/{served.job}/proof?replica=1").status == 400

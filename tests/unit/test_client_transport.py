"""The client against servers that fail, wait, lie or cut: a small real one that answers as it is told."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_client import NexaPodClient, NexaPodError, ResultFile, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]
ME: Answer = (200, {}, b'{"person": "a", "scope": "submit"}')
CUT: Answer = (0, {}, b"")


@contextmanager
def answering(*answers: Answer, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[tuple[NexaPodClient, list[Any]]]:
    """Yield a client of a server that gives these answers, one after the other, and what it was asked."""
    left, asked = list(answers), list[Any]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, dict(self.headers), body))
            status, headers, data = left.pop(0)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("NEXAPOD_HOME", str(home))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with NexaPodClient(f"http://127.0.0.1:{server.server_address[1]}", retries=3) as client:
            yield client, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def later(status: int, seconds: str = "0") -> Answer:
    """Return an answer after which the same may be asked again."""
    return status, {"Retry-After": seconds}, b'{"detail": "not now"}'


@pytest.mark.parametrize(
    "before",
    [[], [later(503)], [later(429), later(503), later(502)], [CUT], [CUT, later(504), CUT], [later(503, "soon")], [later(503, "-5")]],
)
def test_what_may_be_asked_again_is(before: list[Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Until there is an answer, with the same words."""
    with answering(*before, ME, monkeypatch=monkeypatch, home=tmp_path) as (client, asked):
        assert client.me()["person"] == "a"
    assert len(asked) == len(before) + 1
    assert len({(method, path) for method, path, _, _ in asked}) == 1


def test_it_ends_some_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what the server said last."""
    with answering(*[later(503)] * 9, monkeypatch=monkeypatch, home=tmp_path) as (client, asked), pytest.raises(NexaPodError, match="not now"):
        client.me()
    assert len(asked) == 4


def test_a_submission_is_sent_again_under_the_same_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that it becomes one job; the next submission has another key."""
    job = {"id": 1, "job_id": "1", "uuid": "u", "name": "n", "warnings": [], "state": "waiting"}
    taken: Answer = (202, {}, json.dumps(job).encode())
    with answering(CUT, later(503), taken, taken, monkeypatch=monkeypatch, home=tmp_path) as (client, asked):
        assert client.submit_job({"command": ["true"]}).id == 1
        client.submit_job({"command": ["true"]})
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len({body for *_, body in asked}) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_a_refusal_is_not_asked_again(status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told in the server's words."""
    problem = {"detail": "no", "got": "this", "wanted": "that", "hint": "do so", "problems": [{"path": "a.b", "message": "bad"}]}
    answer: Answer = (status, {}, json.dumps(problem).encode())
    with answering(answer, monkeypatch=monkeypatch, home=tmp_path) as (client, asked), pytest.raises(NexaPodError) as refused:
        client.me()
    assert (str(refused.value), refused.value.status) == ("no: got this, wanted that\n  a.b: bad\n  -> do so", status)
    assert len(asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[]", b'"x"', b"null", b"7"])
def test_a_refusal_by_something_else_than_our_server(body: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A proxy, say: the status is what is known."""
    with answering((404, {}, body), monkeypatch=monkeypatch, home=tmp_path) as (client, _), pytest.raises(NexaPodError, match="status 404"):
        client.me()


def test_an_answer_that_is_no_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is told as such."""
    with answering((200, {}, b"<html>"), monkeypatch=monkeypatch, home=tmp_path) as (client, _), pytest.raises(NexaPodError, match="not JSON"):
        client.me()


def test_an_answer_that_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half an answer is none."""
    half = (200, {"Content-Length": "1000", "Connection": "close"}, b'{"person": "a"}')
    with answering(*[half] * 4, monkeypatch=monkeypatch, home=tmp_path) as (client, _), pytest.raises(UnreachableError):
        client.me()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a//b", "."])
def test_results_never_lie_elsewhere(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a server calls them."""
    page = {"items": [{"task": 0, "path": path, "size": 1, "sha256": None}], "next": None}
    answer: Answer = (200, {}, json.dumps(page).encode())
    with answering(answer, monkeypatch=monkeypatch, home=tmp_path) as (client, _), pytest.raises(NexaPodError, match="leads elsewhere"):
        client.results(1, to=tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_results_are_what_was_signed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other bytes are neither returned nor saved."""
    item = {"task": 0, "path": "x", "size": 3, "sha256": "0" * 64}
    page: Answer = (200, {}, json.dumps({"items": [item], "next": None}).encode())
    with answering((200, {}, b"abc"), page, (206, {}, b"abc"), monkeypatch=monkeypatch, home=tmp_path) as (client, _):
        with pytest.raises(NexaPodError, match="not what was signed"):
            ResultFile(client, 1, item).read()
        with pytest.raises(NexaPodError, match="not what was signed"):
            client.results(1, to=tmp_path / "to")
    assert [path for path in (tmp_path / "to").rglob("*") if path.is_file()] == []

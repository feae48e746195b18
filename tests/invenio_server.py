"""A small InvenioRDM: its interface for drafts and files as documented, every request held to it, kept in memory.

What a test asks for goes wrong at a request of its choice: before it is done, or after, so that only the answer is lost.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "secret-token"  # noqa: S105 - of a server that lives for a test
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}|\.zenodo\.json")


class Fault(NamedTuple):
    """What goes wrong, once: at which request, counted from 1, and how."""

    request: int
    status: int = 503  # 0: the connection is cut
    done: bool = False  # the request is obeyed, and only its answer is lost


class Repository:
    """What the server holds, and what it was asked."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.drafts: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.refused: list[str] = []  # requests that are not as documented
        self.lenient_errors: list[dict[str, Any]] = []  # what a draft is told to be missing
        self.raw: bytes | None = None  # what it answers to everything, where it is none of those it says it is
        self.url = ""

    def do(self, method: str, path: str, kind: str, data: bytes) -> tuple[int, Any]:
        """Obey one request; return status and answer."""
        if (method, path) == ("POST", "/api/records"):
            draft = f"abcde-{len(self.drafts):05d}"
            self.drafts[draft] = {"body": self._body(kind, data), "files": {}}
            return 201, self._shown(draft)
        match = re.fullmatch(r"/api/records/([a-z0-9-]+)(/draft)?(?:/(files|actions)(?:/([^/]+))?(?:/(content|commit))?)?", path)
        assert match is not None, f"no such address: {path}"
        name, draft_part, what, key, last = match.groups()
        if draft_part is None:
            assert (method, what) == ("GET", None)
            return (200, self.records[name]) if name in self.records else (404, {"message": "not found"})
        if name not in self.drafts:
            return 404, {"message": "The persistent identifier does not exist."}
        if what == "files":
            return self._files(method, self.drafts[name]["files"], key, last, kind, data)
        if what == "actions":
            assert (method, key, data) == ("POST", "publish", b"")
            return self._publish(name)
        if method == "PUT":
            self.drafts[name]["body"] = self._body(kind, data)
        else:
            assert method == "GET"
        return 200, self._shown(name)

    def _body(self, kind: str, data: bytes) -> dict[str, Any]:
        assert kind == "application/json"
        body = json.loads(data)
        assert body.keys() == {"access", "files", "metadata"}
        assert body["access"] == {"record": "public", "files": "public"}
        assert body["files"] == {"enabled": True}
        metadata = body["metadata"]
        needed = {"resource_type", "title", "creators", "publication_date", "publisher", "description", "rights"}
        assert needed <= metadata.keys()
        assert metadata["resource_type"] == {"id": "dataset"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", metadata["publication_date"])
        for creator in metadata["creators"]:
            person = creator["person_or_org"]
            assert person["type"] in {"personal", "organizational"}
            assert person["family_name" if person["type"] == "personal" else "name"]
            assert all(one["scheme"] == "orcid" for one in person.get("identifiers", ()))
        return dict(body)

    def _shown(self, name: str) -> dict[str, Any]:
        found = {"id": name, "is_published": False, "metadata": self.drafts[name]["body"]["metadata"]}
        return found | ({"errors": self.lenient_errors} if self.lenient_errors else {})

    def _files(self, method: str, files: dict[str, Any], key: str | None, last: str | None, kind: str, data: bytes) -> tuple[int, Any]:
        if key is None:
            if method == "GET":
                return 200, {"enabled": True, "entries": list(files.values())}
            assert (method, kind) == ("POST", "application/json")
            wanted = json.loads(data)
            assert all(one.keys() == {"key"} and _NAME.fullmatch(one["key"]) for one in wanted)
            if any(one["key"] in files for one in wanted):
                return 400, {"message": "A file with that name exists already"}
            files.update({one["key"]: {"key": one["key"], "status": "pending"} for one in wanted})
            return 201, {"enabled": True, "entries": list(files.values())}
        if key not in files:
            return 404, {"message": f"File with key {key} was not found."}
        entry = files[key]
        if last == "content":
            assert (method, kind) == ("PUT", "application/octet-stream")
            if entry["status"] == "completed":
                return 400, {"message": "File is completed"}
            entry["data"] = hashlib.md5(data).hexdigest(), len(data)  # noqa: S324 - what InvenioRDM says of files
            return 200, {"key": key, "status": "pending"}
        if last == "commit":
            assert (method, data) == ("POST", b"")
            if "data" not in entry:
                return 400, {"message": "no content"}
            digest, size = entry.pop("data")
            entry |= {"status": "completed", "checksum": f"md5:{digest}", "size": size}
            return 200, entry
        assert method == "DELETE"
        del files[key]
        return 204, None

    def _publish(self, name: str) -> tuple[int, Any]:
        files = self.drafts[name]["files"]
        if not files or any(one["status"] != "completed" for one in files.values()):
            return 400, {"message": "A validation error occurred.", "errors": [{"field": "files", "messages": ["Missing uploaded files."]}]}
        draft = self.drafts.pop(name)
        self.records[name] = {"id": name, "is_published": True, "metadata": draft["body"]["metadata"], "files": files}
        return 202, self.records[name]


class _Handler(BaseHTTPRequestHandler):
    """Passes requests to the repository."""

    repository: Repository

    def _any(self) -> None:
        repository = self.repository
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        repository.requests.append(f"{self.command} {self.path}")
        number = len(repository.requests)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"message": "unauthorized"})
            return
        if repository.raw is not None:
            self._send(200, repository.raw)
            return
        fault = next((one for one in repository.faults if one.request == number), None)
        if fault is not None and not fault.done:
            self._fail(fault)
            return
        try:
            status, answer = repository.do(self.command, self.path, self.headers.get("Content-Type", ""), data)
        except (AssertionError, KeyError, ValueError) as error:
            repository.refused.append(f"{self.command} {self.path}: {error!r}")
            status, answer = 400, {"message": "not as documented"}
        if fault is not None:
            self._fail(fault)
        else:
            self._answer(status, answer)

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            self._answer(fault.status, {"message": "in between"})
        else:
            self.close_connection = True

    def _answer(self, status: int, answer: Any) -> None:
        self._send(status, b"" if answer is None else json.dumps(answer).encode())

    def _send(self, status: int, text: bytes) -> None:
        self.send_response(status)
        if status in {301, 302, 307}:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Repository]:
    """Yield a repository that listens on this machine."""
    repository = Repository()
    handler = type("Handler", (_Handler,), {"repository": repository})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        repository.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield repository
        finally:
            server.shutdown()
            thread.join()

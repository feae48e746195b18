"""Servers that refuse, break off, lie and are not there: each gets its words and its exit code, and nothing half is kept."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from sifs import AMD64, ARM64, sif_bytes

from nexapod_batch.errors import ImageError
from nexapod_batch.images.remote.web import Web
from nexapod_batch.sources.resuming import RESUMES

BODY = sif_bytes(content=bytes(range(256)) * 4000)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers every path with what the test put there: (status, headers, body), or a function of the request."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, str]] = []  # method, path, Range
        self.logins: list[str | None] = []

    @property
    def host(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, path: str = "/image.sif") -> str:
        """Return the URL of a path."""
        return f"http://{self.host}{path}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, and note that it was asked."""
        self.server.asked.append((self.command, self.path, self.headers.get("Range", "")))
        self.server.logins.append(self.headers.get("Authorization"))
        path = self.path.partition("?")[0]
        answer = self.server.answers.get(path, (404, {}, b""))
        status, headers, body = answer(self) if callable(answer) else answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 - the name that is looked up

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server."""
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            found.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """Yield a server of the test's own."""
    with serving() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Yield a home without logins."""
    found = Home(tmp_path)
    found.env["HOME"] = str(tmp_path)
    return found


def ranged(body: bytes, breaks: list[int]) -> Any:
    """Return an answer that breaks off after so many bytes, one number for each request, and knows ranges."""

    def answer(request: Handler) -> tuple[int, dict[str, str], bytes]:
        given = request.headers.get("Range")
        start = int(given.removeprefix("bytes=").rstrip("-")) if given else 0
        part = body[start:]
        headers = {"Content-Length": str(len(part))}
        if given:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return 206 if given else 200, headers, part[: breaks.pop(0)] if breaks else part

    return answer


def nothing_half(home: Home) -> None:
    """See that no image was kept."""
    assert home.json("image", "ls")["images"] == []


def test_a_file_behind_a_url_is_pulled_once(server: Server, home: Home) -> None:
    """Pinned, it is not even asked for again; the progress names it on stderr."""
    server.answers["/image.sif"] = (200, {}, BODY)
    done = home.call("image", "pull", server.url(), "--sha256", DIGEST)
    assert (done.code, DIGEST in done.out, f"({len(BODY):,} bytes)" in done.err) == (0, True, True)
    assert home.call("image", "pull", server.url(), "--sha256", DIGEST).code == 0
    assert len(server.asked) == 1


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, home: Home) -> None:
    """Within one run, by Range; every byte crosses once."""
    server.answers["/image.sif"] = ranged(BODY, [300_000, 200_000])
    done = home.call("image", "pull", server.url(), "--sha256", DIGEST)
    assert done.code == 0, done.err
    assert [asked[2] for asked in server.asked] == ["", "bytes=300000-", "bytes=500000-"]


def test_a_download_goes_on_in_the_next_run(server: Server, tmp_path: Path) -> None:
    """What an earlier run left counts when its digest can be checked."""
    server.answers["/image.sif"] = ranged(BODY, [])
    (tmp_path / "part").write_bytes(BODY[:123_456])
    Web().download(server.url(), tmp_path / "part", what="it", progress=Quiet(), sha256=DIGEST)
    assert [(tmp_path / "part").read_bytes() == BODY, server.asked[0][2]] == [True, "bytes=123456-"]


def test_leftovers_of_something_else_are_begun_anew(server: Server, tmp_path: Path) -> None:
    """Once, from the start."""
    server.answers["/image.sif"] = ranged(BODY, [])
    (tmp_path / "part").write_bytes(b"x" * 1000)
    Web().download(server.url(), tmp_path / "part", what="it", progress=Quiet(), sha256=DIGEST)
    assert [asked[2] for asked in server.asked] == ["bytes=1000-", ""]


def test_a_server_that_knows_no_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    """200 for a Range request means the whole file."""
    server.answers["/image.sif"] = (200, {}, BODY)
    (tmp_path / "part").write_bytes(BODY[:1000])
    Web().download(server.url(), tmp_path / "part", what="it", progress=Quiet(), sha256=DIGEST)
    assert (tmp_path / "part").read_bytes() == BODY


def test_without_a_digest_nothing_old_is_believed(server: Server, tmp_path: Path) -> None:
    """Nobody could tell whether the halves belong together."""
    server.answers["/image.sif"] = ranged(BODY, [])
    (tmp_path / "part").write_bytes(b"x" * 1000)
    Web().download(server.url(), tmp_path / "part", what="it", progress=Quiet())
    assert [(tmp_path / "part").read_bytes() == BODY, server.asked[0][2]] == [True, ""]


def test_a_download_that_always_breaks_off_is_given_up(server: Server, home: Home) -> None:
    """After a number of tries; what is there stays for the next run."""
    server.answers["/image.sif"] = ranged(BODY, [10] * 1000)
    pauses: list[float] = []
    target = home.folder / "part"
    with pytest.raises(Exception, match=f"broke off {RESUMES + 1} times"):
        Web(pause=pauses.append).download(server.url(), target, what="it", progress=Quiet(), sha256=DIGEST)
    assert (target.stat().st_size, len(pauses)) == (10 * (RESUMES + 1), RESUMES)


@pytest.mark.parametrize(
    ("status", "headers", "code", "said"),
    [
        (401, {"WWW-Authenticate": "Basic realm=x"}, 65, "asks for a login"),
        (403, {}, 65, "asks for a login, or there is no such image"),
        (404, {}, 65, "does not exist"),
        (
            429,
            {"Retry-After": "21600"},
            75,
            "limits pulls: got 429 Too Many Requests\n  -> try again after 21600 seconds",
        ),
        (429, {"Retry-After": "<script>"}, 75, "try again later"),
        (500, {}, 69, "cannot answer now: got 500"),
        (503, {}, 69, "cannot answer now: got 503"),
        (418, {}, 65, "was refused: got 418"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "docker", "library"])
def test_refusals_have_words_and_exit_codes(
    server: Server, home: Home, scheme: str, status: int, headers: dict[str, str], code: int, said: str
) -> None:
    """The same for a web server, a registry and a library; 75 and 69 may be tried again, 65 not."""
    answer = (status, headers, b"no")
    server.answers.update(dict.fromkeys(("/image.sif", "/v2/x/y/manifests/1", "/v1/images/x/y/z:1"), answer))
    name = {"http": server.url(), "docker": f"docker://{server.host}/x/y:1", "library": "library://x/y/z:1"}[scheme]
    done = home.call("image", "pull", name, env={"NEXAPOD_IMAGES_LIBRARY": f"http://{server.host}"})
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    nothing_half(home)


@pytest.mark.parametrize("name", ["http://{}/x.sif", "docker://{}/x:1", "oras://{}/x:1"])
def test_a_server_that_is_down(home: Home, name: str) -> None:
    """69, and what to look at."""
    with Server() as closed:
        host = closed.host
    done = home.call("image", "pull", name.format(host))
    assert (done.code, "cannot be reached: got Connection refused" in done.err, "https_proxy" in done.err) == (
        69,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODY[:-5000], "is truncated"),
        (b"<html>please log in</html>", "is no SIF file: got another kind of file"),
        (b"", "is no SIF file: got an empty file"),
    ],
)
def test_what_is_no_image_is_not_kept(server: Server, home: Home, body: bytes, said: str) -> None:
    """Called by its URL, not by the name of a temporary file."""
    server.answers["/image.sif"] = (200, {}, body)
    done = home.call("image", "pull", server.url())
    assert (done.code, f"image {server.url()} {said}" in done.err) == (65, True), done.err
    nothing_half(home)


def test_another_digest_than_pinned(server: Server, home: Home) -> None:
    """Got and wanted."""
    server.answers["/image.sif"] = (200, {}, BODY)
    done = home.call("image", "pull", server.url(), "--sha256", "0" * 64)
    assert (done.code, f"got sha256 {DIGEST}, wanted {'0' * 64}" in done.err) == (65, True)
    nothing_half(home)


def test_a_server_cannot_fill_the_disk(server: Server, home: Home) -> None:
    """It may send what it announced, and announce what the cache may hold."""
    server.answers["/image.sif"] = (200, {"Content-Length": str(1 << 40)}, b"x")
    done = home.call("image", "pull", server.url(), env={"NEXAPOD_IMAGES_MAX_SIZE": "1MiB"})
    assert (done.code, "larger than the cache may be" in done.err) == (78, True)
    server.answers["/image.sif"] = (200, {}, BODY)
    with pytest.raises(ImageError, match="larger than announced"):
        Web().download(server.url(), home.folder / "part", what="it", progress=Quiet(), sha256=DIGEST, size=1000)


def test_a_login_goes_to_who_asked_and_no_further(server: Server, home: Home) -> None:
    """A token from the realm, and no Authorization for the storage that a blob is redirected to."""
    layer = json.dumps({}).encode()
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    sif = {"digest": f"sha256:{DIGEST}", "size": len(BODY), "mediaType": "application/vnd.sylabs.sif.layer.v1.sif"}
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"digest": digest, "size": 2, "mediaType": "x"}, "layers": [sif],
    }).encode()  # fmt: skip
    name = "sha256:" + hashlib.sha256(manifest).hexdigest()
    with serving() as storage:
        storage.answers["/blob"] = (200, {}, BODY)

        def guarded(status: int, headers: dict[str, str], body: bytes) -> Any:
            def answer(request: Handler) -> tuple[int, dict[str, str], bytes]:
                if request.headers.get("Authorization") == "Bearer t0ken":
                    return status, headers, body
                challenge = f'Bearer realm="{server.url("/token")}",service="us",scope="repository:x:pull"'
                return 401, {"WWW-Authenticate": challenge}, b""

            return answer

        server.answers["/token"] = (200, {}, b'{"token": "t0ken"}')
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json", "Docker-Content-Digest": name}
        server.answers["/v2/x/manifests/1"] = guarded(200, kind, manifest)
        server.answers[f"/v2/x/manifests/{name}"] = guarded(200, kind, manifest)
        server.answers[f"/v2/x/blobs/sha256:{DIGEST}"] = guarded(307, {"Location": storage.url("/blob")}, b"")
        login = base64.b64encode(b"me:secret").decode()
        (home.folder / ".docker").mkdir()
        (home.folder / ".docker" / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": login}}}))
        done = home.call("image", "pull", f"oras://{server.host}/x:1")
        assert done.code == 0, done.err
        assert storage.logins == [None]
        assert server.logins[1] == f"Basic {login}"
        assert [one[1] for one in server.asked if "token" in one[1]] == [
            "/token?scope=repository%3Ax%3Apull&service=us"
        ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"/v2/x/manifests/1": (200, {"Content-Type": "text/html"}, b"<html>")}, "sent something else than a manifest"),
        ({"/v2/x/manifests/1": (200, {"Docker-Content-Digest": "sha256:" + "1" * 64}, b"")}, "does not exist"),
        (
            {
                "/v2/x/manifests/1": (
                    200,
                    {},
                    b'{"mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [1]}',
                )
            },
            "names something that cannot be used",
        ),
        ({"/v2/x/manifests/1": (200, {}, b'{"mediaType": "application/x"}')}, "is no image that can be used"),
        ({"/v2/x/manifests/1": (200, {}, b"[" * 100_000)}, "sent something else than a manifest"),
        (
            {"/v2/x/manifests/1": (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, b"")},
            "sent without TLS",
        ),
        ({"/v2/x/manifests/1": (401, {"WWW-Authenticate": "Digest x"}, b"")}, "asks for a login"),
    ],
)
def test_a_registry_that_lies(server: Server, home: Home, change: dict[str, Any], said: str) -> None:
    """Nothing that it says is believed before it was looked at."""
    server.answers.update(change)
    for status, headers, body in change.values():
        server.answers[f"/v2/x/manifests/sha256:{hashlib.sha256(body).hexdigest()}"] = (status, headers, body)
    done = home.call("image", "pull", f"oras://{server.host}/x:1")
    assert (done.code, said in done.err) == (65, True), done.err
    nothing_half(home)


def test_a_manifest_that_is_not_its_digest(server: Server, home: Home) -> None:
    """A reference with a digest gets that or nothing."""
    server.answers["/v2/x/manifests/sha256:" + "1" * 64] = (200, {}, b"{}")
    done = home.call("image", "pull", f"oras://{server.host}/x@sha256:{'1' * 64}")
    assert (done.code, "the registry sent another manifest" in done.err) == (65, True)


def test_an_image_of_a_library(server: Server, home: Home) -> None:
    """Its digest is asked for, for this machine; then the file; then nothing any more."""
    import platform

    code = {"x86_64": AMD64, "aarch64": ARM64}[platform.machine()]
    body = sif_bytes(architecture=code)
    digest = hashlib.sha256(body).hexdigest()
    server.answers["/v1/images/lab/tools/md:2"] = (200, {}, json.dumps({"data": {"hash": f"sha256.{digest}"}}).encode())
    server.answers["/v1/imagefile/lab/tools/md:2"] = (200, {}, body)
    env = {"NEXAPOD_IMAGES_LIBRARY": f"http://{server.host}/"}
    for _ in range(2):
        done = home.call("image", "pull", "library://lab/tools/md:2", env=env)
        assert (done.code, digest in done.out) == (0, True), done.err
    assert [asked[1].split("?")[0] for asked in server.asked].count("/v1/imagefile/lab/tools/md:2") == 1
    assert "arch=" in server.asked[0][1]
    server.answers["/v1/images/lab/tools/md:3"] = (200, {}, b'{"data": {"hash": "sha256.zz"}}')
    assert "gives no digest" in home.call("image", "pull", "library://lab/tools/md:3", env=env).err


def test_images_are_listed_inspected_and_pruned(server: Server, home: Home) -> None:
    """By reference, by the first digits, as JSON."""
    server.answers["/image.sif"] = (200, {}, BODY)
    home.call("image", "pull", server.url())
    (row,) = home.json("image", "ls")["images"]
    assert (row["sha256"], row["bytes"], row["jobs"], row["references"]) == (DIGEST, len(BODY), [], [server.url()])
    for name in (DIGEST, DIGEST[:8], server.url()):
        assert home.json("image", "inspect", name)["sha256"] == DIGEST
    assert home.call("image", "inspect", "nothing").code == 66
    assert home.json("image", "prune", "--all", "--dry-run")["bytes"] == len(BODY)
    assert [one["sha256"] for one in home.json("image", "prune", "--to", "0")["removed"]] == [DIGEST]
    assert home.json("image", "ls")["images"] == []
    assert home.call("image", "prune", "--to", "many").code == 2


class Quiet:
    """Progress that nobody hears."""

    def start(self, what: str, total: int | None) -> None:
        """Hear nothing."""

    def advance(self, count: int) -> None:
        """Hear nothing."""

    def say(self, text: str) -> None:
        """Hear nothing."""

"""Images that people name over HTTP: what registries may answer, whom they keep waiting, and what strangers never reach."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from functional.test_images_web import DIGEST, serving
from functional.test_images_web import Server as Registry
from functional.test_serve_inputs import token_of
from functional.test_standby import rows
from servers import running
from spools import until

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.placement import images
from nexapod_batch.errors import ImageError, NexapodError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Answer, Running

#: A flat descriptor that one machine can decide.
RUN: dict[str, Any] = {"name": "imaged", "command": ["true"], "quorum": {"distinct": ["run"]}}
MANIFEST = "/v2/some/thing/manifests/1"
#: More submissions than the server takes at once where no image is waited for.
MANY = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("images") / "home") as started:
        yield started


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Yield a registry on loopback of the test's own."""
    with serving() as found:
        yield found


def submitted(server: Running, image: str, token: str | None = None, **more: Any) -> Answer:
    """Submit a job with an image, as the administrator unless another token is given."""
    return server.ask("POST", "/v1/jobs", token=token, body={**RUN, "docker_image": image, **more})


def index_for(machine: str) -> bytes:
    """Return a list of images with one for a kind of machine."""
    entry = {"digest": "sha256:" + "1" * 64, "size": 1, "platform": {"os": "linux", "architecture": machine}}
    return json.dumps({"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}).encode()


#: What a registry answers -> the status of ours, and what is said.
ANSWERS: dict[str, tuple[tuple[int, dict[str, str], bytes], int, str]] = {
    "no such image": ((404, {}, b""), 422, "does not exist"),
    "no longer": ((410, {}, b""), 422, "does not exist"),
    "a login": ((401, {"WWW-Authenticate": "Basic realm=x"}, b""), 422, "asks for a login, or there is no such image"),
    "a login of no kind": ((401, {}, b""), 422, "asks for a login, or there is no such image"),
    "forbidden": ((403, {}, b""), 422, "asks for a login, or there is no such image"),
    "a limit": ((429, {"Retry-After": "60"}, b""), 503, "the server limits pulls"),
    "a fault": ((500, {}, b"oops"), 502, "cannot answer now"),
    "a proxy without it": ((502, {}, b""), 502, "cannot answer now"),
    "too late": ((504, {}, b""), 502, "cannot answer now"),
    "a page": ((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), 422, "something else than a manifest"),
    "a list that is none": ((200, {}, b"[]"), 422, "something else than a manifest"),
    "another kind": ((200, {}, b'{"mediaType": "application/x"}'), 422, "no image that can be used"),
    "another machine": ((200, {}, index_for("s390x")), 422, "is for other machines"),
    "half a manifest": ((200, {}, b'{"mediaType": "appl'), 422, "something else than a manifest"),
    "an endless way": ((302, {"Location": MANIFEST}, b""), 422, "was refused"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_a_registry_answers_is_told_at_submit(server: Running, registry: Registry, what: str) -> None:
    """With the image's name, and there is no job."""
    answer, status, sentence = ANSWERS[what]
    registry.answers[MANIFEST] = answer
    digest = hashlib.sha256(answer[2]).hexdigest()
    registry.answers[f"/v2/some/thing/manifests/sha256:{digest}"] = answer
    found = submitted(server, f"{registry.host}/some/thing:1")
    assert (found.status, sentence in found.json["detail"]) == (status, True), found.body
    assert registry.host in found.json["detail"]
    assert ("imaged",) not in rows(server.home, "SELECT name FROM job")


def test_a_registry_that_does_not_answer_keeps_nobody_else_waiting(server: Running, registry: Registry) -> None:
    """Jobs without images are taken and run meanwhile; who waits is told in the end."""
    late = threading.Event()

    def answer(_: object) -> tuple[int, dict[str, str], bytes]:
        late.wait(300)
        return 404, {}, b""

    registry.answers[MANIFEST] = answer
    with ThreadPoolExecutor(MANY) as pool:
        try:
            waiting = [pool.submit(submitted, server, f"{registry.host}/some/thing:1") for _ in range(MANY)]
            until(lambda: len(registry.asked) >= MANY, "the registry to be asked")
            job = server.ask("POST", "/v1/jobs", body=RUN | {"name": "other"}).json["id"]
            while not (shown := server.ask("GET", f"/v1/jobs/{job}?wait=30").json)["ended"]:
                pass
            assert shown["state"] == "accepted"
            assert not any(one.done() for one in waiting)
        finally:
            late.set()
        assert [one.result().status for one in waiting] == [422] * MANY


@pytest.mark.parametrize("form", ["{}/x:1", "localhost:{port}/x:1", "oras://{}/x:1", "127.0.0.1:{port}/x@sha256:" + "0" * 64])
def test_strangers_reach_no_private_address(server: Running, registry: Registry, form: str) -> None:
    """Nothing is asked there in their name."""
    image = form.format(registry.host, port=registry.server_address[1])
    found = submitted(server, image, token_of(server, "mallory"))
    assert (found.status, "is a private address" in found.json["detail"]) == (422, True), found.body
    assert registry.asked == []


def test_strangers_reach_no_file_of_a_private_server(server: Running, registry: Registry) -> None:
    """Nor by a URL."""
    container = {"image": registry.url().replace("http:", "https:"), "sha256": DIGEST}
    wish = {**RUN, "container": container}
    found = server.ask("POST", "/v1/jobs", token=token_of(server, "mallory"), body=wish)
    assert (found.status, "is a private address" in found.json["detail"]) == (422, True), found.body
    assert registry.asked == []


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Return a home whose account has a login for every registry, and lets loopback be asked."""
    monkeypatch.setenv("APPTAINER_DOCKER_USERNAME", "me")
    monkeypatch.setenv("APPTAINER_DOCKER_PASSWORD", "secret")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text('[sources]\nprivate_hosts = ["127.0.0.1"]\n')
    return Paths.of(home)


@pytest.mark.parametrize("challenge", ["Basic realm=x", 'Bearer realm="{}",service="s"'])
@pytest.mark.parametrize("scheme", ["docker", "oras"])
def test_nobody_logs_in_for_strangers(registry: Registry, paths: Paths, scheme: str, challenge: str) -> None:
    """A login that the account has for its own jobs is not shown to the registry that somebody else names."""
    registry.answers["/token"] = (200, {}, b'{"token": "for-anybody"}')
    registry.answers["/v2/x/manifests/1"] = (401, {"WWW-Authenticate": challenge.format(registry.url("/token"))}, b"")
    cache, image = images.cache_of(paths), f"{scheme}://{registry.host}/x:1"
    with pytest.raises(ImageError) as refused:
        images.pull(cache, paths, image, images.Silent(), foreign=True)
    assert refused.value.hint is not None
    assert "nobody logs in" in refused.value.hint
    assert set(registry.logins) <= {None, "Bearer for-anybody"}
    with pytest.raises(NexapodError):
        images.pull(cache, paths, image, images.Silent())
    assert "Basic " + base64.b64encode(b"me:secret").decode() in registry.logins

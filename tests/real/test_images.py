"""Images from a real registry, built by the real Apptainer, and run where that is the point."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apptainer.registry import Registry
from apptainer.trees import make_tree
from homes import PROGRAM, Home
from sifs import ARM64, write_sif

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = '[job]\ncommand = ["/bin/cat", "/etc/word"]\n[container]\nimage = "{image}"\n[quorum]\ndistinct = "run"\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home without logins; what it started is stopped."""
    found = Home(tmp_path)
    found.env["HOME"] = str(tmp_path)
    yield found
    found.end()


def word_in(image: str) -> str:
    """Return what the file in an image says, as the real Apptainer reads it."""
    done = subprocess.run(
        ["apptainer", "--silent", "exec", "--userns", image, "/bin/cat", "/etc/word"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("tag", ["oci", "docker", "both"])
def test_an_image_of_layers_becomes_one_file(registry: Registry, home: Home, tag: str) -> None:
    """In either format, and out of a list for several machines; the tag is told by its digest."""
    found = home.json("image", "pull", f"docker://{registry.host}/lib/box:{tag}")
    assert found["reference"].startswith(f"docker://{registry.host}/lib/box:{tag}@sha256:")
    assert hashlib.sha256(Path(found["file"]).read_bytes()).hexdigest() == found["sha256"]
    assert word_in(found["file"]) == "hello\n"


def test_a_pinned_image_that_is_there_asks_nobody(registry: Registry, home: Home) -> None:
    """A tag costs one HEAD, a digest nothing, also when the registry is gone."""
    name = home.json("image", "pull", f"docker://{registry.host}/lib/box:oci")["reference"]
    registry.settled()
    before = len(registry.log)
    assert home.json("image", "pull", name)["reference"] == name
    assert home.json("image", "pull", name.replace(":oci@", "@"))["reference"] == name.replace(":oci@", "@")
    registry.settled()
    asked = [line for line in registry.log[before:] if "response completed" in line and "/lib/box/" in line]
    assert asked == []


@pytest.mark.parametrize("tag", ["arm", "theirs"])
def test_an_image_for_other_machines_is_refused_before_its_layers_come(
    registry: Registry, home: Home, tag: str
) -> None:
    """Naming both."""
    registry.settled()
    before = registry.requests("GET", "/blobs/")
    done = home.call("image", "pull", f"docker://{registry.host}/lib/box:{tag}")
    assert (done.code, "is for other machines: got linux-arm64, wanted linux-amd64" in done.err) == (65, True)
    registry.settled()
    assert registry.requests("GET", "/blobs/") - before <= 1  # the configuration


def test_an_image_that_a_registry_does_not_have(registry: Registry, home: Home) -> None:
    """By tag, by repository, by digest."""
    for name in ("lib/box:nope", "lib/nope:1", f"lib/box@sha256:{'0' * 64}"):
        done = home.call("image", "pull", f"docker://{registry.host}/{name}")
        assert (done.code, f"{registry.host}/{name} does not exist" in done.err) == (65, True), done.err


def test_a_registry_that_asks_for_a_login(tree: Path, home: Home, tmp_path: Path) -> None:
    """Without one, with a wrong one, with variables, and with what the real `apptainer registry login` left."""
    with Registry.start(tmp_path / "registry", login="me:secret") as registry:
        registry.push_tree("lib/box", "1", tree)
        name = f"docker://{registry.host}/lib/box:1"
        done = home.call("image", "pull", name)
        assert (done.code, f"-> apptainer registry login --username NAME docker://{registry.host}" in done.err) == (
            65,
            True,
        )
        user = {"APPTAINER_DOCKER_USERNAME": "me"}
        assert home.call("image", "pull", name, env={**user, "APPTAINER_DOCKER_PASSWORD": "wrong"}).code == 65
        assert home.call("image", "pull", name, env={**user, "APPTAINER_DOCKER_PASSWORD": "secret"}).code == 0
        home.call("image", "prune", "--all")
        subprocess.run(
            ["apptainer", "registry", "login", "--username", "me", "--password-stdin", f"docker://{registry.host}"],
            input="secret", text=True, env=home.env, check=True, capture_output=True,
        )  # fmt: skip
        assert home.call("image", "pull", name).code == 0


def test_a_sif_file_pushed_by_apptainer_keeps_its_digest(registry: Registry, home: Home, sif: Path) -> None:
    """oras:// is the same file everywhere."""
    name = f"oras://{registry.host}/lib/sif:1"
    subprocess.run(
        ["apptainer", "push", "--allow-unsigned", "--no-https", str(sif), name], check=True, capture_output=True
    )
    assert home.json("image", "pull", name)["sha256"] == hashlib.sha256(sif.read_bytes()).hexdigest()
    done = home.call("image", "pull", name, "--sha256", "0" * 64)
    assert (done.code, "is not the one that was meant" in done.err) == (65, True)
    assert f"-> {name}" in home.call("image", "pull", name.replace("oras", "docker")).err
    assert "holds no SIF file" in home.call("image", "pull", f"oras://{registry.host}/lib/box:oci").err


def test_a_sandbox_folder_is_built_once(home: Home, tree: Path, tmp_path: Path) -> None:
    """The same tree is the same image, wherever it lies; another tree is another."""
    copy = tmp_path / "a folder: with $signs"
    subprocess.run(["cp", "-a", str(tree), str(copy)], check=True)
    first, second = (home.json("image", "pull", path) for path in (tree, copy))
    assert first["sha256"] == second["sha256"]
    (copy / "etc/word").write_text("changed\n")
    third = home.json("image", "pull", copy)
    assert (word_in(first["file"]), word_in(third["file"])) == ("hello\n", "changed\n")


def test_many_pulls_of_one_image_at_once_are_one(registry: Registry, home: Home) -> None:
    """Eight processes, one layer fetched once, one image."""
    name = f"docker://{registry.host}/lib/box:docker"
    registry.settled()
    before = registry.requests("GET", "/blobs/")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: home.json("image", "pull", name)["sha256"], range(8)))
    registry.settled()
    assert len(set(found)) == 1
    assert registry.requests("GET", "/blobs/") - before == 3  # the configuration, to look at it; then both blobs


@pytest.mark.slow
def test_a_hundred_replicas_of_a_large_image_cost_one_pull(home: Home, tmp_path: Path) -> None:
    """100 MB, a cold cache, all of them run in it and agree; the registry's own log says how often it was asked."""
    with Registry.start(tmp_path / "registry") as registry:
        registry.push_tree("lib/big", "1", make_tree(tmp_path / "big", ballast=100 << 20))
        text = JOB.format(image=f"docker://{registry.host}/lib/big:1") + '[array]\nids = "1-50"\n'
        done = subprocess.run(
            [PROGRAM, "submit", str(home.descriptor(text)), "--wait=10m"],
            env=home.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        registry.settled()
        asked = {part: registry.requests("GET", part) for part in ("/manifests/", "/blobs/")}
        assert asked == {"/manifests/": 1, "/blobs/": 3}  # the configuration, to look at it; then both blobs
        assert sum(len(task["replicas"]) for task in home.json("show", "1", "--tasks", "1-50")["tasks"]) == 100
        assert (home.path / "results/1/7/stdout").read_text() == "hello\n"


class Narrow(ThreadingHTTPServer):
    """Stands before a registry and, while `open` is not set, lets through only the first part of a large answer."""

    daemon_threads = True

    def __init__(self, host: str, part: int) -> None:
        """Stand before a host, for `part` bytes of an answer."""
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind, self.part = host, part
        self.open, self.reached = threading.Event(), threading.Event()
        self.asked: list[tuple[str, str]] = []  # path, Range


class Passing(BaseHTTPRequestHandler):
    """One request, passed on."""

    server: Narrow

    def do_GET(self) -> None:
        """Pass it on, and the answer back."""
        import http.client

        self.server.asked.append((self.path, self.headers.get("Range", "")))
        link = http.client.HTTPConnection(self.server.behind)
        link.request(self.command, self.path, headers={k: v for k, v in self.headers.items() if k != "Host"})
        answer = link.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: self.server.part])
        self.wfile.flush()
        if len(body) > self.server.part:
            self.server.reached.set()
            self.server.open.wait(600)
        self.wfile.write(body[self.server.part :])
        link.close()

    do_HEAD = do_GET  # noqa: N815 - the name that is looked up

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Handle a request whose client may be killed meanwhile."""
        try:
            super().handle()
        except ConnectionError:
            pass


@contextmanager
def narrow(registry: Registry, part: int) -> Iterator[Narrow]:
    """Yield something that stands before a registry."""
    with Narrow(registry.host, part) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            found.open.set()
            found.shutdown()
            thread.join()


def arrived(images: Path, size: int) -> tuple[Path, int]:
    """Return the file of a layer, once as much of it is there as was let through, and how much that is."""
    end = time.monotonic() + 120
    while True:
        for one in images.rglob("blobs/sha256/*"):
            if (have := one.stat().st_size) >= size:
                return one, have
        assert time.monotonic() < end, "nothing of the layer was written"
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["kill -9", "interrupt"])
def test_a_pull_that_was_stopped_goes_on(registry: Registry, home: Home, how: str) -> None:
    """Nothing half under a final name; what came is not fetched again; an interrupt says 130."""
    with narrow(registry, 400_000) as way:
        name = f"docker://127.0.0.1:{way.server_address[1]}/lib/box:oci"
        process = subprocess.Popen(
            [PROGRAM, "image", "pull", name], env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        assert way.reached.wait(60)
        images = home.path / "images"
        part, have = arrived(images, way.part)
        process.send_signal(9 if how == "kill -9" else 2)
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait() == (-9 if how == "kill -9" else 130)
        assert b"Traceback" not in said
        assert list(images.glob("*.sif")) == []
        way.open.set()
        found = home.json("image", "pull", name)
        assert word_in(found["file"]) == "hello\n"
        digest = f"sha256:{part.name}"
        assert [given for path, given in way.asked if path.endswith(digest)] == ["", f"bytes={have}-"]
        assert sorted(one.suffix for one in images.iterdir() if not one.name.startswith(".")) == [".json", ".sif"]


def test_a_job_is_pinned_to_the_image_that_a_tag_meant(
    registry: Registry, home: Home, tree: Path, tmp_path: Path
) -> None:
    """The tag may move on; the job's record names the digest, and its image stays while it is open."""
    registry.push_tree("lib/moving", "now", tree)
    image = f"docker://{registry.host}/lib/moving:now"
    held = JOB.format(image=image) + "[schedule]\nhold = true\n"
    done = home.submit(held)
    assert done.code == 0, done.err
    assert "... apptainer makes the image" in done.err
    (row,) = home.json("image", "ls")["images"]
    assert (row["jobs"], row["references"][-1].startswith(f"{image}@sha256:")) == ([1], True)
    registry.push_tree("lib/moving", "now", make_tree(tmp_path / "other", word="other"))
    assert home.submit(held).code == 0
    assert [one["jobs"] for one in home.json("image", "ls")["images"]] == [[2], [1]]
    assert home.json("image", "prune", "--all")["removed"] == []
    assert home.call("cancel", "1").code == 0
    assert [one["sha256"] for one in home.json("image", "prune", "--all")["removed"]] == [row["sha256"]]


def test_a_dry_run_pulls_nothing(registry: Registry, home: Home) -> None:
    """It says what would be pulled."""
    home.submit('[job]\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n')
    image = f"docker://{registry.host}/lib/box:oci"
    done = home.submit(JOB.format(image=image), "--dry-run")
    assert (done.code, f"would pull {image}" in done.out) == (0, True), done.out + done.err
    assert home.json("image", "ls")["images"] == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("other.sif", "the image is for linux-aarch64, node "),
        ("cut.sif", "is truncated"),
        ("text.sif", "is no SIF file"),
    ],
)
def test_a_job_with_an_image_that_cannot_run_is_refused(home: Home, sif: Path, image: str, said: str) -> None:
    """65, and nothing is stored."""
    write_sif(home.folder / "other.sif", architecture=ARM64)
    (home.folder / "cut.sif").write_bytes(sif.read_bytes()[:-70_000])
    (home.folder / "text.sif").write_text("hello")
    done = home.submit(JOB.format(image=image))
    assert (done.code, said in done.err) == (65, True), done.err
    assert home.jobs() == []
    done = home.submit(JOB.format(image=image), "--dry-run")  # which reads what lies here
    assert (done.code, said in done.err) == (65, True), done.err


def test_a_pull_of_another_architecture_than_asked_for_is_refused(home: Home) -> None:
    """A file is for one kind of machine, whatever was asked for."""
    write_sif(home.folder / "other.sif", architecture=ARM64)
    done = home.call("image", "pull", home.folder / "other.sif", "--arch", "x86_64")
    assert done.code == 65
    assert "got aarch64, wanted x86_64 (--arch)" in done.err
    assert home.call("image", "pull", home.folder / "other.sif", "--arch", "aarch64").code == 0


def test_a_pin_of_the_descriptor_holds(home: Home, sif: Path) -> None:
    """Got and wanted."""
    digest = hashlib.sha256(sif.read_bytes()).hexdigest()
    text = JOB.format(image=sif).replace("[quorum]", 'sha256 = "{}"\n[quorum]\n')
    hold = "[schedule]\nhold = true\n"
    assert home.submit(text.format(digest.upper()) + hold).code == 0
    done = home.submit(text.format("0" * 64) + hold)
    assert (done.code, f"got sha256 {digest}, wanted {'0' * 64}" in done.err) == (65, True)

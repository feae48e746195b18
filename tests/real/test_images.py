"""Images from a real registry, built by the real Apptainer, and run where that is the point."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apptainer.registry import DOCKER, OCI, Registry
from apptainer.trees import build_sif, make_tree
from homes import PROGRAM, Home
from sifs import ARM64, write_sif

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = '[job]\ncommand = ["/bin/cat", "/etc/word"]\n[container]\nimage = "{image}"\n[quorum]\ndistinct = "run"\n'


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system."""
    return make_tree(tmp_path_factory.mktemp("tree"), ballast=1 << 20)


@pytest.fixture(scope="module")
def sif(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SIF file of it."""
    return build_sif(tree, tmp_path_factory.mktemp("sif") / "box.sif")


@pytest.fixture(scope="module")
def registry(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Yield a registry with the tree in it: for this machine, in both formats, and for another machine."""
    with Registry.start(tmp_path_factory.mktemp("registry")) as found:
        ours = found.push_tree("lib/box", "oci", tree, kinds=OCI)
        found.push_tree("lib/box", "docker", tree, kinds=DOCKER)
        theirs = found.push_tree("lib/box", "arm", tree, machine="arm64")
        found.push_list("lib/box", "both", {"arm64": theirs, "amd64": ours})
        found.push_list("lib/box", "theirs", {"arm64": theirs})
        yield found


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
            self.server.open.wait(60)
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
    end = time.monotonic() + 30
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


def programs(folder: Path, **texts: str) -> str:
    """Write programs that stand first in a PATH; return that."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {},
            "this needs Apptainer: got neither apptainer nor singularity in PATH\n  -> pull or build on another machine",
        ),
        (
            {"apptainer": "echo apptainer version 1.0.3"},
            "is too old to build images: got apptainer version 1.0.3, wanted apptainer 1.1 or newer",
        ),
        ({"apptainer": "echo what"}, "got what, wanted apptainer 1.1 or newer"),
        ({"apptainer": "exit 1"}, "got no version"),
    ],
)
def test_without_a_builder_of_today(registry: Registry, home: Home, found: dict[str, str], said: str) -> None:
    """65 before anything is fetched; what needs no builder goes on."""
    path = programs(home.folder / "bin", **found)
    done = home.call("image", "pull", f"docker://{registry.host}/lib/box:oci", env={"PATH": path})
    assert (done.code, said in done.err) == (65, True), done.err
    assert not (home.path / "images").exists()


def test_singularity_builds_where_only_that_is(registry: Registry, home: Home) -> None:
    """The same program under its older name, as sites have it."""
    text = 'if [ "$1" = --version ]; then echo singularity-ce version 3.11.4; else exec /usr/bin/apptainer "$@"; fi'
    path = programs(home.folder / "bin", singularity=text)
    for tool in ("mksquashfs", "unsquashfs", "sh", "env"):
        os.symlink(f"/usr/bin/{tool}", f"{path}/{tool}")
    done = home.call("image", "pull", f"docker://{registry.host}/lib/box:oci", env={"PATH": path})
    assert (done.code, "... singularity makes the image" in done.err) == (0, True), done.err


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """Yield a file system of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_cache_without_room_or_leave(registry: Registry, home: Home, sif: Path) -> None:
    """Too full for the layers, too full for the build, read-only: each says so, with a way out, and keeps no half."""
    with tmpfs(home.folder / "small", "size=600k,mode=0700") as small:
        env = {"NEXAPOD_IMAGES_DIR": str(small)}
        for name in (f"docker://{registry.host}/lib/box:oci", str(sif)):
            done = home.call("image", "pull", name, env=env)
            assert (done.code, f"no room for the image in {small}" in done.err) == (75, True), done.err
        assert list(small.glob("*.sif")) == []
        subprocess.run(["mount", "-o", "remount,size=3m", str(small)], check=True)
        done = home.call("image", "pull", f"docker://{registry.host}/lib/box:oci", env=env)
        assert (done.code, "no room to build the image in" in done.err) == (75, True), done.err
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        done = home.call("image", "pull", str(sif), env=env)
        assert (done.code, f"the image cache {small} cannot be written: got Read-only file system" in done.err) == (
            78,
            True,
        ), done.err
        assert "-> set images.dir to a folder of your own" in done.err


SHIM = """
#include <errno.h>
int flock(int fd, int how) { (void)fd; (void)how; errno = %s; return -1; }
"""


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_cache_on_a_file_system_without_locks(home: Home, sif: Path, error: str) -> None:
    """78, naming the file system; the C library's own flock is made to fail as such file systems do."""
    (home.folder / "shim.c").write_text(SHIM % error)
    shim = home.folder / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(shim), str(home.folder / "shim.c")], check=True)
    done = home.call("image", "pull", str(sif), env={"LD_PRELOAD": str(shim)})
    assert (done.code, "lies on a file system that cannot keep it: got " in done.err) == (78, True), done.err
    assert "-> set images.dir to a folder on another file system" in done.err


DOCKERFILE = """\
FROM scratch
ENV PATH=/bin GREETING="hello world"
COPY rootfs /
WORKDIR /app
COPY x.txt .
RUN echo "$GREETING" > made && \\
    # a comment inside
    cat x.txt >> made
LABEL org.example.version=7
USER nobody
"""


def test_a_dockerfile_is_converted_and_built(home: Home, tree: Path) -> None:
    """By spython and the real Apptainer; what the image does not do is said."""
    folder = home.folder / "box"
    folder.mkdir()
    subprocess.run(["cp", "-a", str(tree), str(folder / "rootfs")], check=True)
    (folder / "x.txt").write_text("x\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    printed = home.json("image", "build", folder / "Dockerfile", "--print")["definition"]
    assert {"Bootstrap: scratch", "rootfs/. /", "x.txt /app/", 'export GREETING="hello world"'} <= set(printed)
    done = home.call("image", "build", folder / "Dockerfile")
    assert (done.code, "warning: line 10: USER is left out" in done.err) == (0, True), done.err
    said = subprocess.run(
        ["apptainer", "--silent", "exec", "--userns", str(home.folder / "box.sif"), "/bin/cat", "/app/made"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "hello world\nx\n"
    assert home.json("image", "inspect", home.folder / "box.sif")["labels"]["org.example.version"] == "7"
    assert sorted(one.name for one in home.folder.iterdir() if "nexapod-build" in one.name) == []
    again = home.call("image", "build", folder / "Dockerfile")
    assert (again.code, "--force" in again.err) == (2, True)


def test_a_dockerfile_that_cannot_be_converted(home: Home) -> None:
    """65, each line named; nor is one whose RUN fails kept."""
    bad = home.folder / "Dockerfile"
    bad.write_text("FROM a AS b\nRUN x\nFROM c\nCOPY --from=b /x /y\n")
    done = home.call("image", "build", bad)
    assert (done.code, "line 3: FROM: " in done.err, "line 4: COPY: --from" in done.err) == (65, True, True)
    assert home.call("image", "build", home.folder / "nowhere").code == 65
    (home.folder / "rootfs").mkdir()
    bad.write_text("FROM scratch\nCOPY rootfs /\nRUN false\n")
    done = home.call("image", "build", bad, "-o", "x.sif")
    assert (done.code, "apptainer cannot build the image" in done.err, (home.folder / "x.sif").exists()) == (
        65,
        True,
        False,
    )


def test_a_definition_file_is_built_as_it_is(home: Home, sif: Path) -> None:
    """Apptainer's own format."""
    (home.folder / "x.def").write_text(f"Bootstrap: localimage\nFrom: {sif}\n%labels\n  who me\n")
    found = home.json("image", "build", home.folder / "x.def", "--to", "y.sif")
    assert home.json("image", "inspect", found["file"])["labels"]["who"] == "me"
    assert json.loads(json.dumps(found))["architecture"] == "x86_64"

"""Images that are built here: by which program, into which cache, from Dockerfiles and definition files."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apptainer.registry import Registry

@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home without logins; what it started is stopped."""
    found = Home(tmp_path)
    found.env["HOME"] = str(tmp_path)
    yield found
    found.end()


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

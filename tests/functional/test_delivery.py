"""Results delivered to a folder: whole or not there at all, proved, never over something else, and brought back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, Home, ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOB = (
    '[job]\nname = "sum"\ncommand = ["sh", "-c", "echo {task} > out.txt"]\n[array]\nids = "1-2"\n'
    '[quorum]\ndistinct = "run"\n[[outputs]]\npath = "out.txt"\n[results]\nto = "%s"\n'
)
#: Runs the program, and is killed by the kernel as soon as something of this kind happens at the place.
KILLED = """
import os, signal, sys
event, place = sys.argv[1:3]
seen = []
def hook(name, args):
    if place not in " ".join(map(str, args)):
        return
    if name == event or (event == "after" and "os.rename" in seen):
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(name)
sys.addaudithook(hook)
from nexapod_batch.cli import main
sys.argv = ["nexapod-batch", *sys.argv[3:]]
main()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home that may deliver to `project`."""
    with ended(Home(tmp_path)) as made:
        made.path.mkdir(mode=0o700)
        (made.path / "config.toml").write_text(f'[delivery]\nallow = ["{tmp_path}/project"]\n')
        yield made


def names(folder: Path) -> list[str]:
    """Return what a person sees in a folder, and what is hidden."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def test_accepted_results_are_delivered_with_their_proof(home: Home, tmp_path: Path) -> None:
    """When the wait ends they are there, others can check them, and show and explain say where they are."""
    done = home.submit(JOB % f"{tmp_path}/project", "--wait")
    assert done.code == 0, done.err
    place = tmp_path / "project/sum-1"
    assert names(tmp_path / "project") == ["sum-1"]
    assert (place / "data/results/2/out.txt").read_text() == "2\n"
    assert home.call("verify", place).code == 0
    delivery = home.json("show", 1)["job"]["delivery"]
    assert (delivery["state"], delivery["place"]) == ("delivered", str(place))
    assert f"delivered to {place}" in home.call("explain", 1).out


@pytest.mark.parametrize(("to", "place"), [
    ("project/{uuid}/x", lambda uuid: f"project/{uuid}/x"),
    ("project/deep/er/{name}.{job}", lambda _: "project/deep/er/sum.1"),
    ("project/", lambda _: "project/sum-1"),
])  # fmt: skip
def test_places_are_named_by_their_job(home: Home, tmp_path: Path, to: str, place: Callable[[str], str]) -> None:
    """Placeholders are those of the job; folders on the way are made."""
    assert home.submit(JOB % f"{tmp_path}/{to}", "--wait").code == 0
    assert home.json("show", 1)["job"]["delivery"]["place"] == str(tmp_path / place(home.jobs()[0]["uuid"]))


@pytest.mark.parametrize(("to", "wanted"), [
    ("out", "is no absolute path"),
    ("/project/../etc", "has parts that no name has"),
    ("s3://", "names no bucket"),
    ("s3://me:secret@bucket/x", "names no bucket"),
    ("s3://bucket/x?y", "may have no query"),
    ("/project/{task}", "has no value for {task}"),
    ("/project/{", "lone '{'"),
    ("/project/a\\nb", "unprintable"),
])  # fmt: skip
def test_what_is_no_destination(home: Home, to: str, wanted: str) -> None:
    """It is refused with the descriptor."""
    done = home.submit(JOB % to)
    assert done.code == 65
    assert wanted in done.err
    assert home.jobs() == []


@pytest.mark.parametrize("to", ["/elsewhere", "{}/projects", "{}/link", "s3://bucket/x"])
def test_what_is_not_allowed(home: Home, tmp_path: Path, to: str) -> None:
    """It is refused at submit, with where results may go; a link out of an allowed folder does not help."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project/link").symlink_to(tmp_path)
    done = home.submit(JOB % to.format(tmp_path if "link" not in to else f"{tmp_path}/project"))
    assert done.code == 78, done.err
    assert f"wanted a place below: {tmp_path}/project" in done.err
    assert home.jobs() == []


def test_a_project_cannot_allow_it(home: Home, tmp_path: Path) -> None:
    """Where results may go is the account's to say, not that of whoever wrote a project."""
    (tmp_path / "nexapod.toml").write_text('[delivery]\nallow = ["/"]\n')
    done = home.submit(JOB % f"{tmp_path}/project")
    assert done.code == 78
    assert "not accepted here" in done.err


def test_another_delivery_is_never_replaced(home: Home, tmp_path: Path) -> None:
    """It is told, the verdict stands, and when the other one is gone the next try delivers."""
    place = tmp_path / "project/sum-1"
    place.mkdir(parents=True)
    (place / "mine").write_text("precious")
    done = home.submit(JOB % f"{tmp_path}/project", "--wait")
    assert done.code == 0, done.err
    assert f"{place} is there already, and is another delivery" in done.err
    assert names(place.parent) == ["sum-1"]
    assert names(place) == ["mine"]
    delivery = home.json("show", 1)["job"]["delivery"]
    assert (delivery["state"], delivery["tries"]) == ("failing", 1)
    assert "it is tried again at" in home.call("explain", 1).out
    assert f"{place} is there already" in "".join(home.json("reconcile")["standing"])  # not before its time
    assert home.call("results", 1, "--deliver").code == 1
    place.rename(tmp_path / "kept")
    again = home.call("results", 1, "--deliver")
    assert (again.code, again.out) == (0, f"{place}\n"), again.err
    assert home.call("verify", place).code == 0
    assert home.json("reconcile")["standing"] == []


@pytest.mark.parametrize("event", ["os.mkdir", "open", "os.rename", "after"])
def test_a_kill_leaves_nothing_half_visible(home: Home, tmp_path: Path, event: str) -> None:
    """Whatever it was doing: then the place is not there, or all of it; the next try ends well and clears up."""
    project = tmp_path / "project"
    project.write_text("no folder yet")
    assert home.submit(JOB % project, "--wait").code == 0
    assert home.json("show", 1)["job"]["delivery"]["state"] == "failing"
    project.unlink()
    argv = [sys.executable, "-c", KILLED, event, f"{project}/", "results", "1", "--deliver"]
    killed = subprocess.run(argv, env=home.env, cwd=home.folder, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert [name for name in names(project) if not name.startswith(".")] == (["sum-1"] if event == "after" else [])
    assert home.json("show", 1)["job"]["delivery"]["state"] == "failing"
    assert home.call("results", 1, "--deliver").code == 0
    assert names(project) == ["sum-1"]
    assert home.call("verify", project / "sum-1").code == 0


def test_a_retry_makes_a_delivery_of_its_own(home: Home, tmp_path: Path) -> None:
    """Beside the first one, which stays as it was."""
    (tmp_path / "fail").write_text("")
    text = (JOB % f"{tmp_path}/project").replace("echo {task}", f"test {{task}} = 1 -o ! -e {tmp_path}/fail && echo {{task}}")
    done = home.submit(text, "--wait")
    assert done.code == 1, done.err
    first = (tmp_path / "project/sum-1/tagmanifest-sha256.txt").read_bytes()
    assert not (tmp_path / "project/sum-1/data/results/2").exists()
    (tmp_path / "fail").unlink()
    assert home.call("retry", 1, "--wait").code == 0
    assert names(tmp_path / "project") == ["sum-1", "sum-1.2"]
    assert (tmp_path / "project/sum-1/tagmanifest-sha256.txt").read_bytes() == first
    assert (tmp_path / "project/sum-1.2/data/results/2/out.txt").read_text() == "2\n"


def test_a_delivery_is_brought_back(home: Home, tmp_path: Path) -> None:
    """By the number of its job or by its place; with anything changed in it, nothing is left here."""
    assert home.submit(JOB % f"{tmp_path}/project", "--wait").code == 0
    place = tmp_path / "project/sum-1"
    assert home.call("results", 1, "--pull").code == 0
    assert (home.folder / "sum-1/data/results/1/out.txt").read_text() == "1\n"
    elsewhere = home.call("results", place, "--pull", "--out", "b", env={"NEXAPOD_HOME": str(tmp_path / "other")})
    assert elsewhere.code == 0, elsewhere.err
    assert home.call("results", 1, "--pull", "--out", "b").code == 2
    for number, file in enumerate(("data/results/1/out.txt", "manifest-sha256.txt", "data/proof/1_1.vsa.json")):
        kept = (place / file).read_bytes()
        (place / file).write_bytes(kept[:-2] + b"x\n")
        changed = home.call("results", 1, "--pull", "--out", f"c{number}")
        assert changed.code != 0, file
        assert f"{file}" in changed.err
        (place / file).write_bytes(kept)
    (place / "tagmanifest-sha256.txt").unlink()
    assert home.call("results", 1, "--pull", "--out", "d").code == 66
    assert [name for name in names(home.folder) if name.startswith((".", "c", "d"))] == []


def test_what_has_no_delivery(home: Home) -> None:
    """It is said, with where the results are."""
    assert home.submit(JOB.partition("[results]")[0], "--wait").code == 0
    for option in ("--pull", "--deliver"):
        done = home.call("results", 1, option)
        assert done.code == 66
        assert "has no [results] to" in done.err


def test_a_full_disk_is_told(home: Home, tmp_path: Path) -> None:
    """The delivery waits for room; nothing is left of it meanwhile."""
    project = tmp_path / "project"
    project.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", project], check=False)
    if mounted.returncode:
        pytest.skip("no mounts here")
    try:
        done = home.submit(JOB % project, "--wait")
        assert done.code == 0
        assert "no space for the results" in done.err
        assert names(project) == []
    finally:
        subprocess.run(["umount", project], check=True)
    assert home.call("results", 1, "--deliver").code == 0
    shutil.rmtree(project)


@pytest.mark.parametrize(("what", "code", "there"), [("project", 0, ["sum-1"]), ("project/sum-1", 78, [])])
def test_a_folder_that_is_a_link(home: Home, tmp_path: Path, what: str, code: int, there: list[str]) -> None:
    """A folder that the account allows may be a link of its own; what lies below leads nowhere else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / what).parent.mkdir(exist_ok=True)
    (tmp_path / what).symlink_to(elsewhere)
    done = home.submit(JOB % f"{tmp_path}/project", "--wait")
    assert done.code == code, done.err
    assert ("results may not be delivered there" in done.err) is (code != 0)
    assert names(elsewhere) == there


def test_two_deliveries_at_once(home: Home, tmp_path: Path) -> None:
    """One of them delivers, the others wait for it and find it done; the place is whole."""
    project = tmp_path / "project"
    project.write_text("no folder yet")
    assert home.submit(JOB % project, "--wait").code == 0
    project.unlink()
    argv = [PROGRAM, "results", "1", "--deliver"]
    several = [subprocess.Popen(argv, env=home.env, cwd=home.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    told = [one.communicate(timeout=120) for one in several]
    assert [one.returncode for one in several] == [0, 0, 0], told
    assert names(project) == ["sum-1"]
    assert home.call("verify", project / "sum-1").code == 0

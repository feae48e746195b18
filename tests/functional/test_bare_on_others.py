"""Jobs that may do without a container, on machines that have none: walls all the same, or a refusal with its reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home
from sifs import write_sif

from nexapod_batch.agent.home import AgentHome, AgentSettings
from nexapod_batch.agent.worker import AgentWorker
from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh.messages import Bundle as Sent
from nexapod_batch.model.replica import Assignment, Bundle
from nexapod_batch.trust.bundle import BUNDLE_TYPE, encode_bundle
from nexapod_batch.trust.dsse import Signer, seal

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = """
[job]
name = "any"
command = ["true"]
[container]
image = "x.sif"
isolation = "{isolation}"
[quorum]
distinct = "run"
"""
CONTAINERS = frozenset({"apptainer", "singularity"})
WALLS = CONTAINERS | {"bwrap"}
NODE, COORDINATOR, LAUNCH = (Signer.from_seed(letter * 32) for letter in (b"n", b"c", b"l"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with an image beside its descriptors."""
    made = Home(tmp_path)
    write_sif(made.folder / "x.sif")
    yield made
    made.end()


def without(folder: Path, names: frozenset[str]) -> dict[str, str]:
    """Return an environment in which programs are not found."""
    folder.mkdir()
    for name in os.listdir("/usr/bin"):
        if name not in names:
            (folder / name).symlink_to(f"/usr/bin/{name}")
    return {"PATH": str(folder)}


#: Options of a submission where there are neither containers nor walls -> what is said.
REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "any, of somebody else": ("any", ("--foreign",), "does not run somebody else's job"),
    "any, of somebody else, the way out": ("any", ("--foreign",), "have Apptainer installed there"),
    "any, with walls": ("any", ("--set", "quorum.min_isolation=files"), "quorum.min_isolation: node n cannot confine commands"),
    "any, of somebody else, with walls": (
        "any", ("--foreign", "--set", "quorum.min_isolation=files"), "quorum.min_isolation: node n cannot confine commands",
    ),
    "a container": ("container", (), "node n cannot run containers"),
    "a container, of somebody else": ("container", ("--foreign",), "node n cannot run containers"),
    "bare": ("bare", (), "wanted one of container, any"),
    "none": ("none", ("--foreign",), "wanted one of container, any"),
    "nothing": ("", (), "wanted one of container, any"),
}  # fmt: skip


def test_where_nothing_confines_what_wants_walls_is_refused(home: Home, tmp_path: Path) -> None:
    """At submit, and in no other case: one's own job that may do without a container is taken."""
    bare = without(tmp_path / "bare", WALLS)
    assert home.call("node", "init", "--name", "n").code == 0
    for what, (isolation, options, sentence) in REFUSED.items():
        done = home.call("submit", home.descriptor(JOB.format(isolation=isolation)), *options, env=bare)
        assert (what, done.code, sentence in done.err) == (what, 65, True), done.err
    held = ("--set", "schedule.hold=true")
    mine = home.descriptor(JOB.format(isolation="any"))
    assert home.call("submit", mine, *held, env=bare).code == 0


def test_a_node_that_lost_its_walls_is_told(home: Home, tmp_path: Path) -> None:
    """What was taken while there were some is placed nowhere then, and explain says why."""
    assert home.call("node", "init", "--name", "n").code == 0
    held = home.descriptor(JOB.format(isolation="any") + "[schedule]\nhold = true\n")
    assert home.call("submit", held, "--foreign", env=without(tmp_path / "walls", CONTAINERS)).code == 0
    bare = without(tmp_path / "bare", WALLS)
    assert home.call("release", "1", env=bare).code == 0
    home.call("reconcile", env=bare)
    assert home.json("show", 1)["tasks"][0]["replicas"] == []
    told = home.call("explain", "1", env=bare).out
    assert "node n does not run somebody else's job: commands without a container cannot be confined: no bwrap" in told


@pytest.mark.parametrize("options", [("--foreign",), ("--set", "quorum.min_isolation=files")])
def test_without_containers_it_runs_behind_walls(home: Home, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Never bare, and the statements say so."""
    assert home.call("node", "init", "--name", "n", "--cpus", "2").code == 0
    there = without(tmp_path / "walls", CONTAINERS)
    done = home.call("submit", home.descriptor(JOB.format(isolation="any")), "--wait=90s", *options, env=there)
    assert done.code == 0, done.err
    assert {one["isolation"] for one in home.json("show", 1)["tasks"][0]["replicas"]} == {"files"}


def worker_in(folder: Path) -> AgentWorker:
    """Return the worker of a node that joined the coordinator of these tests."""
    home = AgentHome(folder / "agent" / "n")
    (folder / "agent").mkdir(mode=0o700)
    home.make()
    settings = AgentSettings(
        name="n", url="https://localhost:1", pin="", coordinator_key=COORDINATOR.public.hex(), owner="ann", tier="cpu",
        cpus=1, mem_mib=1000,
    )  # fmt: skip
    return AgentWorker(home, settings, NODE, None)


def sealed(*, foreign: bool) -> Sent:
    """Return a bundle as the coordinator sends it."""
    bundle = Bundle(
        launch="ab" * 16, audience=NODE.key_id, not_after=1 << 33, job_id=1, job_uuid="0192f0c1-2345-7890-abcd-0123456789ab", document=b"{}", input_paths={},
        replicas=(Assignment(task=0, number=1, nonce="0" * 32, parameters={}),), subkey=LAUNCH.key_id, foreign=foreign,
    )  # fmt: skip
    envelope = seal(COORDINATOR, BUNDLE_TYPE, encode_bundle(bundle)).decode()
    return Sent(launch=bundle.launch, envelope=envelope, seed=(b"l" * 32).hex())


def test_a_joined_node_runs_nothing_as_its_own(tmp_path: Path) -> None:
    """Whatever its coordinator signs: such a job would have the network, and its ranks no walls."""
    worker = worker_in(tmp_path)
    assert worker.check(sealed(foreign=True), lambda: None)[0].foreign
    with pytest.raises(VerificationError, match="as one of the node's own"):
        worker.check(sealed(foreign=False), lambda: None)

"""Hardware profiles: of this machine, with GPUs through the real binding, signed by nodes, and what follows from them."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home
from nvml import FIRST, SECOND, Driver
from profiles import gpu, profile

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.files import keyfile
from nexapod_batch.model.hardware import Offer, Profile
from nexapod_batch.store import writer
from nexapod_batch.trust.profile import open_offer, seal_offer

if TYPE_CHECKING:

    from nexapod_batch.coordinator import Coordinator


def put(home: Home, name: str, envelope: bytes) -> None:
    """Store this as the signed profile of a node."""
    with open_coordinator(Paths.of(home.path)) as c, writer(c.store), c.store.atomic():
        c.store.nodes.put_profile(name, envelope)


def signed_by(c: Coordinator, name: str) -> bytes:
    """Return the signed profile of a node."""
    row = c.store.nodes.profile(name)
    assert row is not None
    return row.envelope


def sign(home: Home, name: str, machine: Profile, *gpus: str) -> None:
    """Let a node sign that it is this machine."""
    put(home, name, seal_offer(keyfile.load(home.path / "keys" / f"node-{name}"), Offer(profile=machine, gpus=gpus)))


def test_a_profile_tells_what_the_system_tells(home: Home) -> None:
    """System, processors, memory and disk are this machine's; nothing is made, and nothing is measured unasked."""
    found = home.json("node", "profile")
    profile = found["profile"]
    assert (profile["system"], profile["arch"]) == ("linux", platform.machine())
    assert profile["cpu"]["usable"] == len(os.sched_getaffinity(0))
    assert profile["cpu"]["threads"] >= profile["cpu"]["cores"] >= 1
    assert profile["memory_mib"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert profile["disk"]["total_mib"] == shutil.disk_usage(home.folder).total // 2**20
    assert profile["cpu"]["microarchitecture"] == found["classes"]["cpu-microarch"]
    assert profile["benchmark"] is None
    assert not home.path.exists()


def test_the_benchmark_tells_a_rate_for_one_process_and_for_all(home: Home) -> None:
    """Each figure is there and above nothing."""
    mark = home.json("node", "profile", "--benchmark")["profile"]["benchmark"]
    assert all(mark[name] > 0 for name in ("scalar_mflops", "scalar_all_mflops", "copy_gib_s", "copy_all_gib_s"))
    assert "GiB/s copied by one process" in home.call("node", "profile", "--benchmark").out


def test_gpus_are_told_with_what_their_driver_says(home: Home) -> None:
    """Model, memory, compute capability, driver and UUID, and the tier and class that follow."""
    driver = Driver(home.folder)
    text = home.call("node", "profile", env=driver.env).out
    assert f"GPU 0       NVIDIA GeForce RTX 4090, 24 GiB, compute capability 8.9, driver 550.90.07, {FIRST}" in text
    found = home.json("node", "profile", env=driver.env)
    assert found["classes"]["gpu-model"] == "geforce-rtx-4090"
    assert len(found["profile"]["gpus"]) == 2


def test_a_driver_that_vanished_is_a_note(home: Home) -> None:
    """The rest of the profile is told all the same."""
    driver = Driver(home.folder)
    driver.vanish()
    done = home.call("node", "profile", env=driver.env)
    assert done.code == 0
    assert "GPUs        none\n" in done.out
    assert "note: NVIDIA's driver does not answer: got Driver Not Loaded\n  -> nvidia-smi tells more" in done.out


def test_container_programs_that_cannot_answer_have_no_version(home: Home) -> None:
    """A program that fails, says nonsense or cannot be started is named without a version."""
    folder = home.folder / "bin"
    folder.mkdir()
    (folder / "apptainer").write_text("#!/bin/sh\nexit 3\n")
    (folder / "singularity").write_bytes(b"\x7fELF nonsense")
    for name in ("apptainer", "singularity"):
        (folder / name).chmod(0o755)
    found = home.json("node", "profile", env={"PATH": str(folder)})["profile"]["containers"]
    assert found == [{"name": name, "path": str(folder / name), "version": ""} for name in ("apptainer", "singularity")]


def test_a_new_node_signs_its_profile(home: Home) -> None:
    """What is stored verifies with the node's key and no other; `node show` and `node ls` tell of it."""
    made = home.json("node", "init", "mine", "--benchmark")["node"]
    shown = home.json("node", "show", "mine")
    with open_coordinator(Paths.of(home.path), write=False) as c:
        row = c.store.nodes.profile("mine")
    assert row is not None
    offer = open_offer(row.envelope, made["key"], row.public_key)
    assert (offer.profile.host, offer.gpus) == (shown["profile"]["host"], ())
    assert offer.profile.benchmark is not None
    assert made["classes"] == shown["node"]["classes"] == offer.classes
    assert "profile, signed by the node:" in home.call("node", "show", "mine").out
    assert offer.classes["cpu-microarch"] in home.call("node", "ls").out
    assert home.call("doctor").code == 0


def test_a_profile_that_was_changed_counts_for_nothing(home: Home) -> None:
    """Without a signature that verifies there is no class; `doctor` and `submit` say so, and `--refresh` mends it."""
    home.json("node", "init", "mine")
    with open_coordinator(Paths.of(home.path), write=False) as c:
        envelope = signed_by(c, "mine")
    at = envelope.index(b'"sig":"') + 20
    put(home, "mine", envelope[:at] + (b"B" if envelope[at : at + 1] == b"A" else b"A") + envelope[at + 1 :])
    done = home.submit(TRUE + 'class = "os-arch"\n')
    assert done.code == 65
    assert "its profile does not say its os-arch" in done.err
    assert "it does not verify, and counts for nothing" in home.call("node", "show", "mine").out
    doctor = home.call("doctor")
    assert doctor.code == 1
    assert "its hardware profile does not verify (no signature verifies): nexapod-batch node init mine --refresh" in doctor.out
    assert home.json("node", "init", "mine", "--refresh")["changes"] == ["it had no profile that verifies"]
    assert home.submit(TRUE + 'class = "os-arch"\n', "--wait=90s").code == 0
    assert home.call("doctor").code == 0


def test_another_nodes_profile_does_not_verify(home: Home) -> None:
    """A profile belongs to the key that signed it."""
    home.json("node", "init", "mine")
    home.json("node", "init", "other")
    with open_coordinator(Paths.of(home.path), write=False) as c:
        put(home, "mine", signed_by(c, "other"))
    assert home.json("node", "show", "mine")["fault"].startswith("no signature verifies")


def test_hardware_that_changed_is_told_and_signed_anew(home: Home) -> None:
    """`doctor` warns with what changed and what to do; a benchmark of another processor is not kept."""
    home.json("node", "init", "mine")
    sign(home, "mine", profile(microarchitecture="zen9"))
    text = home.call("doctor").out
    assert "its hardware changed since it was signed: CPU micro-architecture: was zen9, is " in text
    assert "nexapod-batch node init mine --refresh" in text
    changed = home.json("node", "init", "--refresh")["changes"]
    assert [one for one in changed if one.startswith("CPU micro-architecture: was zen9")]
    assert "changed since" not in home.call("doctor").out
    assert home.call("node", "init", "mine", "--refresh").out == "node mine: profile signed anew\n  nothing of it changed\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--refresh", "--owner", "me"], "--refresh changes the profile alone"),
        (["nobody", "--refresh"], "there is no such node: got 'nobody', wanted one of: a, b"),
        (["--refresh"], "which node?: wanted one of: a, b"),
    ],
)
def test_a_refresh_that_cannot_be_is_refused(home: Home, argv: list[str], words: str) -> None:
    """In words, and nothing is changed."""
    home.json("node", "init", "a")
    home.json("node", "init", "b")
    done = home.call("node", "init", *argv)
    assert done.code in {2, 66}
    assert words in done.err


CLASSES = {
    "os-arch": ("linux-x86_64", "linux-aarch64"),
    "cpu-microarch": ("zen4", "zen5"),
    "gpu-model": ("none", "geforce-rtx-4090"),
    "node-class": ("linux-x86_64/zen4/none", "linux-aarch64/zen5/geforce-rtx-4090"),
}


def test_nodes_of_different_classes_form_no_quorum(home: Home) -> None:
    """For each numeric class: refused with the class of each node, and accepted once they are alike."""
    for name in ("a", "b"):
        home.json("node", "init", name, "--owner", name)
    sign(home, "a", profile())
    sign(home, "b", profile(arch="aarch64", microarchitecture="zen5", gpus=(gpu(),)), "GPU-1")
    job = '[job]\nname = "alike"\ncommand = ["true"]\n[quorum]\nclass = "{}"\n'
    for name, (one, other) in CLASSES.items():
        done = home.submit(job.format(name))
        assert done.code == 65
        assert f"replicas that differ in node of one {name}: got 1 in reach (a: {one}, b: {other}), 1 missing" in done.err
    for name in ("a", "b"):
        home.json("node", "init", name, "--refresh")
    for name in CLASSES:
        assert home.submit(job.format(name), "--wait=90s").code == 0


def test_a_gpu_that_no_node_has_is_refused_with_those_there_are(home: Home) -> None:
    """None at all, or none of the type that was asked for."""
    home.json("node", "init", "a", "--owner", "a")
    done = home.submit(TRUE + "[resources]\ngpus = 1\n")
    assert done.code == 65
    assert "resources.gpus: a replica wants 1 GPU, no node in reach has one" in done.err
    driver = Driver(home.folder)
    home.json("node", "init", "b", "--owner", "b", env=driver.env)
    done = home.submit(TRUE + '[resources]\ngpus = 1\ngpu_type = "a100"\n')
    assert done.code == 65
    assert "no node has a GPU of type a100: b has NVIDIA GeForce RTX 4090" in done.err


def test_a_refresh_follows_the_gpus_that_are_offered(home: Home) -> None:
    """A GPU that went is offered no more, one that came is only told of, and `--gpus` offers it."""
    driver = Driver(home.folder)
    made = home.json("node", "init", "a", "--gpus", "0", env=driver.env)["node"]
    assert (made["tier"], made["gpus"], made["classes"]["gpu-model"]) == ("consumer-gpu", 1, "geforce-rtx-4090")
    done = home.json("node", "init", "a", "--refresh", env=driver.env)
    assert done["changes"] == ["GPU 1 (NVIDIA GeForce RTX 4090) is not offered: node init a --refresh --gpus all"]
    home.json("node", "init", "a", "--refresh", "--gpus", "all", "--gpu-slots", "2", env=driver.env)
    assert home.json("node", "show", "a")["node"]["gpus"] == 4
    driver.drop(f"gpu {FIRST}")
    text = home.call("doctor", env=driver.env).out
    assert f"its hardware changed since it was signed: GPU 0 (NVIDIA GeForce RTX 4090, {FIRST}) is gone" in text
    home.json("node", "init", "a", "--refresh", env=driver.env)
    assert home.json("node", "show", "a")["node"]["gpus"] == 2
    driver.vanish()
    text = home.call("doctor", env=driver.env).out
    assert "NVIDIA's driver does not answer" in text
    assert "--refresh" not in text, "it would offer less for a driver that may come back"
    done = home.json("node", "init", "a", "--refresh", env=driver.env)
    assert f"GPU 0 (NVIDIA GeForce RTX 4090, {SECOND}) is gone" in done["changes"]
    shown = home.json("node", "show", "a")["node"]
    assert (shown["gpus"], shown["tier"], shown["classes"]["gpu-model"]) == (0, "cpu", "none")

"""`node profile` on this machine, and with GPUs through the real binding."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING

import pytest
from homes import Home
from nvml import FIRST, Driver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give a home that nothing was done in."""
    return Home(tmp_path)


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

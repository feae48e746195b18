"""GPUs handed out to replicas: real nodes and workers, and the real binding under a small driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from homes import Home
from nvml import FIRST, SECOND, Driver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Give a driver with two GPUs."""
    return Driver(tmp_path)


@pytest.fixture
def home(tmp_path: Path, driver: Driver) -> Iterator[Home]:
    """Give a home on a machine with these GPUs; what runs in it is ended afterwards."""
    made = Home(tmp_path)
    made.env |= driver.env
    yield made
    made.end()


#: Leaves beside the node's name which devices a command was shown; its output does not depend on them.
SEEN = """[job]
name = "g"
script = '''#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES|$ROCR_VISIBLE_DEVICES|$HIP_VISIBLE_DEVICES" > {}/$NEXAPOD_NODE; echo 42'''
"""


def test_a_job_for_a_gpu_on_two_nodes_is_accepted(home: Home, tmp_path: Path) -> None:
    """Each node offers one GPU; each replica sees the one that it was given, and the output does not depend on it."""
    for name, owner, gpu in (("a", "ann", "0"), ("b", "bob", "1")):
        assert home.json("node", "init", name, "--owner", owner, "--gpus", gpu)["node"]["gpus"] == 1
    done = home.submit(SEEN.format(tmp_path) + "[resources]\ngpus = 1\n", "--wait")
    assert done.code == 0, done.err
    assert [(tmp_path / name).read_text() for name in "ab"] == [f"{FIRST}||\n", f"{SECOND}||\n"]

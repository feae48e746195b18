"""GPUs handed out to replicas: real nodes and workers, and the real binding under a small driver."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

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


def statements(home: Home, tmp_path: Path, job: int = 1) -> list[Any]:
    """Return the internal parameters of every statement of a job."""
    assert home.call("attestations", job, "--out", tmp_path / f"signed{job}").code == 0
    envelopes = [json.loads(one.read_bytes()) for one in sorted((tmp_path / f"signed{job}").glob("*.dsse.json"))]
    payloads = [json.loads(base64.b64decode(one["payload"])) for one in envelopes]
    return [one["predicate"]["buildDefinition"]["internalParameters"] for one in payloads]


def test_time_memory_and_energy_of_each_replica_are_signed(home: Home, driver: Driver, tmp_path: Path) -> None:
    """By process where the driver tells it; and which GPU it was."""
    for name, gpu in (("a", "0"), ("b", "1")):
        home.json("node", "init", name, "--owner", name, "--gpus", gpu)
    driver.add(f"energy {FIRST} 1000", f"energy {SECOND} 1000")
    script = f"""#!/bin/sh
echo "process $CUDA_VISIBLE_DEVICES $$ 300 c 50
energy $CUDA_VISIBLE_DEVICES 9000" >> {driver.file}
sleep 1
echo 42
"""
    done = home.submit(f"[job]\nname = 'g'\nscript = '''{script}'''\n[resources]\ngpus = 1\n", "--wait")
    assert done.code == 0, done.err
    found = [one["gpus"] for one in statements(home, tmp_path)]
    assert sorted(one["uuid"] for (one,) in found) == [FIRST, SECOND]
    for (one,) in found:
        assert (one["model"], one["peakMemoryMiB"], one["energyMj"]) == ("NVIDIA GeForce RTX 4090", 300, 8000)
        assert one["timeMs"] > 0

"""Hardware profiles: as documents, what follows from them, and what counts as another machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from profiles import gpu, profile

from nexapod_batch.model.hardware import Benchmark, Profile, changes, classes_of, is_gpu_type, tier_of
from nexapod_batch.model.hardware_document import profile_document, profile_of
from nexapod_batch.model.job import Tier

MARK = Benchmark(scalar_mflops=190.5, scalar_all_mflops=380.0, copy_gib_s=4.0, copy_all_gib_s=7.5)


@pytest.mark.parametrize("one", [profile(), profile(gpus=(gpu(), gpu(uuid="GPU-2", index="1")), benchmark=MARK)])
def test_a_profile_comes_back_from_its_document(one: Profile) -> None:
    """Every field survives JSON."""
    assert one == profile_of(json.loads(json.dumps(profile_document(one))))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("host", "a\nb"), ("host", 3), ("memory_mib", -1), ("memory_mib", 1.5), ("memory_mib", True), ("gpus", {}),
        ("gpus", ["GPU-1"]), ("cpu", None), ("benchmark", {}), ("arch", "x" * 5000), ("gpus", [{}] * 2000),
    ],
)  # fmt: skip
def test_what_is_no_profile_is_refused_by_name(where: str, value: object) -> None:
    """A wrong field is named."""
    with pytest.raises((TypeError, ValueError), match=where.removesuffix("s")):
        profile_of({**profile_document(profile()), where: value})


def test_a_profile_has_no_more_and_no_fewer_fields() -> None:
    """What nobody reads is not signed unseen."""
    document = profile_document(profile())
    odd: Any
    for odd in ({**document, "extra": 1}, {name: value for name, value in document.items() if name != "arch"}, [], None):
        with pytest.raises((TypeError, ValueError), match="profile"):
            profile_of(odd)


def test_the_tier_follows_the_gpus_that_are_offered() -> None:
    """Without a GPU `cpu`, with one `consumer-gpu`, on a machine of a cluster `hpc`."""
    assert [tier_of(()), tier_of((gpu(),)), tier_of((), cluster=True)] == [Tier.CPU, Tier.CONSUMER_GPU, Tier.HPC]


def test_classes_name_the_system_the_processor_and_the_gpus() -> None:
    """The class of a node with GPUs of two models names both, in one order."""
    machine = profile(gpus=(gpu(), gpu(uuid="GPU-2", model="NVIDIA A100-SXM4-40GB")))
    found = classes_of(machine, machine.devices)
    assert found == {
        "os-arch": "linux-x86_64",
        "cpu-microarch": "zen4",
        "gpu-model": "a100-sxm4-40gb+geforce-rtx-4090",
        "node-class": "linux-x86_64/zen4/a100-sxm4-40gb+geforce-rtx-4090",
    }


@pytest.mark.parametrize(
    ("wanted", "model", "fits"),
    [
        ("rtx4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("geforce-rtx-4090", "NVIDIA GeForce RTX 4090", True),
        ("4070", "NVIDIA GeForce RTX 4070 Ti", False),
        ("4070ti", "NVIDIA GeForce RTX 4070 Ti", True),
        ("a10", "NVIDIA A100-SXM4-40GB", False),
        ("a100", "NVIDIA A100-SXM4-40GB", True),
        ("7900xtx", "AMD Radeon RX 7900 XTX", True),
        ("7900", "AMD Radeon RX 7900 XTX", False),
        ("", "NVIDIA GeForce RTX 4090", False),
    ],
)
def test_a_gpu_type_means_one_chip(wanted: str, model: str, *, fits: bool) -> None:
    """Any spelling of the model's words, and never another chip."""
    assert fits == is_gpu_type(wanted, model)


def test_only_what_makes_another_machine_is_a_change() -> None:
    """Free disk, the time and a little memory come and go; a processor, a GPU or its driver do not."""
    old = profile(gpus=(gpu(), gpu(uuid="GPU-2", index="1")))
    assert changes(old, replace(old, taken_ms=9, memory_mib=old.memory_mib - 100, release="6.2")) == []
    new = replace(old, cpu=replace(old.cpu, microarchitecture="zen5"), gpus=(gpu(driver="560.1"), gpu(uuid="GPU-3", index="1")))
    assert changes(old, new) == [
        "CPU micro-architecture: was zen4, is zen5",
        "GPU 1 (NVIDIA GeForce RTX 4090, GPU-2) is gone",
        "GPU 1 (NVIDIA GeForce RTX 4090, GPU-3) is new",
        "GPU 0 (GPU-1): driver was 550.90.07, is 560.1",
    ]
    assert changes(old, replace(old, memory_mib=16000)) == ["memory: was 64000 MiB, is 16000 MiB"]

"""GPUs as words: what schedulers give, what commands are shown, what words mean."""

from __future__ import annotations

import pytest

from nexapod_batch.model.hardware import Gpu
from nexapod_batch.runner.execution.stage import device_environment
from nexapod_batch.runner.gpu.allocator import resolve
from nexapod_batch.runner.gpu.probe import Seen
from nexapod_batch.runner.launches.allocation import given_gpus
from nexapod_batch.runtimes import Device

GPUS = tuple(
    Gpu(uuid=uuid, vendor="nvidia", model="A100", index=index, memory_mib=40_000)
    for uuid, index in (("GPU-aaaa", "0"), ("MIG-bbbb", "0:0"), ("GPU-abcd", "1"))
)


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, ("2", "0")),
        ({"CUDA_VISIBLE_DEVICES": " GPU-aaaa , MIG-bbbb"}, ("GPU-aaaa", "MIG-bbbb")),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ("0",)),
        ({"CUDA_VISIBLE_DEVICES": "0,0"}, ("0",)),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "3"}, ("0",)),
        ({"SLURM_JOB_GPUS": "3"}, ("3",)),
        ({"ROCR_VISIBLE_DEVICES": "1"}, ("1",)),
    ],
)
def test_what_a_scheduler_gave(environ: dict[str, str], given: tuple[str, ...] | None) -> None:
    """The first variable that is set counts, and as in CUDA a word that names nothing ends the list."""
    assert given == given_gpus(environ)


@pytest.mark.parametrize(
    ("tokens", "uuids"),
    [
        (("0",), ["GPU-aaaa"]),
        (("1", "0"), ["GPU-abcd", "GPU-aaaa"]),
        (("GPU-ab",), ["GPU-abcd"]),
        (("MIG-bbbb",), ["MIG-bbbb"]),
        (("7", "GPU-x"), []),
        (("0", "GPU-aaaa"), ["GPU-aaaa"]),
    ],
)
def test_words_become_gpus(tokens: tuple[str, ...], uuids: list[str]) -> None:
    """Numbers, UUIDs and their beginnings; unknown ones mean nothing, and nothing comes twice."""
    assert uuids == [gpu.uuid for gpu in resolve(tokens, Seen(GPUS), trusted=True)]


def test_without_a_driver_a_schedulers_words_stand_for_themselves() -> None:
    """An owner's do not, and nobody's do where a driver should answer and does not."""
    assert [gpu.uuid for gpu in resolve(("0", "1"), Seen(), trusted=True)] == ["0", "1"]
    assert resolve(("0",), Seen(), trusted=False) == ()
    assert resolve(("0",), Seen(faults=("it hangs",)), trusted=True) == ()


def test_a_command_sees_its_gpus_and_no_others() -> None:
    """By vendor; ROCm's second variable counts within the first."""
    none = {"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    assert none == device_environment(())
    two = (Device("GPU-aaaa", "nvidia"), Device("MIG-bbbb", "nvidia"))
    assert {**none, "CUDA_VISIBLE_DEVICES": "GPU-aaaa,MIG-bbbb"} == device_environment(two)
    amd = (Device("GPU-1f", "amd"), Device("1", "amd"))
    assert {**none, "ROCR_VISIBLE_DEVICES": "GPU-1f,1", "HIP_VISIBLE_DEVICES": "0,1"} == device_environment(amd)

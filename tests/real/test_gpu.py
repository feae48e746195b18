"""A real NVIDIA GPU, through the whole program: two nodes, a CUDA kernel, and what their statements say of it."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from homes import Home

from nexapod_batch.hardware.devices import Devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.model.hardware import Gpu

MIB = 512
SECONDS = 3

#: Needs libcuda.so.1 and nothing else: half of MIB is added to the other half by a kernel, for SECONDS and then ten
#: times from zero. The kernel is compiled by the driver.
CUDA = '''
import ctypes, sys, time

PTX = b"""
.version 6.4
.target sm_50
.address_size 64
.visible .entry saxpy(.param .u64 px, .param .u64 py, .param .f32 pa, .param .u32 pn)
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .b64 %d<6>;
    .reg .f32 %f<5>;
    ld.param.u64 %d0, [px];
    ld.param.u64 %d1, [py];
    ld.param.f32 %f0, [pa];
    ld.param.u32 %r0, [pn];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r4, %r1, %r2, %r3;
    setp.ge.u32 %p1, %r4, %r0;
    @%p1 bra DONE;
    cvta.to.global.u64 %d0, %d0;
    cvta.to.global.u64 %d1, %d1;
    mul.wide.u32 %d2, %r4, 4;
    add.s64 %d3, %d0, %d2;
    add.s64 %d4, %d1, %d2;
    ld.global.f32 %f1, [%d3];
    ld.global.f32 %f2, [%d4];
    fma.rn.f32 %f3, %f0, %f1, %f2;
    st.global.f32 [%d4], %f3;
DONE:
    ret;
}
"""
MIB, SECONDS = int(sys.argv[1]), float(sys.argv[2])
cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(text))
        print(f"{name}: {(text.value or b'?').decode()} ({code})")
        sys.exit(0 if code == 100 else 1)  # 100: no device, which is what a replica without a GPU shall see


call("cuInit", 0)
count, device, context = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
call("cuDeviceGetCount", ctypes.byref(count))
call("cuDeviceGet", ctypes.byref(device), 0)
uuid = (ctypes.c_ubyte * 16)()
call("cuDeviceGetUuid", ctypes.byref(uuid), device)
text = bytes(uuid).hex()
print("GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])), file=sys.stderr)
call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
call("cuModuleLoadData", ctypes.byref(module), PTX)
call("cuModuleGetFunction", ctypes.byref(kernel), module, b"saxpy")
number = MIB * 2**20 // 8
x, y = ctypes.c_uint64(), ctypes.c_uint64()
for one in (x, y):
    call("cuMemAlloc_v2", ctypes.byref(one), ctypes.c_size_t(4 * number))
call("cuMemsetD32_v2", x, ctypes.c_uint(0x3F800000), ctypes.c_size_t(number))  # 1.0
factor, size = ctypes.c_float(0.5), ctypes.c_uint(number)
parameters = (ctypes.c_void_p * 4)(*(ctypes.cast(ctypes.byref(one), ctypes.c_void_p) for one in (x, y, factor, size)))


def run(times):
    for _ in range(times):
        call("cuLaunchKernel", kernel, -(-number // 256), 1, 1, 256, 1, 1, 0, None, parameters, None)
    call("cuCtxSynchronize")


call("cuMemsetD32_v2", y, ctypes.c_uint(0), ctypes.c_size_t(number))
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    run(100)
call("cuMemsetD32_v2", y, ctypes.c_uint(0), ctypes.c_size_t(number))
run(10)
found = (ctypes.c_float * 2)()
call("cuMemcpyDtoH_v2", ctypes.byref(found, 0), y, ctypes.c_size_t(4))
call("cuMemcpyDtoH_v2", ctypes.byref(found, 4), ctypes.c_uint64(y.value + 4 * (number - 1)), ctypes.c_size_t(4))
print(count.value, "device,", *found)
'''
JOB = f"""[job]
name = "cuda"
command = ["{sys.executable}", "cuda.py", "{{mib}}", "{{seconds}}"]
env = {{ LD_LIBRARY_PATH = "{os.environ.get('LD_LIBRARY_PATH', '')}" }}
[[inputs]]
source = "cuda.py"
"""
OUTPUT = "1 device, 5.0 5.0\n"


def gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs of this machine on which something can run."""
    with suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        return tuple(one for one in Devices(["nvidia"]).gpus() if not one.unusable)
    return ()


GPUS = gpus()
pytestmark = pytest.mark.skipif(not GPUS, reason="no NVIDIA GPU: libcuda.so.1 or libnvidia-ml.so.1 finds none")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Give a home with two nodes that both offer the first GPU, and the program; what runs is ended afterwards."""
    made = Home(tmp_path_factory.mktemp("gpu"))
    (made.folder / "cuda.py").write_text(CUDA)
    for name in ("a", "b"):
        made.json("node", "init", name, "--owner", name, "--gpus", GPUS[0].index)
    yield made
    made.end()


def accepted(home: Home, resources: str) -> tuple[str, list[dict[str, Any]]]:
    """Run the program as a job; return its output, and what the statements of both replicas say."""
    text = JOB.replace("{mib}", str(MIB)).replace("{seconds}", str(SECONDS)) + f"[resources]\n{resources}\n"
    done = home.submit(text, "--wait=120")
    job = home.jobs()[0]["id"]
    assert done.code == 0, done.err + home.call("explain", job).out + home.call("logs", job, "--all").out
    out = home.folder / f"statements-{job}"
    home.call("attestations", job, "--out", out)
    statements = [json.loads(base64.b64decode(json.loads(one.read_bytes())["payload"])) for one in out.glob("*.dsse.json")]
    return (home.path / "results" / str(job) / "0" / "stdout").read_text(), [one["predicate"] for one in statements]


def test_a_kernel_on_two_nodes_is_accepted_and_measured(home: Home) -> None:
    """Both replicas saw the one GPU that was theirs, one after the other; time, memory and energy are signed."""
    output, statements = accepted(home, 'gpus = 1\ngpu_mem = "1GiB"')
    assert output == OUTPUT
    counts_energy = Devices(["nvidia"]).energy_mj(GPUS[0].uuid) is not None
    for one in statements:
        (used,) = one["buildDefinition"]["internalParameters"]["gpus"]
        print(used)
        assert (used["uuid"], used["model"]) == (GPUS[0].uuid, GPUS[0].model)
        assert used["peakMemoryMiB"] >= MIB
        assert 1000 * SECONDS / 2 <= used["timeMs"] <= 1000 * (SECONDS + 60)
        assert (used["energyMj"] or 0) > 0 or not counts_energy
    times = sorted((one["runDetails"]["metadata"]["startedOn"], one["runDetails"]["metadata"]["finishedOn"]) for one in statements)
    assert times[0][1] <= times[1][0], "they had the GPU at the same time"
    print(home.call("show", home.jobs()[0]["id"]).out)


def test_who_asked_for_no_gpu_finds_none(home: Home) -> None:
    """The same program, without a GPU of its own: CUDA has no device for it."""
    output, statements = accepted(home, "cpus_per_task = 1")
    assert output == "cuInit: CUDA_ERROR_NO_DEVICE (100)\n"
    assert not any("gpus" in one["buildDefinition"]["internalParameters"] for one in statements)


def test_a_type_that_is_not_here_is_refused_in_words(home: Home) -> None:
    """Nothing is stored, and what there is stands in the message."""
    done = home.submit(JOB.replace("{mib}", "1").replace("{seconds}", "1") + '[resources]\ngpus = 1\ngpu_type = "voodoo2"\n')
    assert done.code == 65
    assert GPUS[0].model in done.err

"""A yardstick between machines, in about a second and a half and with nothing but the standard library.

| figure | how it is measured |
|---|---|
| scalar | `math.prod` over 4,096 doubles near 1: CPython's loop in C, one multiplication after another |
| copy | one buffer copied to another (`memcpy`), both larger than a processor's cache |
| matmul | numpy's product of two 512 x 512 matrices of doubles, with its own threads; only where it is there |

The first two are taken twice: by one process, and by one for each usable processor at the same time. The best of
several rounds counts, since whatever else the machine does can only make one slower.
"""

from __future__ import annotations

import math
import os
import struct
import time
from typing import TYPE_CHECKING

from nexapod_batch.hardware.machine import memory_mib, usable_cpus
from nexapod_batch.model.hardware import Benchmark

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

_MIB = 1 << 20
_ROUND_S = 0.2  # how long one figure is measured
_NUMBERS = [1.0000001, 1 / 1.0000001] * 2048
_BUFFER_MIB = 64
_SIDE = 512


def measure() -> Benchmark:
    """Measure this machine. Nothing else should run meanwhile."""
    cpus = usable_cpus()
    # All processes together hold at most an eighth of the memory.
    buffer = max(1, min(_BUFFER_MIB, memory_mib() // 16 // cpus)) * _MIB
    scalar, copy = _scalar, lambda: _copy(buffer)
    one, every = _together(scalar, 1), _together(scalar, cpus)
    moved, moved_by_all = _together(copy, 1), _together(copy, cpus)
    product, by = _matmul()
    return Benchmark(
        scalar_mflops=_round(one / 1e6),
        scalar_all_mflops=_round(every / 1e6),
        copy_gib_s=_round(moved / 2**30),
        copy_all_gib_s=_round(moved_by_all / 2**30),
        matmul_gflops=None if product is None else _round(product / 1e9),
        matmul_by=by,
    )


def _scalar() -> Callable[[], float]:
    numbers = list(_NUMBERS)

    def work() -> float:
        for _ in range(16):
            math.prod(numbers)
        return 16.0 * len(numbers)

    return work


def _copy(size: int) -> Callable[[], float]:
    source, target = memoryview(bytearray(size)), memoryview(bytearray(size))
    source[::4096] = b"x" * len(source[::4096])  # pages that were never written are all the same one
    target[:] = source

    def work() -> float:
        target[:] = source
        return float(size)

    return work


def _together(prepare: Callable[[], Callable[[], float]], processes: int) -> float:
    """Return what so many processes do in a second, all at once: the sum of their rates."""
    ready, say_ready = os.pipe()
    gate, open_gate = os.pipe()
    results, say = os.pipe()
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(open_gate)  # a parent that dies opens the gate by closing it
                work = prepare()
                os.write(say_ready, b".")
                os.read(gate, 1)
                os.write(say, struct.pack("d", _rate(work)))
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for one in (say_ready, gate, say):
        os.close(one)
    waiting = processes
    while waiting and os.read(ready, 1):  # a child that failed closes its end
        waiting -= 1
    os.close(open_gate)
    total = 0.0
    while answer := os.read(results, 8):
        total += struct.unpack("d", answer)[0]
    for pid in children:
        os.waitpid(pid, 0)
    os.close(ready)
    os.close(results)
    return total


def _rate(work: Callable[[], float]) -> float:
    """Return the best rate of the rounds that fit."""
    best, end = 0.0, time.perf_counter() + _ROUND_S
    while (start := time.perf_counter()) < end:
        done = work()
        best = max(best, done / (time.perf_counter() - start))
    return best


def _matmul() -> tuple[float | None, str]:
    """Return the rate of numpy's matrix product and what did it, with the threads that it takes."""
    try:
        import numpy as np  # noqa: PLC0415 - only where it is there, and only to measure
    except ImportError:
        return None, ""

    def work() -> float:
        first @ second
        return 2.0 * _SIDE**3

    first, second = np.ones((_SIDE, _SIDE)), np.full((_SIDE, _SIDE), 1.5)
    work()
    return _rate(work), f"numpy {np.__version__}"


def _round(value: float) -> float:
    """Return four digits: more would be chance."""
    return float(f"{value:.4g}")

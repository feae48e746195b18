"""How the C library of a server keeps the large buffers of its connections."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Frees one buffer, takes another, and prints whether that one is a map of its own, by glibc's flag before it.
PROGRAM = """
import ctypes, sys
from nexapod_batch.server.memory import map_large_buffers
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "told":
    assert map_large_buffers()
libc.free(libc.malloc(300_000))
found = libc.malloc(int(sys.argv[2]))
print(bool(ctypes.c_size_t.from_address(found - ctypes.sizeof(ctypes.c_size_t)).value & 2))
"""
CASES = {
    "as glibc does it": ("untold", 262_144, "False"),
    "the buffer of a TLS connection": ("told", 262_144, "True"),
    "a small piece": ("told", 4_000, "False"),
}


@pytest.mark.parametrize(("told", "size", "mapped"), CASES.values(), ids=CASES)
def test_large_buffers_are_maps_of_their_own(told: str, size: int, mapped: str) -> None:
    """Also after one of them was freed, which raises glibc's threshold where nobody told it."""
    argv = [sys.executable, "-c", PROGRAM, told, str(size)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == mapped

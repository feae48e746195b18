"""How the C library keeps what connections need: the large buffer of each as pages of its own.

uvloop gives every TLS connection a buffer of 256 KiB, of which an idle one has touched the first page. While glibc maps
it, the rest costs nothing. Once the first connection has ended, glibc raises its threshold for maps to the size that
was freed, cuts the next buffers from the heap instead, and every one of them lies in pages that others had dirtied.
"""

from __future__ import annotations

import ctypes

__all__ = ["THRESHOLD", "map_large_buffers"]

#: Bytes from which on memory is mapped, whatever was freed before.
THRESHOLD = 64 << 10
_M_MMAP_THRESHOLD = -3  # of malloc.h


def map_large_buffers() -> bool:
    """Let every large buffer be a map of its own; say whether this C library can be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, others do not
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, THRESHOLD) == 1

"""Waiting for blocked signals, by the kernel's own answer.

`signal.sigtimedwait` of CPython (3.11, and some later ones) returns what happened to lie in memory when its time ends
after another signal interrupted it, as SIGCONT does: perhaps a SIGTERM that nobody sent. Here such a wait goes on, and
then returns that nothing came.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["wait_for_signal"]

_SET_BYTES = 128  # of a sigset_t, with glibc and with musl
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def wait_for_signal(signals: Iterable[int], timeout_s: float) -> int:
    """Wait for one of these signals, which must be blocked; return its number, 0 when none came in time.

    A `timeout_s` of 0 or less only looks. Handlers of other signals run when this returns.

    Raises:
        OSError: The system refused to wait.

    """
    wanted = _set_of(frozenset(signals))
    until = time.monotonic() + timeout_s
    left = max(0.0, timeout_s)
    while True:
        whole = int(left)
        limit = _Time(whole, int((left - whole) * 1e9))
        number = int(_LIBC.sigtimedwait(wanted, None, ctypes.byref(limit)))
        if number > 0:
            return number
        code = ctypes.get_errno()
        if code not in {errno.EINTR, errno.EAGAIN}:
            raise OSError(code, os.strerror(code))
        left = until - time.monotonic()
        if code == errno.EAGAIN or left <= 0:
            return 0


@cache
def _set_of(signals: frozenset[int]) -> ctypes.Array[ctypes.c_char]:
    found = ctypes.create_string_buffer(_SET_BYTES)
    _LIBC.sigemptyset(found)
    for number in signals:
        _LIBC.sigaddset(found, int(number))
    return found

"""How many files a process of ours may have open: as many as the system lets it, whatever the shell's `ulimit -n` is.

What it starts for others gets back what it was started with: programs that close every number up to their limit would
take long, and those that use select(2) break beyond 1024.
"""

from __future__ import annotations

import resource

__all__ = ["give_back", "give_back_to", "raise_limit"]

#: More than any process of ours opens.
_ENOUGH = 65_536
_given: list[tuple[int, int]] = []  # soft and hard limit that this process was started with, where it has another


def raise_limit() -> int:
    """Let this process open more files, where it may; return how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    _given[:] = [(soft, hard)]
    return enough


def give_back() -> None:
    """Have this process, and what it starts, open as many as it was started with."""
    if _given:
        resource.setrlimit(resource.RLIMIT_NOFILE, _given.pop())


def give_back_to(pid: int) -> None:
    """Have a child open as many as this process was started with; one that has ended is none."""
    if _given:
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _given[0])
        except (ProcessLookupError, PermissionError):
            return

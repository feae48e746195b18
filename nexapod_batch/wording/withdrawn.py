"""What became of outputs that a job was made with and that are accepted no longer, and the way out, in one sentence."""

from __future__ import annotations

__all__ = ["withdrawn"]

_OPEN = frozenset({"waiting", "active"})


def withdrawn(task: str, *, state: str, doubt: str) -> str:
    """Return how a task stands whose outputs were used, and what to do about it."""
    if state in _OPEN:
        return f"{task}, which is decided anew: nexapod-batch wait {task.partition('_')[0]}"
    again = f"nexapod-batch retry {task}"
    if doubt:
        return f"{task}, which is no longer met by a quorum: {doubt}; to ask for more: {again}"
    return f"{task}, which is {state} by now; to try again: {again}"

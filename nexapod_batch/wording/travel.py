"""How much of a job's inputs has to travel to a node, in one sentence."""

from __future__ import annotations

__all__ = ["on_the_way", "travel"]


def travel(node: str, *, files: int, size: int, files_to_send: int, size_to_send: int) -> str:
    """Return what a node has and needs; sizes in bytes."""
    whole = f"{_files(files)}, {_size(size)}"
    if not files_to_send:
        return f"{whole}, all on {node} already"
    if files_to_send == files:
        return f"{whole}, all to be sent to {node}"
    return f"{whole}: {_files(files_to_send)}, {_size(size_to_send)}, to be sent to {node}, the rest is there"


def on_the_way(node: str, *, files: int, size: int, sent: int) -> str:
    """Return how much of what is sent to a node is there; sizes in bytes."""
    share = min(100, 100 * sent // size) if size else 0
    return f"{share} % of {_size(size)} ({_files(files)}) sent to {node}"


def _files(count: int) -> str:
    if count == 1:
        return "1 file"
    return f"{count:,} files"


def _size(count: int) -> str:
    """Return bytes in the largest unit that leaves something in front of the point."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"

"""Words that several probes of a cluster use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import NexapodError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.plugins import NodeContext

__all__ = ["VALUE", "clock_words", "name_of", "one_line", "size_words"]

VALUE = 300  # characters of an answer that are kept


def name_of(context: NodeContext, what: str, contexts: Sequence[NodeContext]) -> str:
    """Return the name of a probe, with the node's where there are several."""
    return what if len(contexts) == 1 else f"{what} {context.node.name}"


def one_line(error: Exception) -> str:
    """Return a message without its hint, on one line."""
    if isinstance(error, NexapodError):
        text = error.what + (f": {error.got}" if error.got is not None else "")
    else:
        text = str(error)
    return " ".join(text.split())[:VALUE]


def clock_words(seconds: int) -> str:
    """Return a duration as Slurm writes it."""
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def size_words(mib: int) -> str:
    """Return an amount of memory or disk."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib} MiB"

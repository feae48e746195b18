"""How a GPU is used at one moment: nouns only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Process", "Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that has memory on a GPU."""

    pid: int  # in the machine's own numbering
    memory_mib: int | None  # None: the driver does not tell
    draws: bool = False  # it uses the GPU for what is on a screen, also
    busy: float | None = None  # percent of the time in which its programs ran there; None: the driver does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One GPU, or an instance of one."""

    uuid: str
    busy: float | None  # percent of the time in which any program ran there; None: the driver does not tell
    memory_used_mib: int
    memory_mib: int
    processes: tuple[Process, ...] = ()

"""How a GPU is used at one moment: nouns only."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Process", "Usage"]


class Process(Struct, frozen=True, kw_only=True):
    """A process that has memory on a GPU."""

    pid: int  # in the machine's own numbering
    memory_mib: int | None  # None: the driver does not tell
    draws: bool = False  # it uses the GPU for what is on a screen, also
    busy: float | None = None  # percent of the time in which its programs ran there; None: the driver does not tell


class Usage(Struct, frozen=True, kw_only=True):
    """One GPU, or an instance of one."""

    uuid: str
    busy: float | None  # percent of the time in which any program ran there; None: the driver does not tell
    memory_used_mib: int | None  # None: the driver does not tell
    memory_mib: int | None
    processes: tuple[Process, ...] | None = ()  # None: the driver does not tell who is there

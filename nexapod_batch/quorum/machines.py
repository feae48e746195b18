"""Which machines replicas ran on, by what their runners signed of kernel and system. Pure.

Two replicas with the same id of a boot ran under one kernel, whatever addresses, host names or containers they were in.
The same machine id under two boots is one machine that was started again in between, unless both boots were up at the
same time: then two machines were made from one image (virtual machines, diskless hosts), and count as two.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Boot", "same_machine"]

#: For so long, in ms, two boots must have been up together to be on two machines: clocks are set while a system starts.
_TOGETHER_MS = 60_000


class Boot(NamedTuple):
    """One boot of a machine, as one replica saw it."""

    boot: str  # hash of its id, the same for all replicas of a job that ran under it
    machine: str  # hash of the machine's id; "" for none
    since_ms: int  # when it began
    until_ms: int  # when it was last seen: the replica ended

    @classmethod
    def parse(cls, text: str) -> Boot | None:
        """Return what `str` made; None for the empty text."""
        if not text:
            return None
        boot, machine, since, until = text.split(",")
        return cls(boot, machine, int(since), int(until))

    def __str__(self) -> str:
        """Return it as one text, for keeping."""
        return f"{self.boot},{self.machine},{self.since_ms},{self.until_ms}"


def same_machine(boot: Boot | None, other: Boot | None) -> bool:
    """Say whether two replicas ran on one machine; False where nobody signed where one of them ran."""
    if boot is None or other is None:
        return False
    if boot.boot == other.boot:
        return True
    together = min(boot.until_ms, other.until_ms) - max(boot.since_ms, other.since_ms)
    return boot.machine == other.machine != "" and together < _TOGETHER_MS

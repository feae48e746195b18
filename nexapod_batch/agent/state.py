"""What a node is at, for who watches it: its live line, its own page, its metrics."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, field

from nexapod_batch.agent.outgoing import SETTLED
from nexapod_batch.agent.witness import Witnessed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.mesh.messages import Said

__all__ = ["Ended", "State"]

#: Launches that are over and are still shown.
_RECENT = 20


class Ended(NamedTuple):
    """A launch that is over."""

    at: float  # when that was said, seconds since 1970
    launch: str
    state: str
    reason: str


class State(Struct):
    """What a node is at."""

    connected: bool = False
    trouble: str = ""  # why it is not connected
    why: str = ""  # why there is no work
    paused: str = ""  # why this node takes none
    running: int = 0  # launches that it has and that are not over
    bringing: int = 0  # launches that wait for inputs
    taken: int = 0  # launches since it was started
    refused: int = 0  # bundles that were not from its coordinator
    declined: str = ""  # why the last launch that came is not run here; "" after one that is
    unsent: int = 0  # bytes of reports
    ledger: Witnessed = Witnessed()  # what it saw of the coordinator's ledger
    begun_at: float = 0.0  # when it was started, seconds since 1970
    heard_at: float = 0.0  # when the coordinator answered last; 0: never
    ended: dict[str, int] = field(default_factory=dict)  # launches since it was started, by how they ended
    recent: deque[Ended] = field(default_factory=lambda: deque(maxlen=_RECENT))  # the last of them

    def note(self, launches: Mapping[str, Said], now: float) -> None:
        """Count the launches that are over by what is said of them."""
        for launch, word in launches.items():
            if word.state in SETTLED:
                self.ended[word.state] = self.ended.get(word.state, 0) + 1
                self.recent.append(Ended(now, launch, word.state, word.reason))

"""What a node has to say: report lines that are not kept at the coordinator yet, and what became of launches.

A line is sent again until the coordinator says that it is durable there, and stays here until it was taken in. Words on
launches are read *before* the lines, and sent with or after them: a launch that is over has all its lines there first.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from nexapod_batch.files import careful
from nexapod_batch.mesh.messages import MAX_LINES, Lines, Said
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nexapod_batch.agent.worker import AgentWorker

__all__ = ["SETTLED", "News", "Outgoing"]

_PIECE = MAX_LINES // 2
#: A segment of which nobody knows how far it is kept is asked about before so many bytes are sent again.
_ASK = 64 << 10
#: Seconds after which is looked even where nothing seems to have changed: a worker may have died.
_LOOK_S = 2.0
#: States of launches that are over.
SETTLED = frozenset({"COMPLETED", "FAILED", "CANCELED"})


class News:
    """Whether there may be something to say, at the cost of a few looks at folders."""

    def __init__(self, spool: Path) -> None:
        """Know of no look yet."""
        self._spool = spool
        self._seen: tuple[object, ...] = ()
        self._at = 0.0

    def there(self) -> bool:
        """Say whether something changed, or has not been looked at for a while."""
        now = time.monotonic()
        found = (*map(self._stamp, (layout.INBOX, layout.CLAIMS, layout.REFUSED, layout.REPORTS)), *self._sizes())
        if found == self._seen and now - self._at < _LOOK_S:
            return False
        self._seen, self._at = found, now
        return True

    def _stamp(self, folder: str) -> int:
        try:
            return os.stat(self._spool / folder).st_mtime_ns
        except FileNotFoundError:
            return 0

    def _sizes(self) -> list[tuple[str, int]]:
        return sorted(_segments(self._spool).items())


class Outgoing:
    """What of one node is still to be said."""

    def __init__(self, worker: AgentWorker) -> None:
        """Know of nothing that was said: the coordinator tells what it has."""
        self._worker, self._spool = worker, worker.home.spool
        self._kept: dict[str, int] = {}
        self._told: dict[str, Said] = {}
        self._again: set[str] = set()  # launches of which the coordinator may have ignored what was said
        self._over: dict[str, Said] = {}  # said once more of launches that were forgotten here
        self._unheard: dict[str, str] = {}  # launches taken -> signature, until their acknowledgement was answered

    def words(self) -> dict[str, Said]:
        """Return what is new of launches."""
        again, self._again = self._again, set()
        for key in again:
            self._told.pop(key, None)
        known = self._worker.known()
        for key in self._told.keys() - known:
            del self._told[key]
        # what is over stays so, and nobody need look again
        open_ones = [key for key in known if key not in self._told or self._told[key].state not in SETTLED]
        states = self._worker.states(open_ones)
        return self._over | {key: said for key, said in states.items() if self._told.get(key) != said}

    def took(self, launch: str, signature: str) -> None:
        """Note that a launch was taken, with what the node signed for its key, before it can run and report."""
        self._unheard[launch] = signature

    def unheard(self) -> dict[str, str]:
        """Return the launches whose acknowledgement has not been answered yet, with what was signed for their keys."""
        return dict(self._unheard)

    def heard(self, launches: Iterable[str]) -> None:
        """Note that the acknowledgement of launches was answered, or that they were not taken."""
        for launch in launches:
            self._unheard.pop(launch, None)

    def tell_again(self, launches: Iterable[str]) -> None:
        """Say again what became of launches: what came before their acknowledgement was not heard."""
        self._again.update(launches)

    def start_over(self, over: Iterable[str]) -> None:
        """Say everything again, to a coordinator that may know nothing of it; launches in `over` are forgotten here."""
        self._kept.clear()
        self._told.clear()
        self._over = {key: Said(state="COMPLETED") for key in over}

    def pieces(self) -> tuple[tuple[Lines, ...], bool]:
        """Return pieces of segments to send in one call, and whether that is all there is."""
        found: list[Lines] = []
        left = _PIECE
        segments = _segments(self._spool)
        for name in self._kept.keys() - segments.keys():
            del self._kept[name]
        for name, size in sorted(segments.items()):
            if size <= self._kept.get(name, 0):
                continue
            if left <= 0:
                return tuple(found), False
            if name not in self._kept and size > _ASK:
                found.append(Lines(segment=name, at=0))
                left = 0
                continue
            text, whole = self._read(name, self._kept.get(name, 0))
            if text:
                found.append(Lines(segment=name, at=self._kept.get(name, 0), text=text))
                left -= len(text)
            if not whole:
                left = 0
        return tuple(found), left > 0

    def confirm(self, kept: Mapping[str, int], words: Mapping[str, Said]) -> None:
        """Note what the coordinator has by now."""
        self._kept.update(kept)
        for key, said in words.items():
            self._over.pop(key, None)
            if key not in self._again:
                self._told[key] = said

    def open_launches(self) -> int:
        """Return how many launches are not over, by the last look."""
        return sum(said.state not in SETTLED for said in self._told.values())

    def unsent(self) -> int:
        """Return how many bytes of reports the coordinator does not have."""
        return sum(max(0, size - self._kept.get(name, 0)) for name, size in _segments(self._spool).items())

    def _read(self, name: str, at: int) -> tuple[str, bool]:
        """Return complete lines of a segment from a byte on, and whether there is nothing more for now."""
        try:
            fd = careful.open_plain(self._spool / layout.segment(name))
        except FileNotFoundError:
            return "", True
        try:
            data = os.pread(fd, MAX_LINES, at)
        finally:
            os.close(fd)
        whole = len(data) <= _PIECE
        end = data.rfind(b"\n", 0, max(_PIECE, data.find(b"\n") + 1))
        return data[: end + 1].decode("utf-8", "replace"), whole


def _segments(spool: Path) -> dict[str, int]:
    """Return name and size of each report segment."""
    found = {}
    try:
        with os.scandir(spool / layout.REPORTS) as entries:
            for entry in entries:
                if layout.is_segment(entry.name) and entry.is_file(follow_symlinks=False):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return {}
    return found

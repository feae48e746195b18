"""Passes for as long as somebody serves: one after the other as news comes, and seldom where nothing happens."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.commands.reconcile import reconcile
from nexapod_batch.coordinator.commands.waiting import Pace, stamps_of
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.errors import BusyError, NexapodError
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.coordinator.commands.reconcile import Pass
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["drive"]

#: Seconds of one pass at most: changes of people wait for it.
_SLICE_S = 2.0
#: Seconds after a pass that could not be made, at first and at most.
_REST_S, _REST_MOST_S = 0.5, 30.0
#: Seconds between two looks at reports here, and at machines that are reached over a network.
_LOOK_S, _FAR_S = 0.02, 1.0


def drive(
    c: Coordinator,
    nap: Callable[[float], str],
    on_pass: Callable[[Pass], None],
    on_fault: Callable[[Exception], None],
) -> None:
    """Make passes until `nap`, which waits for so many seconds at most, returns `end`; it returns `news` to be woken.

    What goes wrong in a pass is told, and tried again after a while: a full disk has room again some day.
    """
    pace, rest = Pace(published=time.monotonic()), _REST_S
    while True:
        began = time.monotonic()
        try:
            news = _News(c)  # before the pass: what grows while it works is news for the next one
            _one_pass(c, pace, began, on_pass)
        except (NexapodError, OSError) as error:
            on_fault(error)
            answer, rest = nap(rest), min(2 * rest, _REST_MOST_S)
        else:
            rest = _REST_S
            answer = _sleep(news, pace, nap)
        if answer == "end":
            return


def _one_pass(c: Coordinator, pace: Pace, began: float, on_pass: Callable[[Pass], None]) -> None:
    results_s = pace.results_s(began)
    with suppress(BusyError):  # another process is at work on the same jobs
        done = reconcile(c, max_seconds=_SLICE_S, results_s=results_s)
        pace.note(done, began, results_s)
        on_pass(done)


class _News:
    """Where news of nodes at work would show."""

    def __init__(self, c: Coordinator) -> None:
        """Look at everything once."""
        self._coordinator = c
        at_work = c.store.nodes.at_work()
        nodes = [node for node in usable(c, Faults()) if node.id in at_work] if at_work else []
        self._folders = [str(c.context(node).spool / layout.REPORTS) for node in nodes]
        self._sizes = self._look()
        self._stamps = stamps_of(c)
        self._far = any(stamp is not None for stamp in self._stamps.values())
        self._due = time.monotonic() + _FAR_S

    def there_is_some(self) -> bool:
        """Say whether something is not as it was."""
        if self._look() != self._sizes:
            return True
        if self._far and time.monotonic() >= self._due:
            self._due = time.monotonic() + _FAR_S
            return stamps_of(self._coordinator) != self._stamps
        return False

    def _look(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for folder in self._folders:
            with suppress(OSError), os.scandir(folder) as entries:
                found += [(entry.path, entry.stat(follow_symlinks=False).st_size) for entry in entries]
        return found


def _sleep(news: _News, pace: Pace, nap: Callable[[float], str]) -> str:
    """Sleep until there is news, or it is time for the next pass."""
    latest, answer = time.monotonic() + pace.slowest, nap(pace.shortest)
    while answer == "" and time.monotonic() < latest and not news.there_is_some():
        answer = nap(_LOOK_S * pace.slower)
    return answer

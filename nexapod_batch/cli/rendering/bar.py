"""The bar of `--wait` on a terminal: how many tasks ended, and under it what is wrong and what is waited for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from nexapod_batch.cli.rendering.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from nexapod_batch.images.cache import Progress as Hearing

__all__ = ["Sending", "WaitingBar", "waiting_bar"]

#: Lines under the bar: more would push it off a small screen.
_LINES = 6
_ENDED = ("accepted", "failed", "inconclusive", "cancelled")


class Sending:
    """How far inputs are that are being sent: a line for as long as they are."""

    def __init__(self) -> None:
        """Begin with nothing on the way."""
        self._what, self._size, self._sent = "", 0, 0

    @property
    def text(self) -> str:
        """The line; "" where nothing is on the way."""
        if self._sent >= self._size:
            return ""
        return f"{self._what}: {100 * self._sent // self._size} %"

    def start(self, what: str, total: int | None) -> None:
        """Hear what begins to be sent, and how many bytes that is."""
        self._what, self._size, self._sent = clean(what), total or 0, 0

    def advance(self, count: int) -> None:
        """Hear that so many bytes more were sent."""
        self._sent += count

    def say(self, text: str) -> None:
        """Hear nothing: what is sent has nothing else to say."""


class WaitingBar(Progress):
    """A bar with lines under it; calling it shows how things are now."""

    is_bar = True

    def __init__(self) -> None:
        """Make it; nothing is drawn before it is started."""
        self._lines: list[str] = []
        self._sending = Sending()
        self.hears: Hearing = self._sending
        super().__init__(
            TextColumn("waiting"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self.add_task("", total=None, words="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar and the lines under it, each cut to the width of the terminal."""
        yield self.make_tasks_table(self.tasks)
        if self._sending.text:
            yield Text(f"  {self._sending.text}", no_wrap=True, overflow="ellipsis")
        for line in self._lines[:_LINES]:
            yield Text(f"  {clean(line)}", no_wrap=True, overflow="ellipsis")
        if len(self._lines) > _LINES:
            yield Text(f"  ... and {len(self._lines) - _LINES} more")

    def __call__(self, counts: dict[str, Any], lines: Sequence[str]) -> None:
        """Show counts of tasks by state, and what stands in the way."""
        states = {key: value for key, value in counts.items() if isinstance(value, int) and value}
        total = states.pop("tasks", None)
        ended = sum(states.get(state, 0) for state in _ENDED)
        words = ", ".join(f"{value} {key}" for key, value in states.items())
        self._lines = list(lines)
        self.update(self._task, total=total, completed=ended, words=words)


@contextmanager
def waiting_bar() -> Iterator[WaitingBar]:
    """Draw a bar until the block is left, and nothing of it afterwards."""
    bar = WaitingBar()
    with bar:
        yield bar

"""How far a pull is: a bar where stderr is a terminal, else a line where something begins, on stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nexapod_batch.cli.rendering.render import note
from nexapod_batch.cli.rendering.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.images.cache import Progress

__all__ = ["PlainLines", "counted", "progress"]

#: What is over in a moment needs no bar.
_LONG = 1_000


class PlainLines:
    """One line for each thing that begins."""

    def start(self, what: str, total: int | None) -> None:
        """Say what begins, and how large it is."""
        note(f"... {what}" + (f" ({total:,} bytes)" if total is not None else ""))

    def advance(self, count: int) -> None:
        """Say nothing: a log is no place for a bar."""

    def say(self, text: str) -> None:
        """Say it."""
        note(f"... {text}")


class _Bar:
    """A bar that is made when something begins: what is in the cache already needs none."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._bar: Any = None
        self._task: Any = None

    def start(self, what: str, total: int | None) -> None:
        """Begin anew with another total."""
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TransferSpeedColumn as Speed

        self.end()
        known = (DownloadColumn(), Speed()) if total is not None else ()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), *known, TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(clean(what), total=total)

    def advance(self, count: int) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def say(self, text: str) -> None:
        """Print above the bar."""
        self.end()
        note(f"... {text}")

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield what a pull tells of itself."""
    if not sys.stderr.isatty():
        yield PlainLines()
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.end()


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield what hears that so many more are done; a bar on a terminal where there are many, else nothing."""
    if total < _LONG or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)

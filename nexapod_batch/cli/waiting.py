"""Waiting for verdicts: progress on a terminal, Ctrl-C that leaves the job running, the exit code of the outcome."""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexapod_batch.cli.context import exit_code, seconds
from nexapod_batch.cli.rendering.render import note, note_new
from nexapod_batch.cli.rendering.terminal import LogPrinter
from nexapod_batch.coordinator.commands import reconcile
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator import Coordinator

__all__ = ["parse_wait", "wait_for"]

#: Seconds after which it is said why jobs wait, and reasons that are said at most.
SILENT_S, REASONS = 3.0, 10
#: What changes in a reason from look to look: estimates, and numbers of elements.
_WHEN = re.compile(r"; start estimated .*|_?\d+")
#: Tasks of one job that are described after a wait.
TASKS_SHOWN = 20
_TOLD = ("index", "state", "reason", "agree", "doubt")


def parse_wait(text: str | None) -> float | None:
    """Return the seconds of `--wait=TIME`; None for no limit. UsageError for a time that waits for nothing."""
    found = seconds(text)
    if found is not None and found <= 0:
        raise UsageError("a time to wait", got=text, wanted="more than 0", hint="leave --wait out not to wait")
    return found


def wait_for(
    c: Coordinator, jobs: list[int], timeout: float | None, *, follow: bool = False, said: Sequence[str] = ()
) -> tuple[int, list[Document]]:
    """Drive the jobs until all ended or `timeout` seconds passed; return the exit code and the jobs as they stand.

    What was `said` before is not said again.
    """
    try:
        # A bar on the terminal that the task's output goes to would stand in its way.
        with _progress(shown=sys.stderr.isatty() and not (follow and sys.stdout.isatty())) as show:
            watch = _follower(c, jobs[0]) if follow and jobs else None
            tell = _teller(c, jobs)

            def on_progress(counts: Document) -> None:
                show(counts)
                if watch is not None:
                    watch()
                if not sys.stderr.isatty():  # there a bar shows that something waits
                    tell()

            ended = reconcile.wait(c, jobs, timeout, on_progress, lambda fault: note_new(fault, said))
            if watch is not None:
                watch()
    except KeyboardInterrupt:
        names = " ".join(map(str, jobs))
        note(f"\njob {names} keeps running. Come back with: nexapod-batch wait {names}")
        raise
    found = [_described(c, job) for job in jobs]
    if not ended:
        note(f"not ended yet: nexapod-batch wait {' '.join(str(job['id']) for job in found if not _ended(job))}")
    return exit_code([job["state"] for job in found], ended=ended), found


def _teller(c: Coordinator, jobs: list[int]) -> Callable[[], None]:
    """Return a function that says why jobs wait, each reason once, when they have waited for a while."""
    begun, told = time.monotonic(), set[tuple[int, str]]()

    def tell() -> None:
        if time.monotonic() - begun < SILENT_S or len(told) >= REASONS:
            return
        for job, reason in views.waits(c.store, jobs, REASONS):
            why = (job, _WHEN.sub("", reason))
            if why not in told and len(told) < REASONS:
                told.add(why)
                note(f"job {job} waits: {reason}")

    return tell


def _described(c: Coordinator, job: int) -> Document:
    """Return a job with its first tasks and the folder of its results."""
    found = views.tasks(c.store, job, limit=TASKS_SHOWN)
    return {
        **found["job"],
        "results": str(c.paths.results / str(job)),
        "tasks": [{key: task[key] for key in _TOLD} for task in found["tasks"]],
        "more": found["more"],
    }


def _ended(job: Document) -> bool:
    return job["state"] not in {"active", "waiting"}


def _follower(c: Coordinator, job: int) -> Callable[[], None]:
    """Return a function that prints what the first task of a job wrote since the last call."""
    from nexapod_batch.cli.logfiles import live_log

    target = views.tasks(c.store, job, limit=1)["tasks"][0]["index"]
    position = 0
    printer = LogPrinter()

    def watch() -> None:
        nonlocal position
        data, position = live_log(c, job, target, position)
        if data:
            printer.feed(data)

    return watch


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[Document], None]]:
    """Show a bar on stderr, which is a terminal; or else show nothing, and import nothing."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("waiting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, words="")

        def show(counts: Document) -> None:
            states = {key: value for key, value in counts.items() if isinstance(value, int) and value}
            total = states.pop("tasks", None)
            ended = sum(states.get(state, 0) for state in ("accepted", "failed", "inconclusive", "cancelled"))
            words = ", ".join(f"{value} {key}" for key, value in states.items())
            bar.update(task, total=total, completed=ended, words=words)

        yield show

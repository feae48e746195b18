"""Waiting for verdicts: progress on a terminal, Ctrl-C that leaves the job running, the exit code of the outcome."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from nexapod_batch.cli.context import exit_code, seconds
from nexapod_batch.cli.rendering.progress import PlainLines, progress
from nexapod_batch.cli.rendering.render import note, note_new
from nexapod_batch.cli.rendering.terminal import LogPrinter
from nexapod_batch.coordinator.commands import reconcile, waiting
from nexapod_batch.coordinator.garbage import collect_again
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import TryAgainError, UsageError
from nexapod_batch.wording import one_line, pattern, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.images.cache import Progress
    from nexapod_batch.model.reason import Reason

__all__ = ["parse_wait", "place_now", "wait_for"]

#: Seconds after which it is said why jobs wait, and reasons that are said at most.
SILENT_S, REASONS = 3.0, 10
#: Lines that a wait says at most where there is no terminal.
LINES_SAID = 50
#: Seconds that dispatch may take before the shell gets its prompt back; the next pass goes on where it stopped.
DISPATCH_S = 5.0
#: Passes that a submission may take, where backends refuse what they are given: as many as errors are allowed usually.
_PASSES = 8
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
    c: Coordinator, jobs: list[int], timeout: float | None, *, follow: bool = False, already_told: Sequence[str] = ()
) -> tuple[int, list[Document]]:
    """Drive the jobs until all ended or `timeout` seconds passed; return the exit code and the jobs as they stand.

    What was `said` before is not said again.
    """
    collect_again()  # whatever the command did before, it stays now
    try:
        ended = _driven(c, jobs, timeout, follow=follow, already_told=already_told)
    except KeyboardInterrupt:
        names = " ".join(map(str, jobs))
        note(f"\njob {names} keeps running. Come back with: nexapod-batch wait {names}")
        raise
    found = [_described(c, job) for job in jobs]
    if not ended:
        note(f"not ended yet: nexapod-batch wait {' '.join(str(job['id']) for job in found if not _ended(job))}")
    return _code(c, jobs, [job["state"] for job in found], ended=ended), found


def _code(c: Coordinator, jobs: list[int], states: list[str], *, ended: bool) -> int:
    """Return the exit code; of jobs that can never begin it is said why, and they count as failed."""
    code = exit_code(states, ended=ended)
    never = waiting.never_begins(c, jobs) if ended else {}
    for job, reason in never.items():
        note(f"job {job} does not begin: {sentence(reason)}")
        if reason.parameters.get("ended"):
            note(f"  -> nexapod-batch retry {reason.parameters['job']}, or nexapod-batch cancel {job}")
    return code or (exit_code(["failed"], ended=True) if never else 0)


def _driven(
    c: Coordinator, jobs: list[int], timeout: float | None, *, follow: bool, already_told: Sequence[str]
) -> bool:
    """Drive the jobs and show how far they are; say whether they ended in time."""
    # A bar on the terminal that the task's output goes to would stand in its way.
    with _progress(shown=sys.stderr.isatty() and not (follow and sys.stdout.isatty())) as show:
        c.hears = show.hears
        watch = _follower(c, jobs[0]) if follow and jobs else _nothing
        waits = _waits(c, jobs)
        faults: list[str] = []

        def on_progress(counts: Document) -> None:
            under_bar = faults if show.is_bar else []  # where there is none, they were said as they came
            show(counts, [*under_bar, *waits()])
            watch()

        def on_fault(fault: Reason) -> None:
            line = one_line(fault)
            faults.append(line)
            if not show.is_bar:
                note_new(line, already_told)

        ended = waiting.wait(c, jobs, timeout, on_progress, on_fault)
        watch()
    if show.is_bar:  # it is gone, and what stood under it
        for fault in faults:
            note_new(fault, already_told)
    return ended


def _nothing() -> None:
    """Follow nothing."""


def place_now(c: Coordinator, jobs: list[int], already_told: Sequence[str] = ()) -> None:
    """Place what can be placed now, for at most a few seconds; faults that were not `said` yet are said.

    The jobs are stored: a pass that cannot run must not make a script submit again.
    """
    heard = list(already_told)
    with progress() as shown:
        c.hears = shown
        _place(c, jobs, heard)
    c.hears = None


def _place(c: Coordinator, jobs: list[int], heard: list[str]) -> None:
    try:
        for _ in range(_PASSES):
            found = reconcile.reconcile(c, max_seconds=DISPATCH_S)
            faults = [one_line(fault) for fault in found.faults]
            for fault in faults:
                note_new(fault, heard)
            heard += faults
            if not found.news:
                break
    except TryAgainError as error:
        names = " ".join(map(str, jobs))
        next_pass = f"the next pass (nexapod-batch wait {names})"
        note(f"job {names} is kept and will be placed by {next_pass}; not now: {error.what}")


def _waits(c: Coordinator, jobs: list[int]) -> Callable[[], list[str]]:
    """Return a function that says why jobs wait now, when they have waited for a while; what is alike is said once."""
    begun = time.monotonic()

    def waits() -> list[str]:
        if time.monotonic() - begun < SILENT_S:
            return []
        alike: dict[tuple[int, str], str] = {}
        for job, reason in views.waits(c.store, jobs, c.now(), REASONS):
            alike.setdefault((job, pattern(reason)), f"job {job} waits: {reason}")
        return list(alike.values())

    return waits


def _described(c: Coordinator, job: int) -> Document:
    """Return a job with some of its tasks, those without a result first, and the folder of its results."""
    found = views.outcome(c.store, job, TASKS_SHOWN)
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
    from nexapod_batch.coordinator.queries.log_files import live_log

    target = views.tasks(c.store, job, limit=1, replicas=False)["tasks"][0]["index"]
    position = 0
    printer = LogPrinter()

    def watch() -> None:
        nonlocal position
        data, position = live_log(c, job, target, position)
        if data:
            printer.feed(data)

    return watch


class _Progress(Protocol):
    """What hears how far a wait is."""

    is_bar: bool
    hears: Progress  # how far inputs are that are sent

    def __call__(self, counts: Document, lines: Sequence[str]) -> None:
        """Show counts of tasks by state, and what stands in the way."""
        ...


class _Lines:
    """Progress where no bar can be: each line once, and after a while what is still to come."""

    is_bar = False

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said: set[str] = set()
        self._begun = time.monotonic()
        self._counted = False
        self.hears: Progress = PlainLines()

    def __call__(self, counts: Document, lines: Sequence[str]) -> None:
        """Say what is new."""
        to_come = _to_come(counts)
        if to_come and not (lines or self._counted) and time.monotonic() - self._begun > SILENT_S:
            self._counted = True
            note(f"still to come: {to_come}; nexapod-batch explain says why")
        for line in lines:
            plain = pattern(line)
            if plain not in self._said and len(self._said) < LINES_SAID:
                self._said.add(plain)
                note(line)


def _to_come(counts: Document) -> str:
    """Return how many tasks have not ended, by state; nothing where all have, and only results are being published."""
    return ", ".join(f"{counts[state]} {state}" for state in ("waiting", "active") if counts[state])


@contextmanager
def _progress(*, shown: bool) -> Iterator[_Progress]:
    """Show a bar on stderr, which is a terminal; or else say lines there, and import nothing."""
    if not shown:
        yield _Lines()
        return
    from nexapod_batch.cli.rendering.bar import waiting_bar

    with waiting_bar() as bar:
        yield bar

"""What commands share: where the state lies, opening it to read or to write, and waiting for verdicts."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.config import home
from nexapod_batch.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.store import Store

__all__ = [
    "EXIT", "exit_code", "has_database", "home_that_is_not_there",
    "json_option", "looking", "mebibytes", "paths", "reading", "require_tuf", "results_folder", "seconds",
    "staging_of", "tell_of_unread_reports", "writing",
]  # fmt: skip

#: What a job's state makes of the exit code; the worst of several jobs counts, in this order.
EXIT = {"failed": 1, "inconclusive": 3, "cancelled": 1, "accepted": 0}
#: Jobs that are named one by one in a hint.
_FEW = 4
#: A wait that ran out of time.
TIMED_OUT = 4


def paths() -> Paths:
    """Return where this user's state lies."""
    from nexapod_batch.config.settings import Paths

    return Paths.from_environment(os.environ)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, which arrives as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


@contextmanager
def reading() -> Iterator[Store]:
    """Open the database to read; NotFoundError when there is none yet."""
    from nexapod_batch.store import Store

    store = Store.open(_database(), write=False)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def looking() -> Iterator[Coordinator]:
    """Open the coordinator to look at what backends and work folders have, too; NotFoundError without a database."""
    _database()
    from nexapod_batch.coordinator import open_coordinator

    with open_coordinator(paths(), write=False) as coordinator:
        yield coordinator


@contextmanager
def writing() -> Iterator[Coordinator]:
    """Open the coordinator to change something; what a first run needs is made, and a new home is told."""
    from nexapod_batch.coordinator import open_coordinator

    missing = home_that_is_not_there()
    with open_coordinator(paths(), write=True) as coordinator:
        if missing:
            from nexapod_batch.cli.rendering.render import note

            note(f"{missing}; it is made now")
        yield coordinator


def has_database() -> bool:
    """Say whether this user ever submitted a job; ConfigError where the database is lost."""
    return home.has_database(home.home_folder(os.environ))


def tell_of_unread_reports(store: Store) -> None:
    """Say on stderr that nodes reported what nobody took in yet, and how it is taken in."""
    from nexapod_batch.cli.rendering.render import note
    from nexapod_batch.coordinator.queries import unread_reports, views

    jobs = views.open_jobs(store)
    if not jobs:
        return
    nodes = unread_reports.nodes_with_unread_reports(store, home.home_folder(os.environ))
    if nodes:
        named = " ".join(map(str, jobs)) if len(jobs) < _FEW else "all"
        how = f"nexapod-batch wait {named}, or nexapod-batch reconcile"
        note(f"reports of {', '.join(nodes)} wait to be taken in: {how}")


def staging_of(job: int) -> list[dict[str, Any]]:
    """Return what of a job's inputs is being sent now; nothing is imported where nothing is."""
    folder = f"{home.home_folder(os.environ)}/staging"
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    if not names:
        return []
    from pathlib import Path

    from nexapod_batch.coordinator.placement import on_the_way

    return on_the_way.staging_of(Path(folder), job)


def results_folder(job: int) -> str:
    """Return where the results of a job lie."""
    return f"{home.results_folder(os.environ)}/{job}"


def home_that_is_not_there() -> str:
    """Say that NEXAPOD_HOME names a folder that is not there, and where there is another state; else nothing."""
    if not os.environ.get("NEXAPOD_HOME") or os.path.lexists(home.home_folder(os.environ)):
        return ""
    others = {name: value for name, value in os.environ.items() if name != "NEXAPOD_HOME"}
    usual = home.home_folder(others)
    known = f"; without it there are jobs in {usual}" if os.path.exists(home.database(usual)) else ""
    return f"NEXAPOD_HOME names a folder that is not there: {os.environ['NEXAPOD_HOME']}{known}"


def _database() -> str:
    """Return the path of the database; NotFoundError when there is none yet."""
    database = home.database(home.home_folder(os.environ))
    if not has_database():
        hint = "nexapod-batch submit job.toml"
        if missing := home_that_is_not_there():
            hint = f"{missing}; to begin there: {hint}"
        raise NotFoundError("there is no job yet", got=f"no {database}", hint=hint)
    return database


def seconds(text: str | None) -> float | None:
    """Return a duration in Slurm's grammar as seconds; None and `""` mean for ever.

    Raises:
        UsageError: It is no duration.

    """
    if not text:
        return None
    from nexapod_batch.errors import UsageError
    from nexapod_batch.schema.units import duration

    try:
        return float(duration(text))
    except ValueError as error:
        raise UsageError(str(error), hint="a bare number is minutes; 90s, 1h30m, 1:30:00 are understood") from error


def require_tuf() -> None:
    """Raise UsageError, with the command to type, where the package that reads rosters is not installed."""
    from nexapod_batch.errors import UsageError
    from nexapod_batch.requirements import absent, install_command

    missing = absent(["tuf", "securesystemslib"])
    if missing:
        raise UsageError("rosters need python-tuf", got=f"no {', '.join(missing)}", hint=install_command(missing))


def exit_code(states: list[str], *, ended: bool) -> int:
    """Return the exit code for jobs in these states: the worst that ended, else 4 for a wait that ran out."""
    for state, code in EXIT.items():
        if ended and state in states:
            return code
    if ended:
        return 0
    return TIMED_OUT


def mebibytes(given: str | None, option: str = "--mem") -> int | None:
    """Return the MiB of an option; None for none given.

    Raises:
        UsageError: It is no size.

    """
    if given is None:
        return None
    from nexapod_batch.errors import UsageError
    from nexapod_batch.schema.units import size

    try:
        return size(given)
    except ValueError as error:
        raise UsageError(option, got=repr(given), wanted="a size, as in 512 (MiB), 4G or 4GiB") from error

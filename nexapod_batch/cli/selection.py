"""`ID...` and the options that narrow it, the same for every command that takes them."""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from nexapod_batch.coordinator.queries.selection import Filters
    from nexapod_batch.store import Store

__all__ = ["Selection", "moment", "optional_selection", "selection"]

_STATE = click.Choice(("waiting", "active", "accepted", "failed", "inconclusive", "cancelled"))


class Selection(NamedTuple):
    """What was typed: selectors, and what narrows them."""

    texts: tuple[str, ...]
    filters: Filters | None  # None: nothing narrows them

    def targets(self, store: Store, *, only_open: bool = False, of_tasks: bool = False) -> list[selectors.Target]:
        """Return the jobs and tasks that are meant, each once; without selectors, filters narrow all jobs.

        With `of_tasks`, the state that is asked for is that of tasks where jobs are named. NotFoundError for what is
        not there, and when nothing is left.
        """
        texts = self.texts or ("all",)
        found = selectors.resolve(store, texts, only_open=only_open and self.filters is None)
        if self.filters is None:
            return found
        from nexapod_batch.coordinator.queries.selection import chosen_targets

        of_tasks = of_tasks and "all" not in texts
        chosen = [selectors.Target(*target) for target in chosen_targets(store, found, self.filters, of_tasks=of_tasks)]
        if not chosen:
            hint = "nexapod-batch ls --limit 1000"
            raise NotFoundError("no job or task is like that", got=" ".join(texts), hint=hint)
        return chosen


def selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `ID...` and the filters; they arrive as one `Selection` named `selected`, and something must be asked for."""
    return _with_selection(command, needed=True)


def optional_selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `ID...` and the filters, as `selection` does, for a command that means all jobs without them."""
    return _with_selection(command, needed=False)


def _with_selection(command: Callable[..., Any], *, needed: bool) -> Callable[..., Any]:
    @wraps(command)
    def with_selection(
        selected: Sequence[str],
        states: tuple[str, ...],
        name: str | None,
        labels: tuple[str, ...],
        since: str | None,
        where: tuple[str, ...],
        **rest: object,
    ) -> object:
        given = states or name or labels or since or where
        if needed and not selected and not given:
            raise UsageError("no job is named", wanted="42, 42_7, last, all, or --state, --name, --label, --since")
        filters = _filters(states, name or "", labels, since or "", where) if given else None
        return command(selected=Selection(tuple(selected), filters), **rest)

    for decorate in reversed((
        click.argument("selected", metavar="ID...", nargs=-1, shell_complete=complete.jobs),
        click.option("--state", "states", type=_STATE, multiple=True, help="Only those in this state."),
        click.option("--name", metavar="PATTERN", help="Only jobs of this name; * and ? as in a shell."),
        click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help="Only jobs with this label."),
        click.option("--since", metavar="TIME", help="Only jobs submitted since: 2h ago, 1d, 2026-11-29."),
        click.option("--where", metavar="NAME=VALUE", multiple=True, help="Only tasks with this parameter."),
    )):  # fmt: skip
        with_selection = decorate(with_selection)
    return with_selection


def _filters(
    states: tuple[str, ...], name: str, labels: Sequence[str], since: str, where: Sequence[str]
) -> Filters:
    from nexapod_batch.coordinator.queries.selection import Filters

    return Filters(
        states=states, name=name, labels=_pairs("--label", labels), since=_since(since), where=_pairs("--where", where)
    )


def _pairs(option: str, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} takes a name and a value", got=repr(text), wanted=f"{option} NAME=VALUE")
        found.append((name, value))
    return tuple(found)


def _since(text: str) -> str:
    """Return the moment as RFC 3339 in UTC, "" for none."""
    if text:
        return moment(text).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ""


def moment(text: str) -> datetime:
    """Return a moment in UTC: a duration before now, or a date and time of the reader's zone; UsageError."""
    from datetime import UTC, datetime

    from nexapod_batch.schema.units import duration

    plain = text.removesuffix("ago").strip()
    try:
        return datetime.fromtimestamp(time.time() - duration(plain), UTC)
    except (ValueError, OverflowError):
        try:
            return datetime.fromisoformat(plain).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise UsageError("not a time", got=repr(text), wanted="2h, 1d, 2026-11-29 or 2026-11-29T12:00") from error

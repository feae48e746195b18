"""`usage`: who submitted what and how much, for an administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import has_database, json_option, paths, reading
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document

__all__ = ["usage"]

_COLUMNS = (
    "jobs", "tasks", "accepted", "executions", "core_hours", "cpu_hours", "gpu_hours", "gpu_energy_kwh", "overhead",
)  # fmt: skip


@click.command()
@click.option(
    "--by", type=click.Choice(["user", "account", "site"]), default="user", show_default=True,
    help="What to add up by. account: what schedulers charge.",
)  # fmt: skip
@click.option("--since", metavar="TIME", help="Only jobs submitted since: 30d, 2h ago, 2026-11-01.")
@json_option
def usage(by: str, since: str | None, as_json: bool) -> None:
    """Say who submitted what, and what it used.

    Core-hours are wall time by the CPUs that replicas occupied, of all that were measured; CPU-hours, GPU-hours and
    energy count where they are known. overhead 2.0 means that twice as many core-hours were used as one valid
    execution of each accepted task took.
    """
    rows = _rows(by, since) if has_database() else []
    document = {"by": by, "since": since, "usage": rows}
    if as_json:
        output(as_json).document(document, lambda _: ())
    else:
        output(as_json).rows("usage", rows, [by, *_COLUMNS], _shown)


def _rows(by: str, since: str | None) -> list[Document]:
    from nexapod_batch.cli.selection import moment
    from nexapod_batch.coordinator.queries import accounting

    since_ms = int(moment(since).timestamp() * 1000) if since else 0
    with reading() as store, store.view():
        jobs, used = store.accounting.submitted(since_ms), store.accounting.used(since_ms)
    return accounting.usage(jobs, used, by, _site_accounts() if by == "account" else {})


def _site_accounts() -> dict[str, str]:
    """Return the accounts that site files name; a file that cannot be used names none."""
    from nexapod_batch.coordinator.queries import sites

    found, _ = sites.listing(paths().sites)
    return {one.site.name: one.site.scheduler.account for one in found if one.site.scheduler.account}


def _shown(row: Document) -> Document:
    """Return a row for people: hours with three digits, what is not known as a dash."""
    return {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in row.items()}

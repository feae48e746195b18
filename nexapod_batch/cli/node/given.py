"""`node history`: what a node has given, from what it signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import has_database, json_option, reading
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document

__all__ = ["history"]

_COLUMNS = ("node", "period", "tasks", "replicas", "valid", "core_hours", "cpu_hours", "gpu_hours", "gpu_energy_kwh")


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.nodes)
@click.option(
    "--by", type=click.Choice(["day", "month", "year", "all"]), default="month", show_default=True,
    help="How long each period is.",
)  # fmt: skip
@click.option("--since", metavar="TIME", help="Only what was reported since: 30d, 2h ago, 2026-11-01.")
@json_option
def history(name: str | None, by: str, since: str | None, as_json: bool) -> None:
    """Say what a node has given: tasks, hours and energy.

    It counts what the node signed and the coordinator took in. Energy is that of the
    GPUs, where their driver tells it. Without NAME it is about all nodes.
    """
    from nexapod_batch.cli.selection import moment
    from nexapod_batch.coordinator.queries import given

    since_ms = int(moment(since).timestamp() * 1000) if since else 0
    rows: list[Document] = []
    if has_database():
        with reading() as store, store.view():
            rows = given.history(store, name, by, since_ms)
    document = {"by": by, "since": since, "history": rows}
    if as_json:
        output(as_json).document(document, lambda _: ())
    else:
        output(as_json).rows("history", rows, list(_COLUMNS), _shown)


def _shown(row: Document) -> Document:
    """Return a row for people: hours with three digits."""
    return {key: f"{value:.3f}" if isinstance(value, float) else value for key, value in row.items()}

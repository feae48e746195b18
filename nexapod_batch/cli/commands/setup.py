"""Commands about the installation itself: `config`, `schema`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import output_shapes
from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.cli.rendering.render import Document

__all__ = ["config", "schema"]


@click.group()
def config() -> None:
    """Show settings and where they come from."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@json_option
def config_show(origin: bool, as_json: bool) -> None:
    """Print the settings in force here, and where all lies."""
    from nexapod_batch.config.settings import settings

    where = paths()
    found = settings(where, project=Path.cwd())
    values: Document = {
        "owner": found.owner,
        "site": found.site,
        "retention.work": found.keep_work_s,
        "retention.failed": found.keep_failed_s,
        "retention.inputs": found.keep_inputs_s,
        "retention.inputs_size": found.inputs_mib,
        "images.dir": str(found.images.folder),
        "images.max_size": found.images.max_mib,
        "images.plain_http": _some(found.images.plain_http),
        "images.library": found.images.library,
        "sources.max_size": found.sources.max_mib,
        "sources.gateways": _some(found.sources.gateways),
        "sources.private_hosts": _some(found.sources.private_hosts),
        "delivery.allow": _some(found.delivery),
        **found.job_defaults,
        **found.job_overrides,
    }
    rows = [{"key": name, "value": value} for name, value in values.items() if value is not None]
    places = {"home": where.home, "results": where.results, "config": where.config_dirs[-1] / "config.toml"}
    rows += [{"key": f"paths.{name}", "value": str(place)} for name, place in places.items()]
    if origin:
        home = "NEXAPOD_HOME" if where.results.parent == where.home else "XDG directories"
        rows = [{**row, "origin": found.origin.get(row["key"], home)} for row in rows]
    output(as_json).document({"settings": rows}, renderers.settings)


def _some(values: Iterable[object]) -> list[object] | None:
    """Return them as a list; None where there are none, which is not shown."""
    return list(values) or None


@click.group()
def schema() -> None:
    """Print the formats that files are written in."""


@schema.command("job")
@json_option
def schema_job(as_json: bool) -> None:  # noqa: ARG001 - it is JSON either way
    """Print the JSON Schema of a job descriptor, for editors."""
    import json

    from nexapod_batch.config.job.descriptor import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@schema.command("output")
@click.argument("name", metavar="COMMAND", type=click.Choice(list(output_shapes.SHAPES)))
@json_option
def schema_output(name: str, as_json: bool) -> None:  # noqa: ARG001 - it is JSON either way
    """Print the JSON Schema of what a command prints with --json.

    `error` is what every command prints that fails.
    """
    import json

    click.echo(json.dumps(output_shapes.json_schema(name), indent=2))

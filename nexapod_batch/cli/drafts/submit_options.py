"""The options of `submit` that are keys of a descriptor: one table for the options, their help and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nexapod_batch.cli import complete

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

__all__ = ["KEYS", "descriptor_options", "overrides"]


class _Option(NamedTuple):
    names: tuple[str, ...]
    key: str  # in the descriptor
    help: str
    kind: click.ParamType[Any] | None = None
    metavar: str | None = None
    complete: Callable[..., list[CompletionItem]] | None = None


_COUNT = click.IntRange(1)
#: Words and units are Slurm's.
KEYS: tuple[_Option, ...] = (
    _Option(("--name", "-J"), "job.name", "Name of the job."),
    _Option(("--time", "-t"), "resources.time", "Time limit of a replica (10 is minutes, 90s, 1h30m, 1-12:00)."),
    _Option(("--mem",), "resources.mem", "Memory of a replica (4G; a bare number is MiB).", None, "SIZE"),
    _Option(("--cpus-per-task", "-c"), "resources.cpus_per_task", "CPUs of a process.", _COUNT, "N"),
    _Option(("--ntasks", "-n"), "resources.ntasks", "Processes (MPI ranks) of a replica.", _COUNT, "N"),
    _Option(("--nodes", "-N"), "resources.nodes", "Hosts of a replica.", _COUNT, "N"),
    _Option(("--gpus", "-G"), "resources.gpus", "GPUs of a replica.", click.IntRange(0), "N"),
    _Option(("--gpu-type",), "resources.gpu_type", "Model of the GPUs, as the site calls it."),
    _Option(("--tier",), "resources.tier", "Kind of machine.", click.Choice(["any", "cpu", "consumer-gpu", "hpc"])),
    _Option(
        ("--image",), "container.image", "Run in this image (docker://..., or a .sif file).", complete=complete.files
    ),
    _Option(("--array", "-a"), "array.ids", "Task ids, as in 1-100%10.", None, "IDS"),
    _Option(("--replicas",), "quorum.replicas", "How many replicas to start with.", _COUNT),
    _Option(("--agree",), "quorum.agree", "How many must agree.", _COUNT),
    _Option(
        ("--distinct",), "quorum.distinct", "In what those who agree must differ.",
        click.Choice(["run", "node", "host", "site", "owner"]),
    ),
    _Option(
        ("--site",), "schedule.sites", "Use nodes of this site only, for later replicas as well.",
        complete=complete.sites,
    ),
)  # fmt: skip


def descriptor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `KEYS`; each arrives under the name of its long form, None where it was not given."""
    for option in reversed(KEYS):
        decorate = click.option(
            *option.names, type=option.kind, metavar=option.metavar, help=option.help, shell_complete=option.complete
        )
        command = decorate(command)
    return command


def overrides(given: dict[str, Any], labels: tuple[str, ...]) -> dict[str, Any]:
    """Return key path -> value of the options that were given; UsageError for a label that is none."""
    from nexapod_batch.errors import UsageError

    found: dict[str, Any] = {}
    for option in KEYS:
        value = given[option.names[0].lstrip("-").replace("-", "_")]
        if value is not None:
            found[option.key] = value
    for label in labels:
        name, equals, value = label.partition("=")
        if not equals or "." in name:
            raise UsageError("not a label", got=repr(label), wanted="--label NAME=VALUE")
        found[f"job.labels.{name}"] = value
    return found

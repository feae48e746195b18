"""`node`: the registry of what runs replicas."""

from __future__ import annotations

import click

from nexapod_batch.cli import owner as owners
from nexapod_batch.cli import profile, text
from nexapod_batch.cli.context import json_option, paths, reading, writing
from nexapod_batch.cli.render import Document, output
from nexapod_batch.cli.status import status
from nexapod_batch.cli.unit import unit
from nexapod_batch.errors import NotFoundError, UsageError

__all__ = ["node"]


@click.group()
def node() -> None:
    """Set up and look at nodes."""


@node.command()
@json_option
def ls(as_json: bool) -> None:
    """List the nodes."""
    from nexapod_batch.coordinator import views

    found: list[Document] = []
    if paths().state_db.exists():
        with reading() as store:
            found = views.nodes(store)
    columns = ["name", "site", "owner", "tier", "backend", "cpus", "mem_mib", "out", "state", "key"]
    output(as_json).rows("nodes", found, columns, _row)


@node.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one node."""
    from nexapod_batch.coordinator import views

    with reading() as store:
        found = views.nodes(store)
    for one in found:
        if one["name"] == name:
            output(as_json).document({"node": one}, lambda document: text.tree(document["node"]))
            return
    known = ", ".join(one["name"] for one in found) or "none"
    raise NotFoundError("there is no such node", got=repr(name), wanted=f"one of: {known}")


@node.command()
@click.argument("name", required=False)
@click.option("--name", "named", metavar="NAME", help="Its name; the host's where none is given.")
@click.option("--owner", help="Who answers for it; this account where none is given.")
@click.option("--cpus", type=click.IntRange(1), help="CPUs that it may use; all where none are given.")
@click.option("--mem", metavar="SIZE", help="Memory that it may use, as in 4G; nearly all where none is given.")
@click.option("--gpus", metavar="LIST", help="GPUs that it offers: all, none, or as in 0,1; all where none are given.")
@click.option(
    "--gpu-slots", type=click.IntRange(1, 64), default=1, show_default=True, help="Replicas that may share one GPU."
)
@click.option("--tier", type=click.Choice(["cpu", "consumer-gpu", "hpc"]), default="cpu", show_default=True)
@json_option
def init(
    name: str | None, named: str | None, owner: str | None, cpus: int | None, mem: str | None,
    gpus: str | None, gpu_slots: int, tier: str, as_json: bool,
) -> None:  # fmt: skip
    """Make a key and a profile for this machine and register it."""
    if name and named and name != named:
        raise UsageError("two names", got=f"{name} and {named}", wanted="one")
    from nexapod_batch.config.settings import settings
    from nexapod_batch.coordinator import nodes
    from nexapod_batch.model.job import Tier

    owner = owner or settings(paths()).owner
    with writing() as c:
        made = nodes.init(
            c, name or named, owner, cpus, _mebibytes(mem), Tier(tier), gpus=gpus, gpu_slots=gpu_slots
        )
    document: Document = {
        "name": made.name,
        "key": made.key_id,
        "site": made.site,
        "owner": made.owner,
        "host": made.host,
    }
    document |= {"tier": made.tier.value, "backend": made.backend, "cpus": made.cpus, "mem_mib": made.mem_mib}
    document |= {"gpus": made.gpus, "gpu_type": made.gpu_type}
    output(as_json).document({"node": document}, lambda shown: text.tree(shown["node"]))


@node.command()
@click.argument("name")
@json_option
def drain(name: str, as_json: bool) -> None:
    """Give a node no more replicas; what it has goes on."""
    from nexapod_batch.coordinator import nodes

    with writing() as c:
        nodes.drain(c, name)
    output(as_json).document({"drained": [name]}, text.changed)


@node.command()
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Give a drained node replicas again."""
    from nexapod_batch.coordinator import nodes

    with writing() as c:
        nodes.resume(c, name)
    output(as_json).document({"resumed": [name]}, text.changed)


@node.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Take a node that never ran anything out of the registry."""
    from nexapod_batch.coordinator import nodes

    with writing() as c:
        nodes.remove(c, name)
    output(as_json).document({"removed": [name]}, text.changed)


for _command in (profile.profile, owners.change, owners.snooze, status, unit):
    node.add_command(_command)


def _mebibytes(given: str | None) -> int | None:
    if given is None:
        return None
    from nexapod_batch.config.units import size

    try:
        return size(given)
    except ValueError as error:
        raise UsageError("--mem", got=repr(given), wanted="a size, as in 512 (MiB), 4G or 4GiB") from error


def _row(one: Document) -> Document:
    blame = f", blamed {one['blame']}x" if one["blame"] else ""
    return {**one, "state": ("active" if one["active"] else "drained") + blame}

"""`node`: the registry of what runs replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, mebibytes, paths, reading, writing
from nexapod_batch.cli.node import joining, profile, stopping
from nexapod_batch.cli.node import owner as owners
from nexapod_batch.cli.node.given import history
from nexapod_batch.cli.node.node_status import status
from nexapod_batch.cli.node.systemd_unit import unit
from nexapod_batch.cli.node.witnessing import witness
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, note, output
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["node"]


@click.group()
def node() -> None:
    """Set up and look at nodes."""


@node.command()
@json_option
def ls(as_json: bool) -> None:
    """List the nodes."""
    from nexapod_batch.coordinator.queries import views

    found: list[Document] = []
    if paths().has_database():
        with reading() as store:
            found = views.nodes(store)
    for one in found:
        one["gpu_faults"] = _gpu_faults(one["name"]) if one["gpus"] else []
        one["paused"] = _paused(one)
    columns = ["name", "site", "owner", "tier", "backend", "cpu", "cpus", "mem_mib", "gpus", "out", "state", "key"]
    output(as_json).rows("nodes", found, columns, _row)


@node.command()
@click.argument("name", shell_complete=complete.nodes)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one node, and what it signed of its machine."""
    from nexapod_batch.coordinator.nodes import profiles
    from nexapod_batch.coordinator.queries import views
    from nexapod_batch.model.hardware_document import profile_document

    with reading() as store:
        found = views.nodes(store)
        offer, fault = profiles.signed(store, name)
    for one in found:
        if one["name"] == name:
            one["paused"] = _paused(one)
            document: Document = {"node": one, "profile": None, "fault": fault}
            if offer is not None:
                document |= {"profile": profile_document(offer.profile), "offered": list(offer.gpus)}
            output(as_json).document(document, _shown)
            return
    known = ", ".join(one["name"] for one in found) or "none"
    raise NotFoundError("there is no such node", got=repr(name), wanted=f"one of: {known}")


@node.command()
@click.argument("name", required=False, shell_complete=complete.nodes)
@click.option("--name", "named", metavar="NAME", help="Its name; the host's where none is given.")
@click.option("--owner", help="Who answers for it; this account where none is given.")
@click.option("--cpus", type=click.IntRange(1), help="CPUs that it may use; all where none are given.")
@click.option("--mem", metavar="SIZE", help="Memory that it may use, as in 4G; nearly all where none is given.")
@click.option("--gpus", metavar="LIST", help="GPUs that it offers: all, none, or as in 0,1; all where none are given.")
@click.option("--gpu-slots", type=click.IntRange(1, 64), help="Replicas that may share one GPU; one unless given.")
@click.option(
    "--tier", type=click.Choice(["cpu", "consumer-gpu", "hpc"]), help="Its tier; by its GPUs where none is given."
)
@click.option("--benchmark", is_flag=True, help="Measure it as well, so that faster nodes get more: two seconds.")
@click.option("--refresh", is_flag=True, help="Sign the profile of a node that is there anew, as after an upgrade.")
@click.option(
    "--confine", type=click.Choice(["foreign", "all", "never"]), is_flag=False, flag_value="all",
    default="foreign", show_default=True,
    help="Whose commands without a container are confined: those of somebody else's jobs, or (without a word) all.",
)
@json_option
def init(
    name: str | None, named: str | None, owner: str | None, cpus: int | None, mem: str | None,
    gpus: str | None, gpu_slots: int | None, tier: str | None, benchmark: bool, refresh: bool, confine: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Make a key and a signed profile for this machine.

    The machine is registered as a node, which runs replicas.
    """
    name = _one_name(name, named)
    if refresh:
        _refresh(name, gpus, gpu_slots, benchmark, as_json, given=(owner, cpus, mem, tier))
        return
    from nexapod_batch.config.settings import settings
    from nexapod_batch.coordinator.nodes import registry
    from nexapod_batch.coordinator.nodes.overcommitment import crowded
    from nexapod_batch.model.job import Tier

    owner = owner or settings(paths()).owner
    with writing() as c:
        made = registry.init(
            c, name, owner, cpus, mebibytes(mem), Tier(tier) if tier else None, gpus=gpus,
            gpu_slots=gpu_slots or 1, benchmark=benchmark, confine=confine,
        )
        too_much = crowded(c)
    if too_much:
        note(f"warning: {too_much}")
    if tier == "consumer-gpu" and not made.gpus:
        note("warning: tier consumer-gpu, and it offers no GPU; nexapod-batch node profile tells which there are")
    document: Document = {
        "name": made.name,
        "key": made.key_id,
        "site": made.site,
        "owner": made.owner,
        "host": made.host,
    }
    document |= {"tier": made.tier.value, "backend": made.backend, "cpus": made.cpus, "mem_mib": made.mem_mib}
    document |= {"gpus": made.gpus, "gpu_type": made.gpu_type, "classes": dict(made.classes)}
    output(as_json).document({"node": document}, lambda shown: renderers.tree(shown["node"]))


def _one_name(name: str | None, named: str | None) -> str | None:
    """Return the name that was given, in place or by `--name`; UsageError for two."""
    if name and named and name != named:
        raise UsageError("two names", got=f"{name} and {named}", wanted="one")
    return name or named


def _refresh(
    name: str | None, gpus: str | None, gpu_slots: int | None, benchmark: bool, as_json: bool, given: tuple[object, ...]
) -> None:
    """Sign the profile of one node anew; its only node where none is named."""
    if any(one is not None for one in given):
        raise UsageError("--refresh changes the profile alone", wanted="a name, --gpus, --gpu-slots and --benchmark")
    from nexapod_batch.coordinator.nodes import registry

    with writing() as c:
        mine = [node.name for node in c.nodes() if node.backend == "local"]
        if name is None and len(mine) != 1:
            raise UsageError("which node?", wanted=f"one of: {', '.join(mine)}" if mine else "nexapod-batch node init")
        made, changed = registry.refresh(c, name or mine[0], gpus=gpus, gpu_slots=gpu_slots, benchmark=benchmark)
    document: Document = {"node": made.name, "changes": changed, "classes": dict(made.classes)}
    output(as_json).document(document, _refreshed)


@node.command()
@click.argument("name", shell_complete=complete.nodes)
@json_option
def drain(name: str, as_json: bool) -> None:
    """Give a node no more replicas; what it has goes on."""
    from nexapod_batch.coordinator.nodes import registry

    with writing() as c:
        registry.drain(c, name)
    output(as_json).document({"drained": [name]}, renderers.changed)


@node.command()
@click.argument("name", shell_complete=complete.nodes)
@json_option
def rekey(name: str, as_json: bool) -> None:
    """Give a node a new key.

    What its old key vouched for stays good, and launches that are open finish; the old private key is removed.
    """
    from nexapod_batch.coordinator.nodes import registry

    with writing() as c:
        old, new = registry.rekey(c, name)
    output(as_json).document({"node": name, "key": new.key_id, "old_key": old.key_id}, _rekeyed)


def _rekeyed(document: Document) -> Iterator[str]:
    yield f"node {document['node']} has a new key: {document['key']}"
    yield f"  the old one, {document['old_key']}, vouches for what it signed; tell who knows it from you"


@node.command()
@click.argument("name", shell_complete=complete.nodes)
@json_option
def resume(name: str, as_json: bool) -> None:
    """Give a drained node replicas again."""
    from nexapod_batch.coordinator.nodes import registry

    with writing() as c:
        registry.resume(c, name)
    output(as_json).document({"resumed": [name]}, renderers.changed)


for _command in (
    *(profile.profile, owners.change, owners.snooze, stopping.stop, stopping.start, stopping.remove),
    *(joining.join, joining.run, joining.leave, joining.check, joining.approve),
    *(status, history, witness, unit),
):  # fmt: skip
    node.add_command(_command)


def _row(node: Document) -> Document:
    blame = f", blamed {node['blame']}x" if node["blame"] else ""
    faults = "".join(f", {fault}" for fault in node["gpu_faults"])
    cpu = node["classes"].get("cpu-microarch")
    paused = f", {node['paused']}" if node["paused"] else ""
    return {**node, "cpu": cpu, "state": ("active" if node["active"] else "drained") + paused + blame + faults}


def _shown(document: Document) -> Iterator[str]:
    yield from renderers.tree(document["node"])
    if document["fault"]:
        yield "profile: it does not verify, and counts for nothing"
        yield f"  {document['fault']}"
        yield f"  -> nexapod-batch node init {document['node']['name']} --refresh"
    elif document["profile"]:
        yield "profile, signed by the node:"
        yield from (f"  {line}" for line in profile.described(document["profile"]))


def _refreshed(document: Document) -> Iterator[str]:
    yield f"node {document['node']}: profile signed anew"
    yield from (f"  {change}" for change in document["changes"] or ["nothing of it changed"])


def _gpu_faults(name: str) -> list[str]:
    """Return what of the GPUs of a node of this machine was found out of order."""
    spool = paths().spool(name)
    if not (spool / layout.GPU_HEALTH).exists():  # nearly always, and then nothing need be imported
        return []
    from nexapod_batch.local_nodes import gpu_status

    return gpu_status.faults_of(spool)


def _paused(one: Document) -> str | None:
    """Return why the owner of a node of this machine lets nothing start there now; None when they do."""
    if not (paths().spool(one["name"]) / layout.OWNER_SETTINGS).exists():
        return None  # nearly always, and then nothing need be imported
    from nexapod_batch.local_nodes import owner_policy

    return owner_policy.paused(paths().spool(one["name"]))[0] or None

"""`node stop`, `node start` and `node remove`: the owner has enough, for now or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, paths, writing
from nexapod_batch.cli.rendering.render import Document, output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["remove", "start", "stop"]

_STOP_S = 40.0  # that a worker gets: commands 5 s, the reports some more


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.nodes)
@click.option("--finish", is_flag=True, help="Let what runs end first; nothing new starts.")
@json_option
def stop(name: str | None, finish: bool, as_json: bool) -> None:
    """Stop a node of this machine until you start it.

    Its worker ends; what runs is given up, counts against nobody, and runs elsewhere. A snooze suspends what runs and
    keeps the worker. NAME may be left out where there is one node.
    """
    from nexapod_batch.local_nodes import owner_policy, unit_file
    from nexapod_batch.spool.owner_settings import Stop

    owned = owner_policy.find(paths(), name or owner_policy.only(paths()))
    owner_policy.stop(owned, Stop.FINISH if finish else Stop.NOW)
    ended = owner_policy.wait_for_end(owned, 0.0 if finish else _STOP_S)
    if ended and not finish:
        owner_policy.end_left_over(owned)
    unit = unit_file.find(owned.name)
    document: Document = {"node": owned.name, "stop": "finish" if finish else "now", "ended": ended, "next": []}
    if unit is not None:
        document["next"] = [f"systemctl --user disable --now {unit.name}"]
    output(as_json).document(document, _stopped)


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.nodes)
@json_option
def start(name: str | None, as_json: bool) -> None:
    """Let a node that was stopped work again.

    NAME may be left out where there is one node.
    """
    from nexapod_batch.local_nodes import owner_policy, unit_file

    owned = owner_policy.find(paths(), name or owner_policy.only(paths()))
    owner_policy.stop(owned, None)
    why, end = owner_policy.paused(owned.spool)
    unit = unit_file.find(owned.name)
    document: Document = {"node": owned.name, "paused": why, "until": end, "next": ["nexapod-batch reconcile"]}
    if unit is not None:
        document["next"] = [f"systemctl --user enable --now {unit.name}"]
    output(as_json).document(document, _started)


@click.command()
@click.argument("name", shell_complete=complete.nodes)
@click.option("--force", is_flag=True, help="Stop what runs, and give up what is out there: it runs elsewhere.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@json_option
def remove(name: str, force: bool, dry_run: bool, as_json: bool) -> None:
    """Take a node out, with its key, spool and unit.

    It is refused while work is open there, and, forced or not, while something that it reported was not taken in. A
    node that ran something stays listed, drained: its public key is part of the record.
    """
    from nexapod_batch.coordinator.commands import node_removal

    with writing() as c:
        document = node_removal.remove(c, name, force=force, dry_run=dry_run)
    output(as_json).document(document, _removed)


def _stopped(document: Document) -> Iterator[str]:
    name = document["node"]
    if document["ended"]:
        yield f"node {name} is stopped; to have it work again: nexapod-batch node start {name}"
    elif document["stop"] == "finish":
        yield f"node {name} stops when what runs has ended: nexapod-batch node status {name}"
    else:
        yield f"node {name} is about to stop: nexapod-batch node status {name}"
    yield from (f"next: {command}" for command in document["next"])


def _started(document: Document) -> Iterator[str]:
    yield f"node {document['node']} {document['paused'] or 'may work'}"
    yield from (f"next: {command}" for command in document["next"])


def _removed(document: Document) -> Iterator[str]:
    would = "would be " if document["dry_run"] else ""
    yield f"node {document['node']} {would}removed"
    gone = [*document["keys"], *document["folders"]] + ([document["unit"]] if document["unit"] else [])
    yield from (f"  {would}deleted: {path}" for path in gone)
    if document["registry"] == "drained":
        yield "  it stays listed, drained: its public key is part of the record of what it ran"
    if document.get("service"):
        yield f"next: {document['service']}"

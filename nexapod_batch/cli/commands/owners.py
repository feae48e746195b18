"""`owner`: people and labs that answer for nodes that joined, and whether these get work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, writing
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document

__all__ = ["owner"]

_COLUMNS = ["owner", "state", "nodes", "by", "since"]


@click.group()
def owner() -> None:
    """Make, list, approve and suspend the owners of nodes that joined."""


@owner.command("new")
@click.argument("name")
@json_option
def owner_new(name: str, as_json: bool) -> None:
    """Approve an owner of whom no node has come yet."""
    _say(name, "approved", as_json=as_json, new=True)


@owner.command("ls")
@json_option
def owner_ls(as_json: bool) -> None:
    """List owners, whether their nodes get work, and who said so."""
    from nexapod_batch.coordinator.nodes import owners

    with looking() as c:
        rows = [_shown(row) for row in owners.listed(c)]
    output(as_json).rows("owners", rows, _COLUMNS)


@owner.command("approve")
@click.argument("name")
@json_option
def owner_approve(name: str, as_json: bool) -> None:
    """Let the nodes of an owner get work."""
    _say(name, "approved", as_json=as_json)


@owner.command("suspend")
@click.argument("name")
@json_option
def owner_suspend(name: str, as_json: bool) -> None:
    """Give no more work to the nodes of an owner.

    What they have goes on, and counts.
    """
    _say(name, "suspended", as_json=as_json)


def _say(name: str, state: str, *, as_json: bool, new: bool = False) -> None:
    from nexapod_batch.coordinator.context import account
    from nexapod_batch.coordinator.nodes import owners
    from nexapod_batch.model.owner import OwnerState

    with writing() as c:
        owners.change(c, name, OwnerState(state), account(), new=new)
    output(as_json).document({"owner": name, "state": state}, lambda document: [f"owner {document['owner']}: {state}"])


def _shown(row: Document) -> Document:
    import time

    since = row["since_ms"]
    shown = None if since is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since // 1000))
    return {**row, "since": shown, "nodes": ", ".join(row["nodes"])}

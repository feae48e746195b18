"""Taking a node out: what stands against it, what goes, what stays, and doing it.

Nothing that was reported is lost: a node goes when its reports are in and its results published, forced or not. One
that ran something stays in the registry, drained, because its public key is part of the record.
"""

from __future__ import annotations

import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

from nexapod_batch import log
from nexapod_batch.coordinator.commands.reconcile import reconcile
from nexapod_batch.coordinator.commands.site_changes import (
    folders_of,
    give_up,
    unpublished_results,
    unread_reports,
)
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.nodes import keys
from nexapod_batch.errors import NexapodError, NotFoundError, TryAgainError, UsageError
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.local_nodes import owner_policy, unit_file
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.spool.owner_settings import Stop
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["remove"]

#: For how long a worker that was told to stop is waited for: commands get 5 s, the reports some more.
_STOP_S = 40.0
_WAIT = "nexapod-batch wait all, then the same command again; --force gives up what is out there"


def remove(c: Coordinator, name: str, *, force: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Take a node out, with what is its own on this machine; return what becomes of it. `dry_run` changes nothing.

    With `force` what runs is stopped, and what is out there given up and placed elsewhere.

    Raises:
        NotFoundError: There is no such node.
        UsageError: It is another machine, or a site's that ran something.
        TryAgainError: Work is open, or something that was reported would be lost.

    """
    node = _named(c, name)
    ran = c.store.nodes.has_run(node.id)
    local = _is_here(node, ran=ran)
    folders, unit = [], None
    if local:
        folders = [folder for folder in folders_of(c, node) if os.path.isdir(folder)]
        unit = unit_file.find(name)
    files = [file for file in _key_files(c, node) if file.exists()]
    document = {
        "node": name, "dry_run": dry_run, "registry": "drained" if ran else "deleted", "folders": folders,
        "keys": [str(file) for file in files], "unit": str(unit) if unit else None,
    }  # fmt: skip
    if not force:
        _refuse(node, _open_work(c, node), _WAIT)
    if dry_run:
        return document
    _end(c, node, local=local, force=force)
    document["service"] = unit_file.remove(unit) if unit else ""
    _delete(c, node, ran=ran)
    _unlink(files, folders)
    log.info(__name__, "node removed", node=name)
    return document


def _unlink(files: Sequence[Path], folders: Sequence[str]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _end(c: Coordinator, node: Node, *, local: bool, force: bool) -> None:
    """End a node's worker, take in what it reported, give up the rest; one that cannot go is as it was before."""
    if not (local and owner_policy.is_here(c.paths, node.name)):
        _settle(c, node, force=force)
        return
    owned = owner_policy.find(c.paths, node.name)
    before = owner_policy.stop(owned, Stop.NOW if force else Stop.FINISH)
    try:
        if not owner_policy.wait_for_end(owned, _STOP_S):
            _refuse(node, ["its worker has not ended yet"], "the same command again")
        owner_policy.end_left_over(owned)
        _settle(c, node, force=force)
    except NexapodError:
        owner_policy.stop(owned, before)
        raise


def _settle(c: Coordinator, node: Node, *, force: bool) -> None:
    """Take in what a node reported; TryAgainError where that cannot be, or where more is out and not given up."""
    reconcile(c)
    lost = [*unread_reports(c, [node]), *unpublished_results(c, [node])]
    _refuse(node, lost, "nexapod-batch doctor tells why; then the same command again")
    if not force:
        _refuse(node, _open_work(c, node), _WAIT)
    give_up(c, [node], Reason(code=Code.NODE_REMOVED))


def _delete(c: Coordinator, node: Node, *, ran: bool) -> None:
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        if not ran:
            c.store.nodes.delete(node.name)
            c.store.ledger.append([event(Kind.REMOVED, c.now(), node=node.name, key=node.key_id)])
        elif node.active:
            c.store.nodes.activate(node.name, active=False)
            c.store.ledger.append([event(Kind.DRAINED, c.now(), node=node.name)])


def _named(c: Coordinator, name: str) -> Node:
    for node in c.nodes():
        if node.name == name:
            return node
    known = ", ".join(node.name for node in c.nodes()) or "none"
    raise NotFoundError("there is no such node", got=repr(name), wanted=f"one of: {known}")


def _is_here(node: Node, *, ran: bool) -> bool:
    """Say whether what is a node's own lies on this machine; UsageError where it lies elsewhere."""
    if node.site != LOCAL:
        if ran:
            raise UsageError(
                f"node {node.name} has run replicas: its key is part of their record, and its site has the rest",
                hint=f"nexapod-batch node drain {node.name}, or nexapod-batch site remove {node.site}",
            )
        return False
    if node.host != socket.gethostname():
        raise UsageError(
            f"node {node.name} is another machine", got=socket.gethostname(), wanted=node.host, hint="say it there"
        )
    return True


def _refuse(node: Node, against: Sequence[str], hint: str) -> None:
    if against:
        error = TryAgainError(f"node {node.name} cannot be removed now: {'; '.join(against)}", hint=hint)
        raise error


def _open_work(c: Coordinator, node: Node) -> list[str]:
    out = c.store.nodes.out().get(node.id, 0)
    if out:
        return [f"it has {out} replicas out" if out > 1 else "it has 1 replica out"]
    if node.id in c.store.nodes.at_work():
        return ["it has launches of which it is not known yet that they ended"]
    return []


def _key_files(c: Coordinator, node: Node) -> tuple[Path, Path]:
    private = keys.key_file(c, node.name)
    return private, private.with_name(f"{private.name}.pub")

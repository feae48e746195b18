"""`node status`: what the nodes of this machine do, in one look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["described", "status"]

_COLUMNS = ("replica", "job", "for", "on", "since", "ran", "cpu", "memory", "gpu", "state")


@click.command()
@click.argument("name", required=False)
@json_option
def status(name: str | None, as_json: bool) -> None:
    """Show what the nodes of this machine run, and at which cost."""
    from nexapod_batch.local_nodes import node_status

    found = [_with_ledger(node) for node in node_status.status(paths(), name)]
    document = {"nodes": found} if name is None else {"node": found[0]}
    output(as_json).document(document, lambda _: described(found, time.time()))


def _with_ledger(node: Document) -> Document:
    """Add what a node that joined has seen of its coordinator's ledger."""
    from nexapod_batch.agent import witness
    from nexapod_batch.agent.home import homes

    joined = next((home for home in homes(paths().home) if home.folder.name == node["name"]), None)
    if joined is None:
        return {**node, "ledger": None}
    seen = witness.read(joined.witness_file)
    others = [{"node": name, "key": one.key, "at": one.at} for name, one in sorted(seen.agreeing.items())]
    ledger: Document = {"entries": witness.entries(seen), "epoch": seen.epoch, "trouble": seen.trouble}
    ledger |= {"gap": seen.gap, "agreeing": others}
    return {**node, "ledger": ledger}


def described(nodes: list[Document], now: float) -> Iterator[str]:
    """Yield the lines for people."""
    for number, node in enumerate(nodes):
        if number:
            yield ""
        yield from _node(node, now)
    if not nodes:
        yield "no node of this machine; to make one: nexapod-batch node init"


def _node(node: Document, now: float) -> Iterator[str]:
    yield from _state(node)
    if node.get("ledger"):
        yield from _ledger(node["ledger"], now)
    yield from _offer(node)
    yield from _work(node, now)
    rows = [_row(replica, node["gpus"], now) for replica in node["replicas"]]
    if rows:
        yield from (f"  {line}" for line in renderers.table(rows, _COLUMNS))


def _state(node: Document) -> Iterator[str]:
    """Say which node it is, whether it takes replicas, and what is wrong with it."""
    state = "drained" if node["drained"] else "active"
    if node["paused"] and not node["problem"]:
        state += f", {node['paused']}"
    yield f"node {node['name']} on {node['host']}: {state}"
    if node["problem"]:
        yield from (f"  {line.strip()}" for line in node["problem"].split("\n"))


def _ledger(seen: Document, now: float) -> Iterator[str]:
    """Say how much of its coordinator's ledger it has seen, and what is wrong with that."""
    yield f"  ledger:  {seen['entries']} entries of its coordinator's seen"
    if seen["agreeing"]:
        newest = max(seen["agreeing"], key=lambda one: one["at"])
        others = _count(len(seen["agreeing"]), "other node")
        yield f"           it continues what {others} saw: {newest['node']} at {_moment(newest['at'], now)}"
    if seen["trouble"]:
        yield f"  no work is taken: {seen['trouble']}"
    if seen["gap"]:
        yield f"  but:     {seen['gap']}"


def _offer(node: Document) -> Iterator[str]:
    """Describe what it gives of its machine, within which limits, and what is closed to replicas."""
    has = node["has"]
    limits = "".join(f", {key} = {value}" for key, value in node["limits"].items() if not key.startswith("max_"))
    yield f"  gives:   {node['cpus']} of {has['cpus']} CPUs, {node['mem_mib']} of {has['mem_mib']} MiB{limits}"
    yield from (f"  closed:  {why}" for why in node["closed"].values())


def _work(node: Document, now: float) -> Iterator[str]:
    """Describe the worker, and what it has to do."""
    worker = node["worker"]
    yield "  worker:  " + (f"process {worker['pid']} since {_moment(worker['since'], now)}" if worker else "none now")
    if node["left"]:
        stopped = sum(one["state"] in {"T", "t"} for one in node["left"])
        those = f"{_count(len(node['left']), 'process')} of commands, {stopped} of them stopped"
        yield f"  left:    {those}: their worker was killed; the next one ends them (nexapod-batch reconcile starts it)"
    if node["waiting"] or node["claimed"]:
        yield f"  waiting: {_count(node['claimed'], 'replica')} at hand, {_count(node['waiting'], 'launch')} behind"
    if node["idle"]:
        yield f"  nothing runs: {node['idle']}"


def _row(replica: Document, names: Document, now: float) -> Document:
    others = replica["count"] - 1
    gpu = [f"{replica['gpu_mem_mib']:.0f} MiB"] if replica["gpu_mem_mib"] is not None else []
    gpu += [f"{replica['gpu_busy']:.0f} %"] if replica["gpu_busy"] is not None else []
    cpus = f"{replica['cpus']} CPU" + "s" * (replica["cpus"] != 1)
    state = "running" if replica["pids"] else "between two steps"  # to start, to be reported, or just reported
    return {
        "replica": replica["replica"] + (f" and {others} more" if others else ""),
        "job": replica["job"],
        "for": replica["user"] or "unknown",
        "on": ", ".join([cpus, *(names.get(uuid, uuid[:12]) for uuid in replica["devices"])]),
        "since": _moment(replica["since"], now),
        "ran": renderers.duration(replica["seconds"]),
        "cpu": renderers.duration(replica["cpu_s"]),
        "memory": renderers.size(replica["rss_kib"]),
        "gpu": ", ".join(gpu),
        "state": f"suspended: {replica['suspended']}" if replica["suspended"] else state,
    }


def _moment(seconds: float, now: float) -> str:
    from nexapod_batch.runner.owner.rules import moment

    return moment(seconds, now)


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("ch", "ss")) else "s"
    return f"{number} {noun}{ending}"

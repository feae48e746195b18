"""What `site check` finds out about a Dask site: its scheduler, versions, workers, what they see, and their clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nexapod_backends.dask.managed.cluster import coming, demand, folder_of
from nexapod_backends.dask.placement import host_of, known_worker, one_machine
from nexapod_batch import __version__
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.dask.node import DaskNode
    from nexapod_backends.dask.placement import Worker
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import NodeContext, Probing

__all__ = ["probe"]

_SKEW_S = 30.0  # a clock that is further off makes deadlines and expiry of bundles surprising
_SHOWN = 5


def probe(
    site: Site, nodes: Sequence[tuple[NodeContext, DaskNode]], how: Probing
) -> Iterator[Finding]:
    """Yield findings, each of which makes the next one possible."""
    node = nodes[0][1]
    dask = node.cluster.dask
    if how.dry_run:
        where = dask.address or dask.scheduler_file or f"a {dask.cluster} cluster, started where it does not run"
        yield Finding(mark=Mark.SKIP, probe="scheduler", text=f"would ask {where} for its workers and their versions")
        return
    if dask.cluster:
        how.tell("starting a Dask cluster, unless it runs")
    try:
        identity = _workers(node, how, wait=bool(dask.cluster))
    except (SchedulerError, ConfigError) as error:
        text, hint = " ".join(str(error).partition("\n")[0].split()), error.hint or ""
        yield Finding(mark=Mark.FAIL, probe="scheduler", text=text, hint=hint, unreachable=True, stops=True)
        return
    shown = node.cluster.dashboard()
    yield Finding(mark=Mark.OK, probe="scheduler", text=f"{node.cluster.wire.address} answers; dashboard: {shown}")
    yield _encryption(node.cluster.wire.address, shared=node.far.shared)
    yield _count(identity, folder_of(nodes[0][0]) if dask.cluster else None)
    if identity:
        yield from _versions(node.cluster.versions())
        for context, one in nodes:
            yield from _node(site, context, one)


def _workers(node: DaskNode, how: Probing, *, wait: bool) -> Mapping[str, Mapping[str, object]]:
    """Return the workers; those of a cluster that has just been started are waited for."""
    own = node.cluster.own
    if own is not None:
        demand(own, "check", 1)
    end = time.monotonic() + (how.timeout_s if wait else 0)
    while not (found := node.cluster.identity()) and time.monotonic() < end:
        said = coming(own) if own is not None else ""
        how.tell(f"waiting for workers: {said}" if said else "waiting for workers")
        time.sleep(0.5)
    return found


def _encryption(address: str, *, shared: bool) -> Finding:
    """Say who can read what travels, and run what he likes."""
    if address.startswith("tls:"):
        return Finding(mark=Mark.OK, probe="encryption", text="TLS, in both directions")
    host = host_of(address)
    if host == "localhost" or host.startswith("127.") or host == "::1":
        text = "none: every account of this machine can run programs through this scheduler"
        return Finding(mark=Mark.WARN, probe="encryption", text=text, hint="use tls:// where others have accounts")
    what = "run programs there" if shared else "run programs there, and read the node's private key on its way"
    return Finding(
        mark=Mark.WARN, probe="encryption", text=f"none: whoever reaches {address} can {what}", hint="use tls://"
    )


def _count(identity: Mapping[str, Mapping[str, object]], own: Path | None) -> Finding:
    if not identity:
        return _none_connected(own)
    some = [known_worker(address, said) for address, said in identity.items()]
    hosts, threads = {one.host for one in some}, sum(one.threads for one in some)
    resting = [one.name for one in some if one.status != "running"]
    text = f"{len(some)} with {threads} threads on {len(hosts)} host{'s' * (len(hosts) != 1)}"
    if resting:
        text += f"; not running: {', '.join(resting[:_SHOWN])}"
    return Finding(mark=Mark.WARN if resting else Mark.OK, probe="workers", text=text)


def _none_connected(own: Path | None) -> Finding:
    """Say that there is no worker, and why as far as a cluster of our own tells."""
    said = coming(own) if own is not None else ""
    text = f"none is connected: {said}" if said else "none is connected"
    hint = "start workers: dask worker ADDRESS"
    if own is not None:
        hint = f"wait longer with --timeout, or see its Slurm jobs, and {own}/owner.log"
    return Finding(mark=Mark.FAIL, probe="workers", text=text, hint=hint, stops=True)


def _versions(installed: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Compare versions with ours: the scheduler must read what we send, workers what it sends."""
    ours = installed[""]
    words = ", ".join(f"{name} {version}" for name, version in ours.items())
    differing = []
    for who, theirs in installed.items():
        odd = [f"{name} {theirs[name]}" for name in ours if name in theirs and theirs[name] != ours[name]]
        if odd:
            shown = "the scheduler" if who == "scheduler" else f"worker {who}"
            differing.append(f"{shown} has {', '.join(odd)}")
    if not differing:
        yield Finding(mark=Mark.OK, probe="versions", text=f"{words} everywhere")
        return
    listed = "; ".join(differing[:_SHOWN]) + (f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else "")
    wanted = installed.get("scheduler", {}).get("distributed", ours["distributed"])
    hint = f"use one set of versions; to follow the scheduler: pip install dask=={wanted} distributed=={wanted}"
    yield Finding(mark=Mark.WARN, probe="versions", text=f"here {words}; {listed}", hint=hint)


def _node(site: Site, context: NodeContext, node: DaskNode) -> Iterator[Finding]:
    """Look at the workers of one node: enough of them, resources, files, the runner, clocks."""
    name = context.node.name
    node.survey()
    for partition in site.groups().get(name, ()):
        mine = [worker for worker in node.workers.values() if node.belongs(worker, partition.name)]
        machines = {one.place for one in mine}
        probe_ = f"partition {partition.name}"
        if not mine:
            text = f"none of {len(node.workers)} workers is called as {', '.join(partition.workers)}"
            hint = f"correct workers of partition {partition.name}; nexapod-batch site show {site.name}"
            yield Finding(mark=Mark.FAIL, probe=probe_, text=text, hint=hint, stops=True)
            continue
        yield from _sizes(probe_, partition.hosts, partition.max_cpus, partition.max_mem_mib, mine, len(machines))
        for found in one_machine(mine):
            yield _together(partition.name, found, len(machines))
        if partition.gpus and not any(one.resources.get(node.cluster.dask.gpu_resource) for one in mine):
            text = f"gpus = {partition.gpus}, and no worker declares the resource {node.cluster.dask.gpu_resource}"
            hint = f"start workers with --resources {node.cluster.dask.gpu_resource}={partition.gpus}"
            yield Finding(mark=Mark.FAIL, probe=probe_, text=text, hint=hint)
        yield from _files(name, mine, node)
        yield _clocks(name, mine, node)
        yield from _runners(site, mine, node)


def _together(partition: str, hosts: Sequence[str], machines: int) -> Finding:
    """Warn of what looks like several machines and is one."""
    shown = " and ".join(hosts[:_SHOWN]) + (" and more" if len(hosts) > _SHOWN else "")
    text = f"{shown} are one machine: replicas there count once where hosts must differ"
    hint = f"hosts of partition {partition} counts machines, of which there are {machines}"
    return Finding(mark=Mark.WARN, probe=f"machines {partition}", text=text, hint=hint)


def _sizes(
    name: str, hosts: int, cpus: int, mem_mib: int, mine: Sequence[Worker], hosts_found: int
) -> Iterator[Finding]:
    """Compare what the file declares with what the workers have."""
    max_threads = max(worker.threads for worker in mine)
    max_mem_mib = max((worker.mem_mib or mem_mib) for worker in mine)
    sizes = (
        ("hosts", hosts, hosts_found), ("max_cpus", cpus, max_threads), ("max_mem (MiB)", mem_mib, max_mem_mib),
    )  # fmt: skip
    less = [f"{what} = {declared}, found {has}" for what, declared, has in sizes if declared > has]
    if less:
        hint = "correct the site file, or start more or larger workers"
        yield Finding(mark=Mark.WARN, probe=name, text=f"more is declared than is there: {'; '.join(less)}", hint=hint)
    else:
        text = f"{len(mine)} workers, up to {max_threads} threads and {max_mem_mib} MiB each"
        yield Finding(mark=Mark.OK, probe=name, text=text)


def _files(name: str, mine: Sequence[Worker], node: DaskNode) -> Iterator[Finding]:
    troubled = [one for one in mine if one.trouble]
    for one in troubled[:_SHOWN]:
        yield Finding(mark=Mark.FAIL, probe=f"files {name}", text=one.trouble, stops=len(troubled) == len(mine))
    if len(troubled) < len(mine):
        way = "shared with this machine" if node.far.shared else "on each worker; files travel through Dask"
        storages = len({one.storage for one in mine if one.storage})
        text = f"{node.far.base} can be written, {way} ({storages} storage{'s' * (storages != 1)})"
        yield Finding(mark=Mark.OK, probe=f"files {name}", text=text)


def _clocks(name: str, mine: Sequence[Worker], node: DaskNode) -> Finding:
    """Compare the workers' clocks with ours."""
    clocks = node.far.clocks()
    off = {one.name: clocks[one.address] for one in mine if abs(clocks.get(one.address, 0.0)) > _SKEW_S}
    if not off:
        return Finding(mark=Mark.OK, probe=f"clock {name}", text=f"all within {_SKEW_S:.0f} s of this one")
    listed = ", ".join(f"{who} by {seconds:+.0f} s" for who, seconds in list(off.items())[:_SHOWN])
    return Finding(mark=Mark.WARN, probe=f"clock {name}", text=f"differs: {listed}", hint="let NTP set the clocks")


def _runners(site: Site, mine: Sequence[Worker], node: DaskNode) -> Iterator[Finding]:
    """Let one worker of each host start the runner's interpreter."""
    hosts = {one.host: one for one in mine if not one.trouble}
    for host in list(hosts.values())[:_SHOWN]:
        probe_ = f"runner on {host.host}"
        try:
            said, _ = node.far.ask(host.address, {"op": "try", "python": site.runner.python})
            python, version = said["said"]
        except (SchedulerError, KeyError, TypeError, ValueError) as error:
            got = error.got if isinstance(error, SchedulerError) else error
            hint = f"install nexapod-batch {__version__} for the workers, or name the interpreter: [runner] python"
            text = f"nexapod-batch cannot be run there: {got}"
            yield Finding(mark=Mark.FAIL, probe=probe_, text=text, hint=hint, stops=True)
            continue
        fits = version == __version__
        mark, text, hint = Mark.OK, f"nexapod-batch {version} on Python {python}", ""
        if not fits:
            mark, text = Mark.WARN, f"{text}, here it is {__version__}"
            hint = f"install nexapod-batch {__version__} there"
        yield Finding(mark=mark, probe=probe_, text=text, hint=hint)

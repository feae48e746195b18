"""`node profile`: what this machine is made of, and what follows from it for its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["described", "profile"]


@click.command()
@click.option("--benchmark", is_flag=True, help="Measure it as well: about two seconds, best while nothing else runs.")
@json_option
def profile(benchmark: bool, as_json: bool) -> None:
    """Show what this machine is made of."""
    from nexapod_batch.coordinator.nodes import login_nodes, profiles
    from nexapod_batch.model.hardware import classes_of, tier_of
    from nexapod_batch.model.hardware_document import profile_document

    found, faults = profiles.take(paths(), benchmark=benchmark)
    why = login_nodes.cluster()
    document: Document = {
        "profile": profile_document(found),
        "tier": tier_of(found.devices, cluster=bool(why)).value,
        "cluster": why,
        "classes": classes_of(found, found.devices),
        "faults": faults,
    }
    output(as_json).document(document, _shown)


def described(profile: Document) -> Iterator[str]:
    """Describe a profile, a line for each part."""
    cpu, disk = profile["cpu"], profile["disk"]
    where = profile["distribution"] or profile["system"]
    yield _line("host", f"{profile['host']}: {where}, {profile['system']} {profile['release']}, {profile['arch']}")
    usable = "" if cpu["usable"] == cpu["threads"] else f", {cpu['usable']} usable"
    counts = f"{_count(cpu['cores'], 'core')}, {_count(cpu['threads'], 'thread')}{usable}"
    yield _line("CPU", f"{cpu['model']}: {cpu['microarchitecture']}, {counts}")
    yield _line("features", " ".join(cpu["features"]) or "none that are known")
    yield _line("memory", _mib(profile["memory_mib"]))
    room = f"{_mib(disk['free_mib'])} free of {_mib(disk['total_mib'])}"
    yield _line("disk", f"{room}, {disk['filesystem']} at {disk['path']}")
    for gpu in profile["gpus"]:
        yield _line(f"GPU {gpu['index']}", _gpu(gpu))
    if not profile["gpus"]:
        yield _line("GPUs", "none")
    programs = [
        f"{program['name']} {program['version'] or '(no version)'} at {program['path']}"
        for program in profile["containers"]
    ]
    yield _line("containers", ", ".join(programs) or "no apptainer and no singularity in PATH")
    if profile["benchmark"]:
        yield from _benchmark(profile["benchmark"])


def _benchmark(mark: Document) -> Iterator[str]:
    one, every = mark["scalar_mflops"], mark["scalar_all_mflops"]
    yield _line("benchmark", f"{one:.4g} Mflop/s by one process, {every:.4g} by all CPUs together")
    one, every = mark["copy_gib_s"], mark["copy_all_gib_s"]
    yield _line("", f"{one:.3g} GiB/s copied by one process, {every:.3g} by all CPUs together")
    if mark["matmul_gflops"] is not None:
        yield _line("", f"{mark['matmul_gflops']:.4g} Gflop/s in matrix products, {mark['matmul_by']}")


def _shown(document: Document) -> Iterator[str]:
    yield from described(document["profile"])
    if not document["profile"]["benchmark"]:
        yield _line("benchmark", "not measured: --benchmark takes two seconds")
    why = f": {document['cluster']}" if document["cluster"] else ""
    yield _line("tier", f"{document['tier']} is suggested{why}")
    yield _line("classes", ", ".join(f"{name} {value}" for name, value in document["classes"].items()))
    for fault in document["faults"]:
        yield from f"note: {fault}".split("\n")


def _gpu(gpu: Document) -> str:
    parts = [
        gpu["model"],
        _mib(gpu["memory_mib"]) if gpu["memory_mib"] is not None else "memory unknown",
        gpu["compute"] and ("compute capability " if gpu["vendor"] == "nvidia" else "") + gpu["compute"],
        gpu["driver"] and f"driver {gpu['driver']}",
        gpu["uuid"],
        gpu["mig"] and f"MIG {gpu['mig']}",
        gpu["unusable"] and f"cannot be used: {gpu['unusable']}",
    ]
    return ", ".join(filter(None, parts))


def _mib(amount: int) -> str:
    return renderers.size(amount * 1024)


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}s"


def _line(name: str, value: str) -> str:
    return f"{name:<10}  {value}"

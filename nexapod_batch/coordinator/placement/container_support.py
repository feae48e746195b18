"""Containers before anything runs: what works on this machine, and the exact command line of a replica."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.plugin_cache import installed
from nexapod_batch.errors import ConfigError, PluginError, Problem
from nexapod_batch.files import careful
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.model.job import Isolation
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.placeholders import expand, task_values
from nexapod_batch.plugins import Execution, RuntimeSettings, load
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.plugins import Fact, Runtime

__all__ = ["command_line", "confines_none", "facts", "problem", "too_open"]

RUNTIME = "apptainer"


def facts(home: Path, runtime: str = RUNTIME) -> list[Fact]:
    """Return what of containers, or of another runtime, works on this machine for this account."""
    return _runtime(home, RuntimeSettings(), runtime).examine(os.environ.get("PATH", os.defpath))


def problem(c: Coordinator, job: Job, node: Node) -> Problem | None:
    """Return why this machine's own nodes never run a job in its container; None where nothing is known against it."""
    if job.container is not None and node.joined:
        return _joined_cannot(c, node, "apptainer", "container")
    if job.container is None or node.site != LOCAL:
        return None
    if job.container.bind:
        hint = "a site file of this machine may allow it ([container] bind)"
        return Problem("container.bind", f"node {node.name} lets jobs have none: got {job.container.bind[0]!r}; {hint}")
    if job.container.isolation == "any":
        return None
    if reason := _no_containers(c):
        return Problem("container", f"node {node.name} cannot run containers: {reason}")
    return None


def _joined_cannot(c: Coordinator, node: Node, runtime: str, key: str) -> Problem | None:
    """Return what a node that joined says of a runtime that does not work there; None where it says nothing."""
    why = Mailbox(c.context(node).spool).note().cannot.get(runtime)
    return Problem(key, f"node {node.name} says: {why}") if why else None


def _no_containers(c: Coordinator) -> str:
    """Return why this machine cannot run containers; "" where it can."""
    if c.containers is None:
        failed = next((fact for fact in facts(c.paths.home) if fact.mark == "fail"), None)
        c.containers = "" if failed is None else "; ".join(filter(None, (failed.text, failed.hint)))
    return c.containers


def _may_be_bare(c: Coordinator, job: Job, node: Node) -> bool:
    """Say whether a node runs a job without a container: it has none, or it may do without one that cannot be had."""
    if job.container is None:
        return True
    return job.container.isolation == "any" and node.site == LOCAL and _no_containers(c) != ""


def _way_out(job: Job) -> str:
    """Return what makes a node run a job that it cannot confine."""
    return "put it into a [container]" if job.container is None else "have Apptainer installed there"


def _unconfined(c: Coordinator, job: Job, node: Node) -> Problem | None:
    """Return why a node does not run somebody else's job without a container; None where nothing is known against it.

    What compute nodes of a site can do only their runners know.
    """
    if _confine(c, node) == "never":
        return None
    hint = f"{_way_out(job)}, or have the node say: confine = never"
    if job.resources.ranks > 1:
        reason = f"node {node.name} cannot confine several ranks, and the job is somebody else's; {hint}"
        return Problem("resources.ntasks", reason)
    if node.site != LOCAL:
        return None
    failed = next((fact for fact in facts(c.paths.home, "bare") if fact.mark != "ok"), None)
    if failed is None:
        return None
    return Problem("job", f"node {node.name} does not run somebody else's job: {failed.text}; {failed.hint}, or {hint}")


def too_open(c: Coordinator, job: Job, node: Node, *, foreign: bool) -> Problem | None:
    """Return why a node never runs a job as isolated as it must be; None where nothing is known against it.

    That is by its quorum, and for a job that is somebody else's by what nodes do with such jobs.
    """
    if not _may_be_bare(c, job, node):
        return None
    if node.joined and (cannot := _joined_cannot(c, node, "bare", "job")):
        return cannot
    if job.quorum.min_isolation is not Isolation.NONE:
        return _too_open(c, job, node)
    if foreign:
        return _unconfined(c, job, node)
    return None


def _too_open(c: Coordinator, job: Job, node: Node) -> Problem | None:
    key, name = "quorum.min_isolation", node.name
    if _confine(c, node) == "never":
        return Problem(key, f"node {name} confines no command (confine = never)")
    if job.resources.ranks > 1:
        return Problem(key, f"node {name} cannot confine several ranks; {_way_out(job)}")
    if node.site != LOCAL:
        return None
    failed = next((fact for fact in facts(c.paths.home, "bare") if fact.mark != "ok"), None)
    if failed is None:
        return None
    return Problem(key, f"node {name} cannot confine commands: {failed.text}; {failed.hint}")


def confines_none(c: Coordinator, node: Node) -> bool:
    """Say whether a node runs somebody else's commands as they are."""
    try:
        return _confine(c, node) == "never"
    except ConfigError:  # the file of its site is gone, or faulty
        return True


def _confine(c: Coordinator, node: Node) -> str:
    """Return whose commands a node confines."""
    if node.site != LOCAL:
        return c.site(node.site).runner.confine
    try:
        said = careful.load(c.context(node).spool / layout.NODE_CONFIG).get("confine")
    except (OSError, ValueError, AttributeError):
        return "foreign"  # the next submit makes the node
    if isinstance(said, str):
        return said
    return "foreign"


def command_line(c: Coordinator, job: Job, node: Node, image: str) -> list[str]:
    """Return, for people, what starts the container of the first task's first replica on a node.

    On another machine the program may lie elsewhere and work in another way: it is said as it would be here.
    """
    if job.container is None:
        return []
    context, first = c.context(node), next(iter(job.task_indexes()))
    site, root = context.site, str(context.remote_work / f"JOB_{first}.1")
    settings = RuntimeSettings(program=site.container.runtime, binds=site.container.bind) if site else RuntimeSettings()
    values = task_values(job, first, job.parameters(first))
    script = str(context.remote_work / "LAUNCH.script") if job.script else None
    execution = Execution(
        job=job,
        command=[script] if script else [expand(word, values) for word in job.command],
        root=root,
        folder=root if job.workdir == "." else f"{root}/{job.workdir}",
        env={name: expand(value, values) for name, value in job.env},
        path=os.environ.get("PATH", os.defpath),
        image=image,
        script=script,
    )
    try:
        wrapped = _runtime(c.paths.home, settings).wrap(execution)
    except PluginError as error:
        return [f"  in a container, which this machine cannot show: {str(error).partition(chr(10))[0]}"]
    where = "in a container" if node.site == LOCAL else "in a container, there as it would be here"
    return [f"  {where}: {shlex.join(wrapped.argv)}"]


def _runtime(home: Path, settings: RuntimeSettings, name: str = RUNTIME) -> Runtime:
    runtime: Runtime = load("runtime", name, installed("runtime", home))
    runtime.settle(settings)
    return runtime

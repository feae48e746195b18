"""The page about one result, for readers who have never heard of us.

One file of HTML: no script, nothing from elsewhere, and a policy that keeps a browser from loading any, whatever names
and messages hold. Works in light and dark, on a telephone and on paper.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.publication.badge import badge, summary
from nexapod_batch.publication.facts import Standing
from nexapod_batch.publication.figure import figure, in_order
from nexapod_batch.publication.template import rendered

if TYPE_CHECKING:
    from nexapod_batch.model.publication import Publication
    from nexapod_batch.publication.facts import Facts, ReplicaFacts

__all__ = ["page"]

#: Rows that a table has at most; the archive has all of them.
_MAX_ROWS = 200


class _Machine(NamedTuple):
    """What one node did in all."""

    node: str
    site: str
    owner: str
    hosts: str
    kinds: str
    runs: int
    agreed: int
    wall_ms: int
    cpu_ms: int | None
    gpu_energy_mj: int | None


class _Run(NamedTuple):
    """One execution, as a row."""

    task: int
    replica: ReplicaFacts


def page(facts: Facts, publication: Publication) -> str:
    """Return the page as HTML."""
    style = files("nexapod_batch.templates").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    tasks = in_order(facts.tasks)
    runs = [_Run(task.number, replica) for task in tasks for replica in task.replicas]
    machines = _machines(facts)
    return rendered(
        "report.html.jinja",
        {
            "facts": facts,
            "publication": publication,
            "title": publication.title or facts.name,
            "style": style,
            "style_sha256": digest,
            "badge": badge(facts),
            "summary": summary(facts),
            "figure": figure(facts, standalone=False),
            "tasks": tasks[:_MAX_ROWS],
            "all_tasks": len(tasks),
            "runs": runs[:_MAX_ROWS],
            "all_runs": len(runs),
            "machines": machines[:_MAX_ROWS],
            "all_machines": len(machines),
            "repeated": all(task.agreed > 1 for task in tasks if task.accepted),
            "disputed": [task for task in tasks if task.differences][:_MAX_ROWS],
            "unattributed": sum(key.origin.startswith("unattributed") for key in facts.keys),
            "wall_ms": sum(machine.wall_ms for machine in machines),
            "cpu_ms": _total([machine.cpu_ms for machine in machines]),
            "gpu_energy_mj": _total([machine.gpu_energy_mj for machine in machines]),
        },
    )


def _total(values: list[int | None]) -> int | None:
    """Return the sum of what was measured; None where nothing was."""
    measured = [value for value in values if value is not None]
    if not measured:
        return None
    return sum(measured)


def _machines(facts: Facts) -> list[_Machine]:
    """Return what each node did, in the order of their names."""
    by_node: dict[tuple[str, str], list[ReplicaFacts]] = {}
    for task in facts.tasks:
        for replica in task.replicas:
            by_node.setdefault((replica.site, replica.node), []).append(replica)
    return [_machine(replicas) for _, replicas in sorted(by_node.items())]


def _machine(replicas: list[ReplicaFacts]) -> _Machine:
    first = replicas[0]
    hosts = sorted({replica.host for replica in replicas if replica.host})
    kinds = sorted({replica.machine for replica in replicas if replica.machine})
    return _Machine(
        node=first.node,
        site=first.site,
        owner=first.owner,
        hosts=_few(hosts),
        kinds=_few(kinds),
        runs=sum(replica.started_ms is not None for replica in replicas),
        agreed=sum(replica.standing is Standing.AGREES for replica in replicas),
        wall_ms=sum(replica.wall_ms or 0 for replica in replicas),
        cpu_ms=_total([replica.cpu_ms for replica in replicas]),
        gpu_energy_mj=_total([replica.gpu_energy_mj for replica in replicas]),
    )


def _few(names: list[str]) -> str:
    text = ", ".join(names[:3])
    if len(names) > 3:
        text += f" and {len(names) - 3} more"
    return text

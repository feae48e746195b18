"""Whether the registered nodes could ever meet the quorum of a job, and what is missing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from nexapod_batch.model.job import NumericClass, Tier, default_max_replicas
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.planner.fitness import amounts, has_gpu_type, unfit
from nexapod_batch.planner.nouns import Reach
from nexapod_batch.planner.slots import Slot, domains_in_reach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.planner.nouns import NodeLoad

__all__ = ["capacity"]

#: Nodes that one reason names.
_NAMED = 5
_ATTRIBUTES = {"cpus": "cpus", "mem": "mem_mib", "gpus": "gpus"}  # resource -> where a node has it


def capacity(job: Job, loads: Sequence[NodeLoad]) -> Reach:
    """Say whether the nodes can form the quorum of a job, and if not what is missing."""
    active = [load for load in loads if load.node.active]
    tiered = [load for load in active if job.resources.tier in (Tier.ANY, load.node.tier)]
    largest = _largest(tiered)
    slots = [Slot(job, load) for load in active if unfit(job, load) is None]
    classes = _domains_by_class(job, slots)
    domains = max(classes.values(), default=0)
    reason = warning = None
    if not slots:
        reason = _nobody(job, active, tiered, largest)
    elif domains < job.quorum.agree:
        reason = _too_few(job, domains, slots)
    else:
        warning = _few_domains(job, domains)
    return Reach(domains=domains, reason=reason, warning=warning, largest=largest, classes=classes)


def _domains_by_class(job: Job, slots: Sequence[Slot]) -> dict[str, int]:
    """Return how many distinct domains each numeric class has, by its name."""
    by_class: dict[str, list[Slot]] = {}
    for slot in slots:
        by_class.setdefault(slot.numeric_class, []).append(slot)
    return {name: domains_in_reach(job, members) for name, members in sorted(by_class.items())}


def _largest(loads: Sequence[NodeLoad]) -> dict[str, tuple[int, str]]:
    """Return how much of each resource one node has at most, and which."""
    if not loads:
        return {}
    return {
        name: max((getattr(load.node, attribute), load.node.name) for load in loads)
        for name, attribute in _ATTRIBUTES.items()
    }


def _nobody(
    job: Job, active: Sequence[NodeLoad], tiered: Sequence[NodeLoad], largest: Mapping[str, tuple[int, str]]
) -> Reason:
    """Return why no node at all can run a replica: the tier, the resource that is too large, or the mixture."""
    if not active:
        return Reason(code=Code.NO_ACTIVE_NODE)
    if not tiered:
        there = dict(sorted(Counter(one.node.tier.value for one in active).items()))
        return Reason(code=Code.NO_NODE_OF_TIER, parameters={"tier": job.resources.tier.value, "there": there})
    lacks: list[Reason] = []
    if not any(one.refused for one in tiered):
        lacks = _lacks(job, tiered, largest)
    if lacks:
        return Reason(code=Code.NO_NODE_LARGE_ENOUGH, parameters={"lacks": lacks})
    each = [{"node": one.node.name, "reason": unfit(job, one)} for one in tiered[:_NAMED]]
    return Reason(code=Code.NO_NODE_HAS_ALL, parameters={"nodes": each})


def _lacks(job: Job, tiered: Sequence[NodeLoad], largest: Mapping[str, tuple[int, str]]) -> list[Reason]:
    """Return the resources of which no node has enough; the type of GPU only where nothing else is lacking."""
    lacks = []
    for name, wanted, _ in amounts(job, tiered[0].node):
        has, node = largest[name]
        if wanted > has:
            parameters: dict[str, Any] = {"resource": name, "wanted": wanted, "has": has, "node": node}
            if any(one.node.name == node and name in one.node.limited for one in tiered):
                parameters["limited"] = True
            lacks.append(Reason(code=Code.RESOURCE_TOO_LARGE, parameters=parameters))
    return lacks or _lacks_gpu_type(job.resources.gpu_type, tiered)


def _lacks_gpu_type(wanted: str | None, tiered: Sequence[NodeLoad]) -> list[Reason]:
    """Return which types of GPU there are, where none is the one that is wanted."""
    if not wanted or any(has_gpu_type(wanted, one.node) for one in tiered):
        return []
    types = sorted({(one.node.gpu_type or "", one.node.name) for one in tiered if one.node.gpus})
    there = [{"node": name, "gpu_type": kind} for kind, name in types[:_NAMED]]
    return [Reason(code=Code.NO_SUCH_GPU_TYPE, parameters={"wanted": wanted, "there": there})]


def _few_domains(job: Job, domains: int) -> Reason | None:
    """Return a warning where the job asks for more replicas than can have a domain of their own.

    The number that a job has by default is nobody's wish.
    """
    quorum = job.quorum
    by_default = quorum.max_replicas == default_max_replicas(quorum.agree, quorum.replicas)
    if by_default or quorum.agree <= 1 or domains >= quorum.max_replicas:
        return None
    fields = [field.value for field in quorum.distinct]
    parameters = {"domains": domains, "fields": fields, "max_replicas": quorum.max_replicas}
    return Reason(code=Code.FEW_DOMAINS, parameters=parameters)


def _too_few(job: Job, domains: int, slots: Sequence[Slot]) -> Reason:
    """Return how many domains are missing for `agree`."""
    quorum = job.quorum
    classes = {slot.node.name: slot.numeric_class for slot in slots}
    parameters: dict[str, Any] = {
        "agree": quorum.agree,
        "domains": domains,
        "fields": [field.value for field in quorum.distinct],
        "nodes": [{"node": name, "class": classes[name]} for name in sorted(classes)[:_NAMED]],
    }
    if quorum.numeric_class is not NumericClass.ANY:
        parameters["class"] = quorum.numeric_class.value
    if len(classes) > _NAMED:
        parameters["more"] = len(classes) - _NAMED
    return Reason(code=Code.TOO_FEW_DOMAINS, parameters=parameters)

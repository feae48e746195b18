"""Whether a node could ever run a replica of a job, and what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.model.hardware import is_gpu_type
from nexapod_batch.model.job import Tier
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from nexapod_batch.model.job import Job, Resources
    from nexapod_batch.model.node import Node
    from nexapod_batch.planner.nouns import NodeLoad

__all__ = ["amounts", "has_gpu_type", "unfit"]

_UNKNOWN = "unknown"  # what a profile that does not say its class counts as


def unfit(job: Job, load: NodeLoad) -> Reason | None:
    """Return why a node can run no replica of a job, whatever else it does; None when it can."""
    node, wanted_class = load.node, job.quorum.numeric_class
    if not node.active:
        return Reason(code=Code.SWITCHED_OFF)
    if load.refused is not None:
        return load.refused
    if not load.sized:
        lack = _too_small(job, node)
        if lack is not None:
            return lack
    if node.numeric_class(wanted_class) == _UNKNOWN:
        return Reason(code=Code.CLASS_UNKNOWN, parameters={"class": wanted_class.value})
    return None


def _too_small(job: Job, node: Node) -> Reason | None:
    """Return what a single machine lacks for a replica."""
    res = job.resources
    if res.tier not in (Tier.ANY, node.tier):
        return Reason(code=Code.OTHER_TIER, parameters={"tier": node.tier.value, "wanted": res.tier.value})
    if (res.nodes or 1) > 1 and node.tier is not Tier.HPC:
        return Reason(code=Code.SINGLE_MACHINE, parameters={"nodes": res.nodes})
    short = [_lack(node, *amount) for amount in amounts(job, node) if amount[1] > amount[2]]
    if short:
        return Reason(code=Code.TOO_SMALL, parameters={"short": short})
    return _other_gpus(res, node)


def _other_gpus(res: Resources, node: Node) -> Reason | None:
    """Return what the GPUs of a node lack, of which there are enough."""
    if res.gpu_type and not has_gpu_type(res.gpu_type, node):
        return Reason(code=Code.OTHER_GPU_TYPE, parameters={"gpu_type": node.gpu_type, "wanted": res.gpu_type})
    wanted_mib = res.gpu_mem_mib or 0
    if res.gpus and 0 < node.gpu_mem_mib < wanted_mib:
        parameters = {"mem_mib": node.gpu_mem_mib, "wanted_mib": wanted_mib}
        return Reason(code=Code.SMALL_GPU_MEMORY, parameters=parameters)
    return None


def _lack(node: Node, resource: str, wanted: int, has: int) -> dict[str, Any]:
    """Return one resource of which a node has too little; `limited`: its owner gives no more."""
    lack: dict[str, Any] = {"resource": resource, "wanted": wanted, "has": has}
    if resource in node.limited:
        lack["limited"] = True
    return lack


def has_gpu_type(wanted: str, node: Node) -> bool:
    """Say whether any GPU of a node is of a type."""
    return any(is_gpu_type(wanted, model) for model in (node.gpu_type or "").split(","))


def amounts(job: Job, node: Node) -> list[tuple[str, int, int]]:
    """Return (resource, wanted from one machine, what the node has); memory counts for the whole replica."""
    res = job.resources
    machines = res.nodes or 1
    return [
        ("cpus", -(-res.cpus // machines), node.cpus),
        ("mem", -(-(res.mem_mib or 0) // machines), node.mem_mib),
        ("gpus", res.gpus, node.gpus),
    ]

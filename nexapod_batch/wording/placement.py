"""Sentences about placing: why a node, or no node at all, takes a replica, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason_codes import Code
from nexapod_batch.wording.sentences import Parameters, Template, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATES"]

_INIT = "nexapod-batch node init --name NAME --owner OWNER"
_UNITS = {"cpus": "CPU", "gpus": "GPU"}


def _nodes_full(p: Parameters) -> str:
    return f"every node that could take it is full: {_listed(p['nodes'], p)}{_paused(p)}"


def _nodes_paused(p: Parameters) -> str:
    return f"no node may take it now{_paused(p)}"


def _paused(p: Parameters) -> str:
    """Return which nodes start nothing now, as the end of a sentence."""
    return "".join(f"; {_of_node(one)}" for one in p.get("paused", ()))


def _no_node_left(p: Parameters) -> str:
    each = "; ".join(f"{node['node']}: {sentence(node['reason'])}" for node in p["nodes"])
    more = f"; and {p['more']} more" if p.get("more") else ""
    return f"no node is left for it: {each}{more}"


def _too_small(p: Parameters) -> str:
    return ", ".join(_short(one) for one in p["short"])


def _short(p: Parameters) -> str:
    has = "gives, by its owner," if p.get("limited") else "has"
    return f"{has} {_amount(p['resource'], p['has'])}, {_amount(p['resource'], p['wanted'])} wanted"


def _other_gpu_type(p: Parameters) -> str:
    return f"has GPUs of type {p['gpu_type'] or 'unknown'}, not {p['wanted']}"


def _small_gpu_memory(p: Parameters) -> str:
    return f"has GPUs with {_amount('mem', p['mem_mib'])}, {_amount('mem', p['wanted_mib'])} wanted"


def _not_asked_for(p: Parameters) -> str:
    return f"the job is for {', '.join(p['sites'])} only (schedule.sites)"


def _site_refuses(p: Parameters) -> str:
    return "; ".join(f"{problem['key']}: {problem['message']}" for problem in p["problems"])


def _no_partition(p: Parameters) -> str:
    return f"none of its partitions ({', '.join(p['partitions'])}) can run it, others of site {p['site']} can"


def _no_node_of_tier(p: Parameters) -> str:
    there = ", ".join(f"{count} x {tier}" for tier, count in p["there"].items())
    return f"no node of tier {p['tier']}: got {there}\n  -> set resources.tier, or register such a node: {_INIT}"


def _no_node_large_enough(p: Parameters) -> str:
    lacks = "; ".join(sentence(lack) for lack in p["lacks"])
    return f"{lacks}\n  -> ask for less, or register a larger node: {_INIT}"


def _no_node_has_all(p: Parameters) -> str:
    each = "; ".join(_of_node(node) for node in p["nodes"])
    return f"no single node has all that a replica wants: {each}\n  -> ask for less, or register another node: {_INIT}"


def _resource_too_large(p: Parameters) -> str:
    name = p["resource"]
    key = "cpus_per_task" if name == "cpus" else name
    there = "no node in reach has one"
    if p["has"]:
        there = f"the largest node ({p['node']}) has {_amount(name, p['has'])}"
    if p.get("limited"):
        there += ": its owner gives no more"
    return f"resources.{key}: a replica wants {_amount(name, p['wanted'])}, {there}"


def _no_such_gpu_type(p: Parameters) -> str:
    types = [(one["node"], one["gpu_type"] or "of no known type") for one in p["there"]]
    there = "; ".join(f"{node} has {kind.replace(',', ' and ')}" for node, kind in types)
    return f"resources.gpu_type: no node has a GPU of type {p['wanted']}: {there or 'there are no GPUs'}"


def _too_few_domains(p: Parameters) -> str:
    agree, domains = p["agree"], p["domains"]
    missing = agree - domains
    within = f" of one {p['class']}" if p.get("class") else ""
    names = _listed([_with_class(node) for node in p["nodes"]], p)
    lower = f", or lower quorum.agree to {domains} (weaker)" if domains else ""
    return (
        f"agree = {agree} needs {agree} replicas that differ in {' and '.join(p['fields'])}{within}:"
        f" got {domains} in reach ({names}), {missing} missing\n"
        f"  -> register {missing} more: {_INIT}\n"
        f'  -> or set quorum.distinct = "run" (repeats on the same machine: reproducible, not independent){lower}'
    )


def _few_domains(p: Parameters) -> str:
    plural = "" if p["domains"] == 1 else "s"
    fields = " and ".join(f"{name}{plural}" for name in p["fields"])
    return (
        f"quorum.max_replicas = {p['max_replicas']}, and there are {p['domains']} distinct {fields} in reach:"
        f" no more than {p['domains']} replicas will run (register more, or set it to {p['domains']})"
    )


def _with_class(p: Parameters) -> str:
    if p.get("class"):
        return f"{p['node']}: {p['class']}"
    return str(p["node"])


def _of_node(p: Parameters) -> str:
    return f"{p['node']} {sentence(p['reason'])}"


def _listed(names: list[str], p: Parameters) -> str:
    more = f" and {p['more']} more" if p.get("more") else ""
    return ", ".join(names) + more


def _amount(name: str, value: int) -> str:
    if name == "mem":
        whole = value and value % 1024 == 0
        if whole:
            return f"{value // 1024} GiB of memory"
        return f"{value} MiB of memory"
    if value == 1:
        return f"{value} {_UNITS[name]}"
    return f"{value} {_UNITS[name]}s"


TEMPLATES: Mapping[str, Template] = {
    Code.NODES_FULL: _nodes_full,
    Code.NODES_PAUSED: _nodes_paused,
    Code.NO_NODE_LEFT: _no_node_left,
    Code.NO_NODES: "no node is registered",
    Code.SWITCHED_OFF: "is switched off",
    Code.CLASS_UNKNOWN: "its profile does not say its {class}",
    Code.OTHER_TIER: "its tier is {tier}, not {wanted}",
    Code.SINGLE_MACHINE: "is a single machine, and resources.nodes = {nodes}",
    Code.TOO_SMALL: _too_small,
    Code.OTHER_GPU_TYPE: _other_gpu_type,
    Code.SMALL_GPU_MEMORY: _small_gpu_memory,
    Code.NODE_OF_OTHER_CLASS: "its {class} is {has}, the task's is {wanted}",
    Code.NETWORK_USED: "a replica of this task was placed on a node of the same network (a /24 of IPv4, a /48 of IPv6)",
    Code.DOMAIN_USED: "a replica of this task was placed on the same {field} ({value})",
    Code.NODE_FULL: "is full: {out} replicas out, max_queued = {max_queued}",
    Code.NODE_PAUSED: "{text}",
    Code.NODE_RESTS: "gets nothing for 10 minutes: {alike} launches in a row ended before anything began: {text}",
    Code.NODE_AWAY: "cannot be used now (why: nexapod-batch site check {site})",
    Code.NODE_CANNOT: "{message}",
    Code.OWNER_WAITS: "its owner {owner} waits to be approved (nexapod-batch owner approve {owner})",
    Code.OWNER_SUSPENDED: "its owner {owner} is suspended (again: nexapod-batch owner approve {owner})",
    Code.NOT_ASKED_FOR: _not_asked_for,
    Code.SITE_REFUSES: _site_refuses,
    Code.UNDECLARED: "the file of site {site} declares no such node any more",
    Code.NO_PARTITION: _no_partition,
    Code.NO_ACTIVE_NODE: f"no active node is registered\n  -> register one: {_INIT}",
    Code.NO_NODE_OF_TIER: _no_node_of_tier,
    Code.NO_NODE_LARGE_ENOUGH: _no_node_large_enough,
    Code.NO_NODE_HAS_ALL: _no_node_has_all,
    Code.RESOURCE_TOO_LARGE: _resource_too_large,
    Code.NO_SUCH_GPU_TYPE: _no_such_gpu_type,
    Code.TOO_FEW_DOMAINS: _too_few_domains,
    Code.FEW_DOMAINS: _few_domains,
}

"""Which node runs which replica, and why not. No I/O, no clock, no randomness.

- A node is taken only if its site does not refuse the job, if tier, resources, numeric class and free slots fit, if its
  owner lets it work now, and if it shares no domain listed in `distinct` with a replica of the same task that was
  placed already.
- Among those, nodes that were never blamed come first; then the widest spread (an unused owner, then site, host,
  node), also when `distinct` is `run`; then the least loaded for its CPUs and, where it was measured, their speed; then
  the largest and fastest.
- Where `distinct` lists several fields, a choice never makes the task's last domains unreachable.
- Needs that are alike are planned together and in stretches, so that thousands of tasks cost milliseconds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from nexapod_batch.model.hardware import is_gpu_type
from nexapod_batch.model.job import Domain, NumericClass, Tier
from nexapod_batch.quorum.domains import max_distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node

__all__ = ["Need", "NodeLoad", "Plan", "Reach", "capacity", "plan", "why_not"]

_SPREAD = (Domain.OWNER, Domain.SITE, Domain.HOST, Domain.NODE)  # from the widest
_STRETCHES = 4  # for each node and run of like needs: how finely the load is balanced
_UNKNOWN = "unknown"  # what a profile that does not say its class counts as


class NodeLoad(Struct, frozen=True, kw_only=True):
    """A node, and what it has to do already."""

    node: Node
    out: int = 0  # replicas that are out on it, of all jobs
    blamed: int = 0  # statements that it signed and no honest node signs
    refused: str = ""  # why its site never runs this job there
    paused: str = ""  # why its owner lets it start nothing now
    sized: bool = False  # the job was compared with its partitions: what one host has does not bound it


class Need(Struct, frozen=True, kw_only=True):
    """What one task wants placed."""

    task: int
    want: int
    taken: Sequence[Mapping[Domain, str]] = ()  # domains of replicas placed already, overdue ones too; not lost ones
    klass: str | None = None  # numeric class, fixed at the first dispatch; None before it


class Plan(Struct, kw_only=True):
    """Where replicas go, and what could not be placed."""

    placements: list[tuple[int, int]] = field(default_factory=list)  # (task, node id); a task's stand together
    blocked: dict[int, str] = field(default_factory=dict)  # task -> why not all that it wants was placed
    unplaceable: set[int] = field(default_factory=set)  # blocked, and no wait for free slots will change it
    classes: dict[int, str] = field(default_factory=dict)  # task -> numeric class fixed now; none for class = "any"


class Reach(Struct, frozen=True, kw_only=True):
    """What the registered nodes can do for a job."""

    domains: int  # distinct domains in reach, within the largest class
    reason: str | None = None  # why the quorum cannot be met, and the ways out; None: it can
    warning: str | None = None  # it can be met, but not as often as `max_replicas` allows
    largest: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # resource -> (most of it, node name)
    classes: Mapping[str, int] = field(default_factory=dict)  # numeric class -> distinct domains


class _Slot:
    """A node while a plan is made: what is left of it."""

    __slots__ = ("blamed", "domain", "free", "id", "klass", "load", "node", "row", "spread", "step")

    def __init__(self, job: Job, load: NodeLoad, typical: float = 0.0) -> None:
        """Keep what of a node matters; `typical` is the speed that counts as 1, and as that of who was not measured."""
        node = load.node
        self.node, self.id, self.blamed = node, node.id, load.blamed
        self.klass = node.numeric_class(job.quorum.numeric_class)
        self.domain = {name: node.domain(name, "") for name in Domain}
        self.row = tuple(self.domain[name] for name in _counted(job))
        self.spread = tuple(self.domain[name] for name in _SPREAD)
        self.free = 0 if load.paused else max(0, node.max_queued - load.out)
        self.step = 1 / (node.cpus * (node.speed / typical if node.speed and typical else 1))
        self.load = load.out * self.step


def _median(speeds: list[float]) -> float:
    """Return the one in the middle, or 0; `statistics` takes longer to load than most plans to make."""
    return sorted(speeds)[len(speeds) // 2] if speeds else 0.0


def plan(job: Job, needs: Iterable[Need], loads: Sequence[NodeLoad]) -> Plan:
    """Place what the tasks of one job want. Needs that are alike are served in their order."""
    result = Plan()
    fitting = [load for load in loads if _unfit(job, load) is None]
    typical = _median([load.node.speed for load in fitting if load.node.speed])
    slots = [_Slot(job, load, typical) for load in fitting]
    alike: dict[tuple[object, ...], list[Need]] = {}
    for need in needs:
        alike.setdefault(_likeness(need), []).append(need)
    for group in alike.values():
        _place_alike(job, group, slots, loads, result)
    return result


def _likeness(need: Need) -> tuple[object, ...]:
    taken = need.taken
    return (need.want, need.klass, tuple([tuple(sorted(domain.items())) for domain in taken]) if taken else ())


def _place_alike(
    job: Job, needs: Sequence[Need], slots: Sequence[_Slot], loads: Sequence[NodeLoad], result: Plan
) -> None:
    """Place needs that differ in nothing but their task."""
    done, count = 0, len(needs)
    while done < count:
        need = needs[done]
        klass = _class_for(job, need, slots)
        chosen = _choose(job, need, [slot for slot in slots if slot.klass == klass]) if klass is not None else []
        if not chosen:
            _block(job, need, needs[done:], loads, result)
            return
        times = Counter(slot.id for slot in chosen)
        length = max(1, (count - done) // ((_STRETCHES if len(slots) < 16 else 1) * len(slots)))
        length = min(length, *(slot.free // times[slot.id] for slot in chosen))
        served = needs[done : done + length]
        ids = [slot.id for slot in chosen]
        result.placements += [(one.task, node_id) for one in served for node_id in ids]
        for slot in chosen:
            slot.free -= length
            slot.load += length * slot.step
        if need.klass is None and job.quorum.numeric_class is not NumericClass.ANY and klass is not None:
            result.classes.update((one.task, klass) for one in served)
        if len(chosen) < need.want:
            rest = replace(need, taken=(*need.taken, *(slot.domain for slot in chosen)), klass=klass)
            _block(job, rest, served, loads, result)
        done += length


def _choose(job: Job, need: Need, slots: Sequence[_Slot]) -> list[_Slot]:
    """Return the nodes for one need, at most as many as it wants; a node comes twice only for `run`."""
    counted = _counted(job)
    blocked = [{domain.get(name, "") for domain in need.taken} for name in counted]
    used = {name: Counter(domain.get(name, "") for domain in need.taken) for name in _SPREAD}
    picks: Counter[int] = Counter()
    chosen: list[_Slot] = []

    by_owner, by_site, by_host, by_node = used.values()

    def rank(slot: _Slot) -> tuple[object, ...]:
        owner, site, host, node = slot.spread
        load = slot.load + picks[slot.id] * slot.step
        return (slot.blamed, by_owner[owner], by_site[site], by_host[host], by_node[node], load, slot.step, slot.id)

    eligible = [slot for slot in slots if not any(map(set.__contains__, blocked, slot.row))]
    while len(chosen) < need.want:
        free = [slot for slot in eligible if slot.free > picks[slot.id]]
        if not free:
            break
        best = min(free, key=rank) if len(counted) < 2 else _far_sighted(sorted(free, key=rank), eligible)
        eligible = [slot for slot in eligible if not any(a == b for a, b in zip(slot.row, best.row, strict=True))]
        chosen.append(best)
        picks[best.id] += 1
        for name in _SPREAD:
            used[name][best.domain[name]] += 1
    return chosen


def _far_sighted(ranked: Sequence[_Slot], eligible: Sequence[_Slot]) -> _Slot:
    """Return the first that leaves as many other domains as possible (for several fields in `distinct`)."""

    def left(slot: _Slot) -> int:
        return max_distinct(
            other.row for other in eligible if all(a != b for a, b in zip(other.row, slot.row, strict=True))
        )

    most = max_distinct(slot.row for slot in eligible) - 1
    best, best_left = ranked[0], -1
    for slot in ranked:
        others = left(slot)
        if others >= most:
            return slot
        if others > best_left:
            best, best_left = slot, others
    return best


def _counted(job: Job) -> tuple[Domain, ...]:
    """Return the fields of `distinct` that keep a node from being taken twice; every execution is its own run."""
    return tuple(name for name in job.quorum.distinct if name is not Domain.RUN)


def _class_for(job: Job, need: Need, slots: Iterable[_Slot]) -> str | None:
    """Return the task's class: the fixed one, else the one with most free domains; None when there is none.

    A class that could meet the quorum if it had free slots goes before one that never can.
    """
    if job.quorum.numeric_class is NumericClass.ANY:
        return ""
    if need.klass is not None:
        return need.klass
    by_class: dict[str, list[_Slot]] = {}
    for slot in slots:
        by_class.setdefault(slot.klass, []).append(slot)

    def rank(klass: str) -> tuple[bool, int, int, int]:
        members = by_class[klass]
        total, free = _domains(job, members), _domains(job, [slot for slot in members if slot.free])
        return (total >= job.quorum.agree, free, total, sum(slot.free for slot in members))

    return max(sorted(by_class), key=rank, default=None)


def _domains(job: Job, slots: Sequence[_Slot]) -> int:
    """Return how many replicas of one task the nodes can take; for `run` as many as the policy allows."""
    if not slots:
        return 0
    return max_distinct(slot.row for slot in slots) if slots[0].row else max(job.quorum.max_replicas, job.quorum.agree)


def _block(job: Job, need: Need, alike: Sequence[Need], loads: Sequence[NodeLoad], result: Plan) -> None:
    """Say once why nothing more was placed for `need` and those like it."""
    slots = [_Slot(job, load) for load in loads if _unfit(job, load) is None]
    klass = _class_for(job, need, slots)
    waiting = {slot.node.name for slot in slots if _conflict(job, need, slot, klass) is None}
    if waiting:
        paused = [f"{load.node.name} {load.paused}" for load in loads if load.node.name in waiting and load.paused]
        full = [load.node.name for load in loads if load.node.name in waiting and not load.paused]
        reason = f"every node that could take it is full: {_listed(full)}" if full else "no node may take it now"
        reason += "".join(f"; {one}" for one in paused[:3])
    else:
        why = [f"{name}: {why}" for name, why in why_not(job, need, loads)]
        reason = f"no node is left for it: {'; '.join(why[:3])}" if why else "no node is registered"
        reason += f"; and {len(why) - 3} more" if len(why) > 3 else ""
        result.unplaceable.update(one.task for one in alike)
    result.blocked.update((one.task, reason) for one in alike)


def _unfit(job: Job, load: NodeLoad) -> str | None:
    """Return why a node can run no replica of a job, whatever else it does; None when it can."""
    node, wanted_class = load.node, job.quorum.numeric_class
    reason = None
    if not node.active:
        reason = "is switched off"
    elif load.refused:
        reason = load.refused
    elif not load.sized:
        reason = _too_small(job, node)
    if reason is None and node.numeric_class(wanted_class) == _UNKNOWN:
        reason = f"its profile does not say its {wanted_class}"
    return reason


def _too_small(job: Job, node: Node) -> str | None:
    """Return what a single machine lacks for a replica."""
    res = job.resources
    short = [(name, wanted, has) for name, wanted, has in _amounts(job, node) if wanted > has]
    reason = None
    if res.tier not in (Tier.ANY, node.tier):
        reason = f"its tier is {node.tier}, not {res.tier}"
    elif (res.nodes or 1) > 1 and node.tier is not Tier.HPC:
        reason = f"is a single machine, and resources.nodes = {res.nodes}"
    elif short:
        reason = ", ".join(f"{_has(node, name, has)}, {_amount(name, wanted)} wanted" for name, wanted, has in short)
    elif res.gpu_type and not _has_type(res.gpu_type, node):
        reason = f"has GPUs of type {node.gpu_type or 'unknown'}, not {res.gpu_type}"
    elif res.gpus and 0 < node.gpu_mem_mib < (res.gpu_mem_mib or 0):
        reason = f"has GPUs with {_amount('mem', node.gpu_mem_mib)}, {_amount('mem', res.gpu_mem_mib or 0)} wanted"
    return reason


def _has(node: Node, name: str, amount: int) -> str:
    return f"{'gives, by its owner,' if name in node.limited else 'has'} {_amount(name, amount)}"


def _has_type(wanted: str, node: Node) -> bool:
    return any(is_gpu_type(wanted, model) for model in (node.gpu_type or "").split(","))


def _amounts(job: Job, node: Node) -> list[tuple[str, int, int]]:
    """Return (resource, wanted from one machine, what the node has); memory counts for the whole replica."""
    res = job.resources
    machines = res.nodes or 1
    return [
        ("cpus", -(-res.cpus // machines), node.cpus),
        ("mem", -(-(res.mem_mib or 0) // machines), node.mem_mib),
        ("gpus", res.gpus, node.gpus),
    ]


def _amount(name: str, value: int) -> str:
    if name == "mem":
        return f"{value // 1024} GiB of memory" if value and value % 1024 == 0 else f"{value} MiB of memory"
    word = {"cpus": "CPU", "gpus": "GPU"}[name]
    return f"{value} {word}" if value == 1 else f"{value} {word}s"


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def why_not(job: Job, need: Need, loads: Sequence[NodeLoad]) -> list[tuple[str, str]]:
    """Return (node name, reason) for every node that cannot take one more replica of a task now."""
    fits = [_Slot(job, load) for load in loads if _unfit(job, load) is None]
    klass = _class_for(job, need, fits)
    found: list[tuple[str, str]] = []
    for load in loads:
        reason = _unfit(job, load) or _conflict(job, need, _Slot(job, load), klass)
        reason = reason or load.paused or None
        if reason is None and load.out >= load.node.max_queued:
            reason = f"is full: {load.out} replicas out, max_queued = {load.node.max_queued}"
        if reason is not None:
            found.append((load.node.name, reason))
    return found


def _conflict(job: Job, need: Need, slot: _Slot, klass: str | None) -> str | None:
    if slot.klass != klass:
        return f"its {job.quorum.numeric_class} is {slot.klass}, the task's is {klass}"
    for name, value in zip(_counted(job), slot.row, strict=True):
        if any(domain.get(name, "") == value for domain in need.taken):
            shown = slot.node.name if name is Domain.NODE else value
            return f"a replica of this task was placed on the same {name} ({shown})"
    return None


def capacity(job: Job, loads: Sequence[NodeLoad]) -> Reach:
    """Say whether the nodes can form the quorum of a job, and if not what is missing and the ways out."""
    active = [load for load in loads if load.node.active]
    tiered = [load for load in active if job.resources.tier in (Tier.ANY, load.node.tier)]
    largest = {
        name: max((getattr(load.node, attribute), load.node.name) for load in tiered)
        for name, attribute in (("cpus", "cpus"), ("mem", "mem_mib"), ("gpus", "gpus"))
        if tiered
    }
    slots = [_Slot(job, load) for load in active if _unfit(job, load) is None]
    by_class: dict[str, list[_Slot]] = {}
    for slot in slots:
        by_class.setdefault(slot.klass, []).append(slot)
    classes = {klass: _domains(job, members) for klass, members in sorted(by_class.items())}
    domains = max(classes.values(), default=0)
    reason = warning = None
    if not slots:
        reason = _nobody(job, active, tiered, largest)
    elif domains < job.quorum.agree:
        reason = _too_few(job, classes, slots)
    elif domains < job.quorum.max_replicas and job.quorum.agree > 1:
        fields = " and ".join(f"{name}{'s' * (domains != 1)}" for name in job.quorum.distinct)
        warning = (
            f"{domains} distinct {fields} in reach, fewer than max_replicas = {job.quorum.max_replicas}:"
            " a disagreement or an error may end without a result"
        )
    return Reach(domains=domains, reason=reason, warning=warning, largest=largest, classes=classes)


_INIT = "nexapod-batch node init --name NAME --owner OWNER"


def _nobody(
    job: Job, active: Sequence[NodeLoad], tiered: Sequence[NodeLoad], largest: Mapping[str, tuple[int, str]]
) -> str:
    """Say why no node at all can run a replica: the tier, the resource that is too large, or the mixture."""
    res = job.resources
    if not active:
        return f"no active node is registered\n  -> register one: {_INIT}"
    if not tiered:
        tiers = sorted(Counter(one.node.tier for one in active).items())
        there = ", ".join(f"{count} x {tier}" for tier, count in tiers)
        return f"no node of tier {res.tier}: got {there}\n  -> set resources.tier, or register such a node: {_INIT}"
    lines = []
    for name, wanted, _ in _amounts(job, tiered[0].node) if not any(one.refused for one in tiered) else ():
        has, node = largest[name]
        if wanted > has:
            key = "cpus_per_task" if name == "cpus" else name
            found = f"the largest node ({node}) has {_amount(name, has)}" if has else "no node in reach has one"
            if any(one.node.name == node and name in one.node.limited for one in tiered):
                found += ": its owner gives no more"
            lines.append(f"resources.{key}: a replica wants {_amount(name, wanted)}, {found}")
    if not lines and res.gpu_type and not any(one.refused or _has_type(res.gpu_type, one.node) for one in tiered):
        types = sorted({(one.node.gpu_type or "of no known type", one.node.name) for one in tiered if one.node.gpus})
        there = "; ".join(f"{name} has {kind.replace(',', ' and ')}" for kind, name in types[:5]) or "there are no GPUs"
        lines.append(f"resources.gpu_type: no node has a GPU of type {res.gpu_type}: {there}")
    if lines:
        return "; ".join(lines) + f"\n  -> ask for less, or register a larger node: {_INIT}"
    each = "; ".join(f"{one.node.name} {_unfit(job, one)}" for one in tiered[:5])
    return f"no single node has all that a replica wants: {each}\n  -> ask for less, or register another node: {_INIT}"


def _too_few(job: Job, classes: Mapping[str, int], slots: Sequence[_Slot]) -> str:
    """Say how many domains are missing for `agree`, and the ways out."""
    quorum = job.quorum
    domains = max(classes.values())
    fields = " and ".join(quorum.distinct)
    within = f" of one {quorum.numeric_class}" if quorum.numeric_class is not NumericClass.ANY else ""
    shown = {slot.node.name: f"{slot.node.name}: {slot.klass}" if within else slot.node.name for slot in slots}
    names = _listed([shown[name] for name in sorted(shown)])
    missing = quorum.agree - domains
    lower = f", or lower quorum.agree to {domains} (weaker)" if domains else ""
    return (
        f"agree = {quorum.agree} needs {quorum.agree} replicas that differ in {fields}{within}:"
        f" got {domains} in reach ({names}), {missing} missing\n"
        f"  -> register {missing} more: {_INIT}\n"
        f'  -> or set quorum.distinct = "run" (repeats on the same machine: reproducible, not independent){lower}'
    )

"""Which nodes the replicas of each task go to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.planner.blocked import block
from nexapod_batch.planner.fitness import unfit
from nexapod_batch.planner.nouns import Plan
from nexapod_batch.planner.slots import SPREAD, Slot, class_for, counted
from nexapod_batch.quorum.domains import max_distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.model.job import Domain, Job
    from nexapod_batch.planner.nouns import Need, NodeLoad

__all__ = ["plan"]

_STRETCHES = 4  # for each node and run of like needs: how finely the load is balanced
_MANY = 16  # nodes among which the load is balanced without that


def _median(speeds: list[float]) -> float:
    """Return the one in the middle, or 0; `statistics` takes longer to load than most plans to make."""
    if speeds:
        return sorted(speeds)[len(speeds) // 2]
    return 0.0


def plan(job: Job, needs: Iterable[Need], loads: Sequence[NodeLoad]) -> Plan:
    """Place what the tasks of one job want. Needs that are alike are served in their order."""
    result = Plan()
    fitting = [load for load in loads if unfit(job, load) is None]
    typical = _median([load.node.speed for load in fitting if load.node.speed])
    slots = [Slot(job, load, typical) for load in fitting]
    alike: dict[tuple[object, ...], list[Need]] = {}
    for need in needs:
        alike.setdefault(_likeness(need), []).append(need)
    for group in alike.values():
        _place_alike(job, group, slots, loads, result)
    return result


def _likeness(need: Need) -> tuple[object, ...]:
    taken = tuple([tuple(sorted(domain.items())) for domain in need.taken]) if need.taken else ()
    return (need.want, need.numeric_class, need.only, need.networks, need.lost_on, taken)


def _place_alike(
    job: Job, needs: Sequence[Need], slots: Sequence[Slot], loads: Sequence[NodeLoad], result: Plan
) -> None:
    """Place needs that differ in nothing but their task."""
    done, count = 0, len(needs)
    while done < count:
        need = needs[done]
        chosen_class = class_for(job, need, slots)
        chosen = _choose(job, need, [slot for slot in slots if slot.numeric_class == chosen_class])
        if not chosen:
            block(job, need, needs[done:], [load for load in loads if need.only in {None, load.node.id}], result)
            return
        length = _stretch(count - done, slots, chosen)
        served = needs[done : done + length]
        _serve(served, chosen, chosen_class, result)
        if len(chosen) < need.want:
            networks = need.networks.union(*(slot.networks for slot in chosen))
            taken = (*need.taken, *(slot.domain for slot in chosen))
            rest = replace(need, taken=taken, networks=networks, numeric_class=chosen_class)
            block(job, rest, served, loads, result)
        done += length


def _serve(served: Sequence[Need], chosen: Sequence[Slot], chosen_class: str | None, result: Plan) -> None:
    """Place each of these needs, which are alike, on all of the chosen nodes."""
    ids = [slot.id for slot in chosen]
    result.placements += [(one.task, node_id) for one in served for node_id in ids]
    for slot in chosen:
        slot.free -= len(served)
        slot.load += len(served) * slot.step
    if served[0].numeric_class is None and chosen_class:  # "" where any class will do
        result.classes.update((one.task, chosen_class) for one in served)


def _stretch(left: int, slots: Sequence[Slot], chosen: Sequence[Slot]) -> int:
    """Return for how many needs that are alike the chosen nodes serve before the next choice."""
    times = Counter(slot.id for slot in chosen)
    stretches = _STRETCHES if len(slots) < _MANY else 1
    fair = max(1, left // (stretches * len(slots)))
    return min(fair, *(slot.free // times[slot.id] for slot in chosen))


def _choose(job: Job, need: Need, slots: Sequence[Slot]) -> list[Slot]:
    """Return the nodes for one need, at most as many as it wants; a node comes twice only for `run`."""
    fields = counted(job)
    used = {name: Counter(domain.get(name, "") for domain in need.taken) for name in SPREAD}
    picks: Counter[int] = Counter()
    chosen: list[Slot] = []

    by_owner, by_site, by_host, by_node = used.values()

    def rank(slot: Slot) -> tuple[object, ...]:
        owner, site, host, node = slot.spread
        spread = (by_owner[owner], by_site[site], by_host[host], by_node[node])
        load = slot.load + picks[slot.id] * slot.step
        return (slot.blamed, slot.id in need.lost_on, *spread, load, slot.step, slot.id)

    eligible = _apart_from_taken(need, slots, fields)
    if need.only is not None:
        eligible = [slot for slot in eligible if slot.id == need.only]
    while len(chosen) < need.want:
        free = [slot for slot in eligible if slot.free > picks[slot.id]]
        if not free:
            break
        best = min(free, key=rank) if len(fields) < 2 else _far_sighted(sorted(free, key=rank), eligible)
        eligible = _apart_from(best, eligible)
        chosen.append(best)
        picks[best.id] += 1
        for name in SPREAD:
            used[name][best.domain[name]] += 1
    return chosen


def _apart_from_taken(need: Need, slots: Sequence[Slot], fields: Sequence[Domain]) -> list[Slot]:
    """Return the slots that share no domain that counts with the replicas that the task has already."""
    blocked = [{domain.get(name, "") for domain in need.taken} for name in fields]
    apart = [slot for slot in slots if not any(map(set.__contains__, blocked, slot.row))]
    if need.networks:
        apart = [slot for slot in apart if need.networks.isdisjoint(slot.networks)]
    return apart


def _apart_from(best: Slot, eligible: Sequence[Slot]) -> list[Slot]:
    """Return the slots that share no domain that counts, and no network, with the one just chosen."""
    apart = [slot for slot in eligible if not any(a == b for a, b in zip(slot.row, best.row, strict=True))]
    if best.networks:
        apart = [slot for slot in apart if best.networks.isdisjoint(slot.networks)]
    return apart


def _far_sighted(ranked: Sequence[Slot], eligible: Sequence[Slot]) -> Slot:
    """Return the first that leaves as many other domains as possible (for several fields in `distinct`)."""

    def left(slot: Slot) -> int:
        return max_distinct(
            other.row for other in eligible if all(a != b for a, b in zip(other.row, slot.row, strict=True))
        )

    at_best = max_distinct(slot.row for slot in eligible) - 1
    best, best_left = ranked[0], -1
    for slot in ranked:
        others = left(slot)
        if others >= at_best:
            return slot
        if others > best_left:
            best, best_left = slot, others
    return best

"""Which worker a launch goes to, and why none. Pure: what the scheduler said goes in, a worker or words come out."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from nexapod_backends.dask.scheduler.agent_protocol import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_backends.dask.launch_records import Record
    from nexapod_backends.dask.scheduler.agent_protocol import Spool

__all__ = [
    "TASK_STATES",
    "Rules",
    "Worker",
    "choose",
    "free",
    "host_of",
    "known_worker",
    "lasts",
    "named",
    "needs_s",
    "one_machine",
    "resources_of",
    "room",
    "tasks_of_others",
    "why_queued",
]

#: Dask's words for tasks that have not begun.
TASK_STATES = {
    "no-worker": "Dask has no worker for it: paused, or its resources are taken",
    "queued": "waits in the Dask scheduler",
    "waiting": "waits in the Dask scheduler",
    "processing": "waits its turn on its worker",
}

#: Launches bound to one slot ahead of time: enough that it does not wait for us, few enough that a worker that comes
#: later finds work, and that one that dies takes little with it.
_AHEAD = 4
#: Seconds that a runner needs around a launch, and that one without a time limit must have at least.
_MARGIN_S, _LEAST_S = 15.0, 60.0


class Worker(Struct, kw_only=True):
    """One worker, by the scheduler's word; what only the worker itself can say is added when it was asked."""

    address: str
    name: str
    host: str  # as in its address
    threads: int
    mem_mib: int | None  # None: not limited
    resources: Mapping[str, float]
    status: str  # running | paused | closing_gracefully ...
    folder: str = ""  # its own, which no other process had
    id: str = ""  # of its process
    storage: str = ""  # of its files
    machine: str = ""  # the same for all workers of one machine, whatever their addresses
    ends: float | None = None  # when it is to end, by our clock; None: nobody knows
    trouble: str = ""  # why nothing is given to it
    asked: float = 0.0  # when it was last asked who it is

    @property
    def place(self) -> str:
        """Return what counts as its host: its machine, or its address while that is not known."""
        return self.machine or self.host


class Rules(Struct, frozen=True, kw_only=True):
    """What a choice depends on beside launch and workers."""

    patterns: Sequence[str] = ()  # of names or addresses
    hosts: Sequence[str] = ()  # machines that were ever seen, in the order in which they came: for host sets
    used: frozenset[str] = frozenset()  # workers that had a replica of one of its tasks
    load: Mapping[str, int] = field(default_factory=dict)  # launches bound to a worker, by id
    busy_s: Mapping[str, float] = field(default_factory=dict)  # what these may take, by id
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)  # tasks of others, by address
    now: float = 0.0
    mem_resource: str = ""
    gpu_resource: str = "GPU"


class _Filter(NamedTuple):
    """A condition that workers must meet."""

    is_met: Callable[[Worker], bool]
    why_by_none: Callable[[Sequence[Worker]], str]  # in words, of workers of which none meets it


def known_worker(address: str, identity: Mapping[str, Any]) -> Worker:
    """Return a worker from the scheduler's word; TypeError, ValueError or KeyError for what is none."""
    limit = identity.get("memory_limit")
    return Worker(
        address=address,
        name=printable(identity.get("name", address), 100),
        host=host_of(address),
        threads=int(identity["nthreads"]),
        mem_mib=int(limit) // 2**20 if limit else None,
        resources={str(name): float(count) for name, count in dict(identity.get("resources") or {}).items()},
        status=printable(identity.get("status", "running"), 100),
        folder=str(identity.get("local_directory", "")),
    )


def host_of(address: str) -> str:
    """Return the host in an address: `tcp://10.0.0.5:4711` is on `10.0.0.5`."""
    return address.partition("://")[2].rpartition(":")[0].strip("[]")


def named(worker: Worker, patterns: Sequence[str]) -> bool:
    """Say whether a worker's name or address is one of those meant; no pattern means all."""
    return not patterns or any(
        fnmatchcase(worker.name, pattern) or fnmatchcase(worker.address, pattern) for pattern in patterns
    )


def resources_of(record: Record, rules: Rules) -> dict[str, float]:
    """Return what a launch requires of Dask's abstract resources."""
    found: dict[str, float] = {}
    if record.gpus:
        found[rules.gpu_resource] = record.gpus
    if rules.mem_resource and record.mem_mib:
        found[rules.mem_resource] = record.mem_mib * 2**20
    return found


def room(worker: Worker, cpus: int) -> int:
    """Return how many launches may be bound to a worker at once."""
    return _AHEAD * max(1, worker.threads // max(1, cpus))


def choose(record: Record, workers: Sequence[Worker], rules: Rules) -> Worker | str:
    """Return the worker with least to do of those that can run a launch; else what it waits for, in words."""
    left = list(workers)
    if not left:
        return "no worker is connected to the Dask scheduler"
    for is_met, why_by_none in _filters(record, rules, left):
        kept = [worker for worker in left if is_met(worker)]
        if not kept:
            return why_by_none(left)
        left = kept
    return min(left, key=lambda worker: (_crowd(worker, record, rules), worker.address))


def _crowd(worker: Worker, record: Record, rules: Rules) -> tuple[bool, float]:
    """Return what a worker has to do: first whether a launch would wait there for tasks of others, then how much."""
    mine, others = rules.load.get(worker.id, 0), len(rules.others.get(worker.address, ()))
    return others > 0 and others + mine + max(1, record.cpus) > worker.threads, (mine + others) / worker.threads


def free(worker: Worker, record: Record, rules: Rules) -> bool:
    """Say whether a launch would begin at once on a worker, as far as can be seen."""
    have = rules.load.get(worker.id, 0) + len(rules.others.get(worker.address, ()))
    return have + max(1, record.cpus) <= worker.threads


def needs_s(record: Record, threads: int) -> float:
    """Return how long a launch may take on a worker, in seconds; 0 when nobody knows."""
    at_once = max(1, threads // max(1, record.cpus))
    return float(record.time_s * -(-len(record.replicas) // at_once))


def lasts(worker: Worker, record: Record, rules: Rules) -> bool:
    """Say whether a worker is there long enough for a launch, behind what it has already."""
    if worker.ends is None:
        return True
    slots = max(1, worker.threads // max(1, record.cpus))
    takes_s = max(needs_s(record, worker.threads), _LEAST_S) + rules.busy_s.get(worker.id, 0.0) / slots
    return rules.now + takes_s + _MARGIN_S <= worker.ends


def tasks_of_others(names: Sequence[str]) -> str:
    """Return in words whose tasks a worker has: how many, and what they are called."""
    kinds = Counter(re.split(r"[-(,'\"]", printable(name, 100).strip("('\""))[0] or "?" for name in names)
    shown = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in kinds.most_common(3))
    return f"{len(names)} task{'s' * (len(names) != 1)} of others ({shown}{', ...' * (len(kinds) > 3)})"


def _in_set(worker: Worker, record: Record, rules: Rules) -> bool:
    """Say whether a worker is on one of the hosts that a launch is left with."""
    if record.host_set is None:
        return True
    index, count = record.host_set
    return worker.place in rules.hosts and list(rules.hosts).index(worker.place) % count == index


def _has(worker: Worker, wanted: Mapping[str, float]) -> bool:
    """Say whether a worker has as much as is wanted of each of Dask's abstract resources."""
    return all(worker.resources.get(name, 0) >= count for name, count in wanted.items())


def _filters(record: Record, rules: Rules, known: Sequence[Worker]) -> list[_Filter]:
    """Return the conditions in the order of how lasting they are, each with its words when nobody meets it."""
    return [*_of_size(record, rules), *_of_place(record, rules, known), *_of_now(record, rules)]


def _of_size(record: Record, rules: Rules) -> list[_Filter]:
    """Return what a worker must be."""
    wanted = resources_of(record, rules)
    listed = ", ".join(f"{name} = {count:g}" for name, count in wanted.items())

    def has_memory(worker: Worker) -> bool:
        return worker.mem_mib is None or worker.mem_mib >= record.mem_mib

    def too_small(workers: Sequence[Worker]) -> str:
        largest = max(worker.mem_mib or 0 for worker in workers)
        return f"no worker has {record.mem_mib} MiB of memory, the largest has {largest} MiB"

    def too_few_threads(workers: Sequence[Worker]) -> str:
        most = max(worker.threads for worker in workers)
        return f"no worker has {record.cpus} threads, the largest has {most}"

    return [
        _Filter(
            lambda worker: named(worker, rules.patterns),
            lambda workers: f"none of {len(workers)} workers is one of partition {record.partition}",
        ),
        _Filter(lambda worker: worker.threads >= record.cpus, too_few_threads),
        _Filter(has_memory, too_small),
        _Filter(
            lambda worker: _has(worker, wanted),
            lambda workers: f"none of {len(workers)} workers has the resource {listed}",
        ),
    ]


def _of_place(record: Record, rules: Rules, known: Sequence[Worker]) -> list[_Filter]:
    """Return where a worker may be, beside other replicas of its task."""
    return [
        _Filter(
            lambda worker: _in_set(worker, record, rules),
            lambda _: "no worker is on the hosts that are left for this replica" + _together(known),
        ),
        _Filter(
            lambda worker: worker.id not in rules.used or not worker.id,
            lambda workers: f"replicas run on different workers, and {_all(workers)} had one of this task",
        ),
    ]


def _of_now(record: Record, rules: Rules) -> list[_Filter]:
    """Return what a worker must do at this moment."""

    def all_full(workers: Sequence[Worker]) -> str:
        before = sum(rules.load.get(worker.id, 0) for worker in workers)
        return f"waits its turn: {before} launches are before it on {len(workers)} worker{'s' * (len(workers) != 1)}"

    return [
        _Filter(lambda worker: not worker.trouble, lambda workers: workers[0].trouble),
        _Filter(lambda worker: worker.status == "running", _not_running),
        _Filter(lambda worker: lasts(worker, record, rules), lambda workers: _too_short(workers, record, rules)),
        _Filter(lambda worker: rules.load.get(worker.id, 0) < room(worker, record.cpus), all_full),
    ]


def _together(some: Sequence[Worker]) -> str:
    """Say which addresses are those of one machine."""
    return "".join(f"; {' and '.join(found[:4])} are one machine" for found in one_machine(some)[:2])


def one_machine(some: Sequence[Worker]) -> list[list[str]]:
    """Return the hosts of each machine that has several."""
    hosts: dict[str, set[str]] = {}
    for one in some:
        hosts.setdefault(one.place, set()).add(one.host)
    return [sorted(found) for found in hosts.values() if len(found) > 1]


def _too_short(some: Sequence[Worker], record: Record, rules: Rules) -> str:
    """Say how long the worker that stays longest is there, and how long it would have to."""
    last = max(some, key=lambda one: one.ends or 0)
    left_s = max(0, round((last.ends or 0) - rules.now))
    needs = f"needs up to {_span(needs_s(record, last.threads))}" if record.time_s else "says no time"
    return f"no worker is there long enough: {last.name} ends in {_span(left_s)}, and the launch {needs}"


def _span(seconds: float) -> str:
    """Return a time as people say it."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole / 3600:.1f} h"


def _all(some: Sequence[Worker]) -> str:
    if len(some) == 1:
        return f"worker {some[0].name}"
    return f"all {len(some)} workers that could take it"


def _not_running(some: Sequence[Worker]) -> str:
    """Say in which states workers are that start nothing."""
    verb = "is" if len(some) == 1 else "are"
    states = sorted({one.status.replace("_", " ") for one in some})
    return f"{_all(some)} {verb} {' or '.join(states)}"


def why_queued(
    record: Record, worker: Worker | None, state: str | None, spool: Spool | None, others: Sequence[str]
) -> str:
    """Say what a launch waits for that is bound to a worker and has not begun; `state` is Dask's word for its task."""
    if worker is not None and (why := _why_idle(worker)):
        return why
    if spool is not None and record.key in spool.inbox:
        return f"waits its turn in the runner on {record.address}"
    if worker is not None and others and state in TASK_STATES:
        return f"waits on its worker {worker.name} for {tasks_of_others(others)}"
    return TASK_STATES.get(state or "", "goes to the Dask scheduler")


def _why_idle(worker: Worker) -> str:
    """Say why the worker of a launch starts nothing; "" when it does."""
    if worker.trouble:
        return worker.trouble
    if worker.status != "running":
        return f"its worker {worker.name} is {worker.status.replace('_', ' ')}"
    return ""

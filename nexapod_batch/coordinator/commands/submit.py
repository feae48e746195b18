"""From a parsed job to rows in the store: check that it can be met, keep its inputs, write it in one transaction."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch import log
from nexapod_batch.coordinator.commands.jobs_before import check_before
from nexapod_batch.coordinator.commands.submitted_program import with_program
from nexapod_batch.coordinator.context import PATIENCE_S, account
from nexapod_batch.coordinator.nodes import clusters
from nexapod_batch.coordinator.nodes.registry import ensure_nodes, unregistered
from nexapod_batch.coordinator.placement import container_support, images, kept_inputs
from nexapod_batch.coordinator.placement.eligibility import check_sites, loads_of, with_words
from nexapod_batch.coordinator.placement.host_sets import node_and_set, split
from nexapod_batch.coordinator.placement.input_cache import drop_stale
from nexapod_batch.coordinator.placement.node_fetch import left_to_nodes
from nexapod_batch.coordinator.placement.remote_inputs import outlook as remote_outlook
from nexapod_batch.coordinator.placement.remote_inputs import with_remote_inputs
from nexapod_batch.coordinator.placement.travel import Travel, travel_of
from nexapod_batch.coordinator.steps.dispatch import PLAN_MAX
from nexapod_batch.errors import QuorumImpossibleError, UsageError
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.model.document import parted
from nexapod_batch.model.job import Domain
from nexapod_batch.model.placeholders import expand, task_environment, task_values
from nexapod_batch.planner import Need, capacity, plan
from nexapod_batch.store import writer
from nexapod_batch.wording import sentence
from nexapod_batch.wording.travel import travel as travel_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.images.cache import Progress
    from nexapod_batch.model.document import PartedDocument
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.model.node import Node

__all__ = ["Submitted", "dry_run", "submit"]

#: Longer names in the folder of results are no numbers of jobs.
_DIGITS = 16
#: Inputs whose list is kept apart from the document: jobs may share it.
_MANY = 256


class Submitted(Struct, frozen=True, kw_only=True):
    """What the submitter should know."""

    job: int
    uuid: str
    tasks: int
    warnings: tuple[str, ...]
    core_hours: float | None  # None: the job sets no time
    results: Path
    reach: str  # what independence the nodes in reach can give
    travel: tuple[Travel, ...]  # what its inputs have to travel; nothing is said of little


def submit(
    c: Coordinator, job: Job, folder: Path, scheduler_options: Mapping[str, str], *, foreign: bool = False,
    warnings: Sequence[str] = (), progress: Progress | None = None, user: str = "",
    also: Callable[[int], None] | None = None,
) -> Submitted:  # fmt: skip
    """Store a job, for the next pass to place; DescriptorError when it cannot be met, and then nothing is stored.

    `scheduler_options` are for the scheduler of the job's only site: `partition`, `account`. A `foreign` job is
    somebody else's. `progress` hears how far the pull of an image is; nothing is locked meanwhile. `user` is whose job
    it is, this account's where nothing is said; `also` is done in the transaction that stores the job.
    """
    ensure_nodes(c)
    _learn_clusters(c, job)
    nodes = [node for node in c.nodes() if node.active]
    job = with_program(with_words(c, job, scheduler_options, nodes), os.environ.get("PATH", os.defpath))
    taking, reach, more = _check(c, job, nodes, foreign=foreign)
    check_before(c, job)
    _check_destination(c, job)
    elsewhere = left_to_nodes(c, job.inputs, taking)
    job, pins = with_remote_inputs(c, job, progress or images.Silent(), elsewhere)
    inputs = job.inputs if not elsewhere else [one for one in job.inputs if one.sha256 not in elsewhere]
    removals = _keep(c, inputs, folder)
    if job.container is not None:
        job = images.pinned(c, job, taking, progress or images.Silent(), foreign=foreign)
        _, reach, more = _check(c, job, nodes, foreign=foreign)  # again: now it is known what the image was made for
    travel = travel_of(c, job, taking)
    document = parted(job)
    uuid = _uuid7(c.now(), c.random(10))
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        _hold(c, job, inputs, folder, removals)
        job_id = _store(c, job, document, uuid, folder, user=user or account(), foreign=foreign)
        if also is not None:
            also(job_id)
    log.info(__name__, "submitted", job=job_id, name=job.name, tasks=job.n_tasks, replicas=job.quorum.replicas)
    return Submitted(
        job=job_id, uuid=uuid, tasks=job.n_tasks, warnings=(*warnings, *more, *pins), core_hours=_core_hours(job),
        results=c.paths.results / str(job_id), reach=reach, travel=travel,
    )  # fmt: skip


def _keep(c: Coordinator, inputs: Sequence[Input], folder: Path) -> tuple[int, int]:
    """Keep inputs, and return what was removed of such before; what no job needs makes room where there is none."""
    removals = kept_inputs.removals(c)
    try:
        kept_inputs.keep(c, inputs, folder)
    except kept_inputs.NoSpaceError:
        with writer(c.store, wait_s=PATIENCE_S):
            if not drop_stale(c, whatever_else=True):
                raise
        removals = kept_inputs.removals(c)
        kept_inputs.keep(c, inputs, folder)
    return removals


def _hold(c: Coordinator, job: Job, inputs: Sequence[Input], folder: Path, removals: tuple[int, int]) -> None:
    """Let nobody remove what the job needs, and keep it again where somebody did; who calls has the lock."""
    if job.container is not None:
        images.hold(c, more=job.container.sha256)
    if kept_inputs.removals(c) != removals:  # by whoever wrote the database meanwhile
        kept_inputs.keep(c, inputs, folder)


def _check_destination(c: Coordinator, job: Job) -> None:
    if job.results_to:
        from nexapod_batch.coordinator.delivery.places import check_destination  # noqa: PLC0415 - few are delivered

        check_destination(c, job)


def _learn_clusters(c: Coordinator, job: Job) -> None:
    """Ask the schedulers that can be asked from here which clusters they are: what is in reach depends on it.

    A job that names its sites waits for no other.
    """
    wanted = set(job.schedule.sites)
    nodes = [node for node in c.nodes() if node.active and (not wanted or node.site in wanted)]
    found = clusters.ask(c, nodes, near=True)
    if found:
        with writer(c.store, wait_s=PATIENCE_S):
            clusters.keep(c, found)


def _size_and_cost(job: Job) -> str:
    size = f"{_plural(job.n_tasks, 'task')}, {_plural(job.quorum.replicas, 'replica')} each"
    hours = _core_hours(job)
    cost = "cost unknown (no resources.time)" if hours is None else f"at most {hours:.3g} core-hours to start with"
    return f"{size}; {cost}"


def _note_on_names(c: Coordinator, nodes: Sequence[Node]) -> list[str]:
    """Return what differs in the names of folders once there is a database."""
    if not c.kept and any(_has_work_dir(c, node) for node in nodes):
        return ["# the folder nexapod-HEX below work_dir gets a name of its own with the first submit"]
    return []


def dry_run(
    c: Coordinator, job: Job, scheduler_options: Mapping[str, str], *, foreign: bool = False, every: bool = False,
    ask: str = "",
) -> list[str]:  # fmt: skip
    """Return what a submission would launch, for people; nothing is stored or launched.

    The first launch on each node is described; with `every`, each task that finds a free slot now is listed with its
    nodes and its command. With `ask`, schedulers of that backend say what they would make of it. Nodes that the next
    submit would make are described as if they were there.
    """
    size_and_cost = _size_and_cost(job)
    new = unregistered(c)
    c.suppose(new)
    nodes = [node for node in c.nodes() if node.active]
    _refuse_unknown_backend(ask, nodes)
    job = images.looked_at(c, with_words(c, job, scheduler_options, nodes))
    nodes, reach, warnings = _check(c, job, nodes, foreign=foreign)
    lines = [f"{size_and_cost}; {reach}"]
    if foreign:
        lines.append("the job is somebody else's: its commands are confined")
    lines += [f"warning: {warning}" for warning in warnings]
    lines += images.outlook(c, job)
    lines += remote_outlook(c, job, left_to_nodes(c, job.inputs, nodes))
    lines += [f"# inputs: {travel_in_words(**way.as_document())}" for way in travel_of(c, job, nodes)]
    _check_destination(c, job)
    lines += [f"# accepted results are delivered to {job.results_to}"] * bool(job.results_to)
    placements, names = _placed(c, job, nodes, foreign=foreign)
    lines += _note_on_names(c, nodes)
    counts = Counter(node_and_set(number)[0] for _, number in placements)
    for node in nodes:
        when = ", which the next submit registers" if node in new else ""
        lines.append(f"# node {node.name} ({node.backend}){when}")
        lines += _outlook(c, job, node, counts[node.id], ask=ask == node.backend)
    if every:
        lines += _launches(job, placements, names)
    return lines


def _refuse_unknown_backend(ask: str, nodes: Sequence[Node]) -> None:
    known = sorted({node.backend for node in nodes})
    if ask and ask not in known:
        wanted = f"one of: {', '.join(known) or 'none'}"
        raise UsageError("no node has a scheduler of this kind", got=repr(ask), wanted=wanted)


def _has_work_dir(c: Coordinator, node: Node) -> bool:
    site = c.context(node).site
    return site is not None and bool(site.filesystem.work_dir)


def _outlook(c: Coordinator, job: Job, node: Node, replicas: int, *, ask: bool) -> list[str]:
    """Return what the first launch on a node would be, in its backend's words; with none now it may get later ones."""
    described = c.backend(node).describe(c.context(node), job, replicas or job.quorum.replicas, ask=ask)
    command = container_support.command_line(c, job, node, images.path_for(c, job, node))
    return [*described.splitlines(), *command]


def _placed(
    c: Coordinator, job: Job, nodes: list[Node], *, foreign: bool
) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Return where replicas would be placed now, by the numbers of the planner, and what these are called."""
    out = c.store.nodes.out()
    loads = split(job, loads_of(c, job, nodes, out, foreign=foreign))
    free = sum(max(0, load.node.max_queued - load.out) for load in loads)
    first = islice(job.task_indexes(), min(free // job.quorum.replicas, PLAN_MAX))
    result = plan(job, [Need(task=index, want=job.quorum.replicas) for index in first], loads)
    names = {load.node.id: load.node.host if load.node.id < 0 else load.node.name for load in loads}
    return result.placements, names


def _launches(job: Job, placements: Sequence[tuple[int, int]], names: Mapping[int, str]) -> Iterator[str]:
    """Yield a line for each task that would be placed now: where its first replicas run, and its command."""
    yield "# tasks"
    where: dict[int, list[str]] = {}
    for task, node_id in placements:
        where.setdefault(task, []).append(names[node_id])
    for task, on in sorted(where.items()):
        values = task_values(job, task, job.parameters(task))
        given = [f"{name}={value}" for name, value in task_environment(job.parameters(task)).items()]
        command = [expand(part, values) for part in job.command] or ["env", *given, "the-script"]
        yield f"task {task} on {', '.join(on)}: {shlex.join(command)}"
    if left := job.n_tasks - len(where):
        yield f"... {_plural(left, 'more task')} as slots become free"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _store(
    c: Coordinator, job: Job, document: PartedDocument, uuid: str, folder: Path, *, user: str, foreign: bool
) -> int:
    pinned = document.digest
    number = c.store.jobs.insert(
        uuid=uuid,
        name=job.name,
        user=user,
        foreign=foreign,
        digest=pinned,
        folder=str(folder),
        priority=job.schedule.priority,
        held=job.schedule.hold,
        max_running=job.array.max_running if job.array else None,
        now=c.now(),
        n_tasks=job.n_tasks,
    )
    job_id = _unused(c, number)
    if len(job.inputs) < _MANY or job.has_open_inputs:  # then it is pinned anew, and not kept in parts
        c.store.jobs.insert_document(job_id, document.whole)
    else:
        c.store.jobs.insert_parted(job_id, document)
    c.store.ledger.note_submitted(job_id, c.store.ledger.append([_event(c, job, job_id, pinned, uuid)]))
    c.store.tasks.insert(job_id, job.task_indexes(), job.quorum.replicas)
    if job.results_to:
        c.store.deliveries.insert(job_id)
    for dependency in job.schedule.depends_on:
        c.store.jobs.add_dependency(job_id, dependency.job, dependency.when)
    return job_id


def _event(c: Coordinator, job: Job, job_id: int, pinned: str, uuid: str) -> bytes:
    quorum = job.quorum
    return event(
        Kind.SUBMITTED, c.now(), id=f"{job_id}", uuid=uuid, tasks=job.n_tasks, policy=quorum.policy.value,
        replicas=quorum.replicas, agree=quorum.agree, sha256=encoded_digest(bytes.fromhex(pinned)),
    )  # fmt: skip


def _unused(c: Coordinator, number: int) -> int:
    """Return the number of a job that was just inserted, raised where results of an earlier one have it.

    Numbers start again in a new database, and go back in one that is restored: results that are there stay.
    """
    if not os.path.lexists(c.paths.results / str(number)):
        return number
    names = [entry.name for entry in os.scandir(c.paths.results)]
    free = max(int(name) for name in names if name.isascii() and name.isdigit() and len(name) < _DIGITS) + 1
    c.store.jobs.renumber(number, free)
    return free


def _check(
    c: Coordinator, job: Job, nodes: list[Node], *, foreign: bool
) -> tuple[list[Node], str, list[str]]:
    """Return the nodes that take the job, the reach in words, and warnings; DescriptorError when they cannot do it."""
    nodes, warnings = check_sites(c, job, nodes, foreign=foreign)
    warnings += _one_cluster(nodes)
    reach = capacity(job, split(job, loads_of(c, job, nodes, foreign=foreign)))
    if reach.reason is not None:
        raise QuorumImpossibleError("\n  ".join([sentence(reach.reason), *warnings]))
    if reach.warning is not None:
        warnings.append(sentence(reach.warning))
    seen = {field: {node.domain(field, "") for node in nodes} for field in (Domain.NODE, Domain.SITE)}
    hosts = sum({node.domain(Domain.HOST, ""): node.hosts for node in nodes}.values())
    counts = ((len(seen[Domain.NODE]), "node"), (hosts, "host"), (len(seen[Domain.SITE]), "site"))
    if hosts == 1:
        warnings += _one_machine(job)
    words = ", ".join(_plural(number, word) for number, word in counts)
    if reach.domains == job.quorum.agree > 1:
        words += ", none to spare: where they disagree, there is no result"
    return nodes, words, warnings


def _one_machine(job: Job) -> list[str]:
    """Return what to say of a job whose nodes are all this one machine, where it asks for several."""
    if job.quorum.agree == 1 or job.quorum.distinct == (Domain.RUN,):
        return []
    what = (
        "all nodes in reach are this one machine: their agreement will not be independent of it; distinct = "
        '"host" asks for other machines, distinct = "run" for two executions, wherever'
    )
    return [what]


def _one_cluster(nodes: Sequence[Node]) -> list[str]:
    """Return which sites are one cluster, by what their schedulers say, each once."""
    twins = dict.fromkeys((node.site, node.domain(Domain.SITE, ""), node.cluster) for node in nodes if node.cluster)
    return [
        f"site {name} is the cluster of site {first} ({cluster}): both count as one"
        for name, first, cluster in twins
        if name != first
    ]


def _core_hours(job: Job) -> float | None:
    if job.resources.time_s is None:
        return None
    return job.n_tasks * job.quorum.replicas * job.resources.time_s * job.resources.cpus / 3600


def _uuid7(milliseconds: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562) of a time in milliseconds and ten random bytes."""
    value = bytearray(milliseconds.to_bytes(6, "big") + random)
    value[6] = 0x70 | (value[6] & 0x0F)
    value[8] = 0x80 | (value[8] & 0x3F)
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

"""Which nodes a job may run on: the sites that it is limited to, and what each site says of it.

A site that never can run a job is left out of every plan, with the reason; the others go on. What is asked here is what
stays true: the site's policy, its partitions, its account. Free slots are the planner's business.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.coordinator.context import LAUNCHER
from nexapod_batch.coordinator.placement.container_support import problem, too_open
from nexapod_batch.coordinator.placement.images import wrong_architecture
from nexapod_batch.coordinator.placement.start_failures import resting
from nexapod_batch.errors import ConfigError, DescriptorError, NexapodError, Problem, UsageError
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.owner import OwnerState
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.planner import NodeLoad
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node

__all__ = ["Refusal", "allowed", "check_sites", "is_foreign", "loads_of", "refusal_of", "with_words"]


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a node never runs a job."""

    reason: Reason
    problems: tuple[Problem, ...] = ()  # what in the job would have to change
    told: bool = True  # worth a warning; not what the job itself asked for


def allowed(job: Job, node: Node) -> bool:
    """Say whether a job that is limited to some sites may run on a node."""
    return not job.schedule.sites or node.site in job.schedule.sites


def refusal_of(c: Coordinator, job: Job, node: Node, *, foreign: bool = False) -> Refusal | None:
    """Return why a node never runs a job, or None; ConfigError when the file of its site cannot be used."""
    if not allowed(job, node):
        return Refusal(reason=_reason(Code.NOT_ASKED_FOR, sites=list(job.schedule.sites)), told=False)
    if node.joined and node.owner_state != OwnerState.APPROVED:
        return Refusal(reason=_of_owner(node))
    if wrong := wrong_architecture(c, job, node):
        return _of_node(Problem("container.image", wrong))
    if cannot := _cannot(c, job, node, foreign=foreign):
        return _of_node(cannot)
    if node.site == LOCAL:
        return None
    return _refusal_of_site(c, job, node)


def _refusal_of_site(c: Coordinator, job: Job, node: Node) -> Refusal | None:
    """Return why the file of its site keeps a job from a node: its policy, its limits, its partitions."""
    from nexapod_batch.config.site.site_limits import limit_problems, policy_problems  # noqa: PLC0415 - local nodes need none
    from nexapod_batch.model.fit import job_at, partition_for, words_at  # noqa: PLC0415

    site = c.site(node.site)
    problems = (*policy_problems(site, job), *limit_problems(site, job))
    if problems:
        listed = [{"key": problem.path, "message": problem.message} for problem in problems]
        return Refusal(reason=_reason(Code.SITE_REFUSES, problems=listed), problems=problems)
    group = site.groups().get(node.name)
    if not site.partitions:
        return None
    if group is None:
        return Refusal(reason=_reason(Code.UNDECLARED, site=site.name))
    if partition_for(group, job_at(job, site.name), words_at(job, site.name).get("partition")) is None:
        names = [one.name for one in group]
        return Refusal(reason=_reason(Code.NO_PARTITION, partitions=names, site=site.name), told=False)
    return None


def _of_owner(node: Node) -> Reason:
    """Return why a node gets nothing whose owner is not approved."""
    code = Code.OWNER_SUSPENDED if node.owner_state == OwnerState.SUSPENDED else Code.OWNER_WAITS
    return _reason(code, owner=node.owner)


def _of_node(problem: Problem) -> Refusal:
    """Return what a node cannot do that the job asks for."""
    reason = _reason(Code.NODE_CANNOT, key=problem.path, message=problem.message)
    return Refusal(reason=reason, problems=(problem,))


def _reason(code: str, **parameters: object) -> Reason:
    return Reason(code=code, parameters=parameters)


def _cannot(c: Coordinator, job: Job, node: Node, *, foreign: bool) -> Problem | None:
    """Return what a node cannot do that the job needs: its container, walls around it, ranks."""
    found = None if job.container is None else problem(c, job, node)
    if found is None:
        found = too_open(c, job, node, foreign=foreign)
    if found is None and job.resources.ranks > 1:
        found = _no_ranks(c, job, node)
    return found


def _no_ranks(c: Coordinator, job: Job, node: Node) -> Problem | None:
    """Return why a node cannot start several ranks; it never starts one in their place, which would be another job."""
    hint = "take ntasks = 1, or a site with a launcher"
    if node.site != LOCAL:
        reason = f"site {node.site} starts no ranks: its workers run one process; {hint}"
        if c.backend(node).starts_ranks:
            return None
        return Problem("resources.ntasks", reason)
    if job.container is not None:
        return Problem("resources.ntasks", f"node {node.name} starts no ranks in containers; {hint}")
    from shutil import which  # noqa: PLC0415 - for jobs of several ranks

    if which(LAUNCHER[0], path=os.environ.get("PATH", os.defpath)) is None:
        reason = f"node {node.name} has no {LAUNCHER[0]} to start {job.resources.ranks} ranks with: install an MPI"
        return Problem("resources.ntasks", f"{reason} (as by: pip install mpich), or {hint}")
    return None


def loads_of(
    c: Coordinator, job: Job, nodes: Sequence[Node], out: Mapping[int, int] | None = None, *, foreign: bool = False,
    away: Collection[int] = (),
) -> list[NodeLoad]:  # fmt: skip
    """Return nodes as the planner sees them, `out` replicas on each, with what their sites and owners say.

    A `foreign` job is somebody else's. Nodes that are `away`, by their ids, cannot be used now.
    """
    loads = []
    rests = resting(c)
    for node in nodes:
        refusal, paused = refusal_of(c, job, node, foreign=foreign), ""
        if node.site == LOCAL:
            from nexapod_batch.local_nodes.owner_policy import effective  # noqa: PLC0415 - machines with an owner have one

            spool = c.context(node).spool
            node, paused = effective(node, spool)  # noqa: PLW2901 - as large as its owner lets it be
            if job.resources.gpus:
                from nexapod_batch.local_nodes import gpu_status  # noqa: PLC0415 - for who wants one

                paused = paused or gpu_status.paused(spool, job.resources) or gpu_status.closed(spool, job.resources)
        elif node.joined:
            paused = Mailbox(c.context(node).spool).note().paused
        sized = node.site != LOCAL and bool(c.site(node.site).partitions)
        loads.append(
            NodeLoad(
                node=node,
                out=(out or {}).get(node.id, 0),
                refused=None if refusal is None else refusal.reason,
                paused=_paused(node, paused, rests, away),
                sized=sized,
            )
        )
    return loads


def _paused(node: Node, by_owner: str, rests: Mapping[int, Reason], away: Collection[int]) -> Reason | None:
    """Return why a node starts nothing now: it is out of reach, its owner wants so, or nothing begins there."""
    if node.id in away:
        return _reason(Code.NODE_AWAY, site=node.site)
    if by_owner:
        return _reason(Code.NODE_PAUSED, text=by_owner)
    return rests.get(node.id)


def is_foreign(c: Coordinator, job_id: int) -> bool:
    """Say whether a job is somebody else's."""
    return c.store.jobs.get(job_id).foreign


def check_sites(
    c: Coordinator, job: Job, nodes: Sequence[Node], *, foreign: bool = False
) -> tuple[list[Node], list[str]]:
    """Return the nodes that take a job, and a warning for each site in reach that does not.

    DescriptorError with every problem when no node is left. A site whose file or backend cannot be used counts as one
    that refuses; where the job names it alone, its own error is raised.
    """
    _check_names(c, job, nodes)
    taking: list[Node] = []
    reasons: dict[str, str] = {}  # by site
    problems: list[Problem] = []
    for node in nodes:
        if not allowed(job, node):
            continue
        found = _answer_of(c, job, node, foreign=foreign)
        if found is None:
            taking.append(node)
        elif found.told and reasons.setdefault(node.site, text := sentence(found.reason)) == text:
            problems += _not_among(problems, found.problems)
    if not taking and reasons:
        raise _no_site(list(reasons), problems)
    reasons = {**c.site_faults(), **reasons}  # also of sites that nobody asked for: they are broken unnoticed
    return taking, [f"site {name} is left out: {reason}" for name, reason in reasons.items()]


def _not_among(known: Sequence[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems that another site has not told already."""
    told = {str(one) for one in known}
    return [problem for problem in problems if str(problem) not in told]


def _answer_of(c: Coordinator, job: Job, node: Node, *, foreign: bool) -> Refusal | None:
    """Return why a node does not take a job; a fault of its site is a reason, unless the job names that site alone."""
    try:
        c.usable_backend(node)
        return refusal_of(c, job, node, foreign=foreign)
    except NexapodError as error:
        if job.schedule.sites == (node.site,):
            raise
        reason = c.site_faults().get(node.site) or error.one_line
        return Refusal(reason=Reason.text(reason), problems=(Problem("", error.one_line),))


def _no_site(sites: Sequence[str], problems: Sequence[Problem]) -> DescriptorError:
    """Return the error for a job that none of the sites in reach can run."""
    where = f"site {sites[0]} cannot run the job" if len(sites) == 1 else "no site in reach can run the job"
    count = len(problems)
    return DescriptorError(f"{where}: {count} problem{'s' * (count != 1)}", problems=tuple(problems))


def with_words(c: Coordinator, job: Job, scheduler_options: Mapping[str, str], nodes: Sequence[Node]) -> Job:
    """Return the job with scheduler words (`partition`, `account`) for the one site that it can only mean."""
    if not scheduler_options:
        return job
    given = ", ".join(f"--{name}" for name in scheduler_options)
    _check_names(c, job, nodes)
    name = _site_meant(c, job, nodes, given, next(iter(scheduler_options.values())))
    _check_words(name, scheduler_options, given)
    sites = dict(job.sites)
    sites[name] = tuple(sorted({**dict(sites.get(name, ())), **scheduler_options}.items()))
    return replace(job, sites=tuple(sorted(sites.items())))


def _site_meant(c: Coordinator, job: Job, nodes: Sequence[Node], given: str, value: str) -> str:
    """Return the one site with partitions that the job may run on; DescriptorError or UsageError for none or several.

    `given` are the options that ask for it, and `value` is that of the first.
    """
    names = _sites_of(job, nodes)
    if len(job.schedule.sites) == 1 and names:
        c.site(names[0])  # its own fault is the better message
    names = [name for name in names if name in c.sites() and c.site(name).partitions]
    if not names:
        raise DescriptorError(f"{given} means nothing to local nodes", got=repr(value), hint="leave it out")
    if len(names) > 1:
        raise UsageError(f"which site is {given} for?", got=", ".join(names), hint=f"say it: --site {names[0]}")
    return names[0]


def _sites_of(job: Job, nodes: Sequence[Node]) -> list[str]:
    return sorted({node.site for node in nodes if node.site != LOCAL and allowed(job, node)})


def _check_words(site: str, scheduler_options: Mapping[str, str], given: str) -> None:
    """DescriptorError unless the values are what a job file may have there."""
    from nexapod_batch.config.job.job_schema import ALLOCATION  # noqa: PLC0415 - only where something is overridden
    from nexapod_batch.schema.kinds import Report  # noqa: PLC0415

    report = Report()
    for key, value in scheduler_options.items():
        ALLOCATION[key].kind.check(value, f"site.{site}.resources.{key}", report)
    if report.problems:
        raise DescriptorError(f"{given} cannot be used", problems=tuple(report.problems))


def _check_names(c: Coordinator, job: Job, nodes: Sequence[Node]) -> None:
    """Raise what is wrong with the sites that a job names: unknown, faulty, or without an active node."""
    known = {node.site for node in c.nodes()}
    for name in job.schedule.sites:
        if name not in known:
            _unknown(c, name, known)
    if job.schedule.sites and not any(allowed(job, node) for node in nodes):
        names = [node.name for node in c.nodes() if allowed(job, node)]
        raise DescriptorError(
            f"no node of {', '.join(job.schedule.sites)} is active", got=f"{', '.join(names)}, drained",
            hint=f"nexapod-batch node resume {names[0]}",
        )  # fmt: skip


def _unknown(c: Coordinator, name: str, known: set[str]) -> None:
    """Raise what is to be said of a site of which there is no node: its file may be faulty, or new."""
    try:
        c.site(name)
    except ConfigError as error:
        if error.problems:
            raise
    else:
        hint = "add [[partitions]] to its file, or name another site"
        raise DescriptorError(f"site {name} has no node", got="a site file without partitions", hint=hint)
    listed = ", ".join(sorted(known | set(c.sites()))) or "none"
    problem = Problem("schedule.sites", f"there is no such site: got {name!r}, wanted one of: {listed}")
    raise DescriptorError("the job cannot be placed", problems=(problem,), hint="nexapod-batch site ls")

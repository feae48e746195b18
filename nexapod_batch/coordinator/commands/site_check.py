"""Checking a site before anybody relies on it: its file, what its backend finds out, and a job from submit to report.

All of it happens in a home of its own below the user's home, so that it lies on the same file system and is seen, or
not, by the same compute nodes; nothing is put into the user's database. Whatever was made, here and on the site, is
removed at the end, also when the check is interrupted; a test job that is still there is cancelled.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.config.settings import Paths
from nexapod_batch.config.site.sites import check_backend, find_sites, limit_problems
from nexapod_batch.coordinator.commands import job_control, reconcile, submit, waiting
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.coordinator.nodes import registry
from nexapod_batch.coordinator.nodes.settings import settings_of
from nexapod_batch.coordinator.placement.eligibility import refusal_of, with_words
from nexapod_batch.coordinator.queries import explain, views
from nexapod_batch.coordinator.queries.sites import no_such_site
from nexapod_batch.coordinator.verification import job_evidence
from nexapod_batch.errors import ConfigError, DescriptorError, NexapodError, SchedulerError, TryAgainError
from nexapod_batch.files.own import own_folder
from nexapod_batch.model.job import Domain, Job, QuorumPolicy, Resources, Schedule
from nexapod_batch.model.reason import Reason
from nexapod_batch.plugins import Finding, Mark, Probing
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.config.site.sites import Found
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Backend, NodeContext

__all__ = ["Wanted", "check"]

_PREFIX = "check-"
#: Seconds for which a test job that was cancelled, or just ended, may still hold its files.
_PATIENCE_S = 20.0
#: A home that a killed check left behind is removed when it is so old, in seconds.
_STALE_S = 86_400
_TIME_S = 60  # wall time that the test job asks for


class Wanted(Struct, frozen=True, kw_only=True):
    """How a site is to be checked."""

    jobs: bool = True  # start test jobs
    dry_run: bool = False  # call nothing, say what would be called
    timeout_s: float = 300.0  # for each test job
    words: Mapping[str, str]  # partition, account: for the test jobs
    tell: Callable[[str], None]  # hears what is waited for


def check(paths: Paths, name: str, wanted: Wanted) -> Generator[Finding, None, None]:
    """Yield what is found out about a site, in an order in which each finding makes the next one possible.

    NotFoundError when there is no file of this name.
    """
    # 1. the file, and who understands it
    found, faults = find_sites(paths.sites)
    bad = [fault for fault in faults if fault.file.name == f"{name}.toml"]
    if not bad and name not in found:
        raise no_such_site(paths.sites, name, found)
    for fault in bad:
        problems = "; ".join(map(str, fault.error.problems)) or str(fault.error)
        text = f"{fault.file}: {problems}"
        yield Finding(mark=Mark.FAIL, probe="file", text=text, hint="correct the file", stops=True)
    if bad:
        return
    yield Finding(mark=Mark.OK, probe="file", text=f"{found[name].file} is valid")
    yield from _beyond_file(paths, name, found, wanted)


def _beyond_file(paths: Paths, name: str, sites: Mapping[str, Found], wanted: Wanted) -> Iterator[Finding]:
    """Yield what is found out about what a valid file names: its backend, partitions, and other site; then the rest."""
    try:
        check_backend(sites[name].site, sites[name].file)
    except ConfigError as error:
        yield Finding(
            mark=Mark.FAIL, probe="backend", text="; ".join(map(str, error.problems)),
            hint=error.hint or "", stops=True,
        )  # fmt: skip
        return
    installed = Finding(
        mark=Mark.OK, probe="backend", text=f"{sites[name].site.scheduler.type} is installed, with what it needs"
    )
    if not sites[name].site.partitions:
        yield installed
        text = "none declared, so that the file makes no node; it limits what is asked of nodes that are there"
        yield Finding(mark=Mark.OK, probe="partitions", text=text)
        return
    # 2. everything else, in a home that goes again
    needed = {}
    if other := sites[name].site.needs:
        if other not in sites:
            others = ", ".join(sorted(sites.keys() - {name})) or "there is no other"
            text = f"it needs a site that is not there: got {other}, wanted one of: {others}"
            yield Finding(mark=Mark.FAIL, probe="file", text=text, hint=f"correct {sites[name].file}", stops=True)
            return
        needed = {other: sites[other].site}
    with _own_home(paths, sites[name], needed, wanted.tell) as c:
        try:
            c.usable_backend(c.nodes()[0])
        except NexapodError as error:
            text = str(error).partition("\n")[0]
            yield Finding(mark=Mark.FAIL, probe="backend", text=text, hint=error.hint or "", stops=True)
            return
        yield installed
        yield from _probed(c, sites[name].site, wanted)


def _probed(c: Coordinator, site: Site, wanted: Wanted) -> Iterator[Finding]:
    """Yield what the backend finds out, then what becomes of a job."""
    mine = c.nodes()
    job = with_words(c, _sample(site), wanted.words, mine)
    nowhere = tuple(problem for problem in limit_problems(site, job) if problem.path.endswith(".partition"))
    if nowhere:
        raise DescriptorError("--partition cannot be used", problems=nowhere)
    contexts = [c.context(node) for node in mine]
    backend = c.backend(mine[0])
    if not wanted.dry_run:
        _prepare(c, backend, mine, contexts)
    how = Probing(
        sample=job, jobs=wanted.jobs, dry_run=wanted.dry_run, timeout_s=wanted.timeout_s, tell=wanted.tell
    )
    stops = False
    try:
        for one in backend.probe(contexts, how):
            stops = stops or one.stops or one.unreachable
            yield one
    except (NexapodError, OSError) as error:
        stops = True
        lost = isinstance(error, SchedulerError)
        yield Finding(mark=Mark.FAIL, probe="site", text=_one_line(error), unreachable=lost, stops=True)
    yield from _test_job(c, job, mine, wanted, stops=stops)


def _prepare(c: Coordinator, backend: Backend, mine: Sequence[Node], contexts: Sequence[NodeContext]) -> None:
    for node, context in zip(mine, contexts, strict=True):
        with suppress(NexapodError, OSError):  # the probes say what is wrong
            backend.prepare(context, settings_of(c, node))


def _test_job(c: Coordinator, job: Job, mine: Sequence[Node], wanted: Wanted, *, stops: bool) -> Iterator[Finding]:
    """Yield what becomes of the test job, or why there is none; `stops` where it could not end well."""
    if wanted.dry_run:
        said = "would submit a job of its own and wait for its report" if wanted.jobs else "not wanted"
        yield Finding(mark=Mark.SKIP, probe="test job", text=said)
    elif not wanted.jobs:
        yield Finding(mark=Mark.SKIP, probe="test job", text="not submitted: no test job wanted")
    elif stops:
        text = "not submitted: it could not end well while the above fails"
        yield Finding(mark=Mark.SKIP, probe="test job", text=text)
    else:
        yield from _run(c, job, mine, wanted)


def _sample(site: Site) -> Job:
    """Return a job that any node of a site can run, as small as its policy allows."""
    most = [one for one in (site.policy.max_time_s, *(p.max_time_s for p in site.partitions)) if one is not None]
    return Job(
        name="site-check",
        script="#!/bin/sh\necho checked\n",
        resources=Resources(time_s=min([_TIME_S, *most]), disk_mib=16),
        quorum=QuorumPolicy(agree=1, replicas=1, max_replicas=1, max_errors=0, max_lost=0),
        schedule=Schedule(sites=(site.name,)),
    )


def _quorum(job: Job, nodes_in_reach: int, min_agree: int) -> Job:
    """Return the job with one replica for each node, or as many as the site's policy demands."""
    agree = max(1, nodes_in_reach, min_agree)
    distinct = (Domain.NODE,) if agree <= nodes_in_reach else (Domain.RUN,)
    policy = QuorumPolicy(
        agree=agree, replicas=agree, max_replicas=agree, max_errors=0, max_lost=0, distinct=distinct
    )
    return replace(job, quorum=policy)


def _not_accepted(c: Coordinator, job: int, state: str, wanted: Wanted) -> Finding:
    """Return the finding for a test job that ended in another state, or, with "", not in time."""
    lines = [line.strip() for line in explain.explain(c, job, 0).lines]
    how, hint = state, ""
    if not state:
        how, hint = f"not ended within {wanted.timeout_s:.0f} s", "wait longer: --timeout"
    return Finding(mark=Mark.FAIL, probe="test job", text=f"{how}: {'; '.join(lines)}", hint=hint)


def _run(c: Coordinator, job: Job, mine: Sequence[Node], wanted: Wanted) -> Iterator[Finding]:
    """Submit the job and yield what became of it."""
    site = c.site(mine[0].site)
    strong = _quorum(job, 0, site.policy.min_agree)
    job = _quorum(job, sum(refusal_of(c, strong, node) is None for node in mine), site.policy.min_agree)
    begun = time.monotonic()
    try:
        done = submit.submit(c, job, c.paths.home, {})
        ended = _wait(c, done.job, wanted)
        state = views.job(c.store, done.job)["state"]
        if not ended or state != "accepted":
            yield _not_accepted(c, done.job, state if ended else "", wanted)
            return
        took = time.monotonic() - begun
        checked = job_evidence.verify(c, done.job)
        bad = [f"{check['of']}: {check['problem']}" for check in checked.checks if not check["ok"]]
        (task,) = views.tasks(c.store, done.job)["tasks"]
    except (NexapodError, OSError) as error:
        lost = isinstance(error, SchedulerError)
        yield Finding(mark=Mark.FAIL, probe="test job", text=_one_line(error), unreachable=lost)
        return
    hosts = ", ".join(dict.fromkeys(replica["host"] for replica in task["replicas"]))
    if bad:
        yield Finding(mark=Mark.FAIL, probe="test job", text=f"reports that do not verify: {'; '.join(bad)}")
        return
    count = f"{checked.statements} signed report{'s' * (checked.statements != 1)} of {hosts} verified"
    yield Finding(mark=Mark.OK, probe="test job", text=f"accepted {took:.1f} s after submit, {count}")


def _wait(c: Coordinator, job: int, wanted: Wanted) -> bool:
    """Drive the job to its end; say what it waits for whenever that changes."""
    before = ""

    def on_progress(_: dict[str, int]) -> None:
        nonlocal before
        reasons = dict.fromkeys(launch.reason for launch in c.store.launches.all_open() if launch.reason)
        said = "; ".join(sentence(Reason.parse(reason)) for reason in reasons)
        if said and said != before:
            wanted.tell(f"test job: {said}")
            before = said

    wanted.tell("waiting for the report of a job of nexapod-batch")
    return waiting.wait(c, [job], wanted.timeout_s, on_progress)


@contextmanager
def _own_home(
    paths: Paths, site: Found, needed: Mapping[str, Site], tell: Callable[[str], None]
) -> Iterator[Coordinator]:
    """Give a coordinator that has the nodes of one site, in a new home below the user's; remove both afterwards.

    It also knows sites that are `needed`: whose scheduler starts what this one runs on.
    """
    _remove_stale(paths.home)
    missing = [folder for folder in (paths.home, *paths.home.parents) if not folder.exists()]
    home = paths.home / f"{_PREFIX}{secrets.token_hex(4)}"
    try:
        own_folder(home)
    except OSError as error:
        raise ConfigError(
            "the home folder cannot be written", got=f"{error.strerror}: {paths.home}",
            hint="set NEXAPOD_HOME to a folder of your own",
        ) from error  # fmt: skip
    try:
        with open_coordinator(Paths(home, paths.config_dirs, home / "results")) as c:
            c.only(site.site, needed)
            registry.register_sites(c)
            try:
                yield c
            finally:
                _clear(c, tell)
    finally:
        _remove(home, tell)
        for folder in missing:  # the innermost first; one that somebody else filled stays
            with suppress(OSError):
                folder.rmdir()


def _clear(c: Coordinator, tell: Callable[[str], None]) -> None:
    """Cancel what runs, let it end, and remove what lies on the site."""
    mine = c.nodes()
    with suppress(NexapodError, OSError):
        jobs = [row["id"] for row in views.jobs(c.store, 10, only_open=True)]
        if jobs:
            tell("cancelling the test job")
            job_control.cancel(c, [(job, None) for job in jobs])
        end = time.monotonic() + _PATIENCE_S
        while c.store.launches.all_open() and time.monotonic() < end:
            with suppress(TryAgainError):
                reconcile.reconcile(c, results_s=0)
            time.sleep(0.1)
    try:
        c.backend(mine[0]).clear([c.context(node) for node in mine])
    except (NexapodError, OSError) as error:
        tell(f"what the check left on the site could not be removed: {_one_line(error)}")


def _remove(home: Path, tell: Callable[[str], None]) -> None:
    """Remove the home; where files are still open on another machine, a moment later."""
    end = time.monotonic() + _PATIENCE_S / 4
    while home.exists():
        shutil.rmtree(home, ignore_errors=True)
        if time.monotonic() > end:
            tell(f"{home} could not be removed")
            return
        if home.exists():
            time.sleep(0.2)


def _remove_stale(home: Path) -> None:
    """Remove what checks that were killed left behind."""
    with suppress(OSError), os.scandir(home) as entries:
        mine = [entry for entry in entries if entry.name.startswith(_PREFIX)]
        for path in [one.path for one in mine if time.time() - one.stat().st_mtime > _STALE_S]:
            shutil.rmtree(path, ignore_errors=True)


def _one_line(error: Exception) -> str:
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines() if line.strip())

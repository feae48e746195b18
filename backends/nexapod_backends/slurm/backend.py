"""The backend `slurm`: runners as elements of Slurm arrays, watched through files first and Slurm second.

Bundles lie in the spool on the file system that login and compute nodes share. A runner takes a launch out of the inbox
when every replica of it was reported; so the files tell that a launch ended, and Slurm is asked only about what has
not:

| inbox file | claim | Slurm says of its element | it is |
|---|---|---|---|
| no | yes | - | COMPLETED |
| no | no | - | FAILED when it lies in `refused/`, else UNKNOWN |
| yes | - | not submitted yet | NEW |
| yes | - | pending | QUEUED |
| yes | no | running | QUEUED: it waits its turn in its runner |
| yes | yes | running | ACTIVE |
| yes | - | ended, or long unknown to squeue and sacct | FAILED: what was not reported is lost |
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_backends.slurm.cli.commands import Slurm
from nexapod_backends.slurm.cli.parse import (
    SCONTROL_CONFIG,
    SCONTROL_PARTITIONS,
    SINFO,
    read_config,
    read_partitions,
    read_sinfo,
)
from nexapod_backends.slurm.files import site_files, site_folders
from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, read_nodes, usable
from nexapod_backends.slurm.launch import cancellation, plans
from nexapod_backends.slurm.launch.status import end_status, gone_status, native_of, waiting_status, with_hosts
from nexapod_backends.slurm.launch.submission import Submission
from nexapod_backends.slurm.runner import runner_command
from nexapod_backends.slurm.site_state import SiteState
from nexapod_backends.slurm.transport import LocalTransport
from nexapod_batch.errors import SchedulerError
from nexapod_batch.plugins import targets
from nexapod_batch.requirements import absent
from nexapod_batch.spool import cancellations, launch_keys, layout
from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Finding, Launch, LaunchStatus, NodeContext, Probing

__all__ = ["SlurmBackend"]

#: Settings of a node that stay as somebody wrote them.
_KEPT = ("trail_s",)


class SlurmBackend:
    """Launches runners through sbatch."""

    signs_native = True  # which element of which array it ran in
    tells_ends = True  # that the kernel killed something of it for memory

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Know of no site yet."""
        self._clock = clock
        self._submission = Submission(clock)
        self._sites: dict[str, SiteState] = {}

    def missing(self, site: Site) -> Sequence[str]:
        """Return what is not installed of the libraries that write scripts, and speak SSH where that is the way."""
        wanted = ["jinja2"] if site.scheduler.transport == "local" else ["jinja2", "paramiko"]
        return absent(wanted)

    # ---- launching

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Make the folders, put the node's settings where compute nodes read them; its key stays here."""
        site, spool = context.its_site, context.remote_spool
        wanted = {
            **settings, "work": str(context.remote_work), "idle_exit_s": 0,
            "path": site.runner.path, "launcher": list(site.scheduler.launcher),
            "pass": list(site.environment.passes), "tmp": site.filesystem.local_scratch,
        }  # fmt: skip
        state = self._state(context)
        digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        if digest in state.prepared:
            return
        files = state.transport
        with site_folders.usable(context):
            files.make([*(f"{spool}/{part}" for part in layout.CLUSTER_FOLDERS), str(context.remote_work)])
            there = files.sizes(str(spool))
            if "key" in there:  # of a version that copied the node's key to where jobs can read it
                files.remove(f"{spool}/key")
            written = nesting.loads(files.read(f"{spool}/{layout.NODE_CONFIG}")) if layout.NODE_CONFIG in there else {}
            wanted.update({name: written[name] for name in _KEPT if name in written})
            if {**written, "runtimes": None} != {**wanted, "runtimes": None}:
                wanted["runtimes"] = targets("runtime")  # so that no runner has to look through what is installed
                files.write(f"{spool}/{layout.NODE_CONFIG}", json.dumps(wanted, indent=2).encode() + b"\n")
        state.prepared.add(digest)

    def fetch_folder(self, context: NodeContext) -> str:
        """Return where the runners of a cluster keep what they fetch."""
        return f"{context.remote_spool}/{layout.FETCHED}"

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return few enough that the hosts share the work evenly; one where a Slurm job holds no more."""
        state = self._state(context)
        state.largest_hosts.look(self._clock())
        return plans.plan(context, state, job, self._clock()).launch_size(replicas)

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str | LaunchStatus]:
        """Write bundles and intents, then submit; a group that could not be submitted now is tried at every status."""
        state = self._state(context)
        state.groups.refresh()
        with site_folders.usable(context):
            self._write(context, state, launches)
        self._submission.run(context, state)
        return {launch.key: self._handed(context, state, launch.key) for launch in launches}

    def _write(self, context: NodeContext, state: SiteState, launches: Sequence[Launch]) -> None:
        """Put what was not claimed into the inbox, and write groups for what is in none."""
        files, spool = state.transport, context.remote_spool
        claims = files.sizes(f"{spool}/{layout.CLAIMS}") if launches else {}
        unclaimed = [launch for launch in launches if launch.key not in claims]
        new = [launch for launch in unclaimed if state.groups.find(launch.key) is None]
        if new and runner_command.brings(context):
            state.bring_runner(context)
        # Also of those that Slurm has: a bundle may vanish while its job is in the queue.
        keys = {f"{spool}/{layout.key(launch.key)}": launch_keys.as_text(launch.seed) for launch in unclaimed}
        files.write_all({**keys, **{f"{spool}/{layout.bundle(launch.key)}": launch.envelope for launch in unclaimed}})
        self._write_groups(context, state, new)

    def _write_groups(self, context: NodeContext, state: SiteState, new: Sequence[Launch]) -> None:
        """Write the groups of launches: those of one job with one set of hosts are planned together."""
        alike: dict[tuple[int, tuple[int, int] | None], list[Launch]] = {}
        for launch in new:
            alike.setdefault((id(launch.job), launch.host_set), []).append(launch)
        planned: dict[int, plans.Plan] = {}
        for (job, host_set), together in alike.items():
            if job not in planned:
                planned[job] = plans.plan(context, state, together[0].job, self._clock())
            plans.write_groups(planned[job], state, together, host_set)

    def _handed(self, context: NodeContext, state: SiteState, key: str) -> str | LaunchStatus:
        """Return what Slurm calls a launch, or that it was refused for good."""
        place = state.groups.find(key)
        if place is not None and place[0].refused:
            return waiting_status(context, state, key, self._clock(), claimed=False)
        return native_of(place)

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of each launch; submit what waits for it, look at the queue when it is time."""
        state = self._state(context)
        state.groups.refresh()
        with suppress(SchedulerError):  # kept as the group's trouble; what was submitted before is told all the same
            self._submission.run(context, state)
        files, spool = state.transport, context.remote_spool
        waiting = layout.launches_in(files.sizes(f"{spool}/{layout.INBOX}"))
        claims = files.sizes(f"{spool}/{layout.CLAIMS}")
        left = [key for key in keys if key in waiting or key not in claims]
        bound = {place[0].id: place[0] for key in keys if (place := state.groups.find(key)) and place[0].bound}
        if left or bound:
            reported = [one.id for one in bound.values() if state.lacks_hosts_alone(one, left)]
            state.queue.look(state.groups.by_id.values(), self._clock(), reported)
        self._loosen(context, state)
        now = self._clock()
        statuses: dict[str, LaunchStatus] = {}
        for key in keys:
            status_of = waiting_status if key in waiting else gone_status
            statuses[key] = with_hosts(state, key, status_of(context, state, key, now, claimed=key in claims), now)
        return statuses

    def ends(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return how Slurm says that elements ended whose launches are over for us."""
        state = self._state(context)
        state.groups.refresh()
        now = self._clock()
        state.queue.look(state.groups.by_id.values(), now)
        return {key: end_status(state, key, now) for key in keys}

    def _loosen(self, context: NodeContext, state: SiteState) -> None:
        """Take back what waits for a limit that only packing breaks: it is placed anew, in smaller jobs."""
        for group in list(state.groups.of_node(context.node.name)):
            if group.native and not group.narrow and (why := state.hopeless(group, self._clock())):
                with suppress(SchedulerError):  # else at the next look
                    state.slurm.cancel([group.native], pending=True)
                    state.too_large(group, why, self._clock())

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave one note for the runners; scancel every element of which nothing else is left to run."""
        state = self._state(context)
        state.groups.refresh()
        cancellation.cancel(context, state, self._submission, replicas)

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove inbox file, script and notes, spend the claim; remove groups of which nothing is asked any more."""
        state = self._state(context)
        state.groups.refresh()
        files, spool = state.transport, context.remote_spool
        files.remove_all([f"{spool}/{path}" for key in keys for path in layout.of_ended_launch(key)])
        files.remove_all([f"{context.remote_work}/{layout.script(key)}" for key in keys])
        _spend_claims(files, str(spool), keys)
        _drop_notes(files, str(spool))
        if self._drop_groups(context, state, keys) and runner_command.brings(context):
            state.drop_runners(context)

    def _drop_groups(self, context: NodeContext, state: SiteState, keys: Sequence[str]) -> bool:
        """Remove groups of which nothing is asked any more; say whether any group held one of these launches."""
        touched = {}
        for key in keys:
            place = state.groups.find(key)
            if place is not None:
                place[0].forgotten = (*place[0].forgotten, key)
                touched[place[0].id] = place[0]
        spool = context.remote_spool
        for group in touched.values():
            if {key for element in group.elements for key in element} <= set(group.forgotten):
                logs = [f"{spool}/{layout.element_log(group.id, index)}" for index in range(len(group.elements))]
                state.transport.remove_all([f"{spool}/{layout.group(group.id)}", *logs])
                state.groups.remove(group)
            else:
                state.groups.save(group)
        return bool(touched)

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove spent claims."""
        self._state(context).transport.remove_all([f"{context.remote_spool}/{layout.spent(key)}" for key in keys])

    # ---- files

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Copy inputs to where compute nodes see them."""
        state = self._state(context)
        return site_files.stage(state.transport, context, inputs, lambda: _python(state, context))

    def absent(self, context: NodeContext, sizes: Mapping[str, int]) -> Collection[str]:
        """Return which inputs would have to travel."""
        return site_files.absent(self._state(context).transport, context, sizes)

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:
        """Remove copies that no job needs."""
        return site_files.unstage(self._state(context).transport, context, needed)

    def collect(self, context: NodeContext) -> None:
        """Bring what the segments have more than our copies; nothing where they lie on a shared file system."""
        site_files.collect(self._state(context).transport, context)

    def change_token(self, context: NodeContext) -> str | None:
        """Look whether there may be news, in one round trip; None where files are shared."""
        return site_files.change_token(self._state(context).transport, context)

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove segments that were taken in."""
        site_files.discard(self._state(context).transport, context, segments)

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False,
        names: Collection[str] | None = None, max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Bring the files of a replica into our work folder; nothing where they lie on a shared file system."""
        state = self._state(context)
        site_files.fetch(
            state.transport, context, replica, lambda: _python(state, context),
            logs=logs, names=names, max_bytes=max_bytes,
        )  # fmt: skip

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove the work folders of replicas, and the logs beside them, wherever they lie."""
        site_files.remove(self._state(context).transport, context, replicas)

    # ---- administration

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:
        """Return the script that sbatch would get for the first launches, and what Slurm says of it."""
        state = self._state(context)
        return plans.describe(plans.plan(context, state, job, self._clock()), state, replicas, ask=ask)

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Compare the site file with what Slurm says, and let a compute node of each node look."""
        from nexapod_backends.slurm.site_check.probe import probe  # noqa: PLC0415 - only `site check` needs it

        state = self._state(contexts[0])
        yield from probe(contexts[0].its_site, state.slurm, state.transport, contexts, how)

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove spools and work folders; of a work folder of the site, our whole corner."""
        for context in contexts:
            site_files.clear(self._state(context).transport, context)

    def cluster_id(self, context: NodeContext) -> str:
        """Return name and controller of the cluster, as Slurm says them."""
        return read_config(self._state(context).slurm.call(SCONTROL_CONFIG).stdout).identity

    def discover(self, site: Site) -> str:
        """Return a commented site file of the cluster that the draft reaches."""
        from nexapod_backends.slurm.site_check.site_draft import site_file  # noqa: PLC0415 - only `site init` needs it

        slurm = Slurm(site, LocalTransport())
        config = read_config(slurm.call(SCONTROL_CONFIG).stdout)
        rows = read_partitions(slurm.listing(SCONTROL_PARTITIONS)).rows
        hosts = read_sinfo(slurm.listing([*SINFO, "--all"])).rows
        hosts = usable(hosts, read_nodes(slurm.call(SCONTROL_NODES, check=False).stdout))
        return site_file(config, rows, hosts, name=site.name, reached=site.scheduler, here=socket.gethostname())

    def _state(self, context: NodeContext) -> SiteState:
        site = context.its_site
        if site.name not in self._sites:
            self._sites[site.name] = SiteState(site, context.state)
        return self._sites[site.name]


def _python(state: SiteState, context: NodeContext) -> Sequence[str]:
    """Return the words that start an interpreter of the site that has this package; it is brought there if need be."""
    if runner_command.brings(context):
        state.bring_runner(context)
    return runner_command.python(context)


def _spend_claims(files: Transport, spool: str, keys: Sequence[str]) -> None:
    """Let no runner take these launches any more: their claims are spent, also where nobody made one."""
    claims = files.sizes(f"{spool}/{layout.CLAIMS}")
    ran = [key for key in keys if key in claims]
    files.rename_all({f"{spool}/{layout.claim(key)}": f"{spool}/{layout.spent(key)}" for key in ran})
    files.write_all({f"{spool}/{layout.spent(key)}": b"" for key in keys if key not in claims})


def _drop_notes(files: Transport, spool: str) -> None:
    """Remove notes on what is to stop that are about nothing in the inbox any more."""
    lists = [name for name in files.sizes(f"{spool}/{layout.CANCEL}") if layout.is_list(name)]
    if not lists:
        return
    left = layout.launches_in(files.sizes(f"{spool}/{layout.INBOX}"))
    paths = [f"{spool}/{layout.cancellation(name)}" for name in lists]
    files.remove_all([path for path in paths if left.isdisjoint(cancellations.read(files.read(path)))])

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
import os
import re
import time
from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from nexapod_backends.slurm import runner_command, site_folders
from nexapod_backends.slurm.cli.commands import RefusedError, Slurm
from nexapod_backends.slurm.cli.parse import (
    SCONTROL_CONFIG,
    SCONTROL_PARTITIONS,
    SINFO,
    read_config,
    read_partitions,
    read_sinfo,
)
from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, read_nodes, usable
from nexapod_backends.slurm.jobs.pack import Geometry, level_of, pack, room_for
from nexapod_backends.slurm.jobs.pack_limits import shape_of
from nexapod_backends.slurm.jobs.script import Ask, TemplateFaultError, Words, as_it_is, read_template, render
from nexapod_backends.slurm.launch_status import ended, native_of, ran_on, told
from nexapod_backends.slurm.site_state import Kept
from nexapod_backends.slurm.submission import Submission
from nexapod_backends.slurm.submission_records import Group, group_id
from nexapod_backends.slurm.transport import LocalTransport
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.model.fit import job_at, partition_for, words_at
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.plugins import HOPELESS, targets
from nexapod_batch.spool import cancellations, launch_keys
from nexapod_batch.trust import nesting
from nexapod_batch.trust.bundle import decode_bundle

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Partition, Site
    from nexapod_batch.plugins import Finding, Launch, LaunchStatus, NodeContext, Probing

__all__ = ["SlurmBackend"]

_FOLDERS = ("inbox", "claims", "spent", "cancel", "reports", "refused", "groups", "logs")
#: What lies beside the work folder of a replica.
_BESIDE = (".out", ".err", ".manifest", ".start")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,120}\.jsonl")
_BLOCK = 1 << 20
_MAX_KEY = 16 * 1024
#: Segments of which the size is looked at between two passes.
_LOOKED_AT = 32
#: Elements of one node that a launch should be shared among, so that the last one does not run alone for long.
_SHARES = 4


class SlurmBackend:
    """Launches runners through sbatch."""

    signs_native = True  # which element of which array it ran in

    def __init__(self, clock: Any = time.time) -> None:  # noqa: ANN401 - a function without arguments
        """Know of no site yet."""
        self._clock = clock
        self._submission = Submission(clock)
        self._sites: dict[str, Kept] = {}

    # ---- the port

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Make the folders, put the node's settings where compute nodes read them; its key stays here."""
        site, spool = context.its_site, context.remote_spool
        wanted = {
            **settings, "work": str(context.remote_work), "idle_exit_s": 0,
            "path": site.runner.path, "launcher": list(site.scheduler.launcher),
            "pass": list(site.environment.passes), "tmp": site.filesystem.local_scratch,
        }  # fmt: skip
        state = self._state(context)
        stamp = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        if stamp in state.prepared:
            return
        files = state.transport
        with site_folders.usable(context):
            files.make([*(f"{spool}/{part}" for part in _FOLDERS), str(context.remote_work)])
            there = files.sizes(str(spool))
            if "key" in there:  # of a version that copied the node's key to where jobs can read it
                files.remove(f"{spool}/key")
            written = nesting.loads(files.read(f"{spool}/node.json")) if "node.json" in there else {}
            if {**written, "runtimes": None} != {**wanted, "runtimes": None}:
                wanted["runtimes"] = targets("runtime")  # so that no runner has to look through what is installed
                files.write(f"{spool}/node.json", json.dumps(wanted, indent=2).encode() + b"\n")
        state.prepared.add(stamp)

    def grain(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return few enough that the hosts share the work evenly; one where a Slurm job holds no more."""
        self._state(context).largest.look(self._clock())
        return self._grain(context, job, replicas)

    def _grain(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Do the same by what is known, without asking Slurm."""
        at_site, partition = self._partition(context, job)
        level = self._level(context, job, at_site, partition)
        room = room_for(at_site.resources, partition, context.its_site.limits, level)
        if not room.together:
            return 1
        slots = max(1, partition.hosts * room.width)
        return max(1, min(room.tasks, -(-replicas // (slots * _SHARES))))

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Copy inputs beside the work folders, once, unless compute nodes see the coordinator's home anyhow."""
        if not inputs or not _copies(context):
            return {digest: str(path) for digest, path in inputs.items()}
        folder, files = f"{context.remote_spool}/inputs", self._state(context).transport
        with site_folders.usable(context):
            files.make([folder])
            there = files.sizes(folder)
            for digest, path in inputs.items():
                if there.get(digest) != path.stat().st_size:
                    files.put(path, f"{folder}/{digest}")  # the runner checks the digest
        return {digest: f"{folder}/{digest}" for digest in inputs}

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:
        """Remove copies that no job needs."""
        if not _copies(context):
            return 0
        folder, files = f"{context.remote_spool}/inputs", self._state(context).transport
        gone = [name for name in files.sizes(folder) if name not in needed and not name.startswith(".")]
        files.remove_all([f"{folder}/{name}" for name in gone])
        return len(gone)

    def collect(self, context: NodeContext) -> None:
        """Bring what the segments have more than our copies; nothing where they lie on a shared file system."""
        if context.remote_spool == context.spool:
            return
        files, reports = self._state(context).transport, context.spool / "reports"
        own_folder(reports, below=base_of(reports))
        for name, size in files.sizes(f"{context.remote_spool}/reports").items():
            if not _SEGMENT.fullmatch(name):
                continue
            if not (reports / name).exists() or (reports / name).stat().st_size < size:
                _bring_rest(files, f"{context.remote_spool}/reports/{name}", reports / name)

    def stamp(self, context: NodeContext) -> object:
        """Look at the inbox, from which launches go when they end, and at the newest segments, in one round trip."""
        if context.remote_spool == context.spool:
            return None
        with suppress(OSError), os.scandir(context.spool / "reports") as entries:
            known = sorted((entry.stat().st_mtime_ns, entry.name) for entry in entries)[-_LOOKED_AT:]
        names = [name for _, name in known] if known else []
        watched = ("inbox", "reports", *(f"reports/{name}" for name in names))
        paths = [f"{context.remote_spool}/{name}" for name in watched]
        return self._state(context).transport.stamps(paths)

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove segments that were taken in: theirs first, or they would be brought again."""
        for name in segments:
            self._state(context).transport.remove(f"{context.remote_spool}/reports/{name}")
            (context.spool / "reports" / name).unlink(missing_ok=True)

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False,
        names: Collection[str] | None = None, most: int | None = None,  # noqa: ARG002 - folders come as they are
    ) -> None:  # fmt: skip
        """Bring the files of a replica into our work folder; nothing where they lie on a shared file system."""
        if context.remote_work == context.work:
            return
        files = self._state(context).transport
        own_folder(context.work, below=base_of(context.work))
        if logs:
            for suffix in (".out", ".err"):
                with suppress(FileNotFoundError):
                    _bring_rest(files, f"{context.remote_work}/{replica}{suffix}", context.work / f"{replica}{suffix}")
            return
        for suffix in _BESIDE:
            with suppress(FileNotFoundError):
                files.get(f"{context.remote_work}/{replica}{suffix}", context.work / f"{replica}{suffix}")
        files.get_tree(f"{context.remote_work}/{replica}", context.work / replica)

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove the work folders of replicas, and the logs beside them, wherever they lie."""
        there = self._state(context).transport
        for transport, work in ((there, context.remote_work), (LocalTransport(), context.work)):
            transport.remove_trees([f"{work}/{name}" for name in replicas])
            transport.remove_all([f"{work}/{name}{ending}" for name in replicas for ending in _BESIDE])
            if context.remote_work == context.work:
                break

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str | LaunchStatus]:
        """Write bundles and intents, then submit; a group that could not be submitted now is tried at every status."""
        state = self._state(context)
        state.groups.refresh()
        files, spool = state.transport, context.remote_spool
        with site_folders.usable(context):
            claims = files.sizes(f"{spool}/claims") if launches else {}
            mine = [one for one in launches if one.key not in claims]
            new = [one for one in mine if state.groups.find(one.key) is None]
            if new and runner_command.brings(context):
                state.bring_runner(context)
            # Also of those that Slurm has: a bundle may vanish while its job is in the queue.
            keys = {f"{spool}/inbox/{one.key}{launch_keys.ENDING}": launch_keys.as_text(one.seed) for one in mine}
            files.write_all({**keys, **{f"{spool}/inbox/{one.key}.json": one.envelope for one in mine}})
            alike: dict[tuple[int, tuple[int, int] | None], list[Launch]] = {}
            for one in new:
                alike.setdefault((id(one.job), one.host_set), []).append(one)
            for (_, host_set), together in alike.items():
                self._intend(context, state, together[0].job, together, host_set)
        self._submission.run(context, state)
        return {one.key: self._handed(context, state, one.key) for one in launches}

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of each launch; submit what waits for it, look at the queue when it is time."""
        state = self._state(context)
        state.groups.refresh()
        with suppress(SchedulerError):  # kept as the group's trouble; what was submitted before is told all the same
            self._submission.run(context, state)
        files, spool = state.transport, context.remote_spool
        waiting, claims = files.sizes(f"{spool}/inbox"), files.sizes(f"{spool}/claims")
        left = [key for key in keys if f"{key}.json" in waiting or key not in claims]
        if left or any(place[0].bound for key in keys if (place := state.groups.find(key))):
            state.watch.look(state.groups.by_id.values(), self._clock())
        self._loosen(context, state)
        now, found = self._clock(), {}
        for key in keys:
            say = told if f"{key}.json" in waiting else ended
            found[key] = ran_on(state, key, say(context, state, key, now, claimed=key in claims), now)
        return found

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave one note for the runners; scancel every element of which nothing else is left to run."""
        state = self._state(context)
        state.groups.refresh()
        files, spool = state.transport, context.remote_spool
        waiting = {name.removesuffix(".json") for name in files.sizes(f"{spool}/inbox")}
        replicas = {key: names for key, names in replicas.items() if key in waiting}
        if not replicas:
            return
        name, content = cancellations.listing(replicas)
        files.write(f"{spool}/cancel/{name}", content)
        touched: dict[str, tuple[Group, set[int]]] = {}
        for key in replicas:
            place = state.groups.find(key)
            if place is not None:
                touched.setdefault(place[0].id, (place[0], set()))[1].add(place[1])
        noted = _noted(files, f"{spool}/cancel")
        ids: list[str] = []
        for group, elements in touched.values():
            over = [index for index in elements if self._over(context, group, index, waiting, noted)]
            whole = bool(over) and all(
                self._over(context, group, index, waiting, noted) for index in range(len(group.elements))
            )
            ids += self._stopped(context, state, group, over, whole=whole)
        if ids:
            state.slurm.cancel(ids)

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove inbox file, script and notes, spend the claim; remove groups of which nothing is asked any more."""
        state = self._state(context)
        state.groups.refresh()
        files, spool = state.transport, context.remote_spool
        touched: dict[str, Group] = {}
        for folder, ending in (
            (f"{spool}/inbox", ".json"),
            (f"{spool}/inbox", launch_keys.ENDING),
            (context.remote_work, ".script"),
            (f"{spool}/cancel", ""),
            (f"{spool}/refused", ".json"),
            (f"{spool}/refused", ".reason"),
        ):
            files.remove_all([f"{folder}/{key}{ending}" for key in keys])
        claims = files.sizes(f"{spool}/claims")
        files.rename_all({f"{spool}/claims/{key}": f"{spool}/spent/{key}" for key in keys if key in claims})
        files.write_all({f"{spool}/spent/{key}": b"" for key in keys if key not in claims})
        if lists := [name for name in files.sizes(f"{spool}/cancel") if name.endswith(cancellations.ENDING)]:
            left = {name.removesuffix(".json") for name in files.sizes(f"{spool}/inbox")}
            paths = [f"{spool}/cancel/{name}" for name in lists]
            files.remove_all([path for path in paths if left.isdisjoint(cancellations.read(files.read(path)))])
        for key in keys:
            place = state.groups.find(key)
            if place is not None:
                place[0].forgotten = (*place[0].forgotten, key)
                touched[place[0].id] = place[0]
        for group in touched.values():
            if {key for element in group.elements for key in element} <= set(group.forgotten):
                logs = [f"{spool}/logs/{group.id}.{index}" for index in range(len(group.elements))]
                files.remove_all([f"{spool}/groups/{group.id}.json", *logs])
                state.groups.remove(group)
            else:
                state.groups.save(group)
        if touched and runner_command.brings(context):
            state.drop_runners(context)

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove spent claims."""
        self._state(context).transport.remove_all([f"{context.remote_spool}/spent/{key}" for key in keys])

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:
        """Return the script that sbatch would get for the first launches, and what Slurm says of it."""
        at_site, partition = self._partition(context, job)
        level = self._level(context, job, at_site, partition)
        room = room_for(at_site.resources, partition, context.its_site.limits, level)
        grain = self._grain(context, job, replicas)
        count = -(-replicas // grain)
        launches = [(f"{number:032x}", min(grain, replicas - number * grain)) for number in range(count)]
        limits = context.its_site.limits
        packed = pack(launches, resources=at_site.resources, partition=partition, limits=limits, level=level)
        elements = sum(len(group.elements) for group in packed)
        jobs = f"{elements} Slurm job{'s' * (elements != 1)} in {len(packed)} call{'s' * (len(packed) != 1)} of sbatch"
        why = "" if room.together else " (not packed: no resources.time, several nodes or tasks, or pack.tasks = 1)"
        first = packed[0]
        script = self._script(context, job, partition, "0" * 16, first.geometry, len(first.elements))
        said = f"# {self._said(context, script)}\n" if ask else ""
        return f"{jobs}{why}; the first:\n{script}{said}"

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Compare the site file with what Slurm says, and let a compute node of each node look."""
        from nexapod_backends.slurm.site_check.probe import probe  # noqa: PLC0415 - only `site check` needs it

        state = self._state(contexts[0])
        yield from probe(contexts[0].its_site, state.slurm, state.transport, contexts, how)

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove spools and work folders; of a work folder of the site, our whole corner."""
        for context in contexts:
            files = self._state(context).transport
            files.remove_tree(str(context.remote_work))
            files.remove_tree(str(context.remote_spool))
            if context.its_site.filesystem.work_dir:
                files.remove_tree(str(context.remote_spool.parent.parent))

    def discover(self, site: Site) -> str:
        """Return a commented site file of the cluster that the draft reaches."""
        from nexapod_backends.slurm.site_check.site_draft import site_file  # noqa: PLC0415 - only `site init` needs it

        slurm = Slurm(site, LocalTransport())
        config = read_config(slurm.call(SCONTROL_CONFIG).stdout)
        rows = read_partitions(slurm.call(SCONTROL_PARTITIONS).stdout).rows
        hosts = read_sinfo(slurm.call([*SINFO, "--all"]).stdout).rows
        hosts = usable(hosts, read_nodes(slurm.call(SCONTROL_NODES, check=False).stdout))
        return site_file(config, rows, hosts, name=site.name, reached=site.scheduler)

    # ---- what stands behind it

    def _said(self, context: NodeContext, script: str) -> str:
        """Return what Slurm says of a script, in one line."""
        try:
            said = self._state(context).slurm.submit(script, test_only=True)
        except (RefusedError, SchedulerError) as error:
            said = f"{error.what}: {error.got}"
        start = re.search(r"\bstart at (\d{9,11})\b", said)  # as our environment makes sbatch write times
        if start:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(int(start[1])))
            said = said.replace(start[1], when, 1)
        return " ".join(said.split())

    def _state(self, context: NodeContext) -> Kept:
        site = context.its_site
        if site.name not in self._sites:
            self._sites[site.name] = Kept(site, context.state)
        return self._sites[site.name]

    def _partition(self, context: NodeContext, job: Job) -> tuple[Job, Partition]:
        """Return the job as this site sees it, and the partition that it goes to."""
        site = context.its_site
        at_site = job_at(job, site.name)
        group = site.groups().get(context.node.name, ())
        wanted = words_at(job, site.name).get("partition")
        found = partition_for(group, at_site, wanted)
        if found is None:
            raise ConfigError(
                f"node {context.node.name}: no partition fits job {job.name}",
                got=f"partition {wanted}" if wanted else "its resources",
                wanted=f"one of: {', '.join(one.name for one in group) or 'none is declared'}",
                hint=f"nexapod-batch site show {site.name}",
            )
        return at_site, self._state(context).largest.fitted(found, at_site.resources)

    def _intend(
        self,
        context: NodeContext,
        state: Kept,
        job: Job,
        launches: Sequence[Launch],
        host_set: tuple[int, int] | None,
    ) -> None:
        """Write down which sbatch calls there will be, for the runners and for ourselves."""
        at_site, partition = self._partition(context, job)
        exclude: tuple[str, ...] = ()
        if host_set is not None:
            index, count = host_set
            constraint = words_at(job, context.its_site.name).get("constraint", "")
            hosts = state.hosts(partition.name, constraint)
            if index >= len(hosts):
                with_it = f" that satisfy {constraint}" if constraint else ""
                raise SchedulerError(
                    f"partition {partition.name} has fewer hosts{with_it} than are to compute apart",
                    got=len(hosts),
                    wanted=index + 1,
                    hint="set hosts of the partition in the site file to what is really there",
                )
            exclude = tuple(host for position, host in enumerate(hosts) if position % count != index)
            partition = replace(partition, hosts=len(hosts) - len(exclude))
        sizes = {one.key: one.replicas for one in launches}
        level, limits = self._level(context, job, at_site, partition), context.its_site.limits
        packed = pack(
            list(sizes.items()), resources=at_site.resources, partition=partition, limits=limits, level=level
        )
        charged = _charged(context, job, partition)
        for one in packed:
            elements = tuple(element.keys for element in one.elements)
            group = Group(
                id=group_id(elements), node=context.node.name, partition=partition.name, elements=elements,
                replicas=tuple(element.replicas for element in one.elements), bound=host_set is not None,
                charged=charged, shape=shape_of(charged, at_site.resources),
                level=level_of(one, at_site.resources),
            )  # fmt: skip
            try:
                script = self._script(context, job, partition, group.id, one.geometry, len(elements), exclude)
            except TemplateFaultError:
                raise  # the site's: what waits goes on when it is mended
            except ConfigError as error:  # it will never be another one: nothing of this job can be submitted there
                script, group.refused = "", " ".join(f"{error}; {HOPELESS}".split())
            cpus = one.geometry.width * at_site.resources.cpus
            told = {
                "schema": 1, "elements": elements, "cpus": cpus,
                "mem_mib": one.geometry.mem_mib or partition.max_mem_mib, "script": script,
            }  # fmt: skip
            state.transport.write(f"{context.remote_spool}/groups/{group.id}.json", json.dumps(told).encode())
            state.groups.save(group)

    def _handed(self, context: NodeContext, state: Kept, key: str) -> str | LaunchStatus:
        """Return what Slurm calls a launch, or that it was refused for good."""
        place = state.groups.find(key)
        if place is not None and place[0].refused:
            return told(context, state, key, self._clock(), claimed=False)
        return native_of(place)

    def _level(self, context: NodeContext, job: Job, at_site: Job, partition: Partition) -> int:
        """Return how tightly replicas of a job may be packed, by what Slurm said of such jobs before."""
        shape = shape_of(_charged(context, job, partition), at_site.resources)
        return self._state(context).narrow.level(shape, self._clock())

    def _loosen(self, context: NodeContext, state: Kept) -> None:
        """Take back what waits for a limit that only packing breaks: it is placed anew, in smaller jobs."""
        for group in list(state.groups.of_node(context.node.name)):
            if group.native and not group.narrow and (why := state.hopeless(group)):
                with suppress(SchedulerError):  # else at the next look
                    state.slurm.cancel([group.native], pending=True)
                    state.too_large(group, why, self._clock())

    def _script(
        self,
        context: NodeContext,
        job: Job,
        partition: Partition,
        group: str,
        geometry: Geometry,
        elements: int,
        exclude: tuple[str, ...] = (),
    ) -> str:
        site = context.its_site
        words = words_at(job, site.name)
        asked = Ask(
            group=group,
            log=f"{as_it_is(str(context.remote_spool))}/logs/{group}.%a",
            runner=runner_command.argv(context, group),
            geometry=geometry,
            words=Words(
                partition=partition.name, account=words.get("account", ""), qos=words.get("qos", ""),
                constraint=words.get("constraint", ""), reservation=words.get("reservation", ""),
                exclude=exclude,
            ),
            array=f"0-{elements - 1}",
            container=job.container is not None,
        )  # fmt: skip
        return render(site, asked, read_template(site.scheduler.template))

    def _stopped(
        self, context: NodeContext, state: Kept, group: Group, over: Sequence[int], *, whole: bool
    ) -> list[str]:
        """Return what is to be cancelled of a group of which these elements, or all, have nothing left to run."""
        if over and group.open and group.tried:  # sbatch was called: it may be in the queue all the same
            self._submission.adopt(context, state, group)
        if whole and group.open:
            group.refused = "cancelled before it was submitted"
            state.groups.save(group)
        if not group.native:
            return []
        return [group.native] if whole else [f"{group.native}_{index}" for index in over]

    def _over(
        self, context: NodeContext, group: Group, index: int, waiting: set[str], noted: Mapping[str, set[str] | None]
    ) -> bool:
        """Say whether nothing of an element is left to run: each launch has ended, or every replica is to stop."""
        left = [key for key in group.elements[index] if key in waiting]
        stopped = [noted.get(key, set()) for key in left]
        if sum(len(names) for names in stopped if names) == group.replicas[index]:  # no need to look into bundles
            return True
        return all(
            names is None or (bool(names) and self._replicas(context, key) <= names)
            for key, names in zip(left, stopped, strict=True)
        )

    def _replicas(self, context: NodeContext, key: str) -> set[str]:
        """Return the names of the replicas of a launch; none when it is in the inbox no more."""
        try:
            return _names(self._state(context).transport.read(f"{context.remote_spool}/inbox/{key}.json"))
        except FileNotFoundError:
            return set()


def _charged(context: NodeContext, job: Job, partition: Partition) -> str:
    """Return to whom Slurm charges a job: what it counts together."""
    words = words_at(job, context.its_site.name)
    return "/".join([words.get("account", ""), words.get("qos", ""), partition.name])


def _noted(files: Transport, folder: str) -> dict[str, set[str] | None]:
    """Return what is to stop, by launch key: the names of replicas, or None for all of a launch."""
    found: dict[str, set[str] | None] = {}
    for name in files.sizes(folder):
        if not name.endswith(cancellations.ENDING):
            continue
        for key, names in cancellations.read(files.read(f"{folder}/{name}")).items():
            known = found.get(key, set())
            found[key] = None if names is None or known is None else known | set(names)
    return found


def _names(envelope: bytes) -> set[str]:
    """Return the names of the replicas in a bundle of ours."""
    payload = b64decode(json.loads(envelope)["payload"])
    bundle = decode_bundle(payload)
    return {str(ReplicaName(bundle.job_id, one.task, one.number)) for one in bundle.replicas}


def _copies(context: NodeContext) -> bool:
    """Say whether compute nodes do not see the coordinator's home, so that inputs are copied for them."""
    return context.remote_spool != context.spool or bool(context.its_site.filesystem.work_dir)


def _bring_rest(files: Transport, path: str, target: Path) -> None:
    """Append to our copy what a file that only grows has more."""
    data = files.read(path, target.stat().st_size if target.exists() else 0, _BLOCK)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "ab", buffering=0) as stream:
        while data:
            stream.write(data)
            data = files.read(path, stream.tell(), _BLOCK)

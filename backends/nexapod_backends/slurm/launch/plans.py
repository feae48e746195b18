"""What is to be asked of Slurm for launches of a job: partition, hosts, how they are packed, and the scripts.

A plan becomes groups: what one call of sbatch takes. Each is written down, for the runners and for ourselves, before
Slurm is called.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_backends.slurm.cli.commands import RefusedError
from nexapod_backends.slurm.jobs.directives import SbatchRequest, SchedulerOptions, constraints
from nexapod_backends.slurm.jobs.pack import has_spare_time, pack, room_for
from nexapod_backends.slurm.jobs.pack_limits import shape_of
from nexapod_backends.slurm.jobs.script import TemplateFaultError, as_it_is, read_template, render
from nexapod_backends.slurm.queue.submission_records import Group, group_id
from nexapod_backends.slurm.runner import runner_command
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.model.fit import job_at, partition_for, words_at
from nexapod_batch.plugins import HOPELESS
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_backends.slurm.jobs.pack import Geometry, PackedArray, Room
    from nexapod_backends.slurm.site_state import SiteState
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Partition
    from nexapod_batch.plugins import Launch, NodeContext

__all__ = ["Plan", "describe", "plan", "write_groups"]

#: Elements of one node that a launch should be shared among, so that the last one does not run alone for long.
_SHARES = 4


class Plan(Struct, frozen=True, kw_only=True):
    """Where the launches of a job go, and how tightly they may be packed."""

    context: NodeContext
    job: Job
    at_site: Job  # the job as the site sees it
    partition: Partition  # with no more for packing than its largest hosts have
    constraints: tuple[str, ...]  # that its hosts must satisfy, all of them
    charged: str  # to whom Slurm charges it: what it counts together
    max_replicas: int  # that one Slurm job may hold
    exclude: tuple[str, ...] = ()  # hosts where it must not run

    @property
    def room(self) -> Room:
        """Return how much one Slurm job may hold."""
        return room_for(self.at_site.resources, self.partition, self.context.its_site.limits, self.max_replicas)

    def launch_size(self, replicas: int) -> int:
        """Return few enough replicas that the hosts share the work evenly; one where a Slurm job holds no more."""
        room = self.room
        if not room.together:
            return 1
        slots = max(1, self.partition.hosts * room.width)
        return max(1, min(room.tasks, -(-replicas // (slots * _SHARES))))

    def pack(self, sizes: Sequence[tuple[str, int]]) -> tuple[PackedArray, ...]:
        """Return the calls of sbatch for launches (key, replicas); SchedulerError when none can run there."""
        return pack(
            sizes, resources=self.at_site.resources, partition=self.partition,
            limits=self.context.its_site.limits, max_replicas=self.max_replicas,
        )  # fmt: skip

    def script(self, group: str, geometry: Geometry, elements: int) -> str:
        """Return the script of one call; ConfigError names the value, or the line of the template, that is wrong."""
        site = self.context.its_site
        site_options = words_at(self.job, site.name)
        options = SchedulerOptions(
            partition=self.partition.name, account=site_options.get("account", ""), qos=site_options.get("qos", ""),
            constraint=site_options.get("constraint", ""), reservation=site_options.get("reservation", ""),
            exclude=self.exclude,
        )  # fmt: skip
        request = SbatchRequest(
            group=group,
            log=f"{as_it_is(str(self.context.remote_spool))}/{layout.element_log(group, '%a')}",
            runner=runner_command.argv(self.context, group),
            geometry=geometry,
            options=options,
            array=f"0-{elements - 1}",
            container=self.job.container is not None,
        )
        return render(site, request, read_template(site.scheduler.template))


def plan(context: NodeContext, state: SiteState, job: Job, now: float) -> Plan:
    """Return where a job goes, by what is known without asking Slurm; ConfigError when it fits no partition."""
    site = context.its_site
    at_site = job_at(job, site.name)
    node_partitions = site.groups().get(context.node.name, ())
    options = words_at(job, site.name)
    wanted = options.get("partition")
    partition = partition_for(node_partitions, at_site, wanted)
    if partition is None:
        raise ConfigError(
            f"node {context.node.name}: no partition fits job {job.name}",
            got=f"partition {wanted}" if wanted else "its resources",
            wanted=f"one of: {', '.join(one.name for one in node_partitions) or 'none is declared'}",
            hint=f"nexapod-batch site show {site.name}",
        )
    wanted_features = constraints(site, options.get("constraint", ""))
    partition = state.largest_hosts.fitted(partition, at_site.resources, wanted_features)
    charged = "/".join([options.get("account", ""), options.get("qos", ""), partition.name])
    return Plan(
        context=context, job=job, at_site=at_site, partition=partition, constraints=wanted_features, charged=charged,
        max_replicas=state.pack_limits.max_replicas(shape_of(charged, at_site.resources), now),
    )  # fmt: skip


def write_groups(planned: Plan, state: SiteState, launches: Sequence[Launch], host_set: tuple[int, int] | None) -> None:
    """Write down which sbatch calls there will be, for the runners and for ourselves.

    SchedulerError when there are fewer hosts than are to compute apart; ConfigError when the template is broken.
    """
    if host_set is not None:
        planned = _on_host_set(planned, state, host_set)
    resources = planned.at_site.resources
    for array in planned.pack([(launch.key, launch.replicas) for launch in launches]):
        elements = tuple(element.keys for element in array.elements)
        group = Group(
            id=group_id(elements), node=planned.context.node.name, partition=planned.partition.name,
            elements=elements, replicas=tuple(element.replicas for element in array.elements),
            bound=host_set is not None, charged=planned.charged, shape=shape_of(planned.charged, resources),
            spare=has_spare_time(array, resources),
        )  # fmt: skip
        try:
            script = planned.script(group.id, array.geometry, len(elements))
        except TemplateFaultError:
            raise  # the site's: what waits goes on when it is mended
        except ConfigError as error:  # it will never be another one: nothing of this job can be submitted there
            script, group.refused = "", " ".join(f"{error}; {HOPELESS}".split())
        for_runners = {
            "schema": 1, "elements": elements, "cpus": array.geometry.width * resources.cpus,
            "mem_mib": array.geometry.mem_mib or planned.partition.max_mem_mib, "script": script,
        }  # fmt: skip
        path = f"{planned.context.remote_spool}/{layout.group(group.id)}"
        state.transport.write(path, json.dumps(for_runners).encode())
        state.groups.save(group)


def _on_host_set(planned: Plan, state: SiteState, host_set: tuple[int, int]) -> Plan:
    """Return the plan for one of several disjoint sets of hosts."""
    index, count = host_set
    hosts = state.hosts(planned.partition.name, planned.constraints)
    if index >= len(hosts):
        with_it = f" that satisfy {' and '.join(planned.constraints)}" if planned.constraints else ""
        raise SchedulerError(
            f"partition {planned.partition.name} has fewer hosts{with_it} than are to compute apart",
            got=len(hosts),
            wanted=index + 1,
            hint="set hosts of the partition in the site file to what is really there",
        )
    exclude = tuple(host for position, host in enumerate(hosts) if position % count != index)
    partition = replace(planned.partition, hosts=len(hosts) - len(exclude))
    return replace(planned, partition=partition, exclude=exclude)


def describe(planned: Plan, state: SiteState, replicas: int, *, ask: bool) -> str:
    """Return the script that sbatch would get for the first launches, and with `ask` what Slurm says of it."""
    size = planned.launch_size(replicas)
    count = -(-replicas // size)
    launches = [(f"{number:032x}", min(size, replicas - number * size)) for number in range(count)]
    packed = planned.pack(launches)
    elements = sum(len(array.elements) for array in packed)
    calls = f"{len(packed)} call{'s' * (len(packed) != 1)} of sbatch"
    why = "" if planned.room.together else " (not packed: no resources.time, several nodes or tasks, or pack.tasks = 1)"
    first = packed[0]
    script = planned.script("0" * 16, first.geometry, len(first.elements))
    answer = f"# {_test_only(state, script)}\n" if ask else ""
    return f"{elements} Slurm job{'s' * (elements != 1)} in {calls}{why}; the first:\n{script}{answer}"


def _test_only(state: SiteState, script: str) -> str:
    """Return what Slurm says of a script, in one line."""
    try:
        answer = state.slurm.submit(script, test_only=True)
    except (RefusedError, SchedulerError) as error:
        answer = f"{error.what}: {error.got}"
    start = re.search(r"\bstart at (\d{9,11})\b", answer)  # as our environment makes sbatch write times
    if start:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(int(start[1])))
        answer = answer.replace(start[1], when, 1)
    return " ".join(answer.split())

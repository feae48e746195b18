"""What is found out about a cluster before anybody relies on it, one finding for each thing that may be wrong.

The answers of Slurm's own commands are compared with the site file, in pure functions; then one Slurm job for each node
says what a compute node sees: the shared folder, in both directions, the time, the interpreter. Its exit code tells why
where nothing of it can be read. Whatever the job left is removed, and a job that does not end in time is cancelled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_backends.slurm.bindings.client import PyslurmClient
from nexapod_backends.slurm.cli.hostlist import NOTHING
from nexapod_backends.slurm.cli.parse import (
    SACCT,
    SCONTROL_CONFIG,
    SCONTROL_PARTITIONS,
    SINFO,
    read_config,
    read_partitions,
    read_sinfo,
)
from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, read_nodes, usable
from nexapod_backends.slurm.runner import runner_archive, runner_command
from nexapod_backends.slurm.site_check.file_probe import arrays, launcher, partitions, polling
from nexapod_backends.slurm.site_check.job_probe import MEM_MIB, accepted, partition_of, script_of, work_folder
from nexapod_backends.slurm.site_check.node_probe import from_inside
from nexapod_backends.slurm.site_check.probe_text import VALUE, name_of, one_line
from nexapod_batch.errors import NexapodError, SchedulerError
from nexapod_batch.model.fit import words_at
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.cli.parse import ClusterConfig, HostRow, PartitionRow
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import NodeContext, Probing

__all__ = ["probe"]

_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")


class _Facts(Struct, frozen=True, kw_only=True):
    """What Slurm says of itself."""

    config: ClusterConfig
    partitions: tuple[PartitionRow, ...]
    hosts: tuple[HostRow, ...]


def probe(
    site: Site, slurm: Slurm, files: Transport, contexts: Sequence[NodeContext], how: Probing
) -> Iterator[Finding]:
    """Yield the findings, the cheap ones first; what cannot be found out without the scheduler ends it."""
    if how.dry_run:
        yield from _planned(site, contexts, how)
        return
    # 1. the scheduler
    first = [*_commands(site, slurm)]
    yield from first
    if any(one.mark is Mark.FAIL for one in first):
        return
    try:
        yield _controller(slurm)
        facts = _facts(slurm)
    except SchedulerError as error:
        yield Finding(
            mark=Mark.FAIL, probe="controller", text=one_line(error), unreachable=True,
            hint="is slurmctld up? scontrol ping",
        )  # fmt: skip
        return
    # 2. the file beside what Slurm says
    yield from _accounting(site, slurm, facts.config)
    account = words_at(how.sample, site.name).get("account")
    yield from partitions(site, facts.partitions, facts.hosts, account, hidden=facts.config.hidden)
    yield from arrays(site, facts.config)
    yield PyslurmClient(site, slurm, contexts[0].state / "bindings.json", lambda _: None).finding(time.time())
    yield polling(site, facts.config)
    yield launcher(site, facts.config)
    # 3. what Slurm would say of jobs
    takes = []
    for context in contexts:
        found = [*accepted(site, slurm, context, how, facts.config, facts.hosts)]
        yield from found
        if all(one.mark is not Mark.FAIL for one in found):
            takes.append(context)
    # 4. the folders, from here and from there
    for context in contexts:
        yield from work_folder(files, context, alone=len(contexts) == 1)
    yield from _from_there(site, slurm, files, contexts, takes, how)


def _from_there(
    site: Site,
    slurm: Slurm,
    files: Transport,
    contexts: Sequence[NodeContext],
    takes: Sequence[NodeContext],
    how: Probing,
) -> Iterator[Finding]:
    """Yield what compute nodes say, of the nodes for which Slurm takes jobs."""
    if runner_command.brings(contexts[0]) and how.jobs and takes:
        stopped = [*_brought(site, files, contexts[0], how)]
        yield from stopped
        takes = [] if stopped else takes
    for context in contexts:
        name = name_of(context, "compute node", contexts)
        if not how.jobs:
            yield Finding(mark=Mark.SKIP, probe=name, text="not asked: no test job wanted")
        elif context not in takes:
            why = "Slurm takes no job for it, or no runner gets there"
            yield Finding(mark=Mark.SKIP, probe=name, text=f"not asked: {why}")
        else:
            yield from from_inside(site, slurm, files, context, how, contexts)


def _brought(site: Site, files: Transport, context: NodeContext, how: Probing) -> Iterator[Finding]:
    """Bring the runner along; yield why it cannot be, if so."""
    how.tell("bringing the runner along, which takes a moment the first time")
    try:
        runner_archive.install(site.name, files, runner_command.corner(context))
    except (NexapodError, OSError) as error:
        hint = (error.hint if isinstance(error, NexapodError) else None) or "make room there"
        yield Finding(mark=Mark.FAIL, probe="runner", text=one_line(error), hint=hint, stops=True)


# ---- the scheduler


def _commands(site: Site, slurm: Slurm) -> Iterator[Finding]:
    versions, missing, trouble = set(), [], ""
    for command in _COMMANDS:
        try:
            versions.add(slurm.call([command, "--version"]).stdout.strip())
        except SchedulerError as error:
            missing.append(command)
            trouble = one_line(error)
    where = site.scheduler.bin or "PATH"
    if missing:
        yield Finding(
            mark=Mark.FAIL, probe="commands", text=f"not usable in {where}: {', '.join(missing)} ({trouble})",
            hint="is this a login node of the cluster? See [scheduler] bin and transport",
            stops=True, unreachable=len(missing) == len(_COMMANDS) and "there is no" not in trouble,
        )  # fmt: skip
    elif len(versions) > 1:
        yield Finding(
            mark=Mark.WARN, probe="commands", text=f"of several versions: {', '.join(sorted(versions))}",
            hint="install the commands of one Slurm version",
        )  # fmt: skip
    else:
        yield Finding(mark=Mark.OK, probe="commands", text=f"{versions.pop()}: {', '.join(_COMMANDS)} in {where}")


def _controller(slurm: Slurm) -> Finding:
    said = " ".join(slurm.call(["scontrol", "ping"], check=False).stdout.replace("*", " ").split())
    if " UP" not in said:
        raise SchedulerError("no controller answers", got=said or "nothing")
    mark = Mark.WARN if "DOWN" in said else Mark.OK
    return Finding(mark=mark, probe="controller", text=said[:VALUE])


def _facts(slurm: Slurm) -> _Facts:
    config = read_config(slurm.call(SCONTROL_CONFIG).stdout)
    rows = read_partitions(slurm.listing(SCONTROL_PARTITIONS)).rows
    hosts = read_sinfo(slurm.listing([*SINFO, "--all"])).rows
    hosts = usable(hosts, read_nodes(slurm.call(SCONTROL_NODES, check=False).stdout))
    return _Facts(config=config, partitions=rows, hosts=hosts)


def _accounting(site: Site, slurm: Slurm, config: ClusterConfig) -> Iterator[Finding]:
    kind = config.values.get("AccountingStorageType", "unknown")
    kind = "none" if kind in NOTHING else kind  # as later versions print it
    wanted = site.scheduler.accounting
    if not config.accounting:
        if wanted == "sacct":
            yield Finding(
                mark=Mark.FAIL, probe="accounting", text=f"off ({kind}), and the file says sacct",
                hint='set accounting = "squeue"',
            )  # fmt: skip
            return
        yield Finding(
            mark=Mark.WARN, probe="accounting",
            text=f"off ({kind}): what ended is known for {config.min_job_age_s or '?'} s (MinJobAge) only",
            hint='pass by more often than that, and set accounting = "squeue"',
        )  # fmt: skip
        return
    try:
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 3_600))
        slurm.call([*SACCT, f"--starttime={start}"])
    except SchedulerError as error:
        yield Finding(
            mark=Mark.FAIL, probe="accounting", text=f"on ({kind}), but sacct fails: {one_line(error)}",
            hint="is slurmdbd up? sacctmgr ping",
        )  # fmt: skip
        return
    text = f"on ({kind}), and sacct answers"
    if wanted == "squeue":
        hint = 'the file says squeue: "auto" would do better'
        yield Finding(mark=Mark.WARN, probe="accounting", text=text, hint=hint)
    else:
        yield Finding(mark=Mark.OK, probe="accounting", text=text)


# ---- a dry run


def _planned(site: Site, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
    """Yield what would be called."""
    calls: list[tuple[str, Sequence[str]]] = [
        ("commands", [f"{command} --version" for command in _COMMANDS]),
        ("controller", ["scontrol ping", " ".join(SCONTROL_CONFIG)]),
        ("accounting", [SACCT[0]]),
        ("partitions", [" ".join(SCONTROL_PARTITIONS), SINFO[0]]),
    ]
    for name, each in calls:
        yield Finding(mark=Mark.SKIP, probe=name, text=f"would call {'; '.join(each)}")
    for context in contexts:
        partition = partition_of(site, context, how)
        name = f"sbatch {context.node.name}"
        if partition is None:
            yield Finding(mark=Mark.SKIP, probe=name, text="none of its partitions is asked for")
            continue
        script = script_of(site, context, how, partition, mem_mib=MEM_MIB, group="probe.TOKEN")
        yield Finding(mark=Mark.SKIP, probe=name, text=f"would call sbatch --test-only with\n{script.rstrip()}")
        if how.jobs:
            name, text = name_of(context, "compute node", contexts), "would submit that, without a memory option"
            yield Finding(mark=Mark.SKIP, probe=name, text=text)

"""What is found out before any job runs: what Slurm would take, and whether the work folder can be written."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_backends.slurm.cli.commands import RefusedError, Slurm
from nexapod_backends.slurm.jobs.directives import SbatchRequest, SchedulerOptions
from nexapod_backends.slurm.jobs.pack import Geometry, packed_time, room_for
from nexapod_backends.slurm.jobs.script import as_it_is, read_template, render
from nexapod_backends.slurm.runner import runner_archive, runner_command
from nexapod_backends.slurm.site_check.file_probe import all_down
from nexapod_backends.slurm.site_check.probe_text import VALUE, clock_words, one_line, size_words
from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError
from nexapod_batch.model.fit import job_at, partition_for, words_at
from nexapod_batch.model.job import Resources
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_backends.slurm.cli.parse import ClusterConfig, HostRow
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.site import Partition, Site
    from nexapod_batch.plugins import NodeContext, Probing

__all__ = ["MEM_MIB", "accepted", "folder_of", "partition_of", "script_of", "work_folder"]

MEM_MIB = 100  # of a test job that asks for memory
_TIME_S = 300  # of a test job
_PACKED_S = 600  # of each replica in the largest packed job
_LOW_DISK_MIB = 1024

#: Exit codes tell why the program of the probe could not answer.
_START = 'cd "$1" 2>/dev/null || exit 71; [ -r probe.sh ] || exit 72; . ./probe.sh'

#: "to start at T using 1 processors on nodes n" until 24.11, "to start at T a using ..." from 25.05 on.
_SAID = re.compile(r"Job \d+ to start at (\S+)(?: \w{1,20})? using (\d+) (?:processors|CPUs) on (?:nodes|node) (\S+)")


def accepted(
    site: Site, slurm: Slurm, context: NodeContext, how: Probing, config: ClusterConfig, hosts: Sequence[HostRow]
) -> Iterator[Finding]:
    """Yield whether Slurm takes a small job for a node, with an account, and with its memory said."""
    name = f"sbatch {context.node.name}"
    words = words_at(how.sample, site.name)
    charged = words.get("account") or site.scheduler.account
    if site.scheduler.account_required and not charged:
        yield Finding(
            mark=Mark.FAIL, probe=name, text="no account to charge, and the site requires one",
            hint="say which with --account, or set account in [scheduler]", stops=True,
        )  # fmt: skip
        return
    partition = partition_of(site, context, how)
    if partition is None:
        yield Finding(mark=Mark.SKIP, probe=name, text="none of its partitions is asked for")
        return
    try:
        said = slurm.submit(script_of(site, context, how, partition, mem_mib=None), test_only=True)
    except (RefusedError, SchedulerError) as error:
        yield _refused(name, partition, error, hosts)
        return
    chosen = "partition" in site.scheduler.skip_directives
    where = "the site's own choice of partition" if chosen else f"partition {partition.name}"
    account = f"charged to {charged}" if charged else "charged to your default account"
    yield Finding(mark=Mark.OK, probe=name, text=f"{where}: {_would(said)}, {account}")
    yield from _largest(site, slurm, context, how, partition)
    yield _memory(site, slurm, context, how, partition, config)


def _refused(
    name: str, partition: Partition, error: RefusedError | SchedulerError, hosts: Sequence[HostRow]
) -> Finding:
    """Return what is to be said of a small job that Slurm does not take."""
    down = all_down([row for row in hosts if row.partition == partition.name])
    if down and "configuration is not available" in str(error):
        text = f"partition {partition.name}: all {down} hosts are down or drained, so Slurm plans nothing there"
        hint = "ask who runs the cluster; jobs that are submitted wait"
        return Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)
    hint = error.hint if isinstance(error, RefusedError) and error.hint else _refused_hint(str(error))
    return Finding(mark=Mark.FAIL, probe=name, text=one_line(error), hint=hint, stops=True)


def _memory(
    site: Site, slurm: Slurm, context: NodeContext, how: Probing, partition: Partition, config: ClusterConfig
) -> Finding:
    """Return whether Slurm takes a job that says how much memory it needs."""
    option = {"per-node": "--mem", "per-cpu": "--mem-per-cpu"}.get(site.scheduler.memory, "")
    name = f"memory {context.node.name}"
    if not option or "mem" in site.scheduler.skip_directives:
        return Finding(mark=Mark.OK, probe=name, text="the file forbids to ask for it, so nobody does")
    try:
        slurm.submit(script_of(site, context, how, partition, mem_mib=MEM_MIB), test_only=True)
    except (RefusedError, SchedulerError) as error:
        return Finding(
            mark=Mark.FAIL, probe=name, text=f"{option} is refused: {one_line(error)}",
            hint='set memory = "none" (or "per-cpu") in [scheduler]',
        )  # fmt: skip
    counted = "" if config.memory_is_counted else ", though Slurm does not count memory here"
    return Finding(mark=Mark.OK, probe=name, text=f"{option} is allowed{counted}")


def _largest(
    site: Site, slurm: Slurm, context: NodeContext, how: Probing, partition: Partition
) -> Iterator[Finding]:
    """Yield whether Slurm takes the largest job that replicas are packed into; one CPU and ten minutes each."""
    name = f"packing {context.node.name}"
    resources = Resources(cpus_per_task=1, time_s=_PACKED_S)
    room = room_for(resources, partition, site.limits)
    if not room.together:
        yield Finding(mark=Mark.OK, probe=name, text="every replica gets a Slurm job of its own (limits.pack)")
        return
    rounds = -(-room.tasks // room.width)
    largest = Geometry(width=room.width, cpus_per_task=room.width, time_s=packed_time(rounds * _PACKED_S, partition))
    text = f"{room.width} CPUs for {clock_words(largest.time_s or 0)}"
    try:
        slurm.submit(script_of(site, context, how, partition, mem_mib=None, geometry=largest), test_only=True)
    except RefusedError as error:
        yield Finding(
            mark=Mark.WARN, probe=name, text=f"the largest packed job, {text}, is refused: {one_line(error)}",
            hint="set cpus and time in [limits.pack] to what one Slurm job may have; until then such replicas get a "
            "Slurm job each",
        )  # fmt: skip
    except SchedulerError as error:
        yield Finding(mark=Mark.WARN, probe=name, text=f"not known whether {text} would be taken: {one_line(error)}")
    else:
        yield Finding(mark=Mark.OK, probe=name, text=f"the largest packed job would be taken: {text}")


def _would(answer: str) -> str:
    found = _SAID.search(answer)
    return f"would start on {found[3]}" if found else (answer.splitlines() or ["accepted"])[-1][:VALUE]


def _refused_hint(answer: str) -> str:
    text = answer.lower()
    if "account" in text:
        return "use an account that you may charge: --account, or account in [scheduler]; sacctmgr show associations"
    if "partition" in text:
        return "correct the partition in the file, or ask for access to it"
    if "qos" in text:
        return "set qos in [scheduler] to one that you may use"
    return "correct the file, or ask who runs the cluster"


def partition_of(site: Site, context: NodeContext, how: Probing) -> Partition | None:
    """Return where the test job of a node goes: the partition that was asked for, or the first that fits."""
    group = site.groups().get(context.node.name, ())
    return partition_for(group, job_at(how.sample, site.name), words_at(how.sample, site.name).get("partition"))


def script_of(
    site: Site,
    context: NodeContext,
    how: Probing,
    partition: Partition,
    *,
    mem_mib: int | None,
    group: str = "probe",
    geometry: Geometry | None = None,
) -> str:
    """Return the script of a test job."""
    words = words_at(how.sample, site.name)
    here = folder_of(context)
    time_s = _TIME_S if partition.max_time_s is None else min(_TIME_S, partition.max_time_s)
    ask = SbatchRequest(
        group=group,
        log=f"{as_it_is(here)}/log",
        runner=("/bin/sh", "-c", _START, "probe", here, str(context.remote_work), *_interpreter(context, site)),
        geometry=geometry or Geometry(time_s=time_s, mem_mib=mem_mib),
        options=SchedulerOptions(
            partition=partition.name, account=words.get("account", ""), qos=words.get("qos", ""),
            constraint=words.get("constraint", ""), reservation=words.get("reservation", ""),
        ),
    )  # fmt: skip
    return render(site, ask, read_template(site.scheduler.template))


def _interpreter(context: NodeContext, site: Site) -> tuple[str, ...]:
    """Return the words that start Python as the runner is started with it."""
    if runner_command.brings(context):
        return runner_archive.argv(runner_command.corner(context))
    return interpreter.start_words(site.runner.python)


def folder_of(context: NodeContext) -> str:
    """Return the folder of the probe, where the spool is."""
    return f"{context.remote_spool}/probe"


def work_folder(files: Transport, context: NodeContext, *, alone: bool) -> Iterator[Finding]:
    """Yield whether the work folder can be written here, and how much room there is."""
    name = "work folder" if alone else f"work folder {context.node.name}"
    here = folder_of(context)
    token = secrets.token_hex(8).encode()
    try:
        files.make([here, str(context.remote_work)])
        files.write(f"{here}/try", token)
        if files.read(f"{here}/try") != token:
            yield Finding(mark=Mark.FAIL, probe=name, text=f"{here} does not keep what is written there", stops=True)
            return
        files.remove(f"{here}/try")
    except OSError as error:
        yield Finding(
            mark=Mark.FAIL, probe=name, text=f"{context.remote_work} cannot be written: {error.strerror or error}",
            hint="set work_dir in [filesystem] to a folder of your own that compute nodes see", stops=True,
        )  # fmt: skip
        return
    free = ""
    with suppress(OSError, TimeoutError):
        free = files.run(["df", "-Pk", str(context.remote_work)], {"LC_ALL": "C"}, text="", timeout_s=30).stdout
    mib = _free_mib(free)
    space = "free space unknown" if mib is None else f"{size_words(mib)} free"
    text = f"{context.remote_work} can be written, {space}"
    if mib is not None and mib < _LOW_DISK_MIB:
        yield Finding(mark=Mark.WARN, probe=name, text=text, hint="make room, or set work_dir in [filesystem]")
    else:
        yield Finding(mark=Mark.OK, probe=name, text=text)


def _free_mib(text: str) -> int | None:
    """Return what `df -Pk` says is free."""
    cells = text.strip().splitlines()[-1].split() if text.strip() else []
    return int(cells[3]) // 1024 if len(cells) >= 6 and cells[3].isascii() and cells[3].isdigit() else None

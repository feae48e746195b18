"""What is found out about a cluster before anybody relies on it, one finding for each thing that may be wrong.

The answers of Slurm's own commands are compared with the site file, in pure functions; then one Slurm job for each node
says what a compute node sees: the shared folder, in both directions, the time, the interpreter. Its exit code tells why
where nothing of it can be read. Whatever the job left is removed, and a job that does not end in time is cancelled.
"""

from __future__ import annotations

import re
import secrets
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexapod_backends.slurm.bindings import Bindings
from nexapod_backends.slurm.commands import RefusedError, Slurm
from nexapod_backends.slurm.notation import expand_hosts, read_gpus
from nexapod_backends.slurm.pack import Geometry
from nexapod_backends.slurm.parse import (
    SACCT,
    SCONTROL_CONFIG,
    SCONTROL_PARTITIONS,
    SINFO,
    SQUEUE,
    read_config,
    read_partitions,
    read_sacct,
    read_sinfo,
    read_squeue,
)
from nexapod_backends.slurm.script import Ask, Words, read_template, render
from nexapod_backends.slurm.states import read_state, reason_in_words
from nexapod_batch import __version__
from nexapod_batch.errors import NexapodError, SchedulerError
from nexapod_batch.model.fit import job_at, partition_for, words_at
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_backends.slurm.parse import ClusterConfig, HostRow, JobRow, PartitionRow
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.site import Partition, Site
    from nexapod_batch.plugins import NodeContext, Probing

__all__ = ["arrays", "clock", "partitions", "polling", "probe"]

_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")
#: Seconds that two clocks may differ before somebody is told.
_SKEW_S = 5.0
#: Seconds after which a file that was written on one side should be seen on the other.
_DELAY_S = 30
_LOW_DISK_MIB = 1024
_LOOK_S = 0.2
#: Seconds between two looks at the queue while a test job is waited for.
_QUEUE_S = 5.0
_TIME_S = 300  # of a test job
_MEM_MIB = 100
_VALUE = 300  # characters of an answer that are kept
_BOOT = "/proc/sys/kernel/random/boot_id"

_SAID = re.compile(r"sbatch: Job \d+ to start at (\S+) using (\d+) processors on nodes (\S+)")
#: Exit codes of the test job where it cannot answer.
_EXITS = {
    71: "the compute node does not see the folder",
    72: "the compute node does not see what the login node wrote there",
    73: "the compute node cannot write there",
}
#: What Slurm reports (as a signal) for a job whose output file could not be opened.
_IO_FAILED = 53

#: What the compute node runs: $1 is the folder of the probe, $2 that of the work folders, the rest the interpreter.
#: Every command in it is in any POSIX system; `answer` and `seen` are complete when they are there.
_PROGRAM = r"""
here=$1; work=$2; shift 2
[ -r "$here/asked" ] || exit 72
tell() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ' | cut -c1-300)"; }
{
  tell token "$(cat "$here/asked")"
  tell host "${SLURMD_NODENAME:-$(hostname)}"
  tell boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
  tell system "$(uname -sm)"
  tell free "$(df -Pk "$work" 2>/dev/null | tail -n 1)"
  tell python "$("$@" -c 'import sys; print(sys.version.split()[0])' 2>&1)"
  load='import nexapod_batch.runner.worker; print(nexapod_batch.__version__)'
  tell runner "$(cd / && "$@" -c "$load" 2>&1 | tail -n 1)"
  tell container "$( (apptainer --version || singularity --version) 2>/dev/null)"
  (umask 077; echo ok > "$work/probe.$$" && rm "$work/probe.$$") 2>/dev/null && tell work ok
  tell time "$(date +%s.%N)"
} > "$here/answer.part" || exit 73
mv "$here/answer.part" "$here/answer" || exit 73
waited=0
while [ ! -e "$here/ack" ] && [ "$waited" -lt 300 ]; do sleep 0.2; waited=$((waited + 1)); done
[ -e "$here/ack" ] && { date +%s.%N > "$here/seen.part" && mv "$here/seen.part" "$here/seen"; }
exit 0
"""
_START = 'cd "$1" 2>/dev/null || exit 71; [ -r probe.sh ] || exit 72; . ./probe.sh'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What Slurm says of itself."""

    config: ClusterConfig
    partitions: tuple[PartitionRow, ...]
    hosts: tuple[HostRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What came back of a test job."""

    answer: dict[str, str]  # nothing: it could not answer
    waited_s: float  # until it did
    skew: tuple[float, float] | None  # at least and at most so many seconds is the compute node's clock ahead
    delay_s: float | None  # until a file written here was seen there; None: it never was
    end: str = ""  # why it could not answer
    late: bool = False  # because it did not start, or not end, in time


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
            mark=Mark.FAIL, probe="controller", text=_one_line(error), unreachable=True,
            hint="is slurmctld up? scontrol ping",
        )  # fmt: skip
        return
    # 2. the file beside what Slurm says
    yield from _accounting(site, slurm, facts.config)
    yield from partitions(site, facts.partitions, facts.hosts, words_at(how.sample, site.name).get("account"))
    yield from arrays(site, facts.config)
    yield Bindings(site, slurm, contexts[0].state / "bindings.json", lambda _: None).finding(time.time())
    yield polling(site, facts.config)
    # 3. what Slurm would say of jobs
    takes = []
    for context in contexts:
        found = [*_accepted(site, slurm, context, how, facts.config)]
        yield from found
        if all(one.mark is not Mark.FAIL for one in found):
            takes.append(context)
    # 4. the folders, from here and from there
    for context in contexts:
        yield from _folder(files, context, alone=len(contexts) == 1)
    for context in contexts:
        name = _name(context, "compute node", contexts)
        if not how.jobs:
            yield Finding(mark=Mark.SKIP, probe=name, text="not asked: no test job wanted")
        elif context not in takes:
            yield Finding(mark=Mark.SKIP, probe=name, text="not asked: Slurm takes no job for it")
        else:
            yield from _from_inside(site, slurm, files, context, how, contexts)


# ---- the scheduler


def _commands(site: Site, slurm: Slurm) -> Iterator[Finding]:
    versions, missing, trouble = set(), [], ""
    for command in _COMMANDS:
        try:
            versions.add(slurm.call([command, "--version"]).stdout.strip())
        except SchedulerError as error:
            missing.append(command)
            trouble = _one_line(error)
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
    return Finding(mark=mark, probe="controller", text=said[:_VALUE])


def _facts(slurm: Slurm) -> _Facts:
    config = read_config(slurm.call(SCONTROL_CONFIG).stdout)
    rows = read_partitions(slurm.call(SCONTROL_PARTITIONS).stdout).rows
    hosts = read_sinfo(slurm.call([*SINFO, "--all"]).stdout).rows
    return _Facts(config=config, partitions=rows, hosts=hosts)


def _accounting(site: Site, slurm: Slurm, config: ClusterConfig) -> Iterator[Finding]:
    kind = config.values.get("AccountingStorageType", "unknown")
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
            mark=Mark.FAIL, probe="accounting", text=f"on ({kind}), but sacct fails: {_one_line(error)}",
            hint="is slurmdbd up? sacctmgr ping",
        )  # fmt: skip
        return
    text = f"on ({kind}), and sacct answers"
    if wanted == "squeue":
        hint = 'the file says squeue: "auto" would do better'
        yield Finding(mark=Mark.WARN, probe="accounting", text=text, hint=hint)
    else:
        yield Finding(mark=Mark.OK, probe="accounting", text=text)


# ---- the file beside what Slurm says; pure


def partitions(
    site: Site, rows: Sequence[PartitionRow], hosts: Sequence[HostRow], account: str | None = None
) -> Iterator[Finding]:
    """Yield one finding for each partition of the file, then one for what the file does not see."""
    there = {one.name: one for one in rows}
    account = account or site.scheduler.account
    for one in site.partitions:
        name = f"partition {one.name}"
        if one.name not in there:
            known = ", ".join(there) or "none"
            text = f"Slurm has none of this name; it has: {known}"
            yield Finding(mark=Mark.FAIL, probe=name, text=text, hint="correct the file")
            continue
        real, mine = there[one.name], [row for row in hosts if row.partition == one.name]
        wrong = [*_partition(one, real, mine, account)]
        fatal = real.state != "UP" or (bool(real.accounts) and account is not None and account not in real.accounts)
        count = len({host for row in mine for host in row.hosts}) or real.total_nodes
        text = "; ".join(wrong) or f"{count} host{'s' * (count != 1)}, and no more is promised than there is"
        hint = "correct the file, or ask who runs the cluster" if wrong else ""
        mark = Mark.OK if not wrong else Mark.FAIL if fatal else Mark.WARN
        yield Finding(mark=mark, probe=name, text=text, hint=hint)
    yield from _shared(site, rows, hosts)


def _partition(one: Partition, real: PartitionRow, rows: Sequence[HostRow], account: str | None) -> Iterator[str]:
    """Yield what the file says of a partition and Slurm does not."""
    if real.state != "UP":
        yield f"it is {real.state}"
    if real.accounts and account is not None and account not in real.accounts:
        yield f"only for accounts {', '.join(real.accounts[:10])}, not {account}"
    there = {host for row in rows for host in row.hosts}
    down = sum(len(row.hosts) for row in rows if re.match(r"down|drain|fail|unk|inval", row.state, re.IGNORECASE))
    if there and down >= len(there):
        yield f"all {len(there)} hosts are down or drained now"
    promised: list[tuple[str, int, int | None]] = [
        ("hosts", one.hosts, len(there) or None),
        ("max_nodes", one.max_nodes or 0, real.max_nodes),
        ("max_cpus", one.max_cpus, _least([row.cpus for row in rows], real.max_cpus_per_node)),
        ("max_mem (MiB)", one.max_mem_mib, _least([row.mem_mib for row in rows], real.max_mem_mib_per_node)),
        ("gpus", one.gpus, _least([sum(read_gpus(row.gres).values()) for row in rows], None)),
    ]
    for key, says, has in promised:
        if has is not None and says > has:
            yield f"{key} = {says}, but Slurm has {has}"
    if real.max_time_s is not None and (one.max_time_s is None or one.max_time_s > real.max_time_s):
        told = "no max_time" if one.max_time_s is None else f"max_time = {_clock(one.max_time_s)}"
        yield f"{told}, but Slurm allows {_clock(real.max_time_s)}"


def _least(values: Sequence[int], limit: int | None) -> int | None:
    return min([*values, *([] if limit is None else [limit])], default=None)


def _shared(site: Site, rows: Sequence[PartitionRow], hosts: Sequence[HostRow]) -> Iterator[Finding]:
    """Yield a finding for each pair of nodes that are the same machines."""
    of: dict[str, set[str]] = {}
    for node, members in site.groups().items():
        names = {one.name for one in members}
        of[node] = {host for row in hosts if row.partition in names for host in row.hosts}
        of[node] |= {host for row in rows if row.name in names for host in expand_hosts(row.hosts) or ()}
    nodes = list(of)
    for at, left in enumerate(nodes):
        for right in nodes[at + 1 :]:
            both = sorted(of[left] & of[right])
            if both:
                shown = ", ".join(both[:5]) + (" ..." if len(both) > 5 else "")
                yield Finding(
                    mark=Mark.FAIL, probe="hosts",
                    text=f"nodes {left} and {right} share {shown}: what agrees on both would not be independent",
                    hint="give their partitions the same node word",
                )  # fmt: skip


def arrays(site: Site, config: ClusterConfig) -> Iterator[Finding]:
    """Yield what is to be said of array lengths and job counts."""
    limits = site.limits
    if config.max_array is None:
        yield Finding(mark=Mark.WARN, probe="arrays", text="Slurm does not say its MaxArraySize")
    elif limits.max_array > config.max_array:
        yield Finding(
            mark=Mark.FAIL, probe="arrays",
            text=f"limits.max_array = {limits.max_array}, but MaxArraySize allows {config.max_array}",
            hint=f"set max_array = {config.max_array} or less",
        )  # fmt: skip
    else:
        text = f"limits.max_array = {limits.max_array} of {config.max_array} (MaxArraySize)"
        yield Finding(mark=Mark.OK, probe="arrays", text=text)
    if config.max_job_count is not None and limits.max_jobs > config.max_job_count:
        yield Finding(
            mark=Mark.WARN, probe="queue",
            text=f"limits.max_jobs = {limits.max_jobs}, but Slurm holds {config.max_job_count} in all (MaxJobCount)",
            hint="set max_jobs to a part of that",
        )  # fmt: skip


def polling(site: Site, config: ClusterConfig) -> Finding:
    """Return whether a job that ended can be missed between two looks at the queue."""
    age, every = config.min_job_age_s, site.limits.poll_interval_s
    text = f"poll_interval = {every} s, ended jobs stay {age if age is not None else '?'} s in the queue (MinJobAge)"
    looked_up = config.accounting and site.scheduler.accounting != "squeue"
    if age is None or every < age:
        return Finding(mark=Mark.OK, probe="polling", text=text)
    if looked_up:
        return Finding(mark=Mark.OK, probe="polling", text=f"{text}, later in the accounting")
    return Finding(
        mark=Mark.FAIL, probe="polling", text=f"{text}: how they ended would be missed",
        hint=f"set poll_interval below {age} s",
    )  # fmt: skip


# ---- what Slurm would say of jobs


def _accepted(
    site: Site, slurm: Slurm, context: NodeContext, how: Probing, config: ClusterConfig
) -> Iterator[Finding]:
    """Yield whether Slurm takes a small job for a node, with an account, and with its memory said."""
    name = f"sbatch {context.node.name}"
    words = words_at(how.sample, site.name)
    if site.scheduler.account_required and not (words.get("account") or site.scheduler.account):
        yield Finding(
            mark=Mark.FAIL, probe=name, text="no account to charge, and the site requires one",
            hint="say which with --account, or set account in [scheduler]", stops=True,
        )  # fmt: skip
        return
    partition = _partition_of(site, context, how)
    if partition is None:
        yield Finding(mark=Mark.SKIP, probe=name, text="none of its partitions is asked for")
        return
    try:
        said = slurm.submit(_script(site, context, how, partition, mem_mib=None), test_only=True)
    except (RefusedError, SchedulerError) as error:
        yield Finding(mark=Mark.FAIL, probe=name, text=_one_line(error), hint=_refused_hint(str(error)), stops=True)
        return
    charged = words.get("account") or site.scheduler.account
    account = f", charged to {charged}" if charged else ", charged to your default account"
    yield Finding(mark=Mark.OK, probe=name, text=f"partition {partition.name}: {_would(said)}{account}")
    option = {"per-node": "--mem", "per-cpu": "--mem-per-cpu"}.get(site.scheduler.memory, "")
    probe_name = f"memory {context.node.name}"
    if not option or "mem" in site.scheduler.skip_directives:
        yield Finding(mark=Mark.OK, probe=probe_name, text="the file forbids to ask for it, so nobody does")
        return
    try:
        slurm.submit(_script(site, context, how, partition, mem_mib=_MEM_MIB), test_only=True)
    except (RefusedError, SchedulerError) as error:
        yield Finding(
            mark=Mark.FAIL, probe=probe_name, text=f"{option} is refused: {_one_line(error)}",
            hint='set memory = "none" (or "per-cpu") in [scheduler]',
        )  # fmt: skip
        return
    counted = "" if config.memory_is_counted else ", though Slurm does not count memory here"
    yield Finding(mark=Mark.OK, probe=probe_name, text=f"{option} is allowed{counted}")


def _would(said: str) -> str:
    found = _SAID.search(said)
    return f"would start on {found[3]}" if found else (said.splitlines() or ["accepted"])[-1][:_VALUE]


def _refused_hint(said: str) -> str:
    text = said.lower()
    if "account" in text:
        return "use an account that you may charge: --account, or account in [scheduler]; sacctmgr show associations"
    if "partition" in text:
        return "correct the partition in the file, or ask for access to it"
    if "qos" in text:
        return "set qos in [scheduler] to one that you may use"
    return "correct the file, or ask who runs the cluster"


def _partition_of(site: Site, context: NodeContext, how: Probing) -> Partition | None:
    """Return where the test job of a node goes: the partition that was asked for, or the first that fits."""
    group = site.groups().get(context.node.name, ())
    return partition_for(group, job_at(how.sample, site.name), words_at(how.sample, site.name).get("partition"))


def _script(
    site: Site, context: NodeContext, how: Probing, partition: Partition, *, mem_mib: int | None, group: str = "probe"
) -> str:
    """Return the script of a test job."""
    words = words_at(how.sample, site.name)
    here = _folder_of(context)
    time_s = _TIME_S if partition.max_time_s is None else min(_TIME_S, partition.max_time_s)
    ask = Ask(
        group=group,
        log=f"{here}/log",
        runner=("/bin/sh", "-c", _START, "probe", here, str(context.far_work), site.runner.python or sys.executable),
        geometry=Geometry(time_s=time_s, mem_mib=mem_mib),
        words=Words(
            partition=partition.name, account=words.get("account", ""), qos=words.get("qos", ""),
            constraint=words.get("constraint", ""), reservation=words.get("reservation", ""),
        ),
    )  # fmt: skip
    return render(site, ask, read_template(site.scheduler.template))


def _folder_of(context: NodeContext) -> str:
    return f"{context.far_spool}/probe"


# ---- the folders, from here


def _folder(files: Transport, context: NodeContext, *, alone: bool) -> Iterator[Finding]:
    """Yield whether the work folder can be written here, and how much room there is."""
    name = "work folder" if alone else f"work folder {context.node.name}"
    here = _folder_of(context)
    token = secrets.token_hex(8).encode()
    try:
        files.make([here, str(context.far_work)])
        files.write(f"{here}/try", token)
        if files.read(f"{here}/try") != token:
            yield Finding(mark=Mark.FAIL, probe=name, text=f"{here} does not keep what is written there", stops=True)
            return
        files.remove(f"{here}/try")
    except OSError as error:
        yield Finding(
            mark=Mark.FAIL, probe=name, text=f"{context.far_work} cannot be written: {error.strerror or error}",
            hint="set work_dir in [filesystem] to a folder of your own that compute nodes see", stops=True,
        )  # fmt: skip
        return
    free = ""
    with suppress(OSError, TimeoutError):
        free = files.run(["df", "-Pk", str(context.far_work)], {"LC_ALL": "C"}, text="", timeout_s=30).stdout
    mib = _free_mib(free)
    text = f"{context.far_work} can be written, " + ("free space unknown" if mib is None else f"{_size(mib)} free")
    if mib is not None and mib < _LOW_DISK_MIB:
        yield Finding(mark=Mark.WARN, probe=name, text=text, hint="make room, or set work_dir in [filesystem]")
    else:
        yield Finding(mark=Mark.OK, probe=name, text=text)


def _free_mib(text: str) -> int | None:
    """Return what `df -Pk` says is free."""
    cells = text.strip().splitlines()[-1].split() if text.strip() else []
    return int(cells[3]) // 1024 if len(cells) >= 6 and cells[3].isascii() and cells[3].isdigit() else None


# ---- from inside


def _from_inside(
    site: Site, slurm: Slurm, files: Transport, context: NodeContext, how: Probing, contexts: Sequence[NodeContext]
) -> Iterator[Finding]:
    """Run a test job of a node and yield what it saw."""
    name = _name(context, "compute node", contexts)
    partition = _partition_of(site, context, how)
    if partition is None:
        yield Finding(mark=Mark.SKIP, probe=name, text="none of its partitions is asked for")
        return
    try:
        heard = _run(site, slurm, files, context, how, partition)
    except (NexapodError, OSError) as error:
        yield Finding(mark=Mark.FAIL, probe=name, text=f"the test job failed: {_one_line(error)}", stops=True)
        return
    if not heard.answer:
        hint = "set work_dir in [filesystem] to a folder that login and compute nodes share"
        text = heard.end if heard.late else f"{context.far_spool}: {heard.end}"
        hint = "wait longer: --timeout, or name an idle partition: --partition" if heard.late else hint
        yield Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)
        return
    said = heard.answer
    same = _boot_here(files) == said.get("boot", "-")
    where = ", which is this very machine" if same else ""
    yield Finding(
        mark=Mark.OK, probe=name,
        text=f"{said.get('host', '?')} ({said.get('system', '?')}, boot {said.get('boot', '?')[:8]}) answered after"
        f" {heard.waited_s:.1f} s{where}",
    )  # fmt: skip
    yield _sharing(_name(context, "shared folder", contexts), heard)
    if heard.skew is not None:
        yield clock(_name(context, "clock", contexts), *heard.skew)
    yield _python(site, _name(context, "python", contexts), said)
    found = said.get("container", "")
    yield Finding(
        mark=Mark.OK if found else Mark.WARN, probe=_name(context, "container", contexts),
        text=found or "no apptainer and no singularity there",
        hint="" if found else "only jobs without [container] can run",
    )  # fmt: skip


def _sharing(name: str, heard: _Heard) -> Finding:
    if heard.answer.get("work") != "ok":
        return Finding(
            mark=Mark.FAIL, probe=name, text="the compute node cannot write the work folder",
            hint="is it mounted read-only there? See scratch in [filesystem]", stops=True,
        )  # fmt: skip
    if heard.delay_s is None:
        return Finding(
            mark=Mark.WARN, probe=name, text=f"what is written here is not seen there within {_DELAY_S} s",
            hint="cancelling will be slow; ask for a file system without long caches",
        )  # fmt: skip
    text = f"seen in both directions; a file of ours was seen there after {heard.delay_s:.1f} s"
    return Finding(mark=Mark.OK, probe=name, text=text)


def clock(name: str, least: float, most: float) -> Finding:
    """Return what is to be said of a clock that is ahead of ours by so many seconds at least and at most."""
    apart = least if least > 0 else -most if most < 0 else 0.0
    if apart > _SKEW_S:
        ahead = "ahead of" if least > 0 else "behind"
        return Finding(
            mark=Mark.WARN, probe=name, text=f"the compute node's is at least {apart:.1f} s {ahead} ours",
            hint="times in reports and deadlines are off by that: run NTP on both",
        )  # fmt: skip
    return Finding(mark=Mark.OK, probe=name, text=f"at most {max(abs(least), abs(most)):.1f} s apart")


def _python(site: Site, name: str, said: dict[str, str]) -> Finding:
    if site.scheduler.transport != "local" and not site.runner.python:
        return Finding(mark=Mark.SKIP, probe=name, text="the runner is brought along, with its own interpreter")
    python, version, runner = site.runner.python or sys.executable, said.get("python", ""), said.get("runner", "")
    if not re.fullmatch(r"\d+\.\d+\.\d+\S*", version):
        text = f"{python} cannot be run there: {version or 'it said nothing'}"
        hint = "set python in [runner] to one that is there"
        return Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)
    if not re.fullmatch(r"\d+(\.\d+)*\S*", runner):
        text = f"{python} is {version}, but nexapod-batch cannot be imported there: {runner or 'it said nothing'}"
        hint = "install nexapod-batch there, or set python in [runner]"
        return Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)
    if runner != __version__:
        text = f"{python} is {version}, with nexapod-batch {runner}; here it is {__version__}"
        return Finding(mark=Mark.WARN, probe=name, text=text, hint="install the same version on both")
    return Finding(mark=Mark.OK, probe=name, text=f"{python} is {version}, with nexapod-batch {runner}")


def _run(
    site: Site, slurm: Slurm, files: Transport, context: NodeContext, how: Probing, partition: Partition
) -> _Heard:
    """Run the test job, hear it, and remove what it left."""
    here, token = _folder_of(context), secrets.token_hex(8)
    group = f"probe.{token}"
    files.remove_tree(here)
    files.make([here, str(context.far_work)])
    files.write(f"{here}/probe.sh", _PROGRAM.encode())
    files.write(f"{here}/asked", token.encode())
    script = _script(site, context, how, partition, mem_mib=None, group=group)
    job = ""
    try:
        begun = time.time()
        job = slurm.submit(script)
        how.tell(f"waiting for test job {job} in partition {partition.name}")
        answer, end, late = _await(slurm, files, here, job, how)
        if not answer or answer.get("token") != token:
            return _Heard(answer={}, waited_s=0, skew=None, delay_s=None, end=end or _EXITS[72], late=late)
        heard = _Heard(answer=answer, waited_s=time.time() - begun, skew=None, delay_s=None)
        return _acknowledge(files, here, heard)
    finally:
        if not job:  # sbatch may have taken it without telling us
            job = _find(slurm, f"nexapod-{group}")
        if job:
            with suppress(SchedulerError):
                slurm.cancel([job])
        files.remove_tree(here)


def _find(slurm: Slurm, name: str) -> str:
    with suppress(SchedulerError):
        for row in read_squeue(slurm.call([*SQUEUE, f"--name={name}"]).stdout).rows:
            if row.name == name:
                return str(row.job)
    return ""


def _await(slurm: Slurm, files: Transport, here: str, job: str, how: Probing) -> tuple[dict[str, str], str, bool]:
    """Return what the job answered, or why it did not, and whether that is because the time was over."""
    end = time.monotonic() + how.timeout_s
    asked, before = time.monotonic(), ""
    ended: JobRow | None = None
    grace = 0.0
    while time.monotonic() < end:
        if "answer" in files.sizes(here):
            return _answer(files.read(f"{here}/answer")), "", False
        if ended is not None and time.monotonic() > grace:  # it is over, and its files had time to get here
            return {}, _why(ended, _log(files, here)), False
        if ended is None and time.monotonic() - asked > min(_QUEUE_S, how.timeout_s / 4):
            asked = time.monotonic()
            row = _look(slurm, job)
            if row is not None and read_state(row.state).ended:
                wait = 0 if row.exit_signal == _IO_FAILED or row.exit_code in _EXITS else _DELAY_S
                ended, grace = row, time.monotonic() + min(wait, how.timeout_s / 4)
            elif row is not None:
                said = row.state + (f": {reason_in_words(row.reason)}" if row.reason else "")
                if row.start_s:
                    said += time.strftime("; start estimated for %Y-%m-%d %H:%M", time.localtime(row.start_s))
                if said != before:
                    how.tell(f"test job {job} is {said}")
                    before = said
        time.sleep(_LOOK_S)
    if ended is not None:
        return {}, _why(ended, _log(files, here)), False
    text = f"no answer of test job {job} within {how.timeout_s:.0f} s" + (f"; it is {before}" if before else "")
    return {}, text, True


def _look(slurm: Slurm, job: str) -> JobRow | None:
    """Return what Slurm knows of the job, the accounting first where it ended: only that tells exit codes."""
    with suppress(SchedulerError):
        done = slurm.call([*SQUEUE, f"--jobs={job}"], check=False)
        rows = [row for row in read_squeue(done.stdout).rows if row.job == int(job)]
        if rows and not read_state(rows[-1].state).ended:
            return rows[-1]
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 86_400))
        done = slurm.call([*SACCT, f"--jobs={job}", f"--starttime={start}"], check=False)
        told = [row for row in read_sacct(done.stdout).rows if row.job == int(job)]
        if told and read_state(told[-1].state).ended:
            return told[-1]
        return rows[-1] if rows else None
    return None


def _why(ended: JobRow, log: str) -> str:
    """Say why a job that ended left no answer."""
    code = ended.exit_code or 0
    if code in _EXITS:
        return _EXITS[code]
    if ended.exit_signal == _IO_FAILED or (code == 0 and not log):
        return f"{_EXITS[71]}, or cannot write there (the test job is {ended.state} and left nothing)"
    said = f": {log}" if log else ""
    return f"the test job is {ended.state} with exit code {code}{said}"


def _log(files: Transport, here: str) -> str:
    try:
        lines = files.read(f"{here}/log")[-2000:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return re.sub(r"[^ -~]", "?", lines[-1])[:_VALUE] if lines else ""


def _answer(data: bytes) -> dict[str, str]:
    """Return the values of `key=value` lines."""
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines()[:100])
    return {key: "".join(c if c.isprintable() else "?" for c in value.strip())[:_VALUE] for key, _, value in pairs}


def _acknowledge(files: Transport, here: str, heard: _Heard) -> _Heard:
    """Let the job see a file of ours, and find out how long that took and how its clock stands."""
    sent = time.time()
    files.write(f"{here}/ack", b"ack\n")
    end = time.monotonic() + _DELAY_S + 2 * _SKEW_S
    while "seen" not in files.sizes(here):
        if time.monotonic() > end:
            return heard
        time.sleep(_LOOK_S)
    got = time.time()
    there = _seconds(files.read(f"{here}/seen").decode("utf-8", "replace"))
    skew = None if there is None else (there - got, there - sent)
    return replace(heard, skew=skew, delay_s=got - sent)


def _seconds(text: str) -> float | None:
    found = re.match(r"\d{9,11}(\.\d{1,9})?", text.strip(), re.ASCII)
    return float(found[0]) if found else None


def _boot_here(files: Transport) -> str:
    try:
        return files.read(_BOOT, 0, 100).decode("ascii", "replace").strip()
    except OSError:
        return ""


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
        partition = _partition_of(site, context, how)
        name = f"sbatch {context.node.name}"
        if partition is None:
            yield Finding(mark=Mark.SKIP, probe=name, text="none of its partitions is asked for")
            continue
        script = _script(site, context, how, partition, mem_mib=_MEM_MIB, group="probe.TOKEN")
        yield Finding(mark=Mark.SKIP, probe=name, text=f"would call sbatch --test-only with\n{script.rstrip()}")
        if how.jobs:
            name, text = _name(context, "compute node", contexts), "would submit that, without a memory option"
            yield Finding(mark=Mark.SKIP, probe=name, text=text)


# ---- words


def _name(context: NodeContext, what: str, contexts: Sequence[NodeContext]) -> str:
    return what if len(contexts) == 1 else f"{what} {context.node.name}"


def _one_line(error: Exception) -> str:
    """Return a message without its hint, on one line."""
    if isinstance(error, NexapodError):
        text = error.what + (f": {error.got}" if error.got is not None else "")
    else:
        text = str(error)
    return " ".join(text.split())[:_VALUE]


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def _size(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib} MiB"



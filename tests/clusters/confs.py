"""The configuration files of the clusters as pure text: nothing here touches a file or a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["CPUS", "GPU_DEVICES", "MEMORY_MB", "Place", "Shape", "cgroup_conf", "gres_conf", "slurm_conf", "slurmdbd_conf"]

CPUS = 8
MEMORY_MB = 16_000
#: What stands behind the made-up gpus.
GPU_DEVICES = ("/dev/null", "/dev/zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one cluster offers."""

    name: str
    nodes: tuple[str, ...]
    max_array: int = 1_001  # MaxArraySize: the largest index plus one
    min_job_age: int = 300  # seconds that squeue still knows a finished job
    cpus: int = CPUS  # of each node, whatever this machine has
    memory_mb: int = MEMORY_MB
    kept: str = ""  # what Slurm keeps for itself of each node: "CoreSpecCount=2 MemSpecLimit=1000"
    constrains: bool = False  # memory, by cgroups
    gpu_node: str = ""  # node with made-up gpus, in partition `gpu`
    before: tuple[str, ...] = ()  # words that start the slurmd of each node
    extra: Mapping[str, str] | None = None  # more lines of slurm.conf; they win over ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where all of it runs; one for all clusters of a folder."""

    folder: Path
    host: str  # short name, as Slurm compares it
    address: str  # loopback address by which the host reaches itself
    host_is_loopback: bool  # the host's name means that address: Slurm's listeners can be bound to it
    user: str  # who runs the daemons
    munge_socket: str
    dbd_port: int
    dbd_private: str = ""  # PrivateData of the accounting


def slurm_conf(place: Place, shape: Shape, *, port: int, node_ports: Sequence[int]) -> str:
    """Return slurm.conf of one cluster."""
    home = place.folder / shape.name
    settings = {
        "ClusterName": shape.name,
        "SlurmctldHost": f"{place.host}({place.address})",
        "SlurmctldPort": str(port),
        "SlurmUser": place.user,
        "SlurmdUser": place.user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={place.munge_socket}",
        "StateSaveLocation": f"{home}/state",
        "SlurmdSpoolDir": f"{home}/spool/%n",
        "SlurmctldPidFile": f"{home}/slurmctld.pid",
        "SlurmdPidFile": f"{home}/%n.pid",
        "SlurmdLogFile": f"{home}/log/%n.steps.log",
        "MailProg": "/bin/true",
        # No cgroups but where memory is constrained: these run in any container.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/cgroup" if shape.constrains else "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=2",
        "MpiDefault": "none",
        "SwitchType": "switch/none",
        "SlurmdParameters": "config_overrides",  # more CPUs than the machine has
        "PropagateResourceLimits": "NONE",
        "ReturnToService": "2",
        "CommunicationParameters": _bound(place),
        # Soon, since tests wait for it.
        "MinJobAge": str(shape.min_job_age),
        "KillWait": "3",
        "SlurmdTimeout": "60",
        "SlurmctldTimeout": "60",
        "BatchStartTimeout": "10",
        "CompleteWait": "0",
        "EpilogMsgTime": "100",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": (
            "sched_min_interval=0,sched_interval=1,batch_sched_delay=0,default_queue_depth=2000,bf_interval=1"
        ),
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": "200",
        "MaxArraySize": str(shape.max_array),
        "MaxJobCount": "20000",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "CANCEL",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(place.dbd_port),
        "AccountingStoragePass": place.munge_socket,
        "JobCompType": "jobcomp/none",
        "GresTypes": "gpu" if shape.gpu_node else "",
    } | dict(shape.extra or {})
    lines = [f"{name}={value}" for name, value in settings.items() if value]
    for node, node_port in zip(shape.nodes, node_ports, strict=True):
        gres = f" Gres=gpu:fake:{len(GPU_DEVICES)}" if node == shape.gpu_node else ""
        kept = f" {shape.kept}" if shape.kept else ""
        lines.append(
            f"NodeName={node} NodeHostname={place.host} NodeAddr={place.address} Port={node_port} CPUs={shape.cpus} "
            f"Sockets=1 CoresPerSocket={shape.cpus} ThreadsPerCore=1 RealMemory={shape.memory_mb}{kept}{gres} State=UNKNOWN"
        )
    every = ",".join(shape.nodes)
    partitions = [
        f"short Nodes={every} Default=YES MaxTime=1:00:00 DefaultTime=10 PriorityTier=10 PreemptMode=OFF",
        f"long Nodes={every} MaxTime=2-00:00:00 DefaultTime=1:00:00 PriorityTier=10 PreemptMode=OFF",
        f"limited Nodes={every} MaxTime=5 MaxNodes=1 PriorityTier=10 PreemptMode=OFF",
        f"scavenge Nodes={every} MaxTime=1:00:00 PriorityTier=1 PreemptMode=CANCEL",
        f"requeue Nodes={every} MaxTime=1:00:00 PriorityTier=1 PreemptMode=REQUEUE",
    ]
    if shape.gpu_node:
        partitions.append(f"gpu Nodes={shape.gpu_node} MaxTime=1:00:00 PriorityTier=10 PreemptMode=OFF")
    return "\n".join(lines + [f"PartitionName={line}" for line in partitions]) + "\n"


def gres_conf(shape: Shape) -> str:
    """Return gres.conf: each gpu needs a device that is there, and never hides or harms these."""
    if not shape.gpu_node:
        return ""
    lines = [f"NodeName={shape.gpu_node} Name=gpu Type=fake File={device}" for device in GPU_DEVICES]
    return "\n".join(["AutoDetect=off", *lines]) + "\n"


def cgroup_conf(shape: Shape) -> str:
    """Return cgroup.conf; where nothing is constrained nothing uses cgroups, and Slurm must not look for them."""
    constrained = "CgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n" if shape.constrains else ""
    return f"CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n{constrained}"


def slurmdbd_conf(place: Place) -> str:
    """Return slurmdbd.conf; the database is reached through the socket of MYSQL_UNIX_PORT."""
    hidden = f"PrivateData={place.dbd_private}\n" if place.dbd_private else ""
    return (
        f"{hidden}AuthType=auth/munge\nAuthInfo=socket={place.munge_socket}\n"
        f"DbdHost=localhost\nDbdAddr=127.0.0.1\nDbdPort={place.dbd_port}\nSlurmUser={place.user}\n"
        f"CommunicationParameters={_bound(place)}\nPidFile={place.folder}/dbd/slurmdbd.pid\nStorageType=accounting_storage/mysql\n"
        f"StorageHost=localhost\nStorageUser={place.user}\nStorageLoc=slurm_acct\n"
    )


def _bound(place: Place) -> str:
    """Return what binds Slurm's listeners to the address of the host's name; of no use where that is not the loopback."""
    return "NoInAddrAny,NoCtldInAddrAny" if place.host_is_loopback else "keepaliveinterval=60"

"""A site: how a group of nodes is reached, what may be asked of it, and what it is made of.

A site is the admin's word, read from one file. Everything is frozen and complete; units are settled (seconds, MiB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.model.job import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Containers",
    "Environment",
    "Filesystem",
    "Limits",
    "Pack",
    "Partition",
    "Policy",
    "Runner",
    "Scheduler",
    "Site",
    "Ssh",
]


class Scheduler(Struct, frozen=True, kw_only=True):
    """How jobs start."""

    type: str  # backend, by entry-point name
    bin: str = ""  # folder of the scheduler's commands; "" means PATH
    conf: str = ""  # its configuration file
    cluster: str = ""  # cluster name, where one client serves several (--clusters)
    transport: str = "local"  # local | ssh
    memory: str = "per-node"  # per-node | per-cpu | none: which memory option may be written
    gpu_option: str = "gpus"  # gpus (--gpus-per-node) | gres (--gres=gpu)
    account: str | None = None  # used where the job names none
    account_required: bool = False
    qos: str | None = None
    extra_directives: tuple[str, ...] = ()  # options as the scheduler spells them, "--constraint=ib"
    skip_directives: tuple[str, ...] = ()  # names of options that are never written, "mem"
    cmd_timeout_s: int = 60  # for one call of a command
    accounting: str = "auto"  # auto | sacct | squeue
    template: str = ""  # the site's own script template, absolute path
    launcher: tuple[str, ...] = ("srun",)  # what starts a task of several ranks


class Ssh(Struct, frozen=True, kw_only=True):
    """How a login node is reached."""

    host: str
    user: str = ""
    port: int = 22
    key: str = ""  # private key file; "" means agent and defaults
    known_hosts: str = ""  # "" means ~/.ssh/known_hosts
    jump: str = ""  # user@host:port of a host in between
    keepalive_s: int = 30
    connect_timeout_s: int = 20


class Pack(Struct, frozen=True, kw_only=True):
    """How many small replicas one scheduler job may run. `tasks = 1` switches packing off."""

    tasks: int = 2_000  # replicas in one scheduler job
    time_s: int = 3_600  # wall time of one scheduler job
    cpus: int = 0  # CPUs of one scheduler job; 0 means those of one host


class Limits(Struct, frozen=True, kw_only=True):
    """How hard the site may be used."""

    max_queued: int = 5_000  # replicas that may be out at once, for each node
    max_jobs: int = 1_000  # scheduler jobs (array elements) of ours that may be in its queue
    max_array: int = 1_000  # elements of one array
    submit_rate: float = 2.0  # submissions a second
    poll_interval_s: int = 30  # between two looks at the queue
    status_batch: int = 100  # ids in one call
    gpu_slots: int = 1  # replicas that may share a GPU
    call_timeout_s: int = 600  # for one call of the backend
    transfer_timeout_s: int = 86_400  # for one that moves files, or runs test jobs
    pack: Pack = field(default_factory=Pack)


class Environment(Struct, frozen=True, kw_only=True):
    """What is set up before the runner starts."""

    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()  # shell lines of the admin
    env: Mapping[str, str] = field(default_factory=dict)
    passes: tuple[str, ...] = ()  # variables that commands get as they are when the runner starts


class Runner(Struct, frozen=True, kw_only=True):
    """The program on the compute node."""

    python: str = ""  # interpreter with nexapod-batch installed; "" means ours, or an archive over SSH
    path: str = ""  # PATH of commands; "" means the runner's own
    confine: str = "foreign"  # commands without a container that are confined: of foreign jobs | all | never


class Containers(Struct, frozen=True, kw_only=True):
    """How jobs with a container run, and what of the site they may see."""

    runtime: str = ""  # apptainer | singularity | absolute path; "" looks for them in PATH
    module: str = ""  # loaded before such a job
    bind: tuple[str, ...] = ()  # folders that a job may have bound: "/data" to read, "/scratch:rw" to write


class Filesystem(Struct, frozen=True, kw_only=True):
    """Where files lie that login and compute nodes share."""

    work_dir: str = ""  # absolute, `{user}` is filled in; "" means the home of nexapod-batch
    scratch: str = ""  # work folders of replicas, when not in work_dir
    local_scratch: str = ""  # on the compute node's own disk, for $TMPDIR; "" looks for a place


class Policy(Struct, frozen=True, kw_only=True):
    """What a job cannot override."""

    max_time_s: int | None = None  # longest replica
    min_agree: int = 1


class Partition(Struct, frozen=True, kw_only=True):
    """One partition, as the site's admin declares it."""

    name: str
    node: str = ""  # partitions that share hosts carry the same word; "" is the site's main group
    tier: Tier = Tier.HPC
    hosts: int = 1
    max_time_s: int | None = None
    max_nodes: int | None = None
    max_cpus: int = 1  # of one host
    max_mem_mib: int = 1_024  # of one host
    gpus: int = 0  # of one host
    gpu_types: tuple[str, ...] = ()
    gpu_mem_mib: int | None = None  # of each GPU; None: the file does not say
    features: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()  # patterns of names or addresses of workers; () means all
    classes: Mapping[str, str] = field(default_factory=dict)  # numeric class -> value, as the admin vouches for it


class Site(Struct, frozen=True, kw_only=True):
    """One site, as its file says."""

    name: str
    title: str = ""
    contact: str = ""
    url: str = ""
    hostnames: tuple[str, ...] = ()  # login nodes; may hold `*`
    owner: str = ""  # who answers for its machines; "" means the site's name
    fetch: str = "here"  # where pinned inputs with URLs are fetched: here | node | proxy (the node as well)
    fetch_proxy: str = ""  # URL of the proxy through which nodes fetch
    fetch_cache_mib: int = 20_480  # what its nodes keep of that, each, and of what is sent to them
    scheduler: Scheduler
    ssh: Ssh | None = None
    backend_settings: object = None  # what the table of its backend says, as the backend's own noun; None: no table
    needs: str = ""  # another site, whose scheduler starts what this one runs on
    limits: Limits = field(default_factory=Limits)
    environment: Environment = field(default_factory=Environment)
    runner: Runner = field(default_factory=Runner)
    container: Containers = field(default_factory=Containers)
    filesystem: Filesystem = field(default_factory=Filesystem)
    policy: Policy = field(default_factory=Policy)
    partitions: tuple[Partition, ...] = ()

    def groups(self) -> dict[str, tuple[Partition, ...]]:
        """Return the partitions by the node that they make up: node name -> partitions, in the file's order."""
        found: dict[str, tuple[Partition, ...]] = {}
        for partition in self.partitions:
            name = f"{self.name}-{partition.node}" if partition.node else self.name
            found[name] = (*found.get(name, ()), partition)
        return found

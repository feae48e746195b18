"""The registry of nodes: make a local one, drain it, take it out.

A node is a key and the coordinator's word on where it stands. `node.json` in its spool tells the worker what it may
use and which coordinator it trusts.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.errors import ConfigError, NotFoundError, UsageError
from nexapod_batch.files import atomic, keyfile
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["account", "drain", "ensure_local", "init", "keep_settings", "remove", "resume"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
#: Seconds without work until a worker exits.
IDLE_EXIT_S = 10
#: Memory that is left to the system when a node is made without being told how much it may use.
_KEEP_MIB = 512


def init(
    c: Coordinator,
    name: str | None = None,
    owner: str | None = None,
    cpus: int | None = None,
    mem_mib: int | None = None,
    tier: Tier = Tier.CPU,
    idle_exit_s: float = IDLE_EXIT_S,
) -> Node:
    """Make a key and a profile for this machine and register it as a local node."""
    host = socket.gethostname()
    name = name or re.sub(r"[^A-Za-z0-9_-]", "-", host)[:63].lstrip("-_") or "local"
    if not _NAME.fullmatch(name):
        raise UsageError("not a node name", got=repr(name), wanted="letters, digits, _ and -, at most 63")
    if any(node.name == name for node in c.nodes()):
        raise UsageError(f"there is a node {name!r} already", hint="give another one with --name")
    have_cpus, have_mem = _cpus(), _memory_mib()
    cpus, mem_mib = cpus or have_cpus, mem_mib or max(256, have_mem - _KEEP_MIB)
    for what, got, most in (("cpus", cpus, have_cpus), ("memory (MiB)", mem_mib, have_mem)):
        if not 1 <= got <= most:
            raise UsageError(f"this machine has not that many {what}", got=got, wanted=f"1 to {most}")
    key = c.paths.keys / f"node-{name}"
    signer = keyfile.load(key) if key.exists() else keyfile.create(key, f"nexapod-batch node {name}")
    node = Node(
        id=0,
        name=name,
        key_id=signer.key_id,
        public_key=signer.public,
        site="local",
        owner=owner or account(),
        host=host,
        tier=tier,
        backend="local",
        cpus=cpus,
        mem_mib=mem_mib,
        classes=_classes(),
    )
    _write_spool(c, node, idle_exit_s)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        fields = (
            "name",
            "key_id",
            "public_key",
            "site",
            "owner",
            "host",
            "backend",
            "cpus",
            "mem_mib",
            "gpus",
            "gpu_type",
            "max_queued",
        )
        c.store.run(
            "node_insert",
            **{field: getattr(node, field) for field in fields},
            tier=node.tier.value,
            classes=json.dumps(node.classes, sort_keys=True),
            now=c.now(),
        )
    return next(one for one in c.nodes() if one.name == name)


def ensure_local(c: Coordinator) -> None:
    """Make a local node when none is registered, except on a login node, where nobody asked for one."""
    if c.nodes():
        return
    why = _login_node(c)
    if why:
        raise ConfigError(
            f"no node is registered, and {why}: jobs must not run on a login node unasked",
            hint="register the cluster, or make a node here all the same: nexapod-batch node init",
        )
    init(c)


def keep_settings(c: Coordinator, nodes: list[Node]) -> None:
    """Write `node.json` of local nodes again where it is missing or says something else, as after a moved home."""
    for node in nodes:
        file = c.paths.spool(node.name) / "node.json"
        try:
            written = json.loads(file.read_bytes())
            idle_exit_s = written.get("idle_exit_s", IDLE_EXIT_S)
        except (OSError, ValueError, AttributeError):
            written, idle_exit_s = None, IDLE_EXIT_S
        if written != _settings(c, node, idle_exit_s):
            _write_spool(c, node, idle_exit_s)


def drain(c: Coordinator, name: str) -> None:
    """Give a node no more replicas; what it has goes on."""
    _activate(c, name, active=0)


def resume(c: Coordinator, name: str) -> None:
    """Give a drained node replicas again."""
    _activate(c, name, active=1)


def remove(c: Coordinator, name: str) -> None:
    """Take a node that never ran anything out of the registry; one that did keeps its row, and can only be drained."""
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for node in c.nodes():
            if node.name == name:
                if c.store.only("node_used", id=node.id)["used"]:
                    raise UsageError(
                        f"node {name} has run replicas: its key is part of their record",
                        hint=f"nexapod-batch node drain {name}",
                    )
                c.store.run("node_delete", name=name)
                return
    raise _unknown(c, name)


def _activate(c: Coordinator, name: str, *, active: int) -> None:
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        if not c.store.run("node_activate", name=name, active=active):
            raise _unknown(c, name)


def _unknown(c: Coordinator, name: str) -> NotFoundError:
    known = ", ".join(node.name for node in c.nodes()) or "none"
    return NotFoundError("there is no such node", got=repr(name), wanted=f"one of: {known}")


def _write_spool(c: Coordinator, node: Node, idle_exit_s: float) -> None:
    spool, work = c.paths.spool(node.name), c.paths.work(node.name)
    for folder in (*(spool / part for part in ("inbox", "claims", "cancel", "reports", "refused")), work):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = json.dumps(_settings(c, node, idle_exit_s), indent=2)
    atomic.write(spool / "node.json", settings.encode() + b"\n", mode=0o600)


def _settings(c: Coordinator, node: Node, idle_exit_s: float) -> dict[str, object]:
    """Return what the worker is told: what it may use, and which coordinator it trusts."""
    return {
        "schema": 1,
        "name": node.name,
        "key": str(c.paths.keys / f"node-{node.name}"),
        "coordinators": [c.signer.key_id],
        "coordinator_keys": {c.signer.key_id: c.signer.public.hex()},
        "host": node.host,
        "cpus": node.cpus,
        "mem_mib": node.mem_mib,
        "work": str(c.paths.work(node.name)),
        "backend": node.backend,
        "classes": dict(node.classes),
        "idle_exit_s": idle_exit_s,
    }


def _login_node(c: Coordinator) -> str:
    """Return why this machine looks like a login node, or nothing."""
    conf = os.environ.get("SLURM_CONF") or "/etc/slurm/slurm.conf"
    if Path(conf).exists():
        return f"this machine has a Slurm configuration ({conf})"
    from nexapod_batch.config.sites import load_sites  # noqa: PLC0415 - only on a first run

    host = socket.gethostname()
    for site in load_sites(c.paths.sites)[0].values():
        if any(fnmatchcase(host, pattern) for pattern in site.hostnames):
            return f"this machine's name {host} belongs to site {site.name}"
    return ""


def account() -> str:
    """Return the name of this account, or its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _classes() -> dict[str, str]:
    """Return the numeric classes of this machine; a node class is its micro-architecture on its system."""
    import archspec.cpu  # noqa: PLC0415 - 30 ms, once in the life of a node

    os_arch = f"{platform.system().lower()}-{platform.machine()}"
    microarch = archspec.cpu.host().name
    return {
        "os-arch": os_arch,
        "cpu-microarch": microarch,
        "gpu-model": "none",
        "node-class": f"{os_arch}/{microarch}/none",
    }

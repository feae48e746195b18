"""The registry of nodes: make a local one, follow its hardware, drain it, take it out.

A node is a key and the coordinator's word on where it stands. `node.json` in its spool tells the worker what it may
use and which coordinator it trusts.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S, account
from nexapod_batch.coordinator.nodes import keys, profiles
from nexapod_batch.coordinator.nodes.login_nodes import refuse_login_node
from nexapod_batch.coordinator.nodes.owners import check_name as check_owner
from nexapod_batch.coordinator.nodes.record import record
from nexapod_batch.coordinator.nodes.settings import settings_of
from nexapod_batch.errors import (
    ConfigError,
    NexapodError,
    NotFoundError,
    TryAgainError,
    UsageError,
)
from nexapod_batch.files import keyfile
from nexapod_batch.hardware.machine import memory_mib, usable_cpus
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.local_nodes import gpu_status as gpus_of
from nexapod_batch.model.hardware import Offer, changes, tier_of
from nexapod_batch.model.node import LOCAL, Node
from nexapod_batch.spool import owner_settings
from nexapod_batch.spool.lock import live_incarnation
from nexapod_batch.store import writer
from nexapod_batch.trust.profile import seal_offer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.hardware import Gpu, Profile
    from nexapod_batch.model.job import Tier
    from nexapod_batch.model.site import Partition, Site
    from nexapod_batch.trust.dsse import Signer

__all__ = [
    "drain", "ensure_nodes", "init", "named", "refresh", "register_sites", "rekey", "resume", "unregistered", "usable",
]  # fmt: skip

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
#: Seconds without work until a worker exits.
IDLE_EXIT_S = 10
#: Memory that is left to the system when a node is made without being told how much it may use.
_KEEP_MIB = 512


def _check_size(cpus: int, mem_mib: int) -> None:
    """Raise UsageError for more than this machine has."""
    for what, got, limit in (("cpus", cpus, usable_cpus()), ("memory (MiB)", mem_mib, memory_mib())):
        if not 1 <= got <= limit:
            raise UsageError(f"this machine has not that many {what}", got=got, wanted=f"1 to {limit}")


def init(
    c: Coordinator,
    name: str | None = None,
    owner: str | None = None,
    cpus: int | None = None,
    mem_mib: int | None = None,
    tier: Tier | None = None,
    idle_exit_s: float = IDLE_EXIT_S,
    *,
    gpus: str | None = None, gpu_slots: int = 1, benchmark: bool = False, confine: str = "foreign",
) -> Node:  # fmt: skip
    """Make a key and a signed profile for this machine and register it as a local node.

    `gpus` are those that it offers (`local_nodes.gpu_status.offered`), each for so many replicas at once. `confine`
    says whose commands without a container are confined: those of `foreign` jobs, of `all`, or `never` any.

    Raises:
        UsageError: More is asked for than this machine has, or the owner is no name.

    """
    name = name or _own_name()
    _check_new_name(c, name)
    if owner:
        check_owner(owner)
    cpus, mem_mib = cpus or usable_cpus(), mem_mib or _offered_mib()
    _check_size(cpus, mem_mib)
    profile, faults = profiles.take(c.paths, benchmark=benchmark)
    devices = gpus_of.offered(gpus, profile.devices, faults)
    offer = Offer(profile=profile, gpus=tuple(gpu.uuid for gpu in devices))
    signer, node = _node_key(c, name), _here(name, offer)
    node = replace(
        node, key_id=signer.key_id, public_key=signer.public, owner=owner or node.owner, tier=tier or node.tier,
        cpus=cpus, mem_mib=mem_mib, gpus=len(devices) * gpu_slots,
    )  # fmt: skip
    kept = {"idle_exit_s": idle_exit_s, "gpus": list(offer.gpus), "gpu_slots": gpu_slots, "confine": confine}
    c.backend(node).prepare(c.context(node), {**settings_of(c, node), **kept})
    owner_settings.reserve(c.context(node).spool)
    record(c, node, seal_offer(signer, offer))
    log.info(__name__, "node registered", node=name, tier=node.tier, cpus=cpus, mem_mib=mem_mib, gpus=node.gpus)
    return named(c, name)


def _here(name: str, offer: Offer) -> Node:
    """Return a node of this whole machine, as yet without a key."""
    return Node(
        id=0,
        name=name,
        key_id="",
        public_key=b"",
        site=LOCAL,
        owner=account(),
        host=socket.gethostname(),
        tier=tier_of(offer.devices),
        backend=LOCAL,
        cpus=usable_cpus(),
        mem_mib=_offered_mib(),
        gpus=len(offer.devices),
        gpu_type=gpus_of.kinds(offer.devices),
        gpu_mem_mib=max((gpu.memory_mib or 0 for gpu in offer.devices), default=0),
        classes=offer.classes,
    )


def _check_new_name(c: Coordinator, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError("not a node name", got=repr(name), wanted="letters, digits, _ and -, at most 63")
    if any(node.name == name for node in c.nodes()):
        raise UsageError(f"there is a node {name!r} already", hint="give another one with --name")


def _own_name() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:63].lstrip("-_") or "local"


def _offered_mib() -> int:
    return max(256, memory_mib() - _KEEP_MIB)


def _with_old_benchmark(profile: Profile, old: Profile) -> Profile:
    """Return a profile with the benchmark that an older one has, where it has none and the processor is the same."""
    if profile.benchmark is None and old.cpu == profile.cpu:
        return replace(profile, benchmark=old.benchmark)
    return profile


def _still_there(offered: Collection[str], profile: Profile) -> str:
    """Return which of the GPUs that were offered a machine still has, as `init` takes them."""
    return ",".join(gpu.uuid for gpu in profile.devices if gpu.uuid in offered) or "none"


def refresh(
    c: Coordinator, name: str, *, gpus: str | None = None, gpu_slots: int | None = None, benchmark: bool = False
) -> tuple[Node, list[str]]:
    """Take and sign the profile of a node of this machine anew; return the node, and in words what changed.

    It offers the GPUs that it offered, as far as they are there, unless `gpus` names others. A benchmark is kept unless
    the processor is another one, or `benchmark` asks for a new one.

    Raises:
        UsageError: The node is not one of this machine.

    """
    node = named(c, name)
    if node.backend != LOCAL or node.host != socket.gethostname():
        raise UsageError(f"node {name} is not this machine", got=socket.gethostname(), wanted=node.host)
    profile, faults = profiles.take(c.paths, benchmark=benchmark)
    old, _ = profiles.signed(c.store, name)
    if old is not None:
        profile = _with_old_benchmark(profile, old.profile)
        if gpus is None:
            gpus = _still_there(old.gpus, profile)
    devices = gpus_of.offered(gpus, profile.devices, faults)
    offer = Offer(profile=profile, gpus=tuple(gpu.uuid for gpu in devices))
    before = old.devices if old is not None else ()
    slots = gpu_slots or max(1, node.gpus // max(1, len(before)))
    new = _refreshed(node, before, offer, devices, slots)
    _refuse_while_working(c, node, new, other_gpus=offer.gpus != tuple(gpu.uuid for gpu in before))
    kept = {"gpus": list(offer.gpus), "gpu_slots": slots}
    c.backend(node).prepare(c.context(new), {**settings_of(c, new), **kept})
    record(c, new, seal_offer(keys.signer_of(c, node), offer))
    changed = ["it had no profile that verifies"] if old is None else changes(old.profile, profile)
    return named(c, name), [*changed, *_not_offered(name, offer)]


def _refreshed(node: Node, before: Sequence[Gpu], offer: Offer, devices: Sequence[Gpu], slots: int) -> Node:
    """Return a node as its machine is now; `before` are the GPUs that it offered."""
    tier = node.tier
    if tier == tier_of(before):  # who chose another tier keeps it
        tier = tier_of(devices)
    return replace(
        node,
        classes=offer.classes,
        tier=tier,
        cpus=min(node.cpus, usable_cpus()),
        mem_mib=min(node.mem_mib, memory_mib()),
        gpus=len(devices) * slots,
        gpu_type=gpus_of.kinds(devices),
    )


def _refuse_while_working(c: Coordinator, node: Node, new: Node, *, other_gpus: bool) -> None:
    """Raise TryAgainError where replicas that are out would report as another machine than they were placed on."""
    if new.classes == node.classes and new.gpus == node.gpus and not other_gpus:
        return
    if _out(c, node) or live_incarnation(c.context(node).spool) is not None:
        raise TryAgainError(
            f"node {node.name} works, and would report as the machine that it was",
            hint=f"nexapod-batch node drain {node.name}, and again when it has nothing to do",
        )


def _not_offered(name: str, offer: Offer) -> list[str]:
    others = [gpu for gpu in offer.profile.devices if gpu.uuid not in offer.gpus]
    again = f"node init {name} --refresh --gpus all"
    return [f"GPU {other.index} ({other.model}) is not offered: {again}" for other in others]


def _out(c: Coordinator, node: Node) -> int:
    return c.store.nodes.out().get(node.id, 0)


def ensure_nodes(c: Coordinator) -> None:
    """Register what the site files declare; where there is no node at all make a local one, except on a login node."""
    register_sites(c)
    if not c.nodes():
        refuse_login_node(c)
        try:
            init(c)
        except UsageError:
            if not c.nodes():  # where there is one now, another first command has just made it
                raise


def register_sites(c: Coordinator) -> None:
    """Register a node for each group of partitions that a site file declares, and follow what the file changes.

    The key belongs to this coordinator's home; site and owner are the file's word.
    """
    known = {node.name: node for node in c.nodes()}
    for found in _declared(c, known):
        old, signer = known.get(found.name), _node_key(c, found.name)
        node = replace(found, key_id=signer.key_id, public_key=signer.public)
        if old is not None:
            node = replace(
                node, id=old.id, active=old.active, first_key=old.first_key, made_by=old.made_by,
                cluster=old.cluster, cluster_at=old.cluster_at, counts_as=old.counts_as,
            )  # fmt: skip
        if node != old:
            record(c, node)


def unregistered(c: Coordinator) -> list[Node]:
    """Return the nodes that the next submit registers, with numbers of their own and no keys; nothing is written."""
    known = {node.name: node for node in c.nodes()}
    found = [node for node in _declared(c, known) if node.name not in known]
    if not known and not found:
        refuse_login_node(c)
        profile, _ = profiles.take(c.paths)
        found = [_here(_own_name(), Offer(profile=profile, gpus=tuple(gpu.uuid for gpu in profile.devices)))]
    first = max((node.id for node in known.values()), default=0) + 1
    return [replace(node, id=number, key_id=f"{number}") for number, node in enumerate(found, first)]


def _declared(c: Coordinator, known: Mapping[str, Node]) -> Iterator[Node]:
    """Yield a node for each group of partitions that a site file declares, as yet without a key."""
    for site in c.sites().values():
        for name, partitions in site.groups().items():
            if name in known and known[name].site != site.name:
                raise ConfigError(
                    f"two sites make a node called {name}", got=f"{known[name].site} and {site.name}", hint="rename one"
                )
            yield _of_group(site, name, partitions)


def _of_group(site: Site, name: str, partitions: Sequence[Partition]) -> Node:
    classes: dict[str, str] = {}
    for one in partitions:
        classes.update(one.classes)
    gpus = max(partitions, key=lambda one: one.gpus)
    return Node(
        id=0,
        name=name,
        key_id="",
        public_key=b"",
        site=site.name,
        owner=site.owner or account(),
        host=socket.gethostname() if site.scheduler.type == LOCAL else name,
        tier=partitions[0].tier,
        backend=site.scheduler.type,
        cpus=max(partition.max_cpus for partition in partitions),
        mem_mib=max(partition.max_mem_mib for partition in partitions),
        gpus=gpus.gpus,
        gpu_type=",".join(gpus.gpu_types) or None,
        hosts=max(partition.hosts for partition in partitions),
        classes=classes,
        max_queued=site.limits.max_queued,
    )


def usable(c: Coordinator, faults: Faults) -> list[Node]:
    """Return the nodes whose site can be used from here; the others are faults, and what they have goes on without us.

    A drained node that has nothing is no fault: its site may be gone for good.
    """
    found: list[Node] = []
    for node in c.nodes():
        if keys.is_removed(c, node):
            continue
        try:
            c.context(node)
            if node.site != LOCAL:
                c.usable_backend(node)
        except NexapodError as error:
            if node.active or node.id in c.store.nodes.at_work():
                faults.of_site(node.site, c.site_reason(node.site, error))
        else:
            found.append(node)
    return found


def rekey(c: Coordinator, name: str) -> tuple[Node, Node]:
    """Give a node a new key, whether or not it has the old one; return the node as it was, and as it is."""
    node = named(c, name)
    keys.rotate(c, node, by_both=False)
    log.info(__name__, "node has a new key", node=name)
    return node, named(c, name)


def drain(c: Coordinator, name: str) -> None:
    """Give a node no more replicas; what it has goes on."""
    _activate(c, name, active=False)


def resume(c: Coordinator, name: str) -> None:
    """Give a drained node replicas again; UsageError for one that was removed."""
    if keys.is_removed(c, named(c, name)):
        raise UsageError(
            f"node {name} was removed: its key is gone", hint="nexapod-batch node init --name NAME makes another one"
        )
    if keys.is_revoked(c, named(c, name)):
        raise UsageError(f"the key of node {name} was revoked: nothing counts that it signs", hint=keys.REVOKED_HINT)
    _activate(c, name, active=True)


def _activate(c: Coordinator, name: str, *, active: bool) -> None:
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        if not c.store.nodes.activate(name, active=active):
            raise _unknown(c, name)
        c.store.ledger.append([event(Kind.RESUMED if active else Kind.DRAINED, c.now(), node=name)])
    log.info(__name__, "node resumed" if active else "node drained", node=name)


def named(c: Coordinator, name: str) -> Node:
    """Return a node by name; NotFoundError, with those that there are."""
    for node in c.nodes():
        if node.name == name:
            return node
    raise _unknown(c, name)


def _unknown(c: Coordinator, name: str) -> NotFoundError:
    known = ", ".join(node.name for node in c.nodes()) or "none"
    return NotFoundError("there is no such node", got=repr(name), wanted=f"one of: {known}")


def _node_key(c: Coordinator, name: str) -> Signer:
    key = keys.key_file(c, name)
    if not key.exists():
        with suppress(FileExistsError):  # another first command was faster
            return keyfile.create(key, f"nexapod-batch node {name}")
    return keyfile.load(key)

"""Nodes: who may run replicas, with which keys, and what they signed of their machines."""

from __future__ import annotations

from json import loads
from typing import TYPE_CHECKING, TypedDict

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.files.accounts import own_account
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from typing import Unpack

    from nexapod_batch.store.database import Database

__all__ = ["NodeFields", "NodeKeyRow", "NodeRow", "Nodes", "ProfileRow", "node_of"]


class NodeRow(Row, frozen=True):
    """A registered node."""

    id: int
    name: str
    key_id: str  # of the key that it has now
    public_key: bytes
    site: str
    owner: str
    host: str
    tier: str
    backend: str
    cpus: int
    mem_mib: int
    gpus: int  # places for replicas on GPUs
    gpu_type: str | None
    hosts: int  # machines that it is made of
    classes: str  # JSON object: kind of numeric class -> class
    max_queued: int
    active: bool  # False: drained
    blame: int  # statements validly signed by it that no honest node signs
    created_at: int
    first_key: str  # id of the first key that it had
    made_by: str  # account that made its first key; "" where nobody noted it
    cluster: str  # which cluster it is, as its scheduler says it; "" where nobody has said so
    cluster_at: int  # when that was
    networks: str  # from which it has called, with blanks between
    owner_state: str  # waits, approved, suspended


def node_of(row: NodeRow) -> Node:
    """Return the node of a registry row; CorruptStoreError for a row that nobody has written."""
    try:
        tier, classes = Tier(row.tier), loads(row.classes)
    except ValueError as error:
        raise CorruptStoreError(f"the row of node {row.name} in the registry is damaged", got=str(error)) from error
    return Node(
        id=row.id,
        name=row.name,
        key_id=row.key_id,
        public_key=row.public_key,
        site=row.site,
        owner=row.owner,
        host=row.host,
        tier=tier,
        backend=row.backend,
        cpus=row.cpus,
        mem_mib=row.mem_mib,
        gpus=row.gpus,
        gpu_type=row.gpu_type,
        hosts=row.hosts,
        classes=classes,
        max_queued=row.max_queued,
        active=row.active,
        first_key=row.first_key,
        cluster=row.cluster,
        cluster_at=row.cluster_at,
        networks=tuple(row.networks.split()),
        owner_state=row.owner_state,
        made_by=row.made_by or own_account(),
    )


class NodeFields(TypedDict):
    """What is written of a node."""

    name: str
    key_id: str
    public_key: bytes
    site: str
    owner: str
    host: str
    tier: str
    backend: str
    cpus: int
    mem_mib: int
    gpus: int
    gpu_type: str | None
    hosts: int
    classes: str
    max_queued: int
    made_by: str  # stays as it was of a node that is there


class NodeKeyRow(Row, frozen=True):
    """A key that a node has, or had."""

    key_id: str
    public_key: bytes
    since: int
    until: int | None  # when another one took its place; None: it is the node's key
    entry: int | None  # of the ledger, that gave it to the node; None: it is not kept which
    over: int | None  # of the ledger, that gave the node another one
    revoked: int | None  # the first entry for which what it signed counts no longer
    rotation: bytes | None  # envelope by which it took the place of the one before; None: nobody but us says so


class ProfileRow(Row, frozen=True):
    """What a node signed of its machine, and the key that it has."""

    key_id: str
    public_key: bytes
    envelope: bytes  # DSSE, exactly as it was signed


class StartFailure(Row, frozen=True):
    """A node whose newest launches ended before anything of them began, all for one reason."""

    node_id: int
    alike: int  # launches in a row
    why: str
    at: int  # when the newest ended


class Nodes:
    """The registry of nodes."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "nodes")

    def all(self) -> list[NodeRow]:
        """Return every node, in the order in which they were registered."""
        return self._sql.all(NodeRow, "nodes")

    def known(self, *, name: str, key_id: str) -> list[NodeRow]:
        """Return the node of a name and that of a key, as far as there are such: at most two."""
        return self._sql.all(NodeRow, "nodes_known", name=name, key=key_id)

    def put(self, *, now: int, **fields: Unpack[NodeFields]) -> None:
        """Register a node, or change what may change of one: not its key, nor its site."""
        self._sql.run("node_put", now=now, **fields)

    def put_networks(self, node: int, networks: str) -> None:
        """Keep from which networks a node has called, with blanks between."""
        self._sql.run("node_networks", node=node, networks=networks)

    def put_cluster(self, node: int, cluster: str, now: int) -> None:
        """Keep which cluster a node is, as its scheduler says it."""
        self._sql.run("node_cluster", node=node, cluster=cluster, now=now)

    def activate(self, name: str, *, active: bool) -> bool:
        """Drain or resume a node; False when there is none of this name."""
        return self._sql.run("node_activate", name=name, active=int(active)) > 0

    def rename(self, old: str, *, name: str, site: str, owner: str) -> None:
        """Give a node another name, site and owner."""
        self._sql.run("node_rename", old=old, name=name, site=site, owner=owner)

    def delete(self, name: str) -> None:
        """Take a node that never ran anything out of the registry."""
        self._sql.run("node_delete", name=name)

    def has_run(self, node: int) -> bool:
        """Say whether a replica was ever placed on a node."""
        return bool(self._sql.value(int, "node_used", id=node))

    def blame(self, node: int) -> None:
        """Count one more statement that no honest node signs."""
        self._sql.run("node_blame", id=node)

    def out(self) -> dict[int, int]:
        """Return how many replicas are out on each node that has any, by node."""
        return dict(self._sql.tuples("node_out"))

    def at_work(self) -> set[int]:
        """Return the nodes that have open launches."""
        return set(self._sql.values(int, "nodes_at_work"))

    def start_failed(self, launch: int, *, why: str, pattern: str, now: int) -> None:
        """Count one more launch of a node that ended before it began; from 1 where the one before said otherwise."""
        self._sql.run("start_failed", launch=launch, why=why, pattern=pattern, now=now)

    def started(self, launch: int) -> None:
        """Forget what kept launches of a node from beginning: this one did."""
        self._sql.run("node_starts", launch=launch)

    def start_failures(self) -> list[StartFailure]:
        """Return what kept the newest launches of each node from beginning."""
        return self._sql.all(StartFailure, "start_failures")

    def forget_start_failures(self) -> None:
        """Let every node be tried again."""
        self._sql.run("start_failures_over")

    def profiles(self) -> dict[int, bytes]:
        """Return the signed profile of each node that has one, by node."""
        return dict(self._sql.tuples("profiles"))

    def profile(self, name: str) -> ProfileRow | None:
        """Return what the node of a name signed of its machine; None where it signed nothing."""
        return self._sql.find(ProfileRow, "profile", name=name)

    def put_profile(self, name: str, envelope: bytes) -> None:
        """Keep what a node signed of its machine, in place of what it signed before."""
        self._sql.run("profile_put", name=name, envelope=envelope)

    def keys(self, node: int) -> list[NodeKeyRow]:
        """Return the keys that a node has and had, the first one first."""
        return self._sql.all(NodeKeyRow, "node_keys", node=node)

    def replace_key(
        self, node: int, key_id: str, public_key: bytes, *, now: int, entry: int, rotation: bytes | None
    ) -> None:
        """Give a node another key; the one that it had is kept as one that it had until now."""
        self._sql.run("node_key_over", node=node, now=now, entry=entry)
        self._sql.run(
            "node_key_insert", node=node, key=key_id, public_key=public_key, now=now, entry=entry, rotation=rotation
        )
        self._sql.run("node_rekeyed", node=node, key=key_id, public_key=public_key)

    def given(self, key_id: str, entry: int) -> None:
        """Keep which entry of the ledger gave a node its first key."""
        self._sql.run("node_key_given", key=key_id, entry=entry)

    def revoke_key(self, key_id: str, since: int) -> None:
        """Let nothing count that a key signed for an entry of the ledger from this one on."""
        self._sql.run("node_key_revoked", key=key_id, since=since)

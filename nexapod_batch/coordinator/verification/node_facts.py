"""Nodes as the registry has them, compared with what the ledger says of them: whose they are, and what they signed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.verification.signed_verdict import event_at
from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.audit import Fault
from nexapod_batch.ledger.events import Kind, encoded_digest
from nexapod_batch.trust.dsse import open_envelope
from nexapod_batch.trust.keys import named_by
from nexapod_batch.trust.profile import PROFILE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["NodeEvents", "node_faults"]

#: Characters of a text that the ledger keeps.
_KEPT = 256


class NodeEvents:
    """What the entries of a ledger say of nodes; the latest counts."""

    def __init__(self) -> None:
        """Begin with none."""
        self.places: dict[str, tuple[str, str]] = {}  # owner and site, by name
        self.profiles: dict[str, str] = {}  # SHA-256 of what was signed, by name
        self.owners: dict[str, str] = {}  # whether their nodes get work, by name
        self.networks: dict[str, list[str]] = defaultdict(list)  # from which it called, by name

    def add(self, entry: Mapping[str, str | int]) -> None:
        """Take in what one entry says."""
        kind, name = entry.get("fact", entry.get("kind")), str(entry.get("node"))
        if kind in {Kind.REGISTERED, Kind.REMOVED}:  # another node may have had the name before
            self.profiles.pop(name, None)
        if kind in {Kind.REGISTERED, Kind.CHANGED} and "owner" in entry:
            self.places[name] = str(entry["owner"]), str(entry.get("site"))
        if kind == Kind.PROFILE:
            self.profiles[name] = str(entry.get("sha256"))
        if kind == Kind.OWNER:
            self.owners[str(entry.get("owner"))] = str(entry.get("state"))
        if kind == Kind.SEEN:
            self.networks[name].append(str(entry.get("network")))


def node_faults(c: Coordinator, events: NodeEvents) -> Iterator[Fault]:
    """Yield nodes that belong to somebody else, or have signed something else, than the ledger says."""
    for own in c.store.operations.coordinator_keys():
        if own.public_key is not None and named_by(own.public_key) != own.key_id:
            yield Fault("the coordinator", f"the key that is kept as {own.key_id} is another one")
    yield from _owner_faults(c, events)
    signed = c.store.nodes.profiles()
    for row in c.store.nodes.all():
        place = f"node {row.name}"
        said = events.places.get(row.name)
        if said is not None and said != (row.owner[:_KEPT], row.site[:_KEPT]):
            what = f"the ledger says that it is {said[0]}'s at {said[1]}, the database {row.owner}'s at {row.site}"
            yield Fault(place, what)
        yield from _range_faults(c, place, row.id)
        yield from _network_faults(place, row.networks.split(), events.networks.get(row.name, []))
        wanted = events.profiles.get(row.name)
        if wanted is None:
            continue
        envelope = signed.get(row.id)
        if envelope is None:
            yield Fault(place, "the profile that it signed is gone")
        elif _digest(c, row.id, envelope) != wanted:
            yield Fault(place, "its profile is not the one that it signed")


def _owner_faults(c: Coordinator, events: NodeEvents) -> Iterator[Fault]:
    """Yield owners that the database calls something else than the ledger does, also where one of them is silent."""
    stored = {row.name: row.state for row in c.store.people.owners()}
    for name in sorted(stored.keys() | events.owners.keys()):
        kept, said = stored.get(name, "nothing"), events.owners.get(name, "nothing")
        if kept != said:
            yield Fault(f"owner {name}", f"the ledger says {said} of it, the database {kept}")


def _network_faults(place: str, kept: Sequence[str], seen: Sequence[str]) -> Iterator[Fault]:
    """Yield networks that a node is said to have called from and did not, or that are left out."""
    for network in kept:
        if network not in seen:
            yield Fault(place, f"the ledger does not say that it called from {network}")
    if seen and seen[-1] not in kept:
        yield Fault(place, f"the ledger says that it called from {seen[-1]}, the database does not")


def _range_faults(c: Coordinator, place: str, node: int) -> Iterator[Fault]:
    """Yield keys that are kept as given, or as over, by an entry that says something else."""
    keys = c.store.nodes.keys(node)
    for key, after in zip_longest(keys, keys[1:]):
        if key.entry is not None and event_at(c, key.entry).get("key") != key.key_id:
            yield Fault(place, f"entry {key.entry} did not give it the key {key.key_id}")
        if key.over is not None and (after is None or event_at(c, key.over).get("key") != after.key_id):
            yield Fault(place, f"entry {key.over} did not give it another key than {key.key_id}")


def _digest(c: Coordinator, node: int, envelope: bytes) -> str:
    """Return the SHA-256 of what one of a node's keys signed; "" where none did."""
    keys = {key.key_id: key.public_key for key in c.store.nodes.keys(node)}
    try:
        return encoded_digest(hashlib.sha256(open_envelope(envelope, PROFILE_TYPE, keys).payload).digest())
    except VerificationError:
        return ""

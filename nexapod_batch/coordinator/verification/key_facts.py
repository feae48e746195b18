"""The keys of nodes and of the coordinator, compared with what the ledger says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator import own_key
from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.audit import Fault
from nexapod_batch.ledger.events import Kind, digest_of
from nexapod_batch.trust.keys import named_by
from nexapod_batch.trust.rotation import encode_rotation, open_rotation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["KeyEvents", "key_faults", "keys_of_database"]

#: Kinds of entries that give somebody a key.
_GIVING = frozenset({Kind.BEGAN, Kind.REGISTERED, Kind.CHANGED, Kind.ROTATED, Kind.COORDINATOR_ROTATED})


class KeyEvents:
    """What the entries of a ledger say of keys."""

    def __init__(self) -> None:
        """Begin with none."""
        self.given: set[tuple[str, str]] = set()  # holder and key id
        self.signed: dict[str, str] = {}  # SHA-256 of the rotation that gave a key, by its id
        self.revoked: dict[str, int] = {}  # the first entry that counts no longer, by key id

    def add(self, entry: Mapping[str, str | int]) -> None:
        """Take in what one entry says."""
        kind, key = str(entry.get("fact", entry.get("kind"))), str(entry.get("key"))
        if kind == Kind.REVOKED:
            since = int(entry.get("entry", 0))
            self.revoked[key] = min(since, self.revoked.get(key, since))
        if kind in _GIVING:
            self.given.add((str(entry.get("node", "")), key))
        if kind in {Kind.ROTATED, Kind.COORDINATOR_ROTATED} and "sha256" in entry:
            self.signed[key] = str(entry["sha256"])


class _Key(NamedTuple):
    """A key of the database."""

    holder: str  # name of a node, or "": the coordinator
    key_id: str
    public: bytes | None
    revoked: int | None
    rotation: bytes | None
    in_use: bool


def keys_of_database(c: Coordinator) -> list[list[_Key]]:
    """Return the keys of each holder, the first one first."""
    own = [
        _Key("", row.key_id, row.public_key, row.revoked, row.rotation, row.until is None)
        for row in own_key.holders(c.store, c.signer)
    ]
    found = [own] if own else []
    for node in c.store.nodes.all():
        of_node = [
            _Key(node.name, row.key_id, row.public_key, row.revoked, row.rotation, row.key_id == node.key_id)
            for row in c.store.nodes.keys(node.id)
        ]
        found.append(of_node)
    return found


def key_faults(keys: list[list[_Key]], events: KeyEvents) -> Iterator[Fault]:
    """Yield where keys are not what the ledger says, or were not signed for by the key whose place they took."""
    ever = {key for _, key in events.given}
    for of_holder in keys:
        before: _Key | None = None
        for key in of_holder:
            place = f"node {key.holder}" if key.holder else "the coordinator"
            known = (key.holder, key.key_id) in events.given if key.in_use else key.key_id in ever
            if not known:  # one of before may have been given under another name
                yield Fault(place, f"the ledger never gave it the key {key.key_id}")
            yield from _one(place, key, before, events)
            before = key


def _one(place: str, key: _Key, before: _Key | None, events: KeyEvents) -> Iterator[Fault]:
    if key.public is not None and named_by(key.public) != key.key_id:
        yield Fault(place, f"its key {key.key_id} is not what its id names: it is {named_by(key.public)}")
    if key.revoked != events.revoked.get(key.key_id):
        what = f"the ledger has its key {key.key_id} revoked since {events.revoked.get(key.key_id)}"
        yield Fault(place, f"{what}, the database since {key.revoked}")
    signed = events.signed.get(key.key_id)
    if key.rotation is None:
        if signed is not None:
            yield Fault(place, f"the rotation to its key {key.key_id}, which the ledger names, is missing")
        return
    try:
        if before is None or before.public is None:
            raise VerificationError("there is no key that it took the place of")
        rotation = open_rotation(key.rotation, before.public)
    except VerificationError as error:
        yield Fault(place, " ".join(str(error).split()))
        return
    if rotation.new != key.public or digest_of(encode_rotation(rotation)) != signed:
        yield Fault(place, f"the rotation to its key {key.key_id} is not the one that the ledger names")

"""Nodes that join from elsewhere: what they say is checked, those without a token wait for a person, few at a time.

Who may join at once, the server decides by the token that came along. Everybody else waits in `joining/<CODE>.json` in
the home, at most `MOST_WAITING` of them and for a week: a flood of strangers costs a bounded folder and no database.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct
from msgspec import json as msgjson
from msgspec.structs import replace

from nexapod_batch.coordinator.context import PATIENCE_S, account
from nexapod_batch.coordinator.nodes import keys
from nexapod_batch.coordinator.nodes.networks import note_networks
from nexapod_batch.coordinator.nodes.owners import brought, check_name
from nexapod_batch.coordinator.nodes.record import record
from nexapod_batch.errors import NotFoundError, TryAgainError, UsageError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.mesh import versions
from nexapod_batch.mesh.mailbox import Mailbox, Note
from nexapod_batch.mesh.messages import Joined, Registration, check_folder
from nexapod_batch.model.job import Tier
from nexapod_batch.model.joined import MAX_QUEUED, site_name
from nexapod_batch.model.networks import network_of
from nexapod_batch.model.node import JOINED, Node
from nexapod_batch.model.owner import OwnerState
from nexapod_batch.store import writer
from nexapod_batch.store.repositories.nodes import node_of
from nexapod_batch.trust.keys import KEY_BYTES, key_id, parse_hex
from nexapod_batch.trust.profile import open_offer

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.hardware import Offer

__all__ = [
    "MOST_OF_ADDRESS", "MOST_WAITING", "Waiting", "approve", "code_of", "join", "public_key", "refuse", "waiting",
]  # fmt: skip

#: Registrations that wait at once, and of one address; for so many seconds they do.
MOST_WAITING, MOST_OF_ADDRESS, _WAITS_S = 200, 8, 7 * 86_400
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ23456789"  # no two of them look alike, and no word is made of them
_CODE = re.compile(rf"[{_LETTERS}]{{4}}-[{_LETTERS}]{{4}}")
_MAX = 1 << 20
_TIERS = frozenset({"cpu", "consumer-gpu", "hpc"})


class Waiting(Struct, frozen=True, kw_only=True):
    """A registration that waits for a person."""

    code: str
    at_ms: int
    address: str
    registration: Registration

    @property
    def key_id(self) -> str:
        """The fingerprint of its key."""
        return key_id(bytes.fromhex(self.registration.public_key))


def join(
    c: Coordinator, asked: Registration, address: str, *, trusted: bool, approved: bool = True, by: str = ""
) -> Joined:
    """Register a node, at once where it is `trusted`; else keep it for a person. The same again changes nothing.

    The caller has verified that the request was signed by the key that it names. An owner that is new with a trusted
    node is `approved` by the person who gave it the token (`by`), or waits.

    Raises:
        UsageError: What it says of itself cannot be.
        TryAgainError: Too many wait already.

    """
    public, offer = _checked(asked)
    mine = c.signer.public.hex()
    known = _known(c, key=key_id(public))
    if known is not None and not known.joined:
        raise UsageError("this key is one of the coordinator's own nodes", got=known.name)
    if known is not None and keys.is_revoked(c, known):
        raise UsageError("this key was revoked: nothing counts that it signs", got=known.name, hint=keys.REVOKED_HINT)
    _check_name(c, asked.name, known)
    if known is not None or trusted:
        owner = known.owner if known is not None else asked.owner
        state = OwnerState.APPROVED if approved else OwnerState.WAITS
        node = _register(c, asked, public, offer, owner, address, said=(state, by or account()))
        return Joined(state="active", name=node.name, coordinator_key=mine, owner=node.owner)
    code = _keep(c, asked, address)
    return Joined(state="pending", name=asked.name, coordinator_key=mine, code=code, owner=asked.owner)


def approve(c: Coordinator, code: str, owner: str | None = None) -> Node:
    """Register the node that waits under a code; `owner` counts instead of what it said of itself.

    Raises:
        NotFoundError: Nothing waits under this code.
        UsageError: The owner is none.

    """
    found = _found(c, code)
    asked = found.registration
    if owner is not None:
        asked = replace(asked, owner=owner)
    public, offer = _checked(asked)
    _check_name(c, asked.name, None)
    said = (OwnerState.APPROVED, account())
    node = _register(c, asked, public, offer, asked.owner, found.address, said=said)
    _file(c, found.code).unlink(missing_ok=True)
    return node


def refuse(c: Coordinator, code: str) -> Waiting:
    """Forget what waits under a code, and return it; NotFoundError where nothing does."""
    found = _found(c, code)
    _file(c, found.code).unlink(missing_ok=True)
    return found


def waiting(c: Coordinator) -> list[Waiting]:
    """Return what waits, the oldest first."""
    found = []
    for name in _names(c):
        with suppress(OSError, DecodeError):
            found.append(msgjson.decode(careful.read(_folder(c) / name, _MAX), type=Waiting))
    return sorted(found, key=lambda one: (one.at_ms, one.code))


def code_of(c: Coordinator, key: str) -> str:
    """Return the code under which the node with a key id waits; "" where it does not."""
    return next((one.code for one in waiting(c) if one.key_id == key), "")


def public_key(asked: Registration) -> bytes:
    """Return the key that a registration names; UsageError where it names none."""
    try:
        return parse_hex(asked.public_key)
    except ValueError:
        raise UsageError("not an Ed25519 key", wanted=f"{KEY_BYTES} bytes in hex") from None


def _checked(asked: Registration) -> tuple[bytes, Offer]:
    """Return the key and the signed offer of a registration.

    Raises:
        UsageError: What it says of itself cannot be.

    """
    versions.check(asked.protocol)
    public = public_key(asked)
    _check_words(asked)
    try:
        offer = open_offer(asked.profile.encode(), key_id(public), public)
    except VerificationError as error:
        raise UsageError("its profile is not signed by its key", got=error.what) from error
    _check_sizes(asked, offer)
    return public, offer


def _check_words(asked: Registration) -> None:
    if not _NAME.fullmatch(asked.name):
        raise UsageError("not a node name", got=repr(asked.name[:80]), wanted="letters, digits, _ and -, at most 63")
    if asked.owner:
        check_name(asked.owner)
    check_folder(asked.folder)
    check_folder(asked.fetched)
    if asked.tier not in _TIERS:
        raise UsageError("not a tier", got=repr(asked.tier[:40]), wanted=" or ".join(sorted(_TIERS)))


def _check_sizes(asked: Registration, offer: Offer) -> None:
    sizes = (("cpus", asked.cpus, offer.profile.cpu.usable), ("mem_mib", asked.mem_mib, offer.profile.memory_mib))
    for what, got, limit in sizes:
        if not 1 <= got <= limit:
            raise UsageError(f"more {what} than its profile says", got=got, wanted=f"1 to {limit}")
    if not 0 <= asked.gpus <= 64 * len(offer.devices):
        raise UsageError("more gpus than its profile says", got=asked.gpus, wanted=f"0 to {64 * len(offer.devices)}")


def _known(c: Coordinator, *, name: str = "", key: str = "") -> Node | None:
    """Return the node of a name, or of a key, without a look at all others; None where there is none."""
    return next(map(node_of, c.store.nodes.known(name=name, key_id=key)), None)


def _check_name(c: Coordinator, name: str, known: Node | None) -> None:
    if known is not None and known.name == name:
        return
    if known is not None:
        raise UsageError("this key has joined under another name", got=name, wanted=known.name)
    if _known(c, name=name) is not None:
        raise UsageError(f"there is a node {name!r} already", hint="join under another name: --name NAME")


def _register(
    c: Coordinator, asked: Registration, public: bytes, offer: Offer, owner: str, address: str,
    *, said: tuple[OwnerState, str],
) -> Node:  # fmt: skip
    """Write a node down; `said` is whether its owner counts as approved, and by whose word, where it is a new one."""
    owner = owner or asked.name
    gpu_types = ",".join(sorted({gpu.model.replace(",", " ") for gpu in offer.devices})) or None
    node = Node(
        id=0, name=asked.name, key_id=key_id(public), public_key=public, site=site_name(asked.name), owner=owner,
        host=offer.profile.host[:200] or asked.name, tier=Tier(asked.tier), backend=JOINED, cpus=asked.cpus,
        mem_mib=asked.mem_mib, gpus=asked.gpus, gpu_type=gpu_types, classes=offer.classes, max_queued=MAX_QUEUED,
        made_by=f"{owner} (joined)",
    )  # fmt: skip
    box = Mailbox(c.paths.spool(node.name))
    box.make()
    box.keep_note(Note(folder=asked.folder, fetched=asked.fetched))
    if network := network_of(address):
        box.note_network(network)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        brought(c, owner, *said)
    record(c, node, asked.profile.encode())
    with writer(c.store, wait_s=PATIENCE_S):  # before anything is placed there
        written = _known(c, name=node.name)
        note_networks(c, [] if written is None else [written])
    return node


def _keep(c: Coordinator, asked: Registration, address: str) -> str:
    """Keep a registration until a person looks at it; return its code, the same one for the same key."""
    kept = [one for one in waiting(c) if not _is_old(c, one)]
    key = key_id(bytes.fromhex(asked.public_key))
    code = next((one.code for one in kept if one.key_id == key), "")
    if not code:
        if len(kept) >= MOST_WAITING or sum(one.address == address for one in kept) >= MOST_OF_ADDRESS:
            raise TryAgainError(
                "too many nodes wait to be approved", got=len(kept), hint="ask for a join token, or come back tomorrow"
            )
        code = _new_code()
    own_folder(_folder(c))
    found = Waiting(code=code, at_ms=c.now(), address=address[:100], registration=replace(asked, token=""))
    atomic.write(_file(c, code), msgjson.encode(found), mode=0o600)
    return code


def _is_old(c: Coordinator, found: Waiting) -> bool:
    """Say whether a registration has waited for too long; then it goes."""
    if c.now() - found.at_ms <= _WAITS_S * 1000:
        return False
    _file(c, found.code).unlink(missing_ok=True)
    return True


def _new_code() -> str:
    letters = [secrets.choice(_LETTERS) for _ in range(8)]
    return f"{''.join(letters[:4])}-{''.join(letters[4:])}"


def _found(c: Coordinator, code: str) -> Waiting:
    wanted = code.strip().upper()
    if _CODE.fullmatch(wanted):
        for one in waiting(c):
            if one.code == wanted:
                return one
    known = ", ".join(one.code for one in waiting(c)[:10]) or "none"
    raise NotFoundError("no node waits under this code", got=repr(code[:40]), wanted=f"one of: {known}")


def _folder(c: Coordinator) -> Path:
    return c.paths.home / "joining"


def _file(c: Coordinator, code: str) -> Path:
    return _folder(c) / f"{code}.json"


def _names(c: Coordinator) -> list[str]:
    try:
        names = os.listdir(_folder(c))
    except FileNotFoundError:
        return []
    return [name for name in names if _CODE.fullmatch(name.removesuffix(".json"))]

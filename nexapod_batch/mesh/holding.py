"""Launches that a node holds, brought to a coordinator that may never have heard of them: verified, then kept."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from msgspec import json as msgjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.files import atomic
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.mesh.delegating import opened_bundle
from nexapod_batch.spool import layout
from nexapod_batch.trust.bundle import MAX_BUNDLE
from nexapod_batch.trust.delegation import DELEGATION_TYPE, decode_delegation
from nexapod_batch.trust.dsse import envelope, open_envelope
from nexapod_batch.trust.keys import key_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexapod_batch.mesh.messages import Held
    from nexapod_batch.model.replica import Bundle
    from nexapod_batch.trust.delegation import Delegation

__all__ = ["HELD", "MAX_HELD", "Opened", "check", "keep", "kept", "opened"]

#: In the folder of all spools: what nodes brought along, until it was looked at.
HELD = ".held"
MAX_HELD = 2 * MAX_BUNDLE


class Opened(NamedTuple):
    """What a node holds, of which the coordinator's signature was verified."""

    bundle: Bundle
    delegation: Delegation


def opened(held: Held, coordinators: Mapping[str, bytes]) -> Opened:
    """Return bundle and delegation of what a node holds; VerificationError unless they belong together.

    Raises:
        VerificationError: They are of different launches, or the bundle is not from one of these coordinators.

    """
    given = decode_delegation(held.delegation.encode())
    bundle = opened_bundle(held.envelope.encode(), coordinators, given.node)
    said = (
        bundle.launch, bundle.subkey, bundle.not_after, tuple([one.nonce for one in bundle.replicas]),
        hashlib.sha256(bundle.document).hexdigest(),
    )  # fmt: skip
    if said != (given.launch, key_id(given.subkey), given.not_after, given.nonces, given.job):
        raise VerificationError("bundle and delegation are not of the same launch", got=given.launch[:40])
    if held.launch != bundle.launch or not layout.is_launch_key(held.launch):
        raise VerificationError("the bundle is of another launch", got=held.launch[:40], wanted=bundle.launch)
    return Opened(bundle, given)


def check(held: Held, public: bytes, coordinators: Mapping[str, bytes]) -> bytes:
    """Return the signature of a node over its delegation; VerificationError unless all of it is verified.

    Raises:
        VerificationError: It is another node's, or something of it does not verify.

    """
    found = opened(held, coordinators)
    name = key_id(public)
    if found.delegation.node != name:
        raise VerificationError("what is held is another node's", got=found.delegation.node, wanted=name)
    try:
        signature = bytes.fromhex(held.signature)
    except ValueError:
        signature = b""
    sealed = envelope(DELEGATION_TYPE, held.delegation.encode(), name, signature)
    open_envelope(sealed, DELEGATION_TYPE, {name: public})
    return signature


def keep(spools: Path, held: Held) -> None:
    """Keep what a node holds for the next pass."""
    own_folder(spools / HELD, below=base_of(spools))
    atomic.write(spools / HELD / f"{held.launch}.json", msgjson.encode(held), mode=0o600)


def kept(spools: Path) -> list[Path]:
    """Return the files of what nodes brought along."""
    try:
        names = sorted(os.listdir(spools / HELD))
    except FileNotFoundError:
        return []
    return [spools / HELD / name for name in names if name.endswith(".json") and not name.startswith(".")]

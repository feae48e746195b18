"""Rosters: which coordinators and witnesses to believe, and where they are found, as several people together say it.

The form and the rules are those of root metadata of TUF, by python-tuf:

1. A roster names its members, and how many of them must sign.
2. Version N + 1 counts if as many members of version N signed it as N asks for, and of its own as it asks for.
3. One that has expired counts no longer.

What is named for us stands in one object of our own, `x-nexapod`, which TUF keeps and signs. This module needs the
package `tuf` (the extra `archive`); it reads no clock.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, Role, Root
from tuf.api.serialization.json import JSONSerializer

from nexapod_batch.errors import UsageError, VerificationError
from nexapod_batch.ledger.note import parse_key
from nexapod_batch.trust.keys import KEY_BYTES, key_id
from nexapod_batch.trust.nesting import depth_within, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from nexapod_batch.trust.dsse import Signer

__all__ = ["MAX_ROSTER", "Anchors", "Roster", "checked", "draft", "opened", "signed"]

#: Bytes of the largest roster that is read.
MAX_ROSTER = 1 << 20
_OURS = "x-nexapod"
_SERVER = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,260}#(SHA256:[A-Za-z0-9+/]{43})?", re.ASCII)
#: Fields that rosters of an older version do not have.
_LATER = frozenset({"servers"})


class Anchors(NamedTuple):
    """Whom a roster names."""

    coordinators: tuple[str, ...] = ()  # keys as NAME+ID+KEY, where NAME is that of the ledger
    witnesses: tuple[str, ...] = ()  # likewise
    urls: tuple[str, ...] = ()  # where ledgers, archives and keys are published
    servers: tuple[str, ...] = ()  # which may lead, the first one first: URL#SHA256:..., with the pin of its TLS key


class Roster(NamedTuple):
    """What a roster says, and who signed it."""

    version: int
    expires: datetime
    threshold: int  # how many of the members must sign
    keys: tuple[bytes, ...]  # of the members, raw
    signed_by: tuple[str, ...]  # those members, of this version, who did, by key id
    anchors: Anchors

    @property
    def members(self) -> tuple[str, ...]:
        """Return the key ids of the members."""
        return tuple([key_id(key) for key in self.keys])


def draft(
    members: Sequence[bytes], threshold: int, expires: datetime, anchors: Anchors, previous: bytes | None = None
) -> bytes:
    """Return a new roster, which nobody has signed yet: the next version of `previous`, or the first one.

    Raises:
        UsageError: The threshold cannot be reached, or a key of an anchor is none.

    """
    keys = [_key(public) for public in dict.fromkeys(members)]
    if not 1 <= threshold <= len(keys):
        raise UsageError("that many members cannot sign", got=threshold, wanted=f"1 to {len(keys)}")
    _check_anchors(anchors)
    version = 1 if previous is None else _parsed(previous).signed.version + 1
    names = [key.keyid for key in keys]
    named = {name: list(values) for name, values in anchors._asdict().items() if values or name not in _LATER}
    root = Root(
        version=version, expires=expires.replace(microsecond=0), keys={key.keyid: key for key in keys},
        roles={role: Role(list(names), threshold) for role in TOP_LEVEL_ROLE_NAMES},
        unrecognized_fields={_OURS: named},
    )  # fmt: skip
    return _written(Metadata(root))


def _check_anchors(anchors: Anchors) -> None:
    """Raise UsageError for an anchor that is no key, or no server."""
    for text in (*anchors.coordinators, *anchors.witnesses):
        try:
            parse_key(text)
        except VerificationError as error:
            what = "an anchor is a key as ledgers have it"
            raise UsageError(what, got=quoted(text, 80), wanted="NAME+ID+KEY") from error
    for text in anchors.servers:
        if not _SERVER.fullmatch(text):
            wanted = "https://HOST:PORT#SHA256:..., as serve prints URL and fingerprint"
            raise UsageError("not a server", got=quoted(text, 80), wanted=wanted)


def signed(data: bytes, signer: Signer, previous: bytes | None = None) -> bytes:
    """Return a roster with one more signature.

    Raises:
        UsageError: The key is no member's, neither of this roster nor of the one before.
        VerificationError: It is no roster.

    """
    roster = _parsed(data)
    key = _key(signer.public)
    known = set(roster.signed.roles[Root.type].keyids)
    if previous is not None:
        known |= set(_parsed(previous).signed.roles[Root.type].keyids)
    if key.keyid not in known:
        raise UsageError("this key is no member's", got=signer.key_id, wanted=", ".join(opened(data).members))
    roster.signatures[key.keyid] = Signature(key.keyid, signer.sign(roster.signed_bytes).hex())
    return _written(roster)


def opened(data: bytes) -> Roster:
    """Return what a roster says; whether it counts is another question. VerificationError for what is none."""
    roster = _parsed(data)
    found = roster.signed.get_root_verification_result(None, roster.signed_bytes, roster.signatures)
    return _read(roster, found.signed)


def checked(data: bytes, previous: bytes | None, now: datetime) -> Roster:
    """Return a roster that counts, given the one that was trusted until now; None: it is the first one here.

    Raises:
        VerificationError: Too few signed it, it has expired, it is of an older version, or one is missing between.

    """
    roster, before = _parsed(data), None if previous is None else _parsed(previous)
    root = roster.signed
    if before is not None and root.version != before.signed.version + 1:
        older = root.version <= before.signed.version
        hint = "it is older than the one that is trusted" if older else "give the versions between first"
        got, wanted = f"version {root.version}", f"version {before.signed.version + 1}"
        raise VerificationError("the roster does not follow the one that is trusted", got=got, wanted=wanted, hint=hint)
    found = root.get_root_verification_result(
        None if before is None else before.signed, roster.signed_bytes, roster.signatures
    )
    for part, whose in ((found.first, "of the version before"), (found.second, "of its own")):
        if not part.verified:
            of_whom = whose if before is not None else "of its own"
            got = f"{len(part.signed)} members {of_whom}"
            raise VerificationError("too few signed the roster", got=got, wanted=f"at least {part.threshold}")
    if root.is_expired(now):
        expired = f"{root.expires:%Y-%m-%d}"
        raise VerificationError("the roster has expired", got=expired, wanted="one that is good today")
    return _read(roster, found.second.signed)


def _parsed(data: bytes) -> Metadata[Root]:
    """Return a roster, unverified."""
    wanted = "root metadata of TUF, with x-nexapod"
    if len(data) > MAX_ROSTER:
        raise VerificationError("the roster is too large", got=f"{len(data)} bytes", wanted=f"at most {MAX_ROSTER}")
    try:
        if not depth_within(data):
            raise ValueError("nested too deeply")
        roster: Metadata[Root] = Metadata.from_dict(json.loads(data, object_pairs_hook=_once))
        if roster.signed.type != Root.type:
            raise ValueError(f"it is {quoted(roster.signed.type, 40)}")
        for name, key in roster.signed.keys.items():
            public = key.keyval.get("public", "")
            if key.keytype != "ed25519" or _key(bytes.fromhex(public)).keyid != name:
                raise ValueError(f"key {quoted(name, 80)} is not what its name says")
        _anchors(roster.signed)
    except VerificationError:
        raise
    except Exception as error:  # python-tuf raises whatever its parts do
        raise VerificationError("not a roster", got=" ".join(str(error).split())[:200], wanted=wanted) from error
    return roster


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of which no key stands there twice: readers would disagree on which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _anchors(root: Root) -> Anchors:
    """Return whom a roster names; ValueError for another shape."""
    named = root.unrecognized_fields[_OURS]
    fields = [name for name in Anchors._fields if name in named or name not in _LATER]
    found = Anchors(**{name: tuple(named[name]) for name in fields})
    if set(named) != set(fields) or not all(isinstance(text, str) for texts in found for text in texts):
        raise ValueError("its anchors are of another form")
    for text in (*found.coordinators, *found.witnesses):
        parse_key(text)
    if not all(map(_SERVER.fullmatch, found.servers)):
        raise ValueError("a server is none")
    return found


def _read(roster: Metadata[Root], by: Collection[str]) -> Roster:
    root = roster.signed
    role = root.roles[Root.type]
    keys = {name: bytes.fromhex(root.keys[name].keyval["public"]) for name in role.keyids}
    who = tuple([key_id(public) for name, public in keys.items() if name in by])
    return Roster(root.version, root.expires, role.threshold, tuple(keys.values()), who, _anchors(root))


def _key(public: bytes) -> SSlibKey:
    if len(public) != KEY_BYTES:
        raise ValueError("not an Ed25519 key")
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))


def _written(roster: Metadata[Root]) -> bytes:
    return JSONSerializer(compact=False).serialize(roster) + b"\n"

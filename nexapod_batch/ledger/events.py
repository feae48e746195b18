"""What the ledger says: one small canonical JSON object (RFC 8785) for each fact, with its kind and its time.

Numbers are whole, keys are ASCII, so that sorted keys and no blanks are the canonical form. Digests are SHA-256 in
base64, as `openssl dgst -sha256 -binary FILE | base64` prints them. Ids are those that people see: a job is "42", its
task "42_7", a replica of it "42_7.1".
"""

from __future__ import annotations

import binascii
import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.nesting import loads, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_EVENT", "Kind", "digest_of", "encoded_digest", "event", "imported", "parse_event", "says"]

#: Bytes of an entry, at most.
MAX_EVENT = 4096
#: Characters that are kept of a text which others chose, at most.
_MAX_TEXT = 256


class Kind(StrEnum):
    """What happened. The names are part of the format."""

    BEGAN = "began"  # the ledger: `origin`, the coordinator's `key`
    IMPORTED = "imported"  # `fact` was known before there was a ledger, `since` when (ms); order says nothing
    RESTORED = "restored"  # the database was put back from a backup: `launches` that were open by it are lost
    TAKEN_OVER = "taken-over"  # a stand-in began `epoch`; the last head that it held had `size` entries and this `root`
    REGISTERED = "registered"  # `node` with `key`, `owner`, `site`; `sha256` of its row in the registry
    CHANGED = "changed"  # the same of a node that is there
    ROTATED = "rotated"  # `node` has another `key` than it `was`; `sha256` of what both of them signed, where both did
    COORDINATOR_ROTATED = "coordinator-rotated"  # the same of the coordinator
    REVOKED = "revoked"  # what `key` of `node` ("": the coordinator) signed counts not from entry number `entry` on
    SEEN = "seen"  # `node` called from this `network` for the first time
    OWNER = "owner-state"  # nodes of `owner` get work or not, as `by` said: `state`
    DRAINED = "drained"  # `node` gets no more replicas
    RESUMED = "resumed"  # `node` gets replicas again
    REMOVED = "removed"  # `node` is registered no longer
    PROFILE = "profile"  # `node` signed what its machine is: `sha256` of the payload
    SUBMITTED = "submitted"  # job `id`: `sha256` of its document, `uuid`, `policy`, `replicas`, `agree`, `tasks`
    RESOLVED = "resolved"  # outputs before job `id`, `uuid` were accepted: `sha256` of its document with these `inputs`
    PLACED = "placed"  # `replicas` of job `id` on `node`: `sha256` of the signed bundle, which names them
    REPORT = "report"  # replica `id` reported: `sha256` of the statement that was signed
    QUARANTINED = "quarantined"  # a line of `node` was refused: `segment`, `position`; `sha256` of what is kept of it
    VERDICT = "verdict"  # task `id` ended: `state`; `sha256` of the verdict that was signed
    JUDGED_AGAIN = "judged-again"  # kept outputs of task `id` under other rules: `state`; `sha256` of what was signed
    LATE = "late"  # replica `id` was judged, or judged anew, after the verdict: `validation`
    DOUBT = "doubt"  # accepted task `id`: whether its quorum is in doubt, `raised` 1 or 0
    PUBLISHED = "published"  # the files of `replica` of task `id`: `sha256` of the statement that lists them
    RETRIED = "retried"  # somebody opened `tasks` of job or task `id` again
    CANCELLED = "cancelled"  # somebody cancelled `tasks` of job or task `id`


#: Kinds that say a fact in the place of the one that is named for it: a job that was pinned anew was submitted.
_SAID_BY = {Kind.SUBMITTED: frozenset({Kind.SUBMITTED.value, Kind.RESOLVED.value})}


def says(entry: Mapping[str, str | int], kind: Kind) -> bool:
    """Say whether an entry says this kind of thing, be it that it was known before there was a ledger."""
    return not {entry.get("kind"), entry.get("fact")}.isdisjoint(_SAID_BY.get(kind, {kind.value}))


def event(kind: Kind, time_ms: int, **fields: str | int) -> bytes:
    """Return the entry that says that something happened at a time (ms since 1970).

    Of a text that is longer than 256 characters the beginning is kept. ValueError for more than fits into an entry.
    """
    kept: dict[str, str | int] = {"kind": kind.value, "time": time_ms}
    for name, value in fields.items():
        kept[name] = value[:_MAX_TEXT] if isinstance(value, str) else value
    entry = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    if len(entry) > MAX_EVENT:
        raise ValueError(f"an entry of the ledger has at most {MAX_EVENT} bytes, not {len(entry)}")
    return entry


def imported(fact: Kind, time_ms: int, since_ms: int, **fields: str | int) -> bytes:
    """Return the entry that says that a fact was known already, since a time, when the ledger began."""
    return event(Kind.IMPORTED, time_ms, fact=fact.value, since=since_ms, **fields)


def encoded_digest(digest: bytes) -> str:
    """Return a digest as it stands in entries."""
    return binascii.b2a_base64(digest, newline=False).decode()


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of data as it stands in entries."""
    return encoded_digest(hashlib.sha256(data).digest())


def parse_event(entry: bytes) -> Mapping[str, str | int]:
    """Return the fields of an entry; VerificationError for what is none, or is not in canonical form."""
    try:
        document = loads(entry)
        plain = type(document) is dict and all(type(value) in {str, int} for value in document.values())
        canonical = plain and orjson.dumps(document, option=orjson.OPT_SORT_KEYS) == entry
    except (ValueError, TypeError) as error:
        raise VerificationError("not an entry of a ledger", got=quoted(entry)) from error
    if not canonical or type(document.get("kind")) is not str or type(document.get("time")) is not int:
        wanted = "canonical JSON with kind and time"
        raise VerificationError("not an entry of a ledger", got=quoted(entry), wanted=wanted)
    fields: dict[str, str | int] = document
    return fields

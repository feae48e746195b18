"""Commitments: what a node is going to report of a replica, as a digest that says nothing and binds it. Pure.

It is the SHA-256 of payload and signature of the report's envelope. A node sends it in a call of its own, and again
beside the report; the coordinator keeps it, durably, before it keeps the report, and takes in no other report.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["check_commitments", "commitment_to", "commitments_to"]


def commitment_to(payload: bytes, signature: bytes) -> bytes:
    """Return the commitment to a report: 32 bytes."""
    return hashlib.sha256(payload + signature).digest()


def commitments_to(lines: Iterable[bytes]) -> dict[str, str]:
    """Return the commitments to the reports among lines of a segment, in hex by replica; other lines have none.

    Of two reports of one replica, which no honest runner writes, the first counts.
    """
    found: dict[str, str] = {}
    for line in lines:
        if b'"payload"' in line:
            try:
                name, digest = _of_line(line)
            except (ValueError, KeyError, TypeError, IndexError):  # no report: the coordinator says so as well
                continue
            found.setdefault(name, digest)
    return found


def check_commitments(committed: Mapping[str, str]) -> None:
    """Raise VerificationError unless these are names of replicas, each with a digest."""
    for name, digest in committed.items():
        try:
            plain = str(ReplicaName.parse(name)) == name
        except ValueError:
            plain = False
        if not plain or not is_hex(digest, 64):
            raise VerificationError("no commitment to a report", got=repr(name[:80]), wanted="a replica and a SHA-256")


def _of_line(line: bytes) -> tuple[str, str]:
    envelope = orjson.loads(line)
    payload = base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    name: str = orjson.loads(payload)["predicate"]["runDetails"]["metadata"]["invocationId"]
    return name, commitment_to(payload, signature).hex()

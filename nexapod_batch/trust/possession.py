"""Possession tags: who states one has had the bytes of its outputs in hand, not only their digests. Pure.

The tag of a file is the HMAC-SHA256 of its bytes under a key that belongs to one replica of one node: it is made of the
nonce of the replica, which no other node is told, and of the id of the node's key, which is the digest of that key.
Both stand in the statement, so that everybody who has the files can check it, and nobody can make it of digests alone.
A statement carries one digest over the tags of all its outputs, with names in bytewise order, as in a manifest.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["combined", "key_for", "tags_of"]

_LABEL = b"nexapod-batch possession 1\n"


def key_for(nonce: str, builder: str) -> bytes:
    """Return the key of one replica, by its nonce (32 hex digits) and the id of its node's key."""
    return hashlib.sha256(_LABEL + f"{nonce}\n{builder}".encode()).digest()


def tags_of(keys: Sequence[bytes], chunks: Iterable[bytes]) -> tuple[str, list[str]]:
    """Return the SHA-256 of the bytes of a file, and their tag under each key; all in hex."""
    digest, tags = hashlib.sha256(), [hmac.new(key, digestmod="sha256") for key in keys]
    for chunk in chunks:
        digest.update(chunk)
        for tag in tags:
            tag.update(chunk)
    return digest.hexdigest(), [tag.hexdigest() for tag in tags]


def combined(tags: Iterable[tuple[str, str]]) -> str:
    """Return what a statement says of (name, tag) of all its outputs: hex SHA-256 of their `<tag>  <name>` lines."""
    lines = sorted((name.encode(), tag.encode()) for name, tag in tags)
    return hashlib.sha256(b"".join([b"%b  %b\n" % (tag, name) for name, tag in lines])).hexdigest()

"""Whether replicas had the bytes of their outputs in hand (`trust.possession`), where those bytes are here.

A tag says something of the very bytes whose digests were signed, and of no others: what has another digest is somebody
else's fault to name.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nexapod_batch.trust.possession import combined, key_for, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from nexapod_batch.trust.statement import Statement

__all__ = ["had_none"]

_CHUNK = 1 << 20


def had_none(
    statements: Mapping[int, Statement], files: Mapping[str, str], stream_of: Callable[[str], BinaryIO]
) -> set[int]:
    """Return the replicas, by number, whose tags are not those of these files: they never had them.

    `statements` are of replicas whose outputs `files` are, hex SHA-256 by name; those without a tag are passed over.
    Where a file has another digest by now nothing is said. Errors are those of `stream_of` and of reading.
    """
    asked = {number: said for number, said in statements.items() if said.possession}
    if not asked:
        return set()
    keys = [key_for(said.nonce, said.builder) for said in asked.values()]
    tagged: list[tuple[str, Sequence[str]]] = []
    for name, digest in files.items():
        with stream_of(name) as stream:
            found, tags = tags_of(keys, iter(partial(stream.read, _CHUNK), b""))
        if found != digest:
            return set()
        tagged.append((name, tags))
    numbered = enumerate(asked.items())
    return {number for i, (number, said) in numbered if combined((n, tags[i]) for n, tags in tagged) != said.possession}

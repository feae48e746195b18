"""A ledger as static files that any web server can publish: C2SP tlog-tiles.

checkpoint                    its signed head
tile/LEVEL/N[.p/WIDTH]        256 hashes, or fewer at the right edge
tile/entries/N[.p/WIDTH]      256 entries, each behind its length in two bytes
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.tree import HASH_BYTES, leaf_hash, root_of_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.ledger.tree import Fetch

__all__ = [
    "MAX_ENTRY", "WIDTH", "TilePath", "bundle", "content", "files", "nodes", "parse_path", "unbundled",
]  # fmt: skip

#: Hashes of a whole tile, and entries of a whole bundle.
WIDTH = 256
#: Bytes of an entry, at most: its length takes two bytes.
MAX_ENTRY = 65_535

_TILE = re.compile(r"(entries|[0-7])/((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([0-9]{1,3}))?")
_LEVELS = 8  # of the tree, in one tile


def files(size: int, fetch: Fetch, entries: Callable[[int, int], list[bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file but the checkpoint of a ledger with `size` entries.

    `entries` returns those from a first to before a last index.
    """
    level, count = 0, size
    while count:
        for number in range(-(-count // WIDTH)):
            first, last = number * WIDTH, min(count, (number + 1) * WIDTH)
            path = _path(number, last - first)
            if level == 0:
                content = entries(first, last)
                yield f"tile/entries/{path}", bundle(content)
                hashes = [leaf_hash(entry) for entry in content]
            else:
                hashes = [fetch(level * _LEVELS, index) for index in range(first, last)]
            yield f"tile/{level}/{path}", b"".join(hashes)
        level, count = level + 1, count // WIDTH


class TilePath(NamedTuple):
    """The path of a tile below `tile/`, or of a bundle of entries."""

    level: int  # of tiles; -1: entries
    number: int
    width: int  # hashes or entries in it

    @property
    def whole(self) -> bool:
        """Say whether it is full: then it never changes."""
        return self.width == WIDTH


def parse_path(text: str) -> TilePath | None:
    """Return what the path of a tile names, behind `tile/`; None for what is no such path."""
    match = _TILE.fullmatch(text)
    if match is None:
        return None
    level = -1 if match[1] == "entries" else int(match[1])
    number = int(match[2].replace("/", "").replace("x", ""))
    width = WIDTH if match[3] is None else int(match[3])
    found = TilePath(level, number, width)
    if not 0 < width <= WIDTH or f"{match[1]}/{_path(number, width)}" != text:  # each tile has one path
        return None
    return found


def content(path: TilePath, size: int, fetch: Fetch, entries: Callable[[int, int], list[bytes]]) -> bytes | None:
    """Return the tile or bundle of a path, of a ledger with `size` entries; None where it has no such tile yet."""
    above = max(0, path.level) * _LEVELS
    first, last = path.number * WIDTH, path.number * WIDTH + path.width
    if last > size >> above:
        return None
    if path.level > 0:
        return b"".join(fetch(above, index) for index in range(first, last))
    found = entries(first, last)
    if path.level < 0:
        return bundle(found)
    return b"".join(map(leaf_hash, found))


def nodes(size: int, read: Callable[[str], bytes]) -> Fetch:
    """Return what finds the nodes of a published ledger of `size` entries; `read` returns the file of a path.

    VerificationError for a file that is no tile; whatever `read` raises where there is none.
    """

    def fetch(level: int, number: int) -> bytes:
        tile_level, above = divmod(level, _LEVELS)
        first = number << above
        tile = first // WIDTH
        width = min(WIDTH, (size >> (tile_level * _LEVELS)) - tile * WIDTH)
        path = f"tile/{tile_level}/{_path(tile, width)}"
        data = read(path)
        if len(data) != width * HASH_BYTES:
            raise VerificationError(f"{path} is no tile", got=f"{len(data)} bytes", wanted=f"{width * HASH_BYTES}")
        begin = (first - tile * WIDTH) * HASH_BYTES
        hashes = data[begin : begin + (HASH_BYTES << above)]
        return root_of_whole([hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)])

    return fetch


def bundle(entries: list[bytes]) -> bytes:
    """Return entries as one file; ValueError for one that is too long."""
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise ValueError(f"an entry of a ledger has at most {MAX_ENTRY} bytes")
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def unbundled(data: bytes) -> list[bytes]:
    """Return the entries of one file; VerificationError for a file that ends in the middle of one."""
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + length]
        if len(data) < at + 2 or len(entry) != length:
            raise VerificationError("the file of entries ends in the middle of one", got=f"{len(data)} bytes")
        found.append(entry)
        at += 2 + length
    return found


def _path(number: int, width: int) -> str:
    """Return the path of a tile below its level: 1234067 is x001/x234/067; fewer than 256 are told behind it."""
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    path = "/".join(reversed(parts))
    if width == WIDTH:
        return path
    return f"{path}.p/{width}"

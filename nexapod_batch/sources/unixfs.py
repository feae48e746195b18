"""Files of IPFS as dag-pb nodes describe them: links, and the bytes that stand in the nodes themselves.

Source: the dag-pb and UnixFS specifications. Only what a file or a plain directory needs is read: sharded directories
and symbolic links are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.sources.cids import RAW, Cid, CidError, read_cid, read_varint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Node", "file_bytes", "linked", "missing", "size_of", "understood"]

_RAW, _DIRECTORY, _FILE = 0, 1, 2
#: Levels of a tree, at most.
MAX_DEPTH = 32
#: Nodes that may be visited before the first byte came, and bytes that each further one must stand for on average: a
#: small tree may name one block without end, and blocks without bytes meet no limit of size.
_VISITS, _BYTES_EACH = 10_000, 256
_BYTES = 2  # protobuf's wire type of a length and so many bytes


class Node(NamedTuple):
    """A block, understood."""

    is_directory: bool
    data: bytes
    links: tuple[tuple[str, Cid], ...]
    size: int | None  # bytes of the file, as it says


def understood(cid: Cid, block: bytes) -> Node:
    """Return what a block is; CidError for what is neither a file nor a plain directory."""
    if cid.codec == RAW:
        return Node(is_directory=False, data=block, links=(), size=len(block))
    data = b""
    links: list[tuple[str, Cid]] = []
    for field, value in _fields(block):
        if field == 1 and isinstance(value, bytes):
            data = value
        elif field == 2 and isinstance(value, bytes):
            links.append(_link(value))
    kind, inner, size = _RAW, b"", None
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == 2 and isinstance(value, bytes):
            inner = value
        elif field == 3 and isinstance(value, int):
            size = value
    if kind not in {_RAW, _DIRECTORY, _FILE}:
        raise CidError("it is a sharded directory, a link or another thing than a file or a plain directory")
    return Node(kind == _DIRECTORY, inner, tuple(links), size)


def linked(node: Node, name: str) -> Cid:
    """Return what a directory has under a name; CidError for what has no such name."""
    found = [cid for given, cid in node.links if given == name] if node.is_directory else []
    if len(found) != 1:
        raise CidError(f"there is no {name!r} in it")
    return found[0]


def size_of(node: Node) -> int:
    """Return how large a file says that it is; CidError for a directory."""
    if node.is_directory:
        raise CidError("it is a directory: name one file of it")
    return len(node.data) if node.size is None else node.size


def file_bytes(root: Cid, block_of: Callable[[Cid], bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file in order; `block_of` returns a verified block.

    Raises:
        CidError: A part of it is no file, or the tree is too deep, or names blocks without end.

    """
    waiting = [(root, 0)]
    visits = size = 0
    while waiting:
        cid, depth = waiting.pop()
        visits += 1
        if depth > MAX_DEPTH or visits > _VISITS + size // _BYTES_EACH:
            raise CidError("its tree is too deep, or names blocks without end")
        node = understood(cid, block_of(cid))
        if node.is_directory:
            raise CidError("a part of it is a directory")
        if node.data:
            size += len(node.data)
            yield node.data
        waiting += [(child, depth + 1) for _, child in reversed(node.links)]


def missing(root: Cid, block_of: Callable[[Cid], bytes | None]) -> Cid | None:
    """Return a block that a file needs and nobody has; None where all are there. Each is looked at once."""
    waiting, seen = [root], {root}
    while waiting:
        cid = waiting.pop()
        block = block_of(cid)
        if block is None:
            return cid
        new = {child for _, child in understood(cid, block).links} - seen
        seen |= new
        waiting += new
    return None


def _link(data: bytes) -> tuple[str, Cid]:
    name, cid = "", None
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            cid, end = read_cid(value, 0)
            if end != len(value):
                raise CidError("a link has more than a CID")
        elif field == 2 and isinstance(value, bytes):
            name = value.decode("utf-8", "surrogateescape")
    if cid is None:
        raise CidError("a link names nothing")
    return name, cid


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of the fields of a protobuf message: whole numbers and bytes."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == _BYTES:
            length, at = read_varint(data, at)
            if at + length > len(data):
                raise CidError("a node is cut off")
            yield tag >> 3, data[at : at + length]
            at += length
        elif tag & 7 == 0:
            value, at = read_varint(data, at)
            yield tag >> 3, value
        else:
            raise CidError("a node has a field of an unknown kind")

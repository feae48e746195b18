"""Blocks of a CAR stream (version 1), each compared with the CID that it comes under before anything is done with it.

Source: the CARv1 specification of IPLD. Its header is read over: which root is meant, the caller knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.sources.cids import CID_BYTES, Cid, CidError, read_cid, read_varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_BLOCK", "CutError", "blocks"]

#: Bytes of a block, at most: twice what IPFS itself lets through.
MAX_BLOCK = 4 << 20
_MAX_HEADER = 1 << 16


class CutError(ConnectionError):
    """The stream ended within a block."""


def blocks(stream: Iterable[bytes]) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blocks of a CAR that comes in pieces.

    Raises:
        CidError: It is no CAR, or a block is not what its CID names.
        CutError: It ended within a block.

    """
    sections = _sections(stream)
    header = next(sections, None)
    if header is None or b"version\x01" not in header[:_MAX_HEADER]:
        raise CidError("it is no CAR of version 1")
    for section in sections:
        cid, at = read_cid(section, 0)
        block = section[at:]
        if not cid.names(block):
            raise CidError(f"a block is not what its CID {cid} names")
        yield cid, block


def _sections(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what stands behind each length."""
    waiting = bytearray()
    wanted = 0  # bytes of the section that is being read, with its length; 0: its length is not known yet
    begins = 0
    for piece in stream:
        waiting += piece
        while True:
            if not wanted:
                if len(waiting) < 9 and (not waiting or waiting[-1] >= 0x80):
                    break
                length, begins = read_varint(bytes(waiting[:10]), 0)
                if not 0 < length <= MAX_BLOCK + CID_BYTES:
                    raise CidError(f"a block has {length} bytes")
                wanted = begins + length
            if len(waiting) < wanted:
                break
            yield bytes(memoryview(waiting)[begins:wanted])
            del waiting[:wanted]
            wanted = 0
    if waiting:
        raise CutError("the CAR ended within a block")

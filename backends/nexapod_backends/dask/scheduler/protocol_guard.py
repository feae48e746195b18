"""What of Dask's protocol is not let in: pickles, and what is larger than it may be. Importing this closes the door.

`distributed` has no setting for it: its functions are replaced where its own modules call them, in this process alone.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import distributed.protocol.core as protocol
from distributed.comm import tcp
from distributed.protocol import pickle as dask_pickle
from distributed.protocol.compression import compressions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MOST", "RefusedError", "TooLargeError", "decompress"]

#: Bytes of one message, as it comes and when it is opened.
MOST = 64 << 20


class RefusedError(Exception):
    """Something came over the connection that is not let in."""


class TooLargeError(RefusedError):
    """More came than a message may have; mostly from what does not speak Dask's protocol."""


class _NoPickle:
    """What stands for `pickle` where messages are read and written: writes, and never reads."""

    dumps = staticmethod(dask_pickle.dumps)

    @staticmethod
    def loads(*_: object, **__: object) -> object:
        """Refuse."""
        raise RefusedError("a pickle came over the connection; it was not opened")


def decompress(header: Mapping[str, Any], frames: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Open compressed frames as far as they are not larger than a message may be."""
    found: list[bytes | memoryview] = []
    for name, frame in zip(header["compression"], frames, strict=True):
        left = MOST - sum(memoryview(one).nbytes for one in found)
        found.append(_opened(name, frame, left))
    return found


def _opened(name: str | None, frame: bytes | memoryview, left: int) -> bytes | memoryview:
    if name is None:
        return frame
    if name == "zlib":
        data = zlib.decompressobj().decompress(frame, left + 1)
        if len(data) <= left:
            return data
    elif name != "lz4":
        raise RefusedError(f"a message is compressed with {name!r}, wanted lz4, zlib or nothing (comm.compression)")
    elif int.from_bytes(bytes(frame[:4]), "little") <= left:
        return bytes(compressions["lz4"].decompress(frame))
    raise RefusedError(f"a compressed message is larger than {MOST} bytes")


_read_bytes, _unpack_frames = tcp.read_bytes_rw, tcp.unpack_frames


async def _read_some(stream: Any, n: int) -> memoryview:  # noqa: ANN401 - of Tornado
    if n > MOST:
        raise TooLargeError(f"a message of {n} bytes came, at most {MOST} are let in")
    return await _read_bytes(stream, n)  # type: ignore[no-any-return]


def _unpack_some(data: Any, **how: Any) -> Any:  # noqa: ANN401
    found = _unpack_frames(data, **how)
    if how.get("partial") and sum(found[1]) > MOST:
        raise TooLargeError(f"a message of {sum(found[1])} bytes came, at most {MOST} are let in")
    return found


protocol.pickle, protocol.decompress = _NoPickle, decompress
tcp.read_bytes_rw, tcp.unpack_frames = _read_some, _unpack_some

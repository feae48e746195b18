"""Packed files (gzip, bzip2, xz, zstd), read as what is in them; known by their first bytes.

Memory is bounded whatever was packed, and so is how much may come out. A packed file in a packed file is no table.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from nexapod_batch.compare.budget import most_of
from nexapod_batch.compare.stream import CHUNK, Source
from nexapod_batch.errors import CompareError, ReaderMissingError
from nexapod_batch.requirements import install_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["inner_name", "is_packed", "missing_reader", "unpacked"]

#: Bytes of memory for the dictionary of xz; its strongest preset takes 65 MiB.
_XZ_MEMORY = 96 << 20
_ZSTD_WINDOW = 64 << 20
#: Bytes of zstd at a time: each few of them may stand for 128 KiB.
_LITTLE = 512


class _Decoder(Protocol):
    """One stream of a packed file, unpacked piece by piece."""

    @property
    def eof(self) -> bool:
        """Say whether its end was reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Return what stands behind its end."""
        ...

    def more(self, data: bytes, size: int) -> bytes:
        """Return up to `size` bytes; b"" where more is to be fed."""
        ...


class _Zlib:
    """A gzip member."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def more(self, data: bytes, size: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, size)


class _Buffering:
    """A stream of bz2 or lzma, which keep by themselves what was fed too early."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def more(self, data: bytes, size: int) -> bytes:
        return self._inner.decompress(data, size)


def _bzip2() -> _Decoder:
    return _Buffering(bz2.BZ2Decompressor())


def _xz() -> _Decoder:
    return _Buffering(lzma.LZMADecompressor(memlimit=_XZ_MEMORY))


class _Zstd:
    """A zstd frame. Its library gives all that comes of what it is fed, so that it is fed little by little."""

    def __init__(self, frame: Any) -> None:  # noqa: ANN401 - of a package without types
        self._frame, self._packed, self._ready = frame, b"", b""

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof) and not self._ready

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data) + self._packed

    def more(self, data: bytes, size: int) -> bytes:
        self._packed += data
        while not self._ready and self._packed and not self._frame.eof:
            little, self._packed = self._packed[:_LITTLE], self._packed[_LITTLE:]
            self._ready = self._frame.decompress(little)
        found, self._ready = self._ready[:size], self._ready[size:]
        return found


def _zstd(name: str) -> tuple[str, Callable[[], _Decoder]]:
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_reader(name, "zstandard") from None

    def make() -> _Decoder:
        return _Zstd(zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj())

    return "zstd", make


#: First bytes -> name, and what makes a decoder.
_KINDS: dict[bytes, tuple[str, Callable[[], _Decoder]]] = {
    b"\x1f\x8b\x08": ("gzip", _Zlib),
    b"BZh": ("bzip2", _bzip2),
    b"\xfd7zXZ\x00": ("xz", _xz),
}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".bgz")


class _Unpacking:
    """The content of a packed file, as a stream that cannot seek."""

    def __init__(self, source: Source, kind: str, make: Callable[[], _Decoder]) -> None:
        self._source, self._kind, self._make = source, kind, make
        self._decoder = make()
        self._fed_bytes = self._out_bytes = 0
        self._fed = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end."""
        while True:
            try:
                data = self._decoder.more(b"", size) if self._fed and not self._decoder.eof else b""
                if not data and not self._decoder.eof:
                    data = self._feed(size)
            except CompareError:
                raise
            except Exception as error:  # noqa: BLE001 - each library has its own
                self._source.refuse(str(error), f"a whole {self._kind} file")
            if data:
                self._out_bytes += len(data)
                if self._out_bytes > (most := most_of(self._fed_bytes)):
                    self._source.refuse(f"more than {most} bytes in it", f"a {self._kind} file of less")
                return data
            if self._decoder.eof and not self._next():
                return b""

    def _feed(self, size: int) -> bytes:
        packed = self._source.read(CHUNK)
        if not packed:
            self._source.refuse("the end too early", f"a whole {self._kind} file")
        self._fed = True
        self._fed_bytes += len(packed)
        return self._decoder.more(packed, size)

    def _next(self) -> bool:
        """Go on to the stream behind this one; say whether there is one."""
        rest = self._decoder.unused_data or self._source.read(CHUNK)
        while rest and not rest.strip(b"\0"):  # tapes are padded
            rest = self._source.read(CHUNK)
        if not rest:
            return False
        self._source.put_back(rest.lstrip(b"\0"))
        self._decoder, self._fed = self._make(), False
        return True


def missing_reader(name: str, *modules: str) -> ReaderMissingError:
    """Return the error that says that a file cannot be read here, and how to mend that."""
    hint = f"on every node and here: {install_command(modules)}"
    return ReaderMissingError(f"{name} cannot be read here", got=f"no {' and no '.join(modules)}", hint=hint)


def unpacked(source: Source) -> Source:
    """Return the content of a packed file, under the name that it has unpacked; others as they are.

    Raises CompareError, also later while it is read, for what cannot be unpacked; ReaderMissingError for zstd where the
    package that reads it is missing.
    """
    if source.head.startswith(_ZSTD_MAGIC):
        kind, make = _zstd(source.name)
    else:
        found = next((found for magic, found in _KINDS.items() if source.head.startswith(magic)), None)
        if found is None:
            return source
        kind, make = found
    stream = _Unpacking(source, kind, make)
    inner = Source(cast("BinaryIO", stream), inner_name(source.name), source.rule, packed=True)
    if is_packed(inner.head):
        raise CompareError(f"not a table: {source.name}", got="a packed file in it", wanted="packed once")
    return inner


def is_packed(head: bytes) -> bool:
    """Say whether the first bytes are those of a packed file."""
    return any(head.startswith(magic) for magic in (*_KINDS, _ZSTD_MAGIC))


def inner_name(name: str) -> str:
    """Return the name that a file has unpacked."""
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name

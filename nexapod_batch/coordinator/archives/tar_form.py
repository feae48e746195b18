"""One form of tar: plain files alone, sorted by whoever writes them, without times, owners and modes. Written and read.

`headers` gives the bytes before a file, the same for the same name and size on every machine. `scan` reads what others
packed too (GNU tar, Python), and refuses whatever is no file or folder: nothing is unpacked, so nothing else has a use.
"""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TarEntry", "end_of", "headers", "padding", "scan"]

_BLOCK = 512
#: What stands at the end: two empty blocks, filled up to a record of twenty.
_RECORD = 20 * _BLOCK
_END = bytes(2 * _BLOCK)
#: The longest header of a header (a name), in bytes.
_MAX_EXTENDED = 1 << 16
_ZERO = bytes(_BLOCK)
_FILES, _FOLDER, _EXTENDED = {b"0", b"\0"}, b"5", {b"x", b"L"}
_KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a fifo"}


class TarEntry(NamedTuple):
    """A file in a tar."""

    name: str
    start: int  # of its content
    size: int  # bytes
    folder: bool

    @property
    def end(self) -> int:
        """Return where what follows it begins."""
        return self.start + self.size + -self.size % _BLOCK


def headers(name: str, size: int) -> bytes:
    """Return what stands before the content of a file."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """Return what stands behind the content of a file."""
    return bytes(-size % _BLOCK)


def end_of(size: int) -> bytes:
    """Return what closes a tar of which so many bytes were written."""
    return _END + bytes(-(size + len(_END)) % _RECORD)


def scan(fd: int, max_members: int) -> Iterator[TarEntry]:
    """Yield the files and folders of an uncompressed tar, whose content is skipped.

    Raises:
        VerificationError: It is no tar, holds something else, was cut, or has bytes that belong to nothing.

    """
    end, place, name, size = os.fstat(fd).st_size, 0, "", -1
    for _ in range(2 * max_members):
        block = os.pread(fd, _BLOCK, place)
        if block == _ZERO:
            _check_end(fd, place, end)
            return
        kind, short, length = _parsed(block, place)
        extended = kind in _EXTENDED
        if size >= 0 and not extended:
            length = size
        start = place + _BLOCK
        place = start + length + -length % _BLOCK
        if place > end:
            raise VerificationError("the tar was cut", got=f"{end} bytes", wanted=f"at least {place}")
        _check_padding(fd, start + length, place)
        if extended:
            name, size = _extended(fd, kind, start, length, name, size)
            continue
        whole, name, size = name or short, "", -1
        if kind not in _FILES and kind != _FOLDER:
            what = _KINDS.get(kind, f"of a kind {kind!a}")
            raise VerificationError("a member of the tar is no plain file", got=f"{whole[:80]!a} is {what}")
        yield TarEntry(whole, start, length, kind == _FOLDER)
    raise VerificationError("too many members", wanted=f"at most {max_members}")


def _parsed(block: bytes, place: int) -> tuple[bytes, str, int]:
    """Return kind, name and size of a header."""
    try:
        if len(block) != _BLOCK or block[257:262] != b"ustar":
            raise ValueError("no header")
        wanted = sum(block) - sum(block[148:156]) + 8 * 32
        if block[148:156] not in {b"%06o\0 " % wanted, b"%07o\0" % wanted}:
            raise ValueError("another checksum")
        size, name = _number(block[124:136]), _text(block[:100])
        prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    except ValueError as error:
        raise VerificationError(f"it is no tar, or was changed, at byte {place}", got=str(error)) from error
    return block[156:157], f"{prefix}/{name}" if prefix else name, size


def _text(field: bytes) -> str:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise ValueError("bytes behind a name")
    return text.decode()


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # GNU's way for more than 8 GiB
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b"\0 ")
    if not digits.isdigit():
        raise ValueError("a size that is none")
    return int(digits, 8)


def _extended(fd: int, kind: bytes, start: int, length: int, name: str, size: int) -> tuple[str, int]:
    """Return name and size that a header says of the next one."""
    if length > _MAX_EXTENDED:
        raise VerificationError("a name of the tar is too long", got=f"{length} bytes")
    data = os.pread(fd, length, start)
    try:
        if kind == b"L":
            return _text(data), size
        for key, value in _records(data):
            if key == "path":
                name = value
            elif key == "size":
                size = int(value)
            elif "sparse" in key or key in {"linkpath", "hdrcharset"}:
                raise ValueError(f"{key} is not understood")
    except ValueError as error:
        raise VerificationError(f"a header of the tar cannot be read, at byte {start}", got=str(error)[:80]) from error
    return name, size


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    while data:
        number, _, _ = data.partition(b" ")
        length = int(number)
        record = data[len(number) + 1 : length]
        key, equals, value = record.partition(b"=")
        if length <= len(number) or not equals or not value.endswith(b"\n") or length > len(data):
            raise ValueError("a record that is none")
        yield key.decode(), value[:-1].decode()
        data = data[length:]


def _check_padding(fd: int, place: int, end: int) -> None:
    if os.pread(fd, end - place, place).strip(b"\0"):
        raise VerificationError(f"bytes of the tar belong to no member, at byte {place}")


def _check_end(fd: int, place: int, end: int) -> None:
    """Refuse what stands behind the end."""
    if end - place < len(_END):
        raise VerificationError("the tar was cut", got=f"{end} bytes")
    while place < end:
        block = os.pread(fd, 1 << 20, place)
        if not block or block.strip(b"\0"):
            raise VerificationError(f"bytes of the tar belong to no member, behind its end at byte {place}")
        place += len(block)

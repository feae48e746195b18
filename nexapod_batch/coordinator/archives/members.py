"""The files of an archive, a folder or a tar, as they came: nothing is unpacked, followed, or read without bounds.

What is there is listed first (plain files with plain relative names, so many, so large, so deep at most), then read by
name: small files whole, all of them digested.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from nexapod_batch.coordinator.archives.bag_format import BAGIT, MAX_BYTES, MAX_MEMBERS
from nexapod_batch.coordinator.archives.tar_form import scan
from nexapod_batch.errors import NotFoundError, UnsafeOutputError, VerificationError
from nexapod_batch.files import careful, output_files
from nexapod_batch.files.shares import Sized, shared
from nexapod_batch.trust.statement_rules import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

__all__ = ["FolderMembers", "Members", "TarMembers", "open_members"]

#: Folders within folders, at most.
_MAX_DEPTH = 64
_BLOCK = 1 << 20


class Members(ABC):
    """The files of an archive."""

    def __init__(self, path: Path) -> None:
        """Name the archive; nothing was looked at yet."""
        self.path = path
        self.sizes: dict[str, int] = {}  # bytes, by name
        self.empty: list[str] = []  # folders without files, which no manifest can name
        self._bytes = 0

    @abstractmethod
    def read(self, name: str, max_bytes: int) -> bytes:
        """Return what is in a file; OSError where that is not possible, or it is larger."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Return a stream of a file that can be read from any place of it; OSError where there is none."""

    def digests(self, names: Sequence[str]) -> dict[str, str]:
        """Return the hex SHA-256 of files by name; UnsafeOutputError or OSError where one cannot be read."""
        files = [Sized(name, self.sizes[name]) for name in names]
        return dict(zip(names, shared(self._digest, files), strict=True))

    @abstractmethod
    def close(self) -> None:
        """Close what is open; nothing can be read any more."""

    def __enter__(self) -> Self:
        """Return the files."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open."""
        self.close()

    @abstractmethod
    def _digest(self, files: Sequence[Sized]) -> list[str]:
        """Return the hex SHA-256 of files in their order; UnsafeOutputError or OSError where one cannot be read."""

    def _add(self, name: str, size: int) -> None:
        """Take a file; VerificationError for one that no archive of ours has, or one too many."""
        if not safe_name(name):
            raise VerificationError("a member has an unsafe name", got=ascii(name[:80]))
        if name in self.sizes:
            raise VerificationError("two members have one name", got=ascii(name[:80]))
        if name.count("/") > _MAX_DEPTH:
            raise VerificationError("a member lies too deep", got=ascii(name[:80]), wanted=f"at most {_MAX_DEPTH}")
        self.sizes[name] = size
        self._bytes += size
        if len(self.sizes) > MAX_MEMBERS:
            raise VerificationError("too many members", got=f"more than {MAX_MEMBERS}")
        if self._bytes > MAX_BYTES:
            got = f"{self._bytes} bytes"
            raise VerificationError("the members are too large", got=got, wanted=f"at most {MAX_BYTES}")


class FolderMembers(Members):
    """A folder."""

    def __init__(self, path: Path) -> None:
        """List what is in it; OSError where that cannot be, VerificationError for what is no plain file."""
        super().__init__(path)
        waiting, folders = [""], 0
        while waiting:
            folder = waiting.pop()
            folders += 1
            if folders > MAX_MEMBERS or folder.count("/") > _MAX_DEPTH:
                raise VerificationError("too many folders, or too deep", got=ascii(folder[:80]))
            before = len(self.sizes) + len(waiting)
            self._list(folder, waiting)
            if folder and before == len(self.sizes) + len(waiting):
                self.empty.append(folder)

    def _list(self, folder: str, waiting: list[str]) -> None:
        fd = careful.open_folder(self.path, folder)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(name)
                    elif stat.S_ISREG(status.st_mode):
                        self._add(name, status.st_size)
                    else:
                        raise VerificationError("a member is no plain file", got=ascii(name[:80]))
        finally:
            os.close(fd)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return what is in a file; OSError where that is not possible, or it is larger."""
        file = self._open(name)
        try:
            return careful.read_descriptor(file, max_bytes, name)
        finally:
            os.close(file)

    def open(self, name: str) -> BinaryIO:
        """Return a stream of a file that can be read from any place of it; OSError where there is none."""
        return os.fdopen(self._open(name), "rb")

    def close(self) -> None:
        """Do nothing: each file is closed once it was read."""

    def _open(self, name: str) -> int:
        folder, _, last = name.rpartition("/")
        fd = careful.open_folder(self.path, folder)
        try:
            return careful.open_plain(last, dir_fd=fd)
        finally:
            os.close(fd)

    def _digest(self, files: Sequence[Sized]) -> list[str]:
        found = []
        digested = output_files.digest_tree(self.path, [file.name for file in files], processes=1)
        for file, (name, digest, size) in zip(files, digested, strict=True):
            if size != file.size:
                raise UnsafeOutputError(f"{name!a} changed while it was read", got=f"{size} bytes", wanted=file.size)
            found.append(digest)
        return found


class _Slice(io.RawIOBase):
    """A part of a file that stays open elsewhere."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        """Begin at the start of the part."""
        super().__init__()
        self._fd, self._start, self._size, self._place = fd, start, size, 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that any place can be gone to."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into a buffer; return how many."""
        view = memoryview(buffer)
        left = max(0, min(len(view), self._size - self._place))
        count = os.preadv(self._fd, [view[:left]], self._start + self._place) if left else 0
        self._place += count
        return count


class TarMembers(Members):
    """A tar file without compression, with one folder at its top."""

    def __init__(self, path: Path, fd: int) -> None:
        """List what is in a file that is open; VerificationError for what is no tar of plain files."""
        super().__init__(path)
        self._fd, self._starts, folders, top = fd, dict[str, int](), set[str](), ""
        self.end = 0  # of the last member
        for entry in scan(fd, MAX_MEMBERS):
            self.end = entry.end
            name = entry.name.removeprefix("./").rstrip("/")
            first, _, rest = name.partition("/")
            if not safe_name(name) or (not rest and not entry.folder):
                raise VerificationError("a member has an unsafe name", got=ascii(entry.name[:80]))
            top = top or first
            if first != top:
                raise VerificationError("the tar has several folders at its top", got=f"{top!a}, {first!a}")
            if entry.folder:
                folders.add(rest)
            else:
                self._add(rest, entry.size)
                self._starts[rest] = entry.start
            if len(folders) > MAX_MEMBERS:
                raise VerificationError("too many folders", got=f"more than {MAX_MEMBERS}")
        self.top = top  # the folder at its top
        self.empty = sorted(folders - _parents(self.sizes))

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return what is in a file.

        Raises:
            FileNotFoundError: There is no such member.
            NotPlainError: It is larger.

        """
        size = self.sizes.get(name)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if size > max_bytes:
            raise careful.NotPlainError(errno.EFBIG, f"Larger than {max_bytes} bytes", name)
        return os.pread(self._fd, size, self._starts[name])

    def open(self, name: str) -> BinaryIO:
        """Return a stream of a file that can be read from any place of it.

        Raises:
            FileNotFoundError: There is no such member.

        """
        if name not in self.sizes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return cast("BinaryIO", io.BufferedReader(_Slice(self._fd, self._starts[name], self.sizes[name])))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _digest(self, files: Sequence[Sized]) -> list[str]:
        buffer = memoryview(bytearray(_BLOCK))
        return [self._digest_one(file, buffer) for file in files]

    def _digest_one(self, file: Sized, buffer: memoryview) -> str:
        digest, place, left = hashlib.sha256(), self._starts[file.name], file.size
        while left:
            count = os.preadv(self._fd, [buffer[: min(left, _BLOCK)]], place)
            if not count:
                raise UnsafeOutputError(f"the tar was cut while {file.name!a} was read")
            digest.update(buffer[:count])
            place, left = place + count, left - count
        return digest.hexdigest()


def open_members(path: Path) -> Members:
    """Return the files of an archive; of a folder that holds nothing but a bag, those of the bag.

    VerificationError for what is no archive.

    Raises:
        NotFoundError: There is nothing, or it cannot be read.

    """
    real = Path(os.path.realpath(path))
    try:
        if not real.is_dir():
            return _open_tar(path, careful.open_plain(real))
        if not (real / BAGIT).exists():
            inner = [Path(entry.path) for entry in os.scandir(real) if entry.is_dir(follow_symlinks=False)]
            if len(inner) == 1 and (inner[0] / BAGIT).exists():
                real = inner[0]
        return FolderMembers(real)
    except OSError as error:
        hint = "nexapod-batch archive ID --out DIR makes one"
        raise NotFoundError(f"{path} is no archive that can be read", got=error.strerror, hint=hint) from error


def _open_tar(path: Path, fd: int) -> TarMembers:
    try:
        return TarMembers(path, fd)
    except BaseException:
        os.close(fd)
        raise


def _parents(names: Iterable[str]) -> set[str]:
    """Return every folder that holds one of the files, the top too."""
    found = {""}
    for name in names:
        folder = name.rpartition("/")[0]
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found

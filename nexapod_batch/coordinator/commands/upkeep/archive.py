"""The file that a backup is: a tar archive whose last member lists the SHA-256 of all others.

`sha256sum -c SHA256SUMS` checks one that was unpacked by hand. Nothing in an archive is believed: members are plain
files of known names, each is hashed while it is read, and none is used before all are as the list says.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tarfile
import time
import zlib
from contextlib import nullcontext
from io import BytesIO
from typing import IO, TYPE_CHECKING

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.files import careful
from nexapod_batch.store.faults import disk_faults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["NAMES", "SUMS", "is_archive", "unpack", "verify", "write"]

SUMS = "SHA256SUMS"
#: What may be in an archive.
NAMES = re.compile(
    r"state\.db|about\.json|newest-launch|keys/[A-Za-z0-9][\w.-]*|inputs/[0-9a-f]{64}|config/config\.toml"
    r"|config/sites\.d/[\w.-]+\.toml|spool/[\w-]+/(?:node\.json|manners\.json|reports/[\w.-]+\.jsonl)"
    r"|results/[0-9]+/(?:[0-9]+(?:\.judged-[0-9]+)?/(?s:.+)|[0-9]+\.manifest)"
)
_BLOCK = 1 << 20
_MAX_SUMS = 1 << 30


class _Hashing:
    """A stream that hashes what is read of it, up to a number of bytes."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._left, self.digest = stream, size, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        self._left -= len(data)
        self.digest.update(data)
        return data


def write(target: Path, files: Iterable[tuple[str, Path | bytes]], *, compress: bool) -> None:
    """Write an archive of (name in it, file or content); `target` is a new file. OSError when that is not possible.

    A file that is gone by now is left out; one that grows is taken as long as it was when it was opened.
    """
    sums = []
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as sink:
        zipped = gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=1) if compress else nullcontext(sink)
        with zipped as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in files:
                digest = _add(tar, name, content)
                if digest:
                    sums.append(_line(name, digest))
            _add(tar, SUMS, "".join(sums).encode())
        sink.flush()
        os.fsync(sink.fileno())


def _line(name: str, digest: str) -> str:
    """Return the line of a file as `sha256sum` writes it."""
    escaped = _escaped(name)
    mark = "" if escaped == name else "\\"
    return f"{mark}{digest}  {escaped}\n"


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\n", "\\n")


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes) -> str:
    """Add one member and return its digest; "" for a file that is not there."""
    if isinstance(content, bytes):
        stream: IO[bytes] = BytesIO(content)
        size, when = len(content), time.time()
    else:
        try:
            stream = careful.stream(content)
        except FileNotFoundError:
            return ""
        status = os.fstat(stream.fileno())
        size, when = status.st_size, status.st_mtime
    with stream:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = size, int(when), 0o600
        hashing = _Hashing(stream, size)
        tar.addfile(member, hashing)
    return hashing.digest.hexdigest()


def is_archive(path: Path) -> bool:
    """Say whether a file is a tar archive; OSError when it cannot be read."""
    return tarfile.is_tarfile(path)


def verify(path: Path) -> list[str]:
    """Return the names in an archive when every member is as it was written; CorruptStoreError for damage."""
    return _read(path, None)


def unpack(path: Path, folder: Path) -> list[str]:
    """Unpack an archive into a new folder and return the names; CorruptStoreError for damage, errors of a full disk."""
    with disk_faults(folder):
        return _read(path, folder)


def _read(path: Path, folder: Path | None) -> list[str]:
    found: dict[str, str] = {}
    listed: dict[str, str] | None = None
    try:
        with tarfile.open(path, mode="r:*") as tar:
            for member in tar:
                if member.name == SUMS:
                    listed = _sums(tar, member)
                else:
                    _refuse_odd(member)
                    found[_escaped(member.name)] = _take(tar, member, folder)
            while tar.fileobj.read(_BLOCK):  # to the end, where a checksum of all is
                pass
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    if listed is None:
        raise _damaged(path, "its end is missing")
    for name in sorted(listed.keys() | found.keys()):
        if listed.get(name) != found.get(name):
            raise _damaged(path, f"{name} is not as it was written")
    return list(found)


def _refuse_odd(member: tarfile.TarInfo) -> None:
    parts = member.name.split("/")
    if not member.isreg() or not NAMES.fullmatch(member.name) or ".." in parts or "" in parts or "." in parts:
        raise ValueError(f"{member.name[:80]!r} has no business in a backup")


def _sums(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, str]:
    stream = tar.extractfile(member)
    if stream is None or member.size > _MAX_SUMS:
        raise ValueError(f"{SUMS} is no list")
    lines = stream.read().decode().split("\n")[:-1]
    return {name: digest.lstrip("\\") for digest, _, name in (line.partition("  ") for line in lines)}


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path | None) -> str:
    """Read one member, into the folder if there is one; return its digest."""
    stream = tar.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name[:80]!r} is no file")
    digest = hashlib.sha256()
    sink = None
    if folder is not None:
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sink = os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    try:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if sink is not None:
                sink.write(block)
    finally:
        if sink is not None:
            sink.close()
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> CorruptStoreError:
    return CorruptStoreError(f"the backup {path} cannot be used", got=why, hint="take another one: nothing was changed")

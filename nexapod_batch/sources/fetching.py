"""Bringing what a URL names into a folder, under its digest: resumed where it broke off, bounded, by one process.

A file gets its name when all of it is there, is what was meant, and is on the disk. What came before a break stays
beside it, with what names its version there, so that a later run goes on; bytes of another version are never joined.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nexapod_batch.files import atomic, passing_lock
from nexapod_batch.files.least_used import remove
from nexapod_batch.sources import NoRoomError, SourceError
from nexapod_batch.sources.resuming import Download, resumed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from pathlib import Path

    from nexapod_batch.sources import Opened, Source, SourceSettings

__all__ = ["Hears", "fetch"]

#: Bytes of a disk that are never taken.
_SPARE = 256 << 20
_BROKEN = (OSError, http.client.HTTPException)


class Hears(Protocol):
    """Hears how far a fetch is."""

    def start(self, what: str, total: int | None) -> None:
        """Something begins, of so many bytes where that is known."""
        ...

    def advance(self, count: int) -> None:
        """So many more bytes are there."""
        ...

    def say(self, text: str) -> None:
        """Something else that a person should know."""
        ...


class _Part(NamedTuple):
    """What an earlier try left."""

    size: int
    version: str
    total: int | None = None  # bytes of the whole, as it was then


class _Wanted(NamedTuple):
    """What is fetched."""

    source: Source
    url: str
    sha256: str  # "" for whatever comes


def fetch(
    source: Source, url: str, folder: Path, settings: SourceSettings, hears: Hears, *, sha256: str = "",
    pause: Callable[[float], None] = time.sleep,
) -> str:  # fmt: skip
    """Bring what a URL names into a folder, as a file named by its SHA-256; return that.

    Where the file is there already nobody is asked.

    Args:
        source: What knows the scheme.
        url: What is wanted.
        folder: Where files lie under their digests.
        settings: Limits.
        hears: Progress.
        sha256: What it must hash to, in lower-case hex; "" for whatever comes.
        pause: How it waits before another try.

    Raises:
        SourceError: It is not there, is something else, or is too large.
        UnreachableError: It broke off again and again, or nobody answers.
        NoRoomError: The disk has no room for it.

    """
    if sha256 and _is_plain(folder / sha256):
        return sha256
    partial = folder / f".fetch-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
    with _alone(partial, hears, url):
        if sha256 and _is_plain(folder / sha256):  # somebody else brought it meanwhile
            return sha256
        if not _is_plain(partial):
            remove(partial)
        digest = _meant(_Wanted(source, url, sha256), partial, settings, hears, pause)
        atomic.sync_files([partial])
        if not _is_plain(folder / digest):
            remove(folder / digest)
        partial.replace(folder / digest)
        _drop(partial)
    return digest


def _is_plain(path: Path) -> bool:
    """Say whether a plain file is there, and no link to one, nor anything that is opened for ever."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _meant(
    wanted: _Wanted, partial: Path, settings: SourceSettings, hears: Hears, pause: Callable[[float], None]
) -> str:
    """Fetch what was meant; return its digest. Where what was joined is something else, it is begun anew once."""
    digest, joined = _whole(wanted, partial, settings, hears, pause)
    if joined and wanted.sha256 not in {"", digest}:  # whatever the server says of its version
        _drop(partial)
        digest, _ = _whole(wanted, partial, settings, hears, pause)
    if wanted.sha256 not in {"", digest}:
        _drop(partial)
        raise SourceError(
            f"{wanted.url} is not what was meant", got=f"sha256 {digest}", wanted=wanted.sha256,
            hint="correct sha256, or find out who changed it",
        )
    return digest


def _whole(
    wanted: _Wanted, partial: Path, settings: SourceSettings, hears: Hears, pause: Callable[[float], None]
) -> tuple[str, bool]:
    """Fetch until all is there; return its digest, and whether it was joined of what several answers had."""

    def attempt() -> tuple[str, bool]:
        part = _part(partial)
        with wanted.source.open(wanted.url, part.size, part.version, settings) as opened:
            _check_kind(opened, wanted)
            _check_same(opened, part, partial)
            return _take(opened, wanted.url, partial, settings, hears), opened.start > 0

    try:
        return resumed(attempt, Download(wanted.url, lambda: _part(partial).size, _may_pass, hears.say, pause))
    except OSError as error:  # of no network: these were tried again
        raise _no_room(error, partial) from error


def _may_pass(error: Exception) -> bool:
    return isinstance(error, _BROKEN) and getattr(error, "errno", None) not in atomic.FULL


def _check_kind(opened: Opened, wanted: _Wanted) -> None:
    """Raise SourceError for something else in the place of what nobody pinned."""
    if opened.instead and not wanted.sha256:
        raise SourceError(
            f"{wanted.url} answers with {opened.instead}", wanted="the file itself",
            hint="it may ask for a login; if you mean what comes, pin it by sha256",
        )


def _check_same(opened: Opened, part: _Part, partial: Path) -> None:
    """Begin anew where the rest belongs to a whole of another size: it grew, and was given no other version."""
    if opened.start and part.total is not None and opened.size not in {None, part.total}:
        _drop(partial)
        raise ConnectionError(f"it has {opened.size} bytes by now, and had {part.total}")


def _take(opened: Opened, url: str, partial: Path, settings: SourceSettings, hears: Hears) -> str:
    """Write the blocks behind those that are there already; return the digest of the whole."""
    _note_version(partial, opened)
    if opened.size is not None:
        _check_size(opened.size, url, settings)
        _check_room(partial, opened.size - opened.start)
    digest, got = hashlib.sha256(), opened.start
    hears.start(url, opened.size)
    with partial.open("r+b" if opened.start else "wb", buffering=0) as sink, ThreadPoolExecutor(1) as beside:
        if opened.start:
            _digest_start(sink, opened.start, digest)
        hears.advance(got)
        hashed = beside.submit(digest.update, b"")
        for block in opened.blocks:
            got += len(block)
            _check_size(got, url, settings)
            if opened.size is not None and got > opened.size:
                raise SourceError(f"{url} is larger than announced", got=f"{got} bytes", wanted=f"{opened.size}")
            hashed.result()
            hashed = beside.submit(digest.update, block)  # while this one is written, and the next one comes
            rest = memoryview(block)
            while rest:
                rest = rest[sink.write(rest) :]
            hears.advance(len(block))
        sink.truncate(got)
    if opened.size is not None and got < opened.size:
        raise ConnectionError(f"it ended after {got} of {opened.size} bytes")
    return digest.hexdigest()


def _digest_start(sink: FileIO, size: int, digest: hashlib._Hash) -> None:
    """Digest the bytes that are there, and stand behind them."""
    left = size
    while left and (block := sink.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    if left:
        raise ConnectionError("what was there of it is gone")


def _part(partial: Path) -> _Part:
    """Return what an earlier try left that can be gone on from."""
    try:
        noted = json.loads(_version_file(partial).read_bytes())
        version, total = noted["version"], noted.get("size")
        size = partial.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Part(0, "")
    if not isinstance(version, str) or not version:
        return _Part(0, "")
    return _Part(size, version, total if isinstance(total, int) else None)


def _note_version(partial: Path, opened: Opened) -> None:
    note = json.dumps({"version": opened.version, "size": opened.size}).encode()
    atomic.write(_version_file(partial), note, mode=0o600, durable=False)


def _version_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _drop(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _version_file(partial).unlink(missing_ok=True)


def _check_size(size: int, url: str, settings: SourceSettings) -> None:
    if size > settings.max_bytes:
        raise SourceError(
            f"{url} is too large", got=f"{size} bytes", wanted=f"at most {settings.max_bytes}",
            hint="raise [sources] max_size of config.toml if you mean it",
        )  # fmt: skip


def _check_room(partial: Path, more: int) -> None:
    status = os.statvfs(partial.parent)
    free = status.f_bavail * status.f_frsize
    if more > free - _SPARE:
        raise _no_room(f"{more} bytes wanted, {max(0, free - _SPARE)} to spare", partial)


def _no_room(got: object, partial: Path) -> NoRoomError:
    return NoRoomError(f"no space for an input in {partial.parent}", got=str(got), hint="free some space there")


@contextmanager
def _alone(partial: Path, hears: Hears, url: str) -> Iterator[None]:
    """Hold the lock of one URL; it is free at once when a process is killed, and nothing is left of it else."""
    lock = partial.with_name(f"{partial.name}.lock")
    fd = passing_lock.acquire(lock, lambda: hears.say(f"{url}: another process fetches it; waiting"))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # held still: whoever waits for it finds that it is not there any more
        os.close(fd)

"""Bytes between a node and its coordinator, in parts, by their SHA-256: what was cut off goes on where it ended."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.agent import room
from nexapod_batch.agent.client import RefusedError
from nexapod_batch.agent.lanes import Lanes
from nexapod_batch.agent.parts import Parts
from nexapod_batch.errors import TryAgainError, UnreachableError, UnsafeOutputError
from nexapod_batch.files import output_files
from nexapod_batch.files.beneath import open_beneath
from nexapod_batch.files.least_used import note_use
from nexapod_batch.mesh.blobs import Upload
from nexapod_batch.mesh.signatures import SO_FAR
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nexapod_batch.agent.client import Client, Reply
    from nexapod_batch.mesh.messages import Wanted

__all__ = ["bring", "download", "files_of", "send"]

_TRIES, _PAUSE_S = 8, 0.5


def download(client: Client, folder: Path, digest: str, look: Callable[[], None]) -> Path:
    """Bring one blob into a folder, where it is not there yet; TryAgainError where that cannot be done now.

    `look` is called before each part, and ends it by an error of its own: what came until then is kept.

    Raises:
        RefusedError: The coordinator does not offer it.
        TryAgainError: It ended too early.

    """
    target = folder / digest
    if target.exists():
        note_use(str(target))
        return target
    upload = Upload(folder, digest)
    with ThreadPoolExecutor(1) as keeper:  # a part is kept while the next one comes
        size = upload.size()
        kept = keeper.submit(int)  # nothing yet
        while True:
            look()
            reply = _part(client, digest, size)
            total = int(reply.headers.get("upload-length", "0"))
            kept.result()
            room.take(folder, total - size)
            kept = keeper.submit(upload.append, size, reply.body)
            size += len(reply.body)
            if size >= total:
                kept.result()
                upload.finish()
                return target
            if not reply.body:
                raise TryAgainError("an input ended too early", got=f"{size} bytes", wanted=total)


def _part(client: Client, digest: str, start: int) -> Reply:
    """Return the part of a blob that begins at a byte; it is asked for again where nobody answers.

    Raises:
        RefusedError: The coordinator does not offer it.

    """
    for tries in range(1, _TRIES + 1):
        try:
            reply = client.ask("GET", f"/v1/blobs/{digest}?from={start}")
        except UnreachableError:
            if tries == _TRIES:
                raise
            time.sleep(_PAUSE_S * tries)
            continue
        if reply.status >= 300:
            raise RefusedError(reply)
        return reply
    raise AssertionError  # the last time there is an answer, or an error


def send(client: Client, path: Path, name: str) -> str:
    """Send one file of a work folder, unless the coordinator has it; return its SHA-256.

    Raises:
        RefusedError: The coordinator takes it no more.

    """
    fd = open_beneath(path, name)
    try:
        return _send(client, Parts(fd))
    finally:
        os.close(fd)


def _send(client: Client, parts: Parts) -> str:
    digest, tries = parts.sha256, 0
    there = _there(client, digest)
    with Lanes(client, f"/v1/blobs/{digest}", parts) as lanes:
        while not there.complete:
            lanes.so_far = there.so_far
            try:
                reply = lanes.send(there.size)
            except UnreachableError:
                tries += 1
                if tries >= _TRIES:
                    raise
                time.sleep(_PAUSE_S * tries)
                there = _there(client, digest)
                continue
            if reply is None:
                return digest
            before, there = there, there._replace(size=int(reply.headers.get("upload-offset", "0")))
            tries = 0 if there.size > before.size else tries + 1
            if reply.status != 409 or tries >= _TRIES:
                raise RefusedError(reply)
    return digest


class _There(NamedTuple):
    """What the coordinator has of a blob."""

    size: int
    complete: bool
    so_far: bool  # whether parts may be signed by the SHA-256 of the blob up to their end


def _there(client: Client, digest: str) -> _There:
    """Ask for what the coordinator has of a blob.

    Raises:
        RefusedError: It takes none.

    """
    reply = client.ask("HEAD", f"/v1/blobs/{digest}")
    if reply.status >= 300:
        raise RefusedError(reply)
    head = reply.headers
    so_far = SO_FAR in head.get("want-content-digest", "")
    return _There(int(head.get("upload-offset", "0")), head.get("upload-complete") == "?1", so_far)


def _names(folder: Path, wanted: Iterable[str] | None) -> Iterable[str]:
    """Return the names of the files of a folder that are asked for: None for all that are there."""
    if not folder.is_dir():
        return ()
    if wanted is not None:
        return wanted
    return [file.name for file in output_files.find(folder, ["**"])]


def files_of(work: Path, wanted: Wanted) -> dict[str, tuple[Path, str]]:
    """Return the files that are asked for: the name of each for the coordinator, and folder and name here.

    UnsafeOutputError where they are more than was asked for.

    Raises:
        UnsafeOutputError: There is more than the coordinator takes.

    """
    found: dict[str, tuple[Path, str]] = {}
    for name, suffix in zip(("stdout", "stderr"), layout.LOG_SUFFIXES, strict=True):
        if (work / f"{wanted.replica}{suffix}").exists():
            found[name] = (work, f"{wanted.replica}{suffix}")
    folder = work / wanted.replica
    for name in () if wanted.logs else _names(folder, wanted.names):
        if name not in found and (folder / name).exists():
            found[name] = (folder, name)
    size = sum((where / name).stat(follow_symlinks=False).st_size for where, name in found.values())
    if wanted.max_bytes and size > wanted.max_bytes:
        raise UnsafeOutputError("more than was asked for", got=f"{size} bytes", wanted=f"at most {wanted.max_bytes}")
    return found


def bring(client: Client, work: Path, wanted: Wanted) -> dict[str, str]:
    """Send the files that are asked for; return name -> SHA-256."""
    return {name: send(client, where, there) for name, (where, there) in files_of(work, wanted).items()}

"""Files that are sent in answers: opened with care, closed and removed at the end, however that comes."""

from __future__ import annotations

import asyncio
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

from starlette.responses import FileResponse

from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.server.calls import Call

__all__ = ["SentFile", "made_file", "packed"]


class SentFile(FileResponse):
    """A file that is open, sent in ranges; closed at the end."""

    def __init__(self, descriptor: int, etag: str, media: str, gone: Path | None = None) -> None:
        """Take over a descriptor; the folder `gone` is removed with it."""
        self._descriptor, self._gone = descriptor, gone
        headers = {"etag": f'"{etag}"', "cache-control": "private, no-cache"}
        status = os.fstat(descriptor)
        super().__init__(f"/proc/self/fd/{descriptor}", 200, headers, media, stat_result=status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)
            if self._gone is not None:
                await asyncio.to_thread(shutil.rmtree, self._gone, ignore_errors=True)


async def made_file(call: Call, make: Callable[[Coordinator, Path], tuple[Path, str]], media: str) -> SentFile:
    """Return the file that `make` writes into a folder of its own, and whose ETag it returns; errors as of `make`."""
    folder = call.service.paths.home / "server" / "outgoing" / os.urandom(16).hex()

    def opened(c: Coordinator) -> tuple[int, str]:
        own_folder(folder)
        path, etag = make(c, folder)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), etag

    try:
        descriptor, etag = await call.service.make(opened)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    return SentFile(descriptor, etag, media, folder)


def packed(folder: Path, tar_path: Path) -> None:
    """Pack a folder under its own name, without who this account is."""
    with tarfile.open(tar_path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, folder.name, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry

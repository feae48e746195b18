"""Images that lie on this machine: a SIF file is copied into the cache, a sandbox folder is built into one.

A copy, not a hard link: whoever edits the file afterwards must not change what jobs were pinned to. Where the file
system can, the copy shares its blocks with the original until one of them changes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from nexapod_batch.errors import ImageError
from nexapod_batch.images import sif
from nexapod_batch.images.cache import faults, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nexapod_batch.images.build import Builder
    from nexapod_batch.images.cache import Cache, Image, Progress

__all__ = ["check_file", "from_file", "from_sandbox", "tree_digest"]

#: Copied at once: enough that the file system can share whole extents.
_AT_ONCE = 1 << 30


def check_file(file: Path, wanted: str) -> tuple[sif.Sif, str]:
    """Return what a SIF file says of itself, and its SHA-256; ImageError when it is none, or not the `wanted` one."""
    header = sif.read(file)
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error
    if wanted and sha256 != wanted:
        raise mismatch(str(file), sha256, wanted)
    return header, sha256


def from_file(cache: Cache, file: Path, wanted: str, progress: Progress) -> Image:
    """Return the image of a SIF file; ImageError when it is none, or not the one `wanted` (SHA-256, or "")."""
    header, sha256 = check_file(file, wanted)
    if cache.image(sha256) is None:
        with cache.pulling(sha256, progress) as folder:
            if cache.image(sha256) is None:
                cache.make_room(header.size)
                progress.start(f"copying {file}", None)
                _copy(file, folder / "image.sif", cache.folder)
                return cache.keep(folder / "image.sif", str(file), sha256)
    return cache.refer(sha256, str(file))


def from_sandbox(
    cache: Cache, tree: Path, wanted: str, builder: Callable[[], Builder], progress: Progress
) -> Image:
    """Return the image that a sandbox folder was built into; the same tree is built once and gives the same file.

    Two builds of one tree differ (each notes when it was made), so that the tree is what is looked up. ImageError
    when it is not the image `wanted` (SHA-256, or "").
    """
    progress.start(f"reading {tree}", None)
    key = f"sandbox:{tree_digest(tree)}"
    found = cache.find(key)
    if found is None:
        with cache.pulling(key, progress) as folder:
            found = cache.find(key)
            if found is None:
                with faults(folder):
                    (folder / "sandbox").unlink(missing_ok=True)
                    (folder / "sandbox").symlink_to(tree)
                found = cache.keep(builder().build("sandbox/", folder, progress), key, wanted)
    if wanted not in {"", found.sha256}:
        raise mismatch(str(tree), found.sha256, wanted)
    cache.refer(found.sha256, key)
    return cache.refer(found.sha256, str(tree))


def tree_digest(tree: Path) -> str:
    """Return the SHA-256 of everything that makes a tree what it is: names, kinds, modes, contents, targets of links.

    Owners and times are left out: a build for another account keeps neither. ImageError where something is unreadable.
    """
    found = hashlib.sha256()
    try:
        for name, status in _entries(str(tree), ""):
            path = os.path.join(tree, name)
            kind, content = stat.S_IFMT(status.st_mode), b""
            if kind == stat.S_IFREG:
                with open(path, "rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").digest()
            elif kind == stat.S_IFLNK:
                content = os.fsencode(os.readlink(path))
            fields = (os.fsencode(name), b"%o" % status.st_mode, content)
            found.update(b"".join(b"%d:%b" % (len(field), field) for field in fields))
    except OSError as error:
        raise _unreadable(tree, error) from error
    return found.hexdigest()


def _entries(tree: str, below: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path, from the top of the tree, and the status of everything in it, sorted."""
    with os.scandir(os.path.join(tree, below)) as listed:
        entries = sorted(listed, key=lambda one: os.fsencode(one.name))
    for entry in entries:
        name = os.path.join(below, entry.name)
        yield name, entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(tree, name)


def _unreadable(path: Path, error: OSError) -> ImageError:
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
    return ImageError(
        f"image {path} cannot be read", got=f"{error.strerror}{where}", wanted="a SIF file or a sandbox folder"
    )


def _copy(source: Path, target: Path, folder: Path) -> None:
    try:
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(source, error) from error
    with faults(folder):
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _copy_range(reader, writer)
        finally:
            os.close(reader)
            os.close(writer)


def _copy_range(reader: int, writer: int) -> None:
    """Copy all of a file inside the kernel, or through here where the two file systems cannot."""
    try:
        while os.copy_file_range(reader, writer, _AT_ONCE):
            pass
    except OSError as error:
        if error.errno not in {18, 22, 38, 95} or os.lseek(writer, 0, os.SEEK_CUR):  # EXDEV EINVAL ENOSYS EOPNOTSUPP
            raise
        with open(reader, "rb", closefd=False) as source, open(writer, "wb", closefd=False) as sink:
            while block := source.read(1 << 20):
                sink.write(block)

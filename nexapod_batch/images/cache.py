"""The folder in which images are kept, each a SIF file named by its SHA-256.

    <sha256>.sif       the image; it gets this name only whole, digested and on disk
    <sha256>.json      what it is: architecture, labels, and every reference that led to it; its time is the last use
    .holds/<who>.json  the images that open jobs of one coordinator need; each has one writer
    .pull-<key>/       what a pull has so far; the next pull of the same goes on from it
    .pull-<key>.lock   held while somebody pulls: whoever wants the same waits, and then finds it done

Any instant may be the last: what is left is a folder of a pull, never half an image under its final name. Locks are
`flock`, which the kernel frees when the process ends. Where two hosts share the folder over a network file system
whose locks do not reach that far, the worst is that both pull; every name is still given by one rename.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from nexapod_batch.errors import ConfigError, ImageError, TryAgainError
from nexapod_batch.files import atomic, careful, passing_lock
from nexapod_batch.files.filesystem_type import filesystem_of
from nexapod_batch.files.own import own_folder
from nexapod_batch.images import sif

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["Cache", "Image", "Progress", "faults"]

_BLOCK = 1 << 20
#: What a file system answers that cannot lock, sync or rename.
_LACKING = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


class Progress(Protocol):
    """Hears how far a pull is."""

    def start(self, what: str, total: int | None) -> None:
        """Something begins, of so many bytes where that is known.

        Args:
            what: What is done, for people.
            total: Bytes in all, None where that is not known.

        """
        ...

    def advance(self, count: int) -> None:
        """So many more bytes are there.

        Args:
            count: Bytes since the last call.

        """
        ...

    def say(self, text: str) -> None:
        """Something else that a person should know.

        Args:
            text: One line.

        """
        ...


class Image(Struct, frozen=True, kw_only=True):
    """One image that is in the cache."""

    sha256: str  # lower-case hex
    path: Path
    size: int  # bytes
    architecture: str  # as `uname -m` says it; "" where the file does not
    created: int  # seconds since 1970, when it was built
    used: float  # seconds since 1970, when a job or a person last asked for it
    references: tuple[str, ...]  # what led to it, oldest first
    labels: Mapping[str, str]


class Cache:
    """The images of a folder, which is made when the first one comes. `max_bytes` 0: no limit."""

    def __init__(self, folder: Path, max_bytes: int = 0) -> None:
        """Keep the folder; nothing is touched."""
        self.folder, self.max_bytes = folder, max_bytes
        #: Called before images are removed to make room: whoever knows of jobs that ended says so then.
        self.before_prune: Callable[[], None] = lambda: None

    def images(self) -> list[Image]:
        """Return all images, the last used first."""
        with suppress(FileNotFoundError), faults(self.folder):
            names = [name[:-4] for name in os.listdir(self.folder) if name.endswith(".sif") and name[0] != "."]
            found = [image for image in map(self.image, names) if image is not None]
            return sorted(found, key=lambda one: (-one.used, one.sha256))
        return []

    def image(self, sha256: str) -> Image | None:
        """Return one image, or None; what its record has lost is read from the file again."""
        path, record = self.folder / f"{sha256}.sif", self.folder / f"{sha256}.json"
        try:
            size, used = path.stat().st_size, path.stat().st_mtime
            try:
                said, used = careful.load(record), record.stat().st_mtime
                about = (said["architecture"], said["created"], tuple(said["references"]), dict(said["labels"]))
            except (OSError, ValueError, KeyError, TypeError):  # the record is a help, the file is the thing
                header = sif.read(path)
                about = (header.architecture, header.created, (), dict(header.labels))
        except FileNotFoundError:
            return None
        architecture, created, references, labels = about
        return Image(
            sha256=sha256, path=path, size=size, architecture=architecture, created=created, used=used,
            references=references, labels=labels,
        )  # fmt: skip

    def find(self, reference: str, architecture: str = "") -> Image | None:
        """Return the image that a reference led to, for an architecture if one is named."""
        for image in self.images():
            if reference in image.references and architecture in {"", image.architecture}:
                return image
        return None

    @contextmanager
    def pulling(self, key: str, progress: Progress) -> Iterator[Path]:
        """Yield the folder in which one pull works, alone: whoever comes second waits until the first is done.

        The folder is left as it is when the pull fails, so that the next one can go on, and removed when it is done.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        folder, lock = self.folder / f".pull-{name}", self.folder / f".pull-{name}.lock"
        with faults(self.folder):
            own_folder(self.folder)
            fd = passing_lock.acquire(lock, lambda: progress.say("somebody else pulls this image: waiting for that"))
        try:
            with faults(self.folder):
                own_folder(folder, below=self.folder)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone, and takes a new one
        finally:
            os.close(fd)

    def keep(self, file: Path, reference: str, wanted: str = "") -> Image:
        """Give a file of a pull its name; ImageError when it is not the image that was `wanted` (SHA-256), or none."""
        try:
            header = sif.read(file, reference)
        except ImageError:
            file.unlink(missing_ok=True)  # the next pull begins anew
            raise
        with faults(self.folder):
            with file.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            if wanted and sha256 != wanted:
                file.unlink()
                raise mismatch(reference, sha256, wanted)
            with self._alone():
                self._record(sha256, header.architecture, header.created, header.labels, reference)
                final = self.folder / f"{sha256}.sif"
                if not final.exists():
                    file.chmod(0o444)
                    atomic.sync_files([file])
                    file.replace(final)
                    atomic.sync_files([final])
                return self._there(sha256)

    def refer(self, sha256: str, reference: str) -> Image:
        """Note one more reference that leads to an image that is there, and that it was used now."""
        with faults(self.folder):
            if reference not in self._there(sha256).references:
                with self._alone():
                    one = self._there(sha256)
                    self._record(sha256, one.architecture, one.created, one.labels, reference)
            self.touch(sha256)
        return self._there(sha256)

    def _there(self, sha256: str) -> Image:
        found = self.image(sha256)
        if found is None:
            raise TryAgainError("an image was removed meanwhile", got=sha256, hint="try again")
        return found

    def _record(self, sha256: str, architecture: str, created: int, labels: Mapping[str, str], reference: str) -> None:
        known = self.image(sha256)
        record = {
            "schema": 1,
            "architecture": architecture,
            "created": created,
            "labels": dict(labels),
            "references": list(dict.fromkeys([*(known.references if known else ()), reference])),
        }
        atomic.write(self.folder / f"{sha256}.json", json.dumps(record, indent=2).encode() + b"\n")

    def touch(self, sha256: str) -> None:
        """Note that an image was used now."""
        with suppress(OSError):
            os.utime(self.folder / f"{sha256}.json")

    def hold(self, who: str, images: Collection[str]) -> None:
        """Say which images one coordinator needs; ImageError when one of them is gone.

        Raises:
            TryAgainError: An image was removed meanwhile.

        """
        if not images and not (self.folder / ".holds").is_dir():
            return
        with faults(self.folder):
            own_folder(self.folder, ".holds")
            with self._alone():
                body = json.dumps(sorted(images)).encode()
                atomic.write(self.folder / ".holds" / f"{who}.json", body, durable=False)
                gone = [image for image in images if not (self.folder / f"{image}.sif").exists()]
        if gone:
            raise TryAgainError("an image was removed meanwhile", got=", ".join(gone), hint="submit again")

    def held(self) -> set[str]:
        """Return the images that open jobs need."""
        found: set[str] = set()
        with suppress(FileNotFoundError):
            for name in os.listdir(self.folder / ".holds"):
                with suppress(ValueError, OSError):
                    found.update(careful.load(self.folder / ".holds" / name))
        return found

    def make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` bytes more fit; TryAgainError when they cannot.

        Raises:
            ConfigError: It is larger than the cache may be.

        """
        if not self.max_bytes:
            return
        if size > self.max_bytes:
            raise ConfigError(
                "the image is larger than the cache may be",
                got=f"{_show(size)}",
                wanted=f"at most {_show(self.max_bytes)}",
                hint="raise images.max_size",
            )
        left = sum(image.size for image in self.images())
        if left + size > self.max_bytes:
            self.before_prune()
            self.prune(self.max_bytes - size)
            left = sum(image.size for image in self.images())
        if left + size > self.max_bytes:
            raise TryAgainError(
                "no room in the image cache",
                got=f"{_show(left)} that open jobs need and {_show(size)} more",
                wanted=f"at most {_show(self.max_bytes)}",
                hint="wait for jobs to end, or raise images.max_size",
            )

    def prune(self, limit: int, *, dry_run: bool = False) -> list[Image]:
        """Remove images that no open job needs, the longest unused first, until the rest has at most `limit` bytes."""
        if not self.folder.is_dir():
            return []
        removed = []
        with faults(self.folder), self._alone():
            held, images = self.held(), self.images()
            total = sum(image.size for image in images)
            for image in reversed(images):
                if total <= limit:
                    break
                if image.sha256 in held:
                    continue
                total -= image.size
                removed.append(image)
                if not dry_run:
                    image.path.unlink(missing_ok=True)
                    image.path.with_suffix(".json").unlink(missing_ok=True)
            if not dry_run:
                self._clear_pulls()
        return removed

    def _clear_pulls(self) -> None:
        """Remove what pulls left that nobody goes on with."""
        for name in os.listdir(self.folder):
            if not (name.startswith(".pull-") and (self.folder / name).is_dir()):
                continue
            fd = os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                with suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(self.folder / name, ignore_errors=True)
                    (self.folder / f"{name}.lock").unlink(missing_ok=True)
            finally:
                os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the whole cache, for the moment that it takes to change what is in it."""
        fd = passing_lock.acquire(self.folder / ".lock", lambda: None)
        try:
            yield
        finally:
            os.close(fd)


@contextmanager
def faults(folder: Path) -> Iterator[None]:
    """Say in our words what the file system of a cache folder, or of a folder of a pull in it, refuses.

    Raises:
        TryAgainError: The disk is full.
        ConfigError: The folder cannot be written, or its file system cannot lock or rename.

    """
    folder = next((one.parent for one in (folder, *folder.parents) if one.name.startswith(".pull-")), folder)
    try:
        yield
    except OSError as error:
        got = f"{error.strerror}: {error.filename or folder}"
        if error.errno in _FULL:
            raise TryAgainError(
                f"no room for the image in {folder}", got=got,
                hint="make room (nexapod-batch image prune), or set images.dir to another folder",
            ) from error  # fmt: skip
        if error.errno in _CLOSED:
            raise ConfigError(
                f"the image cache {folder} cannot be written", got=got, hint="set images.dir to a folder of your own"
            ) from error
        if error.errno in _LACKING:
            kind, _ = filesystem_of(folder)
            raise ConfigError(
                f"the image cache {folder} lies on a file system that cannot keep it", got=f"{kind}: {error.strerror}",
                wanted="one with locks and renames", hint="set images.dir to a folder on another file system",
            ) from error  # fmt: skip
        raise


def mismatch(what: str, got: str, wanted: str) -> ImageError:
    """Return the error for an image that is another one than was pinned."""
    return ImageError(
        f"image {what} is not the one that was meant", got=f"sha256 {got}", wanted=wanted,
        hint="correct container.sha256, or find out who changed the image",
    )  # fmt: skip


def _show(size: int) -> str:
    """Return bytes as people read them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"

"""Bringing a delivery back, from a folder or a bucket: only what its signed manifest names, each file digested.

The copy is made under another name and gets its own when it is whole and holds; nothing that a bucket lists is
believed. It is an archive, which `verify` checks again, and anybody else can.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any, Protocol

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.check import verify_archive
from nexapod_batch.coordinator.archives.writing import refuse_existing
from nexapod_batch.errors import NotFoundError, UnreachableError, VerificationError
from nexapod_batch.files import careful, umask
from nexapod_batch.model.destination import S3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["pull"]

_BLOCK = 1 << 20
#: What no manifest names: the tag manifest itself, and its signature.
_ABOVE = (bag.TAGS, bag.SIGNATURE)
#: Bytes of these, at most.
_SHORT = 1 << 16


class _Origin(Protocol):
    """What a delivery is read from."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a small file; None where there is none, or it is larger."""
        ...

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield what is in a file."""
        ...


class _Folder:
    """A folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a small file; None where there is none, or it cannot be read."""
        try:
            return careful.read(os.path.join(self._path, name), limit)
        except OSError:
            return None

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield what is in a plain file; OSError where there is none."""
        with careful.stream(os.path.join(self._path, name)) as stream:
            while data := stream.read(_BLOCK):
                yield data


def pull(
    place: str, out: Path, keys: Mapping[str, bytes], advance: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Bring a delivery into a new folder; return what `verify` found in it. `advance` hears of bytes.

    `keys` are those that the reader got elsewhere, by id.

    Raises:
        NotFoundError: There is no complete delivery at the place.
        VerificationError: A file is not what the delivery's manifest says, or the whole does not hold.
        UnreachableError: The place cannot be read now, or the folder not be written.
        UsageError: There is something of the folder's name.

    """
    origin = _origin(place)
    tags = origin.read(bag.TAGS, _SHORT)
    if tags is None:
        hint = "a delivery that is not complete has none: nexapod-batch show ID says how far it is"
        raise NotFoundError(f"{place} is no complete delivery", got=f"no {bag.TAGS}", hint=hint)
    refuse_existing(out)
    stage = out.absolute().with_name(f".{out.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with umask.as_given():
            stage.mkdir()
            _copy(origin, tags, stage, advance)
        found = verify_archive(stage, keys)
        if not found["ok"]:
            problems = [check["problem"] for check in found["checks"] if not check["ok"]]
            raise VerificationError(f"the delivery at {place} does not hold", got="; ".join(problems)[:500])
        stage.rename(out)
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise UnreachableError(f"{place} cannot be brought to {out}", got=got) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return {**found, "folder": str(out), "results": str(out)}


def _origin(place: str) -> _Origin:
    if not place.startswith(S3):
        return _Folder(place)
    from nexapod_batch.errors import PluginError  # noqa: PLC0415

    try:
        from nexapod_batch.sources.buckets import Bucket  # noqa: PLC0415 - loads obstore
    except ImportError as error:
        raise PluginError("s3:// needs what is not installed", hint="pip install 'nexapod-batch[s3]'") from error
    return Bucket(place, dict(os.environ))


def _copy(origin: _Origin, tags: bytes, stage: Path, advance: Callable[[int], None]) -> None:
    """Write everything that the manifests name into a folder."""
    signature = origin.read(bag.SIGNATURE, _SHORT) or b""
    for name, data in zip(_ABOVE, (tags, signature), strict=True):
        (stage / name).write_bytes(data)
    texts = bag.parse_manifest(tags)
    for name, digest in texts.items():
        text = origin.read(name, bag.MAX_TEXT)
        if text is None or hashlib.sha256(text).hexdigest() != digest:
            raise VerificationError(f"{name} of the delivery is not what its manifest says", wanted=digest)
        (stage / name).write_bytes(text)
    files = bag.parse_manifest((stage / bag.MANIFEST).read_bytes())
    if len(files) > bag.MAX_MEMBERS or not all(name.startswith(bag.PAYLOAD) for name in files):
        raise VerificationError(f"{bag.MANIFEST} of the delivery names files that no delivery has")
    for name, digest in files.items():
        _file(origin, name, digest, stage, advance)


def _file(origin: _Origin, name: str, digest: str, stage: Path, advance: Callable[[int], None]) -> None:
    path = stage / name
    path.parent.mkdir(parents=True, exist_ok=True)
    found, size = hashlib.sha256(), 0
    with path.open("xb") as sink:
        for block in origin.blocks(name):
            size += len(block)
            if size > bag.MAX_BYTES:
                raise VerificationError(f"{name!a} of the delivery is too large", wanted=f"at most {bag.MAX_BYTES}")
            found.update(block)
            sink.write(block)
            advance(len(block))
    if found.hexdigest() != digest:
        raise VerificationError(f"{name!a} of the delivery was changed", got=found.hexdigest(), wanted=digest)

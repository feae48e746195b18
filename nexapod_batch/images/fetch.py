"""One door for every kind of image: what a descriptor names goes in, an image in the cache comes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.images.local import from_file, from_sandbox
from nexapod_batch.images.reference import parse
from nexapod_batch.images.remote.pull import from_remote

if TYPE_CHECKING:
    from nexapod_batch.images.cache import Cache, Image, Progress
    from nexapod_batch.images.remote.pull import Sources

__all__ = ["resolve"]


def resolve(
    cache: Cache, text: str, wanted: str, architecture: str, sources: Sources, progress: Progress
) -> tuple[Image, str]:
    """Return the image that `text` names, and how a job calls it from now on: with its digest, where it has one.

    `wanted` is the SHA-256 that the file must have, or ""; of several architectures the one named is taken.
    ImageError, UnreachableError, TryAgainError or ConfigError say why there is none.
    """
    if "://" in text:
        found, reference = from_remote(cache, parse(text), wanted, architecture, sources, progress)
        return found, reference.pinned()
    path = Path(text)
    if path.is_dir():
        return from_sandbox(cache, path, wanted, sources.builder, progress), text
    return from_file(cache, path, wanted, progress), text

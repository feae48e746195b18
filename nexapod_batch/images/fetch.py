"""One door for every kind of image: what a descriptor names goes in, an image in the cache comes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.errors import ImageError
from nexapod_batch.images.local import from_file

if TYPE_CHECKING:
    from nexapod_batch.images.cache import Cache, Image, Progress

__all__ = ["Resolved", "resolve"]

#: An image, and how a job calls it from now on: with its digest, where that is another one than the file's.
Resolved = tuple["Image", str]


def resolve(cache: Cache, text: str, wanted: str, progress: Progress) -> Resolved:
    """Return the image that a descriptor names; ImageError and others, each with its reason, when there is none.

    `wanted` is the SHA-256 that the file must have, or "".
    """
    if "://" not in text:
        return from_file(cache, Path(text), wanted, progress), text
    raise ImageError("not an image", got=repr(text), wanted="a .sif file")

"""Delivery into a bucket: each file is an object, digested on its way; the tag manifest comes last and completes it.

An object that is there already is left as it is where it has the same bytes. One with other bytes is another
delivery's, and is never replaced; only what is new each time, proof and tag files, is, as long as nothing completes it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.make import gathered, tag_files
from nexapod_batch.coordinator.delivery.earlier import digest_of_earlier, taken
from nexapod_batch.errors import UnsafeOutputError
from nexapod_batch.files import careful
from nexapod_batch.sources.buckets import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.coordinator.archives.contents import Item
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.jobs import JobRow

__all__ = ["deliver_to_bucket"]

_BLOCK = 1 << 20


def deliver_to_bucket(c: Coordinator, job: JobRow, place: str, keys: Sequence[bytes]) -> str:
    """Put the archive of a job below a prefix of a bucket; return the SHA-256 of its tag manifest, in hex.

    Raises:
        OtherDeliveryError: Something else lies there.
        UnreachableError: Nobody answers, or not now.
        SourceError: There is no such bucket, or it is not for us.

    """
    bucket = Bucket(place, dict(os.environ))
    stage = c.paths.home / f".delivery-{job.uuid}"
    try:
        shutil.rmtree(stage, ignore_errors=True)  # of a try that was killed
        stage.mkdir(mode=0o700)
        row, items = gathered(c, job.id, stage, inputs=False)
        marker = bucket.read(bag.TAGS, bag.MAX_TEXT)
        if marker is not None:
            return digest_of_earlier(place, partial(_required, bucket), keys, job.uuid, items)
        digests = {item.name: _put(bucket, place, item) for item in items}
        tags = tag_files(c, row, items, digests, inputs=False)
        for name, data in tags.items():
            bucket.write(name, data, replace=name != bag.TAGS)
        return hashlib.sha256(tags[bag.TAGS]).hexdigest()
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _put(bucket: Bucket, place: str, item: Item) -> str:
    """Put one file; return its hex SHA-256, which is the one that was signed."""
    digest = hashlib.sha256()
    size = bucket.size(item.name)
    if size is not None and item.name.startswith(bag.RESULTS):
        if size != item.size or bucket.digest(item.name) != item.sha256:
            raise taken(f"{place}/{item.name}", "other bytes")
        return item.sha256
    bucket.stream(item.name, _blocks(item, digest), item.size)
    sha256 = digest.hexdigest()
    if item.sha256 and sha256 != item.sha256:
        bucket.remove(item.name)
        hint = "nexapod-batch verify ID says what else is not as it was signed"
        raise UnsafeOutputError(f"{item.name!a} is not what was signed", got=sha256, wanted=item.sha256, hint=hint)
    return sha256


def _blocks(item: Item, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield what is in a file, and digest it."""
    if isinstance(item.source, bytes):
        digest.update(item.source)
        yield item.source
        return
    with os.fdopen(careful.open_plain(item.source), "rb") as stream:
        left = item.size
        while left and (data := stream.read(min(_BLOCK, left))):
            left -= len(data)
            digest.update(data)
            yield data


def _required(bucket: Bucket, name: str, limit: int) -> bytes:
    data = bucket.read(name, limit)
    if data is None:
        raise ValueError(f"it has no {name}")
    return data

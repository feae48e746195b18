"""What lies already where results are to be delivered: the same delivery, which is fine, or another one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.errors import NexapodError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexapod_batch.coordinator.archives.contents import Item

__all__ = ["OtherDeliveryError", "digest_of_earlier", "taken"]

#: Bytes of a signature or a short tag file, at most.
_SHORT = 1 << 16
_SIGNATURE_BYTES = 64


class OtherDeliveryError(NexapodError):
    """Something else lies where results are to be delivered."""


def taken(place: str, got: str) -> OtherDeliveryError:
    """Return the error for a place that holds something else, which is never replaced."""
    hint = "move it away, or choose another place: nothing is ever overwritten"
    return OtherDeliveryError(f"{place} is there already, and is another delivery", got=got, hint=hint)


def digest_of_earlier(
    place: str, read: Callable[[str, int], bytes], keys: Sequence[bytes], uuid: str, items: Sequence[Item]
) -> str:
    """Return the hex SHA-256 of the tag manifest of what lies at a place, where it is a delivery of these results.

    `read` returns a file by name and limit, and raises ValueError or OSError where that cannot be; `keys` are those
    that this coordinator has and had, `uuid` is that of the job, `items` are the files that are to be delivered.

    Raises:
        OtherDeliveryError: It is something else.

    """
    try:
        names, tags = _named(read, keys, uuid)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else str(error)
        raise taken(place, f"no delivery of this job ({got})") from error
    if not all(names.get(item.name) == item.sha256 for item in items if item.name.startswith(bag.RESULTS)):
        raise taken(place, "other results of this job")
    return hashlib.sha256(tags).hexdigest()


def _named(read: Callable[[str, int], bytes], keys: Sequence[bytes], uuid: str) -> tuple[dict[str, str], bytes]:
    """Return what a complete delivery of a job of ours names (hex SHA-256 by name), and its tag manifest."""
    tags, signature = read(bag.TAGS, _SHORT), read(bag.SIGNATURE, _SHORT)
    if len(signature) != _SIGNATURE_BYTES or not any(_signed(key, signature, tags) for key in keys):
        raise ValueError("a delivery of another coordinator")
    info = bag.parse_bag_info(read(bag.BAG_INFO, _SHORT))
    if info.get("External-Identifier") != f"urn:uuid:{uuid}":
        raise ValueError("a delivery of another job")
    return bag.parse_manifest(read(bag.MANIFEST, bag.MAX_TEXT)), tags


def _signed(key: bytes, signature: bytes, text: bytes) -> bool:
    try:
        crypto_sign_open(signature + text, key)
    except BadSignatureError:
        return False
    return True

"""How far inputs are that nodes bring, as they say: for whoever looks at the job."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.placement.on_the_way import BYTES, FILES, write_notice
from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh.mailbox import OFFERED, Mailbox
from nexapod_batch.trust.bundle import BUNDLE_TYPE, MAX_BUNDLE, decode_bundle
from nexapod_batch.trust.dsse import open_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexapod_batch.mesh.messages import Arriving

__all__ = ["forget", "note"]


def note(box: Mailbox, node: str, way: Arriving, coordinators: Mapping[str, bytes], folder: Path) -> None:
    """Write into the folder of notices how much of the inputs of a launch is at a node, where that is worth a word.

    What the launch needs is the coordinator's own word. Nothing is written of a launch that does not wait for the node.
    """
    message = box.waiting(way.launch)
    if message is None or message.bundle is None:
        return
    try:
        payload = open_envelope(message.bundle.envelope.encode(), BUNDLE_TYPE, coordinators, limit=MAX_BUNDLE).payload
    except VerificationError:  # of a key that the coordinator has no longer
        return
    bundle, sizes = decode_bundle(payload), list[int]()
    for digest in bundle.input_paths:
        with suppress(OSError):  # one that the node fetches by itself
            sizes.append((box.spool / OFFERED / digest).stat().st_size)
    size = sum(sizes)
    if len(sizes) < FILES and size < BYTES:
        return
    here = min(max(0, way.here), size)
    about = {"job": bundle.job_id, "node": node, "files": len(sizes), "size": size, "sent": here, "since": way.since}
    write_notice(_notice(folder, node), about)


def forget(node: str, folder: Path) -> None:
    """Say nothing more of a node: it has what it needs, or wants it no more."""
    with suppress(OSError):
        _notice(folder, node).unlink()


def _notice(folder: Path, node: str) -> Path:
    return folder / f"brought-by-{node}.json"

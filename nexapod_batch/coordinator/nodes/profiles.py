"""The hardware profile of the machine that this runs on, and what nodes signed of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import VerificationError
from nexapod_batch.hardware import machine
from nexapod_batch.trust.profile import open_offer

if TYPE_CHECKING:
    from nexapod_batch.config.settings import Paths
    from nexapod_batch.model.hardware import Offer, Profile
    from nexapod_batch.store import Store

__all__ = ["signed", "take"]


def take(paths: Paths, *, benchmark: bool = False) -> tuple[Profile, list[str]]:
    """Return this machine's profile, measured as well where that is asked for, and in words what did not answer."""
    mark = None
    if benchmark:
        from nexapod_batch.hardware.benchmark import measure  # noqa: PLC0415 - rarely asked for

        mark = measure()
    return machine.take(paths.home / "work", mark)


def signed(store: Store, name: str) -> tuple[Offer | None, str]:
    """Return what the node of this name signed of its machine, or why that does not verify."""
    row = store.nodes.profile(name)
    if row is None:
        return None, ""
    try:
        return open_offer(row.envelope, row.key_id, row.public_key), ""
    except VerificationError as error:
        return None, str(error)

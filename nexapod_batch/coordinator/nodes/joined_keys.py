"""Delegations of nodes that joined: they hold their keys, and sign for the key of a launch when they take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.errors import VerificationError
from nexapod_batch.files import careful
from nexapod_batch.mesh.mailbox import DELEGATIONS
from nexapod_batch.trust.delegation import DELEGATION_TYPE, decode_delegation
from nexapod_batch.trust.dsse import envelope, open_envelope

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.launches import DelegationRow

__all__ = ["UNSIGNED", "signature_of"]

#: Stands in a delegation that its node has not signed yet; no key makes this signature.
UNSIGNED = bytes(64)


def signature_of(c: Coordinator, node: Node, launch: int, row: DelegationRow) -> DelegationRow:
    """Return a delegation with the signature that the node sent with its acknowledgement, and store it.

    Raises:
        VerificationError: The node signed nothing for the key of this launch, or something else.

    """
    if row.signature != UNSIGNED:
        return row
    key = decode_delegation(row.payload).launch
    try:
        signature = careful.read(c.context(node).spool / DELEGATIONS / key, len(UNSIGNED))
    except OSError as error:
        raise VerificationError("the node has not signed for the key of its launch", got=key) from error
    open_envelope(
        envelope(DELEGATION_TYPE, row.payload, row.key_id, signature), DELEGATION_TYPE, {row.key_id: row.public_key}
    )
    c.store.launches.sign_delegation(launch, signature)
    return replace(row, signature=signature)

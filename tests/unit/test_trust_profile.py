"""Signed profiles: one byte form, one key, one kind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from profiles import gpu, profile

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.hardware import Offer
from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.profile import PROFILE_TYPE, open_offer, seal_offer
from nexapod_batch.trust.statement import PAYLOAD_TYPE

SIGNER = Signer.from_seed(b"n" * 32)
OFFER = Offer(profile=profile(gpus=(gpu(), gpu(uuid="GPU-2"))), gpus=("GPU-2",))


def payload(**changed: Any) -> bytes:
    """Return what is signed, but for what is changed."""
    import base64

    document = orjson.loads(base64.b64decode(orjson.loads(seal_offer(SIGNER, OFFER))["payload"]))
    return orjson.dumps({**document, **changed}, option=orjson.OPT_SORT_KEYS)


def opened(body: bytes, kind: str = PROFILE_TYPE, signer: Signer = SIGNER) -> Offer:
    """Return the offer that these bytes are, signed."""
    return open_offer(seal(signer, kind, body), SIGNER.key_id, SIGNER.public)


def test_an_offer_comes_back() -> None:
    """As it was signed; the GPUs that are not offered are no devices."""
    offer = open_offer(seal_offer(SIGNER, OFFER), SIGNER.key_id, SIGNER.public)
    assert offer == OFFER
    assert [one.uuid for one in offer.devices] == ["GPU-2"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (payload(node="SHA256:" + "A" * 43), "it is of node"),
        (payload(schema=2), "another schema"),
        (payload(gpus=["GPU-9"]), "GPUs that are not in it"),
        (payload(gpus="GPU-1"), "GPUs that are not in it"),
        (payload(gpus=[1]), "GPUs that are not in it"),
        (payload(gpus=[["GPU-1"]]), "cannot be read"),
        (payload(extra=1), "not in canonical form"),
        (payload(profile={}), "other fields"),
        (payload() + b" ", "not in canonical form"),
        (payload().replace(b'"schema":1', b'"schema":2,"schema":1'), "not in canonical form"),
        (b"[]", "another schema"),
        (b"{}", "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_what_is_no_offer_of_this_node_is_refused(body: bytes, said: str) -> None:
    """Though its key signed it."""
    with pytest.raises(VerificationError, match=said):
        opened(body)


def test_another_key_or_kind_is_refused() -> None:
    """A statement is no profile, and nobody signs for another node."""
    with pytest.raises(VerificationError, match="no signature verifies"):
        opened(payload(), signer=Signer.from_seed(b"o" * 32))
    with pytest.raises(VerificationError, match="wrong payload type"):
        opened(payload(), kind=PAYLOAD_TYPE)


def test_what_cannot_be_read_back_is_not_signed() -> None:
    """A host name with a line break, a GPU that is not there."""
    for offer in (Offer(profile=profile(host="a\nb")), Offer(profile=profile(), gpus=("GPU-1",))):
        with pytest.raises((TypeError, ValueError)):
            seal_offer(SIGNER, offer)

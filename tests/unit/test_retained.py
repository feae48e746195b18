"""What a node keeps for a stand-in, and what a coordinator believes of what a node says that it holds."""

from __future__ import annotations

import os
from math import inf
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from nexapod_batch.agent.retained import KEPT_S, Retained
from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh import holding
from nexapod_batch.mesh.delegating import delegation_message
from nexapod_batch.mesh.messages import Bundle, Held
from nexapod_batch.model.replica import Assignment
from nexapod_batch.model.replica import Bundle as SignedBundle
from nexapod_batch.trust.bundle import BUNDLE_TYPE, encode_bundle
from nexapod_batch.trust.dsse import Signer, seal

if TYPE_CHECKING:
    from pathlib import Path

NODE, COORDINATOR, OTHER = (Signer.from_seed(letter * 32) for letter in (b"n", b"c", b"o"))
KNOWN = {COORDINATOR.key_id: COORDINATOR.public}
SEED = b"s" * 32


def signed_bundle(launch: str = "ab" * 16) -> SignedBundle:
    """Return what a coordinator asks of the node."""
    return SignedBundle(
        launch=launch, audience=NODE.key_id, not_after=2_000_000_000, job_id=7, job_uuid="u-7", document=b"{}",
        input_paths={}, replicas=(Assignment(task=0, number=1, nonce="1f" * 16, parameters={}),),
        subkey=Signer.from_seed(SEED).key_id,
    )  # fmt: skip


def kept(tmp_path: Path, by: Signer = NODE, sealed_by: Signer = COORDINATOR) -> tuple[Retained, Held]:
    """Return what a node keeps, with one launch, and that launch."""
    (tmp_path / "spool/reports").mkdir(parents=True, exist_ok=True)
    os.chmod(tmp_path, 0o700)
    found, asked = Retained(tmp_path, tmp_path / "spool"), signed_bundle()
    envelope = seal(sealed_by, BUNDLE_TYPE, encode_bundle(asked)).decode()
    signature = by.sign(delegation_message(asked, SEED)).hex()
    found.keep(Bundle(launch=asked.launch, envelope=envelope, seed=SEED.hex()), asked, signature)
    ((held,),) = found.batches(found.launches())
    return found, held


def test_a_launch_that_is_held_is_believed(tmp_path: Path) -> None:
    """With the signatures of both sides; what is kept says nothing of the key of the launch."""
    _, held = kept(tmp_path)
    assert holding.check(held, NODE.public, KNOWN) == bytes.fromhex(held.signature)
    assert holding.opened(held, KNOWN).bundle == signed_bundle()
    assert SEED.hex() not in (tmp_path / "held" / f"{held.launch}.json").read_text()


def test_what_does_not_belong_together_is_not_believed(tmp_path: Path) -> None:
    """Another coordinator's bundle, another node's signature, another launch, a delegation for another one."""
    _, held = kept(tmp_path / "a")
    _, of_other_coordinator = kept(tmp_path / "b", sealed_by=OTHER)
    _, of_other_node = kept(tmp_path / "c", by=OTHER)
    wrong = {
        "coordinator": of_other_coordinator,
        "signature": of_other_node,
        "no signature": replace(held, signature="zz"),
        "name": replace(held, launch="cd" * 16),
        "delegation": replace(held, delegation=held.delegation.replace("1f" * 16, "2f" * 16)),
        "no delegation": replace(held, delegation="{}"),
    }
    for one in wrong.values():
        with pytest.raises(VerificationError):
            holding.check(one, NODE.public, KNOWN)
    with pytest.raises(VerificationError):
        holding.check(held, OTHER.public, KNOWN)


def test_reports_that_were_taken_in_stay_until_a_head_covers_them_and_for_a_day(tmp_path: Path) -> None:
    """They come back among the reports when they are wanted, and go when they are old; a known launch stays."""
    found, held = kept(tmp_path)
    segment = tmp_path / "spool/reports/0123456789abcdef-0.jsonl"
    segment.write_text("{}\n")
    found.retire([segment.name, "0123456789abcdef-1.jsonl"])
    assert not segment.exists()
    found.bring_back()
    assert segment.read_text() == "{}\n"
    found.retire([segment.name])
    now = segment_time(tmp_path) + KEPT_S
    found.prune({held.launch}, inf, now - 60)
    assert len(os.listdir(tmp_path / "reported")) == 1
    found.prune({held.launch}, segment_time(tmp_path), now + 60)  # no head covers it: it stays however old it is
    assert len(os.listdir(tmp_path / "reported")) == 1
    found.prune({held.launch}, inf, now + 60)
    assert (os.listdir(tmp_path / "reported"), found.launches()) == ([], {held.launch})
    found.prune(set(), inf, now + 3_600)
    assert found.launches() == set()


def segment_time(tmp_path: Path) -> float:
    """Return when the one kept segment was retired."""
    (name,) = os.listdir(tmp_path / "reported")
    return os.stat(tmp_path / "reported" / name).st_mtime



"""Foreign programs verify what is made here, without any of our code, and refuse what was changed."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf.json_format import MessageToJson, Parse
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement as ForeignStatement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError as ForeignError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from nexapod_batch.files import keyfile
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.dsse import seal
from nexapod_batch.trust.keys import key_id, parse_openssh_public, spki_pem
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, Subject, vote_of_subjects
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.trust.dsse import Signer

DIGEST = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Return the signer of a new key file `key`."""
    return keyfile.create(tmp_path / "key", "node alpha")


def payload_of(signer: Signer) -> bytes:
    """Return a statement with everything in it that is not plain ASCII or may be left out."""
    subjects = (Subject(name="out/ö 1.txt", sha256=DIGEST, normalized="ab" * 32, size=3), Subject(name="b", sha256=DIGEST))
    return encode(
        Statement(
            job_uuid="0192f0c1-2345-7890-abcd-0123456789ab",
            job_digest=DIGEST,
            replica=ReplicaName(42, 7, 1),
            nonce="0f" * 16,
            agree=2,
            distinct=("node", "site"),
            backend="local",
            native_id="17",
            host="alpha",
            isolation="none",
            classes={"os-arch": "linux-x86_64"},
            outcome=Outcome.FAILED,
            detail="exit code 3: ä",
            exit_code=None,
            wall_ms=12,
            cpu_ms=10,
            max_rss_kib=4096,
            output_bytes=3,
            started_ms=1_700_000_000_120,
            finished_ms=1_700_000_001_000,
            builder=signer.key_id,
            subjects=subjects,
            manifest=False,
            inputs=(("ic.npy", DIGEST),),
            stdout_sha256=DIGEST,
            stderr_sha256=DIGEST,
            vote=vote_of_subjects(subjects),
        )
    )


def envelope_of(signer: Signer) -> dict[str, Any]:
    """Return the sealed statement, read with a parser that is not ours."""
    parsed: dict[str, Any] = json.loads(seal(signer, PAYLOAD_TYPE, payload_of(signer)))
    return parsed


def openssl_verifies(folder: Path, envelope: dict[str, Any], pem: str) -> bool:
    """Rebuild what was signed from the envelope alone and ask openssl."""
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    (folder / "signed").write_bytes(signed)
    (folder / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (folder / "public.pem").write_text(pem)
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "signed"]
    return subprocess.run([*argv, "-sigfile", "signature"], cwd=folder, capture_output=True, check=False).returncode == 0


def test_openssl_verifies_an_envelope(tmp_path: Path, signer: Signer) -> None:
    """The PEM and the signature are openssl's; a changed payload and another key are refused."""
    envelope, pem = envelope_of(signer), spki_pem(signer.public)
    assert openssl_verifies(tmp_path, envelope, pem)
    payload = base64.b64decode(envelope["payload"]).replace(b'"task":7', b'"task":8')
    changed = {**envelope, "payload": base64.b64encode(payload).decode()}
    assert not openssl_verifies(tmp_path, changed, pem)
    assert not openssl_verifies(tmp_path, envelope, spki_pem(keyfile.create(tmp_path / "other", "").public))


def test_securesystemslib_verifies_an_envelope(signer: Signer) -> None:
    """The library behind TUF and in-toto accepts the envelope under our key id, and refuses a changed one."""
    key = SSlibKey.from_crypto(load_pem_public_key(spki_pem(signer.public).encode()), keyid=signer.key_id)
    assert list(Envelope.from_dict(envelope_of(signer)).verify([key], 1)) == [signer.key_id]
    changed = Envelope.from_dict(envelope_of(signer))
    changed.payload += b" "
    with pytest.raises(ForeignError):
        changed.verify([key], 1)


def test_in_toto_reads_the_statement(signer: Signer) -> None:
    """in-toto's own parser finds no unknown field, validates the statement, and reads the subjects."""
    message = Parse(payload_of(signer), StatementMessage())
    ForeignStatement.copy_from_pb(message).validate()
    assert [(one.name, dict(one.digest)) for one in message.subject] == [
        ("out/ö 1.txt", {"sha256": DIGEST, "nexapod-normalized": "ab" * 32}),
        ("b", {"sha256": DIGEST}),
    ]
    assert message.predicate_type == "https://slsa.dev/provenance/v1"


def test_slsa_reads_the_predicate(signer: Signer) -> None:
    """The predicate is a SLSA provenance v1 without any field that SLSA does not know."""
    predicate = Parse(json.dumps(json.loads(payload_of(signer))["predicate"]), Provenance())
    details = predicate.run_details
    assert predicate.build_definition.build_type == "urn:nexapod-batch:replica:1"
    assert details.builder.id == signer.key_id
    assert details.metadata.invocation_id == "42_7.1"
    assert details.metadata.started_on.ToMilliseconds() == 1_700_000_000_120
    assert details.metadata.finished_on.ToMilliseconds() == 1_700_000_001_000
    assert [one.name for one in details.byproducts] == ["stdout", "stderr"]
    assert "ic.npy" in MessageToJson(predicate)


def test_ssh_keygen_reads_the_key_files(tmp_path: Path, signer: Signer) -> None:
    """`ssh-keygen` derives the public line from our private file, and agrees on the key id."""
    derived = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True)
    assert parse_openssh_public(derived.stdout) == signer.public
    shown = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"256 {key_id(signer.public)} node alpha (ED25519)\n"

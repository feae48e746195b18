"""Foreign programs verify what is made here, without any of our code, and refuse what was changed."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf.json_format import MessageToDict, Parse
from in_toto_attestation.v1.statement import Statement as InTotoStatement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError as ForeignError
from securesystemslib.signer import Ed25519Signature, SSlibKey  # type: ignore[attr-defined]

from nexapod_batch.files import keyfile
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.dsse import Signer, pae, seal
from nexapod_batch.trust.keys import openssh_public, spki_pem
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, Subject, encode, vote_of_subjects

if TYPE_CHECKING:
    from pathlib import Path

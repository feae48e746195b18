"""The files of an exported folder, as they came: all that are in its signed manifest, unchanged, and no other.

Nothing in the folder is believed, and nothing is opened that is no plain file or is larger than any of ours.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.coordinator.evidence.export_format import (
    COORDINATOR,
    JOB,
    MANIFEST,
    MAX_FILE,
    ROTATION,
    SIGNATURE,
    VERDICT,
    key_stem,
)
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.files import careful
from nexapod_batch.trust.keys import key_id, openssh_public, parse_spki, spki_pem
from nexapod_batch.trust.rotation import open_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ExportedFiles", "given_keys", "public_key"]

_LINE = re.compile(rb"([0-9a-f]{64})  ([0-9A-Za-z._-]{1,255})")
_MAX_KEY = 4096
#: Problems that are named; more say no more.
_NAMED = 20


def public_key(data: bytes) -> bytes:
    """Return the raw key of a PEM file in the one form that is written; ValueError for anything else."""
    public = parse_spki("".join(data.decode("ascii").split("-----")[2:3]).strip())
    if spki_pem(public).encode() != data:
        raise ValueError("not a public key as this program writes it")
    return public


def given_keys(paths: Sequence[Path]) -> dict[str, bytes]:
    """Return keys that a reader got elsewhere, by id.

    Raises:
        UsageError: One of the files is not a public key in PEM form.

    """
    found = {}
    for path in paths:
        try:
            public = public_key(careful.read(os.path.realpath(path), _MAX_KEY).replace(b"\r\n", b"\n").strip() + b"\n")
        except OSError as error:
            raise UsageError(f"{path} cannot be read", got=error.strerror, wanted="a public key in PEM form") from error
        except ValueError as error:
            hint = "nexapod-batch key export NODE --format pem writes one"
            raise UsageError(f"{path} is no Ed25519 public key in PEM form", hint=hint) from error
        found[key_id(public)] = public
    return found


class ExportedFiles:
    """A folder that `attestations` wrote, or that says so."""

    def __init__(self, path: Path) -> None:
        """Look at a folder; NotFoundError where there is none that can be read."""
        self.path = path
        try:
            self.names = {entry.name for entry in os.scandir(path)}
        except OSError as error:
            hint = "nexapod-batch attestations ID --out DIR writes one"
            raise NotFoundError(f"{path} is no folder that can be read", got=error.strerror, hint=hint) from error
        self.coordinator = b""  # raw public key, once `faults` found nothing
        self.coordinators: list[bytes] = []  # it and those before it, the first one first, after `open_rotations`

    def read(self, name: str) -> bytes:
        """Return what is in a file; OSError for what is no plain file, or is too large."""
        return careful.read(self.path / name, MAX_FILE)

    def digest(self, name: str) -> str:
        """Return the hex SHA-256 of a file; OSError as of `read`."""
        return hashlib.sha256(self.read(name)).hexdigest()

    def faults(self) -> list[str]:
        """Return which files are missing, changed, or not of the export; where there are any, nothing else is read."""
        missing = sorted({MANIFEST, SIGNATURE, COORDINATOR} - self.names)
        if missing:
            return [f"{name} is missing" for name in missing]
        try:
            manifest = self.read(MANIFEST)
            self.coordinator = public_key(self.read(COORDINATOR))
            signature = self.read(SIGNATURE)
            found = list(self._signature_faults(manifest, signature)) or list(self._other_files(manifest))
        except (OSError, ValueError) as error:
            return [_plainly(error)]
        if len(found) > _NAMED:
            return [*found[:_NAMED], f"and {len(found) - _NAMED} more"]
        return found

    def _signature_faults(self, manifest: bytes, signature: bytes) -> Iterator[str]:
        if len(signature) != 64:
            yield f"{SIGNATURE} is not a signature"
            return
        try:
            crypto_sign_open(signature + manifest, self.coordinator)
        except BadSignatureError:
            name = key_id(self.coordinator)
            yield f"one of {MANIFEST}, {SIGNATURE} and {COORDINATOR} was changed: no signature by {name}"

    def _other_files(self, manifest: bytes) -> Iterator[str]:
        """Yield where the files are not those of the manifest."""
        lines = [_LINE.fullmatch(line) for line in manifest.split(b"\n")[:-1]]
        wanted = {line[2].decode(): line[1].decode() for line in lines if line is not None}
        if len(wanted) != len(lines) or not manifest.endswith(b"\n"):
            yield f"{MANIFEST} is not a manifest"
            return
        for name in sorted({JOB, VERDICT, COORDINATOR} - wanted.keys()):
            yield f"{name} is not in {MANIFEST}"
        for name in sorted(wanted.keys() - self.names):
            yield f"{name} is missing"
        for name in sorted(self.names - wanted.keys() - {MANIFEST, SIGNATURE}):
            yield f"{name!a} is not of this export"
        for name in sorted(wanted.keys() & self.names):
            yield from self._changed(name, wanted[name])

    def _changed(self, name: str, wanted: str) -> Iterator[str]:
        try:
            got = self.digest(name)
        except OSError as error:
            yield _plainly(error)
            return
        if got != wanted:
            yield f"{name} was changed: got sha256 {got}, wanted {wanted}"

    def open_rotations(self) -> None:
        """Find the keys that the coordinator had before, which its newest one vouches for.

        Raises:
            VerificationError: A rotation is not signed by both keys, or does not lead to the next one.

        """
        before, after = ROTATION
        count = sum(name.startswith(before) and name.endswith(after) for name in self.names)
        sealed = [self.read(f"{before}{number + 1}{after}").rstrip(b"\n") for number in range(count)]
        self.coordinators = open_chain(sealed, self.coordinator)

    def keys(self) -> dict[str, bytes]:
        """Return the keys of nodes by id; ValueError where a file's name is not what is in it."""
        found = {}
        for name in sorted(self.names):
            stem, _, kind = name.rpartition(".")
            if kind == "pem":
                public = public_key(self.read(name))
                line = openssh_public(public).encode().rstrip(b"\n")
                if key_stem(public) != stem or not self.read(f"{stem}.pub").startswith(line):
                    raise ValueError(f"{name} is not the key that its name says, or {stem}.pub is another")
                found[key_id(public)] = public
        return found


def _plainly(error: Exception) -> str:
    if isinstance(error, OSError):
        name = Path(os.fsdecode(error.filename or "")).name
        return f"{name!a} cannot be read: {error.strerror}"
    return f"{COORDINATOR} is no public key in PEM form"

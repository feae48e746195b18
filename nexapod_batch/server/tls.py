"""The server's key for TLS: made at the first start, known by its pin.

The pin is the SHA-256 of the public key (SubjectPublicKeyInfo), so that a renewed certificate of the same key is the
same server. `curl --pinnedpubkey sha256//PIN` and `nexapod-batch node join --fingerprint SHA256:PIN` check it; no
certificate authority is needed.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import os
import ssl
from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError
from nexapod_batch.files import atomic, keyfile, own

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["context", "fingerprint", "make", "pin_of"]

_DAYS = 3650
_MAX = 1 << 20


def make(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Return certificate and key in a folder, made where they are missing; the certificate names `names`."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    if certificate.exists() and key.exists():
        return certificate, key
    from cryptography import x509  # noqa: PLC0415 - once in the life of a server
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    own.own_folder(folder)
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nexapod-batch")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks of others are late
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    atomic.write(key, text, 0o600)
    atomic.write(certificate, made.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _alternative(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - cryptography is imported late
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def pin_of(certificate: Path) -> str:
    """Return the pin of a certificate file, in base64url without padding; ConfigError where it is none."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_certificate(own.read(certificate, _MAX))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the certificate {certificate} cannot be used", got=str(error)) from error
    public = found.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def fingerprint(pin: str) -> str:
    """Return a pin as people see it and hand it on."""
    return "SHA256:" + pin.replace("-", "+").replace("_", "/")


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what TLS connections are made with: version 1.3 and nothing older. ConfigError for bad files."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.num_tickets = 0  # connections are kept: nobody resumes one, and tickets are memory
    try:
        keyfile.check_private("the key", str(key), os.stat(key).st_mode)
        made.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"{certificate} and {key} cannot be used together", got=str(error)) from error
    return made

"""Certificates for TLS in tests: an authority of its own, and what it signed."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority"]


class Authority:
    """An authority; `ca.pem`, `NAME.pem` and `NAME.key` lie in its folder."""

    def __init__(self, folder: Path) -> None:
        """Make the authority."""
        folder.mkdir(mode=0o700, parents=True)
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(self._signed(self._name, self._key, authority=True))

    def issue(self, name: str, host: str = "", *, days: tuple[int, int] = (-1, 2)) -> tuple[Path, Path]:
        """Return a certificate and its private key, for server and client alike.

        `host` is the one it is for; it is good from one of the `days` to the other, counted from now.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(self._signed(subject, key, authority=False, host=host, days=days))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        paths[1].chmod(0o600)
        return paths

    def options(self, name: str) -> dict[str, str]:
        """Return what scheduler and workers of Dask are told."""
        certificate, key = self.issue(name)
        return {"tls-ca-file": str(self.certificate), "tls-cert": str(certificate), "tls-key": str(key)}

    def words(self, name: str) -> dict[str, str]:
        """Return what a site file says."""
        certificate, key = self.issue(name)
        return {"tls_ca": str(self.certificate), "tls_cert": str(certificate), "tls_key": str(key)}

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool, host: str = "", days: tuple[int, int] = (-1, 2),
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name, subject_name=subject, public_key=key.public_key(),
            serial_number=x509.random_serial_number(), not_valid_before=now + timedelta(days=days[0]),
            not_valid_after=now + timedelta(days=days[1]),
        )  # fmt: skip
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([_named(host)]), critical=False)
        whole = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        return whole.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

"""Why TLS cannot work, by the files that a site names and the certificate of who answers: one sentence, and a way out.

Our own files are read before anything is connected to: what can never work is said at once. Who issued what is looked
at only after it did not work, since a scheduler may trust other authorities than we do.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from nexapod_batch.errors import SchedulerError
from nexapod_batch.files.keyfile import check_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["check_files", "fault", "issuer_fault", "peer_fault", "tls_fault"]

_MOST = 1 << 20  # bytes of a file
_WORDS = {"tls_ca_file": "tls_ca", "tls_client_cert": "tls_cert", "tls_client_key": "tls_key"}


def check_files(names: Mapping[str, str]) -> None:
    """Raise SchedulerError for files with which TLS can never work, ConfigError for a key that others can read.

    Those made for one run may be texts instead of files.
    """
    for name, file in names.items():
        if os.sep not in file or "\n" in file:
            continue
        if name == "tls_client_key" and os.path.exists(file):
            check_private("dask.tls_key", file, os.stat(file).st_mode)
        if not os.access(file, os.R_OK):
            got = f"{file} cannot be read" if os.path.exists(file) else f"there is no file {file}"
            hint = "correct the path in the site file"
            raise SchedulerError(f"dask.{_WORDS[name]} names no certificate or key", got=got, hint=hint)
    if (found := fault(names)) is not None:
        raise SchedulerError("TLS cannot be used with these files", got=found[0], hint=found[1])


def tls_fault(theirs: bytes, names: Mapping[str, str]) -> tuple[str, str] | None:
    """Say why TLS did not work with who showed a certificate (DER), b"" for none, as far as certificates tell."""
    return (peer_fault(theirs, names) if theirs else None) or issuer_fault(names)


def fault(names: Mapping[str, str], now: datetime | None = None) -> tuple[str, str] | None:
    """Return what is wrong with our three files, and what to do; None when nothing is. `names` are as Dask has them."""
    now = now or datetime.now(UTC)
    authorities, trouble = _certificates(names, "tls_ca_file")
    mine, other = _certificates(names, "tls_client_cert")
    if trouble or other:
        return trouble or other
    certificate = mine[0]
    for name, words in (
        ("tls_client_cert", _dates(certificate, now)),
        # one that is good is enough
        ("tls_ca_file", min((_dates(authority, now) for authority in authorities), key=bool)),
    ):
        if words:
            return f"{_where(names, name)} {words}", "ask for a new certificate, and name it in the site file"
    return _key_fault(names, certificate)


def _key_fault(names: Mapping[str, str], certificate: x509.Certificate) -> tuple[str, str] | None:
    """Return what is wrong with our key, and what to do; None when it is the certificate's and can be read."""
    try:
        key = load_pem_private_key(_read(names["tls_client_key"]), password=None)
    except TypeError:
        hint = "store it without a password: openssl pkey -in ... -out ..."
        return f"{_where(names, 'tls_client_key')} is encrypted", hint
    except ValueError:
        return f"{_where(names, 'tls_client_key')} holds no private key", "name the key that belongs to dask.tls_cert"
    spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        text = f"{_where(names, 'tls_client_key')} is not the key of {_where(names, 'tls_client_cert')}"
        return text, "name the two files that belong together"
    return None


def issuer_fault(names: Mapping[str, str]) -> tuple[str, str] | None:
    """Return why a scheduler of the authority that we trust would not trust us; None when it would."""
    authorities, _ = _certificates(names, "tls_ca_file")
    mine, _ = _certificates(names, "tls_client_cert")
    if not mine or _issued(mine[0], [*mine[1:], *authorities]):
        return None
    who, issuer = _where(names, "tls_client_cert"), mine[0].issuer.rfc4514_string()
    text = f"{who} was issued by {issuer}, which is not in {_where(names, 'tls_ca_file')}"
    return text, "tls_ca and tls_cert must be of one authority, that of scheduler and workers"


def peer_fault(theirs: bytes, names: Mapping[str, str], now: datetime | None = None) -> tuple[str, str] | None:
    """Return what is wrong with the certificate (DER) of who answers; None when it is not that."""
    try:
        certificate = x509.load_der_x509_certificate(theirs)
    except ValueError:
        return "the scheduler's certificate cannot be read", "start the scheduler with another certificate"
    if words := _dates(certificate, now or datetime.now(UTC)):
        return f"the scheduler's certificate {words}", "restart the scheduler with a new certificate"
    authorities, _ = _certificates(names, "tls_ca_file")
    if authorities and not _issued(certificate, authorities):
        issuer = certificate.issuer.rfc4514_string()
        text = f"the scheduler's certificate was issued by {issuer}, which is not in {_where(names, 'tls_ca_file')}"
        return text, "name the authority of this scheduler in dask.tls_ca"
    return None


def _read(file: str) -> bytes:
    """Return the text of a file; what is made for one run is text itself."""
    if "\n" in file:
        return file.encode()
    with Path(file).open("rb") as stream:
        return stream.read(_MOST)


def _where(names: Mapping[str, str], name: str) -> str:
    if "\n" not in names[name]:
        return f"dask.{_WORDS[name]} ({names[name]})"
    return f"dask.{_WORDS[name]}"


def _certificates(
    names: Mapping[str, str], name: str
) -> tuple[Sequence[x509.Certificate], tuple[str, str] | None]:
    """Return the certificates of a file, or what is wrong with it."""
    try:
        found = x509.load_pem_x509_certificates(_read(names[name]))
    except (ValueError, OSError):
        found = []
    if found:
        return found, None
    return [], (f"{_where(names, name)} holds no certificate", "name a file in PEM form: -----BEGIN CERTIFICATE-----")


def _dates(certificate: x509.Certificate, now: datetime) -> str:
    """Return what is wrong with its dates, "" for nothing."""
    first, last, here = (
        f"{one:%Y-%m-%d %H:%M} UTC" for one in (certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)
    )
    if now > certificate.not_valid_after_utc:
        return f"expired on {last} (the clock here says {here})"
    if now < certificate.not_valid_before_utc:
        return f"is valid only from {first} (the clock here says {here})"
    return ""


def _issued(certificate: x509.Certificate, by: Sequence[x509.Certificate]) -> bool:
    for one in by:
        try:
            certificate.verify_directly_issued_by(one)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False

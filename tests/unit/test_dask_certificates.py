"""What is wrong with certificates, in one true sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clusters.certificates import Authority
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from nexapod_backends.dask.scheduler.certificates import fault, issuer_fault, peer_fault

NOW = datetime.now(UTC)


def files(authority: Authority, name: str, of: Authority | None = None) -> dict[str, str]:
    """Return the three files as Dask names them, the certificate signed by `of`."""
    certificate, key = (of or authority).issue(name)
    return {"tls_ca_file": str(authority.certificate), "tls_client_cert": str(certificate), "tls_client_key": str(key)}


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


def test_files_that_fit_have_no_fault(ours: Authority) -> None:
    """The plain case, also with what is made for one run, which is no file."""
    named = files(ours, "me")
    assert fault(named) is None
    assert fault({name: Path(file).read_text() for name, file in named.items()}) is None
    assert issuer_fault(named) is None


@pytest.mark.parametrize(
    ("days", "words"), [(30, "dask.tls_cert"), (-30, "dask.tls_cert")], ids=["expired", "not yet"]
)
def test_dates_are_told(ours: Authority, days: int, words: str) -> None:
    """Which file, since or until when, and what the clock here says."""
    found = fault(files(ours, "me"), NOW + timedelta(days=days))
    assert found is not None
    assert found[0].startswith(words)
    assert ("expired on" if days > 0 else "is valid only from") in found[0]


def test_a_key_of_another_certificate(ours: Authority) -> None:
    """Both files are named."""
    one, other = files(ours, "one"), files(ours, "other")
    found = fault({**one, "tls_client_key": other["tls_client_key"]})
    assert found is not None
    assert found[0] == f"dask.tls_key ({other['tls_client_key']}) is not the key of dask.tls_cert ({one['tls_client_cert']})"


def test_a_certificate_of_another_authority(ours: Authority, theirs: Authority) -> None:
    """Who issued it, and which file does not have him."""
    assert fault(files(ours, "me", of=theirs)) is None  # a scheduler may trust both
    found = issuer_fault(files(ours, "me", of=theirs))
    assert found is not None
    assert "was issued by CN=authority of theirs, which is not in dask.tls_ca" in found[0]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tls_ca_file", "", "dask.tls_ca (FILE) holds no certificate"),
        ("tls_client_cert", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "dask.tls_cert (FILE) holds no certificate"),
        ("tls_client_cert", "\0\xff", "dask.tls_cert (FILE) holds no certificate"),
        ("tls_client_key", "junk", "dask.tls_key (FILE) holds no private key"),
    ],
)  # fmt: skip
def test_files_that_hold_something_else(ours: Authority, tmp_path: Path, name: str, text: str, words: str) -> None:
    """The file is named, whatever is in it."""
    file = tmp_path / "file"
    file.write_text(text, "latin-1")
    found = fault({**files(ours, "me"), name: str(file)})
    assert found is not None
    assert found[0] == words.replace("FILE", str(file))


def test_an_encrypted_key(ours: Authority, tmp_path: Path) -> None:
    """Nobody is there to type a password."""
    named = files(ours, "me")
    key = load_pem_private_key(Path(named["tls_client_key"]).read_bytes(), None)
    file = tmp_path / "encrypted"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    found = fault({**named, "tls_client_key": str(file)})
    assert found is not None
    assert "is encrypted" in found[0]


def test_the_peers_certificate(ours: Authority, theirs: Authority) -> None:
    """Its dates and its authority; none of it when it fits."""

    def der(authority: Authority) -> bytes:
        certificate, _ = authority.issue("server")
        return x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)

    named = files(ours, "me")
    assert peer_fault(der(ours), named) is None
    for found, words in (
        (peer_fault(der(ours), named, NOW + timedelta(days=30)), "the scheduler's certificate expired on"),
        (peer_fault(der(theirs), named), "was issued by CN=authority of theirs, which is not in dask.tls_ca"),
        (peer_fault(b"junk", named), "cannot be read"),
    ):
        assert found is not None
        assert words in found[0]

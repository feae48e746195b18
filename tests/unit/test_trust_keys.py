"""Keys as OpenSSH and openssl write and read them."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import key_id, openssh_public, parse_openssh_public, spki_pem

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = Signer.from_seed(b"\3" * 32).public
LINE = openssh_public(PUBLIC, "node a")

keys = st.binary(min_size=32, max_size=32)
comments = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=40)


@given(keys, comments)
def test_a_line_reads_back(public: bytes, comment: str) -> None:
    """Whatever the comment says, the key comes back."""
    assert parse_openssh_public(openssh_public(public, comment)) == public


@given(keys)
def test_lines_and_pem_are_those_of_cryptography(public: bytes) -> None:
    """Another implementation writes the same bytes."""
    foreign = Ed25519PublicKey.from_public_bytes(public)
    assert foreign.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + "\n" == openssh_public(public)
    assert foreign.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() == spki_pem(public)
    assert load_pem_public_key(spki_pem(public).encode()) == foreign


def test_the_id_is_the_fingerprint_of_ssh_keygen(tmp_path: Path) -> None:
    """`ssh-keygen -lf` prints the id for several keys."""
    for number in range(4):
        public = Signer.from_seed(bytes([number]) * 32).public
        (tmp_path / "key.pub").write_text(openssh_public(public, "a comment"))
        printed = subprocess.run(["ssh-keygen", "-lf", "key.pub"], cwd=tmp_path, capture_output=True, check=True)
        assert printed.stdout.decode().split()[:2] == ["256", key_id(public)]


@given(st.integers(0, len(LINE.split()[1]) - 1), st.characters(codec="ascii"))
def test_a_changed_line_is_another_key_or_none(at: int, char: str) -> None:
    """No two spellings of the base64 part stand for one key."""
    kind, encoded, _ = LINE.split(None, 2)
    changed = encoded[:at] + char + encoded[at + 1 :]
    if changed == encoded:
        return
    with contextlib.suppress(VerificationError):
        assert parse_openssh_public(f"{kind} {changed}") != PUBLIC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-rsa " + LINE.split()[1],
        LINE + LINE,
        LINE.replace("AAAA", "AAA"),
        'command="x" ' + LINE,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 x",
        "ssh-ed25519 \u00e9",
        LINE.rstrip() + "x" * 5000,
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_other_text_is_no_key(text: str) -> None:
    """Options, other kinds of keys, two keys and broken ones are refused."""
    with pytest.raises(VerificationError, match="not an OpenSSH Ed25519 public key"):
        parse_openssh_public(text)


@pytest.mark.parametrize("comment", ["a\nb", "a\rb", "a\x0bb", "a\x85b", "a\u2028b", "\x1b[2J", "\ud800"])
def test_a_comment_cannot_make_a_second_line(comment: str) -> None:
    """Nothing that any reader takes for an end of a line, and nothing that moves a terminal's cursor."""
    with pytest.raises(ValueError, match="one line"):
        openssh_public(PUBLIC, comment)


@pytest.mark.parametrize("public", [b"", b"x" * 31, b"x" * 33])
def test_a_key_of_another_length_is_refused(public: bytes) -> None:
    """By everything that takes one."""
    for take in (key_id, openssh_public, spki_pem):
        with pytest.raises(VerificationError, match="32 bytes"):
            take(public)

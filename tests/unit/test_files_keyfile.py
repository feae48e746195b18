"""Key files: made once, read only when nobody else can read them."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexapod_batch.errors import KeyFileError
from nexapod_batch.files import keyfile
from nexapod_batch.trust.keys import parse_openssh_public

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_key_is_private_and_can_be_loaded(tmp_path: Path) -> None:
    """The file has mode 0600 whatever the umask, its `.pub` is public, and nothing else is left in the folder."""
    old = os.umask(0)
    try:
        made = keyfile.create(tmp_path / "key", "node alpha")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert keyfile.load(tmp_path / "key").key_id == made.key_id
    assert keyfile.load(tmp_path / "key").sign(b"x") == made.sign(b"x")
    assert parse_openssh_public((tmp_path / "key.pub").read_text()) == made.public
    assert sorted(os.listdir(tmp_path)) == ["key", "key.pub"]


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    """A second creation fails and leaves the first key as it was."""
    keyfile.create(tmp_path / "key", "")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(FileExistsError):
        keyfile.create(tmp_path / "key", "")
    assert (tmp_path / "key").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["key", "key.pub"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No folder: our error, with the next step."""
    with pytest.raises(KeyFileError, match="cannot be written"):
        keyfile.create(tmp_path / "none" / "key", "")


def test_the_key_of_ssh_keygen_is_read(tmp_path: Path) -> None:
    """A key that OpenSSH made is as good as ours."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "long comment " * 5, "-f", path], check=True)
    assert keyfile.load(path).public == parse_openssh_public((tmp_path / "key.pub").read_text())


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["-t", "ed25519", "-N", "secret"], "passphrase"),
        (["-t", "ecdsa", "-N", ""], "Ed25519"),
        (["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"], "not an OpenSSH private key"),
    ],
)
def test_other_keys_of_ssh_keygen_are_refused(tmp_path: Path, argv: list[str], reason: str) -> None:
    """A passphrase, another type and another format are named."""
    subprocess.run(["ssh-keygen", "-q", *argv, "-f", tmp_path / "key"], check=True)
    with pytest.raises(KeyFileError, match=reason):
        keyfile.load(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    """Group or others with any right: refused, with the command that mends it."""
    path = tmp_path / "key"
    keyfile.create(path, "")
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        keyfile.load(path)


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    """A missing file, a link, a folder and a fifo are refused; the fifo does not stop the program."""
    keyfile.create(tmp_path / "key", "")
    (tmp_path / "link").symlink_to("key")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o600)
    reasons = {"none": "No such file", "link": "symbolic link", "folder": "not a plain file", "fifo": "not a plain file"}
    for name, reason in reasons.items():
        with pytest.raises(KeyFileError, match=reason):
            keyfile.load(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Root can read everything, and still does not take another account's key."""
    keyfile.create(tmp_path / "key", "")
    os.chown(tmp_path / "key", 65534, 65534)
    with pytest.raises(KeyFileError, match="belongs to somebody else"):
        keyfile.load(tmp_path / "key")


def private_text(seed: bytes) -> bytes:
    """Return the key file that another library writes for a seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_gives_another_key(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever byte of the decoded file is changed or cut off: the same key, or our error."""
    text = private_text(b"s" * 32)
    lines = text.decode().splitlines()
    body = bytearray(base64.b64decode("".join(lines[1:-1])))
    if data.draw(st.booleans()):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    path = tmp_path / "damaged"
    path.write_text("\n".join([lines[0], base64.b64encode(body).decode(), lines[-1]]))
    path.chmod(0o600)
    try:
        loaded = keyfile.load(path)
    except KeyFileError:
        return
    path.write_bytes(text)
    assert loaded.key_id == keyfile.load(path).key_id


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_is_refused(tmp_path: Path, junk: bytes) -> None:
    """Arbitrary bytes, with and without the frame of a key file, give our error."""
    path = tmp_path / "junk"
    framed = b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b\n-----END OPENSSH PRIVATE KEY-----\n" % base64.b64encode(junk)
    for text in (junk, framed):
        path.write_bytes(text)
        path.chmod(0o600)
        with pytest.raises(KeyFileError):
            keyfile.load(path)

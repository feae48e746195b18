"""Ed25519 keys as unencrypted OpenSSH files that nobody else can read.

Reading parses the format by hand (PROTOCOL.key of OpenSSH): it is a few lines, and importing `cryptography` would cost
every command 30 ms. Writing happens once in a key's life and uses `cryptography`.
"""

from __future__ import annotations

import binascii
import errno
import os
import shlex
import stat
from typing import TYPE_CHECKING

from nexapod_batch.errors import KeyFileError, TryAgainError, VerificationError
from nexapod_batch.files import atomic
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.keys import openssh_public, parse_openssh_public

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_private", "create", "load", "refer"]

_BEGIN, _END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
_PUBLIC = b"ssh-ed25519 "
_MAGIC = b"openssh-key-v1\0"
_MAX = 16 * 1024


def create(path: Path, comment: str) -> Signer:
    """Make a new key and its `.pub` beside it; the file is complete before it gets its name.

    FileExistsError when there is a key of that name already, KeyFileError when none can be written there, TryAgainError
    on a full disk.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the module docstring
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    seed = os.urandom(32)
    text = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    signer = Signer.from_seed(seed)
    try:
        _write_new(path, text)
        atomic.write(path.with_name(path.name + ".pub"), openssh_public(signer.public, comment).encode())
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in atomic.FULL:
            raise TryAgainError(f"no space left for key {path}", hint="make room, then try again") from error
        hint = f"make {path.parent} a folder that you can write to"
        raise KeyFileError(f"key {path} cannot be written", got=error.strerror, hint=hint) from error
    return signer


def _write_new(path: Path, text: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, path)  # unlike rename it never replaces a key
    finally:
        temporary.unlink()


def load(path: Path) -> Signer:
    """Return the key in a file; KeyFileError unless it is a plain Ed25519 key file that only its owner can read.

    A file with the public half alone stands for a key in ssh-agent.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        got = "a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise KeyFileError(f"key {path} cannot be opened", got=got, wanted="a plain file that you can read") from error
    try:
        _check_owner(path, os.fstat(fd))
        text = os.read(fd, _MAX + 1)
    finally:
        os.close(fd)
    if text.startswith(_PUBLIC):
        return _of_agent(path, text)
    try:
        return _signer(text)
    except ValueError as error:  # also what binascii and the ASCII codec raise
        raise KeyFileError(
            f"key {path} cannot be read",
            got=str(error),
            wanted="an OpenSSH Ed25519 private key without passphrase",
            hint="put a copy of the key in its place",
        ) from error


def refer(path: Path, signer: Signer, comment: str) -> None:
    """Write a key file for a key that lies in ssh-agent: its public half.

    Raises:
        FileExistsError: There is a key of that name already.
        KeyFileError: None can be written there.

    """
    line = openssh_public(signer.public, comment).encode()
    try:
        _write_new(path, line)
        atomic.write(path.with_name(path.name + ".pub"), line)
    except FileExistsError:
        raise
    except OSError as error:
        raise KeyFileError(f"key {path} cannot be written", got=error.strerror) from error


def _of_agent(path: Path, text: bytes) -> Signer:
    """Return the key in ssh-agent that a file has the public half of."""
    from nexapod_batch.files.agent_key import AgentSigner  # noqa: PLC0415 - most keys are files

    try:
        return AgentSigner(parse_openssh_public(text.decode("ascii", "replace")))
    except VerificationError as error:
        raise KeyFileError(f"key {path} cannot be read", got=error.got, wanted=error.wanted) from error


def check_private(what: str, file: str, mode: int) -> None:
    """Raise KeyFileError where others may use a private key of any kind, with what mends it; `what` names it."""
    if mode & 0o077:
        raise KeyFileError(
            f"{what} {file} can be read or changed by others", got=f"mode {stat.S_IMODE(mode):04o}", wanted="0600",
            hint=f"chmod 600 {shlex.quote(file)}; if somebody may have read it, make a new one",
        )  # fmt: skip


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"key {path} is not a plain file")
    if status.st_uid != os.geteuid():
        raise KeyFileError(
            f"key {path} belongs to somebody else", got=f"uid {status.st_uid}", wanted=f"uid {os.geteuid()}"
        )
    check_private("key", str(path), status.st_mode)


def _signer(text: bytes) -> Signer:
    """Return the key of an unencrypted OpenSSH Ed25519 file; ValueError says what is different."""
    lines = text.decode("ascii").split()
    joined = " ".join(lines)
    if len(text) > _MAX or not (joined.startswith(_BEGIN) and joined.endswith(_END)):
        raise ValueError("not an OpenSSH private key")
    body = binascii.a2b_base64("".join(joined[len(_BEGIN) : -len(_END)].split()), strict_mode=True)
    if not body.startswith(_MAGIC):
        raise ValueError("not an OpenSSH private key")
    reader = _Reader(body[len(_MAGIC) :])
    if (reader.string(), reader.string(), reader.string()) != (b"none", b"none", b""):
        raise ValueError("the key has a passphrase")
    if reader.number() != 1:
        raise ValueError("more than one key in the file")
    blob = reader.string()
    private = _Reader(reader.string())
    if private.number() != private.number():
        raise ValueError("the check numbers differ")
    if private.string() != b"ssh-ed25519":
        raise ValueError("not an Ed25519 key")
    public, secret = private.string(), private.string()
    signer = Signer.from_seed(secret[:32])
    # The public half stands in the file three times; with a damaged seed it would silently be another key.
    if not signer.public == public == secret[32:] == blob[-32:]:
        raise ValueError("the key's halves do not fit")
    return signer


class _Reader:
    """Numbers and strings of the SSH wire format, in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        part = self._take(4)
        return int.from_bytes(part, "big")

    def string(self) -> bytes:
        return self._take(self.number())

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise ValueError("the key is cut off")
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

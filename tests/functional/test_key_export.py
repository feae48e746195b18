"""Exported keys, as OpenSSH and OpenSSL read them."""

from __future__ import annotations

import base64
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

from nexapod_batch.ledger.note import NoteKey, parse_key
from nexapod_batch.trust.key_formats import allowed_signer, revocation_list
from nexapod_batch.trust.rotation import open_chain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Times long before and after the test, in the form of OpenSSH.
PAST, FUTURE = "20000101000000Z", "20900101000000Z"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home whose node has had three keys: the first is revoked; the coordinator has had two."""
    with ended(Home(tmp_path_factory.mktemp("keys")), "n") as made:
        for ending in ("", ".pub"):
            (made.folder / f"first{ending}").write_bytes((made.path / f"keys/node-n{ending}").read_bytes())
        (made.folder / "first").chmod(0o600)
        first = made.json("key", "rotate", "n")["rotated"][0]["old_key"]
        for ending in ("", ".pub"):
            (made.folder / f"second{ending}").write_bytes((made.path / f"keys/node-n{ending}").read_bytes())
        (made.folder / "second").chmod(0o600)
        assert made.call("key", "rotate", "n", "coordinator").code == 0
        assert made.call("key", "revoke", first, "--since", 1).code == 0
        yield made


def ssh_keygen(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run OpenSSH's program."""
    return subprocess.run(["ssh-keygen", *map(str, words)], input=stdin, capture_output=True, check=False)


def exported(home: Home, form: str, *names: str) -> bytes:
    """Return what was written to a file."""
    out = home.folder / f"{form}{len(names)}"
    assert home.call("key", "export", *names, "--format", form, "--out", out).code == 0
    return out.read_bytes()


@pytest.mark.parametrize(("key", "at", "good"), [
    ("now", "", True), ("now", PAST, False), ("now", FUTURE, True), ("second", "", False), ("second", FUTURE, False), ("first", "", False),
])  # fmt: skip
def test_openssh_takes_a_signature_for_the_time_of_its_key(home: Home, tmp_path: Path, key: str, at: str, good: bool) -> None:
    """Of the key in use now, not before it was made; of one that was replaced or revoked not any more."""
    (allowed := tmp_path / "allowed").write_bytes(exported(home, "allowed-signers"))
    file = home.path / "keys/node-n" if key == "now" else home.folder / key
    (text := tmp_path / "text").write_text("hello")
    assert ssh_keygen("-Y", "sign", "-f", file, "-n", "file", text).returncode == 0
    soon = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 60))  # times are whole seconds: not within this one
    words = ["-Y", "verify", "-f", allowed, "-I", "n", "-n", "file", "-s", f"{text}.sig", "-O", f"verify-time={at or soon}"]
    done = ssh_keygen(*words, stdin=b"hello")
    assert (done.returncode == 0) == good, done.stderr
    assert b"bad options" not in done.stderr


def test_openssh_knows_which_keys_are_revoked(home: Home, tmp_path: Path) -> None:
    """The list names the first key alone."""
    (krl := tmp_path / "krl").write_bytes(exported(home, "krl"))
    assert [ssh_keygen("-Q", "-f", krl, home.folder / f"{key}.pub").returncode for key in ("first", "second")] == [1, 0]
    assert ssh_keygen("-Q", "-f", krl, home.path / "keys/node-n.pub").returncode == 0
    assert b"keys revoked by nexapod-batch/" in ssh_keygen("-Q", "-l", "-f", krl).stdout
    assert base64.b64decode(home.json("key", "export", "--format", "krl")["krl"])[:8] == b"SSHKRL\n\0"


def test_a_list_without_revoked_keys_is_read_as_well(home: Home, tmp_path: Path) -> None:
    """It revokes nothing."""
    (krl := tmp_path / "krl").write_bytes(exported(home, "krl", "coordinator"))
    assert ssh_keygen("-Q", "-f", krl, home.folder / "first.pub").returncode == 0


def test_openssl_verifies_with_what_is_exported(home: Home, tmp_path: Path) -> None:
    """A signature by the private key, in PEM form, for each key that is in use or was named."""
    (pem := tmp_path / "pem").write_bytes(exported(home, "pem", "n"))
    shown = subprocess.run(["openssl", "pkey", "-pubin", "-in", pem, "-noout", "-text"], capture_output=True, check=True, text=True)
    public = home.json("key", "export", "n")["public_key"]
    assert public in shown.stdout.replace(":", "").replace("\n", "").replace(" ", "")
    first = home.json("key", "show", "n")["keys"][0]["key"]
    assert exported(home, "pem", first) != exported(home, "pem", "n")


def test_a_ledgers_key_is_exported_as_verifiers_take_it(home: Home) -> None:
    """Called like the ledger; those of nodes have names below it."""
    keys = [parse_key(line) for line in exported(home, "vkey").decode().splitlines()]
    origin = home.json("ledger", "head")["origin"]
    assert [key.name for key in keys] == [origin, f"{origin}/node/n"]
    assert isinstance(keys[0], NoteKey)


def test_rotations_are_exported_in_order(home: Home) -> None:
    """They lead from the key in use to the first one."""
    rotations = exported(home, "rotation", "n").splitlines()
    keys = [bytes.fromhex(key["public_key"]) for key in home.json("key", "show", "n")["keys"]]
    assert open_chain(rotations, keys[-1]) == keys


@pytest.mark.parametrize(("words", "why"), [(("x",), "there is no such key"), (("SHA256:x", "--format", "krl"), "there is no such key")])
def test_who_has_no_key_is_told(home: Home, words: tuple[str, ...], why: str) -> None:
    """With those who have one."""
    done = home.call("key", "export", *words)
    assert done.code == 66
    assert why in done.err


@pytest.mark.parametrize("name", ["a b", "a,b", "*", "!a", "#a", "", 'a"'])
def test_a_principal_is_a_plain_word(name: str) -> None:
    """Others would mean something in an `allowed_signers` file."""
    with pytest.raises(ValueError, match="cannot be a principal"):
        allowed_signer(name, b"k" * 32)


def test_a_list_is_the_same_however_its_keys_come() -> None:
    """They are sorted."""
    keys = [bytes([number]) * 32 for number in range(9)]
    assert revocation_list(keys, number=1, time_s=2) == revocation_list(reversed(keys), number=1, time_s=2)

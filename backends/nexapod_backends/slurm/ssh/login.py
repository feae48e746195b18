"""Logging in: the host must be a known one, the key must be ours alone, and every fault says what to do.

No host key is ever added or replaced: a key that known_hosts does not list, lists differently or revokes ends the
attempt before anything about the account is sent. A private key that others can read is not used.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hashlib
import hmac
import logging
import os
import re
import shlex
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko  # type: ignore[import-untyped]
from msgspec import Struct
from paramiko.ssh_exception import (  # type: ignore[import-untyped]
    BadAuthenticationType,
    PasswordRequiredException,
)

from nexapod_backends.slurm.ssh import paramiko_internals
from nexapod_batch.errors import ConfigError, NexapodError, UnreachableError
from nexapod_batch.files.keyfile import check_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.model.site import Ssh

__all__ = ["Listed", "check_host_key", "close", "fingerprint", "listed", "log_in", "said"]

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_DEFAULT_PORT = 22
#: known_hosts may hold that many bytes.
_MOST = 16 << 20
#: What a signature over the key of a kind may be called.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what matters is in the errors raised here


class Listed(Struct, frozen=True):
    """A key that known_hosts lists for a host."""

    line: int
    kind: str
    blob: bytes
    revoked: bool = False


class _Place(Struct, frozen=True):
    """One server to log in to."""

    host: str
    port: int
    user: str

    @property
    def name(self) -> str:
        """The name under which known_hosts has it."""
        return self.host if self.port == _DEFAULT_PORT else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        """Return how people write it."""
        return f"{self.user}@{self.host}:{self.port}"


def log_in(site: str, ssh: Ssh) -> list[paramiko.Transport]:
    """Return the connections to the jump host, if there is one, and to the login node, which is the last.

    ConfigError when the site file, a key or a host key must be seen to; SchedulerError when trying later may help.
    """
    places = [_Place(ssh.host, ssh.port, ssh.user or getpass.getuser())]
    if ssh.jump:
        places.insert(0, _jump(ssh.jump, places[0].user))
    links: list[paramiko.Transport] = []
    try:
        for place in places:
            links.append(_one(site, ssh, place, links[-1] if links else None))
    except BaseException:
        close(links)
        raise
    return links


def close(links: list[paramiko.Transport]) -> None:
    """Close connections, the inner one first, and wait for their threads."""
    for link in reversed(links):
        paramiko_internals.shut(link)


def listed(text: str, name: str) -> tuple[Listed, ...]:
    """Return the keys that the text of a known_hosts file lists for a name; lines that make no sense are no keys."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in {"", "@revoked"}:
            continue
        if not _names(fields[0], name.lower()):
            continue
        with suppress(binascii.Error, ValueError):
            blob = base64.b64decode(fields[2], validate=True)
            found.append(Listed(number, fields[1], blob, revoked=marker == "@revoked"))
    return tuple(found)


def check_host_key(file: str, text: str, name: str, kind: str, blob: bytes) -> None:
    """ConfigError unless known_hosts lists this very key for the name, and does not revoke it."""
    keys = listed(text, name)
    got = f"{kind} {fingerprint(blob)}"
    said = [f"{one.kind} {fingerprint(one.blob)} (line {one.line})" for one in keys if not one.revoked]
    for one in keys:
        if one.revoked and one.blob == blob:
            raise ConfigError(
                f"the host key of {name} is revoked in {file}, line {one.line}", got=got, wanted=_or(said) or "another",
                hint="do not connect; ask the people who run this host",
            )  # fmt: skip
    if any(one.blob == blob for one in keys):
        return
    shown = shlex.quote(name)
    if not said:
        raise ConfigError(
            f"the host key of {name} is not known: {file} has no line for it", got=got, wanted="a key that is listed",
            hint="log in once by hand with ssh, compare the fingerprint with the one that the site publishes, and "
            "nexapod-batch will find it there",
        )  # fmt: skip
    raise ConfigError(
        f"the host key of {name} has changed, or somebody is in between; nothing was sent",
        got=got, wanted=f"{_or(said)} of {file}",
        hint="ask the people who run this host; if the new key is theirs: "
        f"ssh-keygen -R {shown} -f {shlex.quote(file)}, then log in once by hand",
    )  # fmt: skip


def fingerprint(blob: bytes) -> str:
    """Return the fingerprint of a public key as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _or(parts: list[str]) -> str:
    return " or ".join(parts)


def _names(hosts: str, name: str) -> bool:
    """Say whether the first field of a line is about a name."""
    if hosts.startswith("|"):
        parts = hosts.split("|")
        if len(parts) != 4 or parts[1] != "1":
            return False
        with suppress(binascii.Error, ValueError):
            salt, wanted = base64.b64decode(parts[2]), base64.b64decode(parts[3])
            return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), wanted)
        return False
    matched = False
    for pattern in hosts.lower().split(","):
        bare = pattern.removeprefix("!")
        if re.fullmatch(re.escape(bare).replace(r"\*", ".*").replace(r"\?", "."), name):
            if bare != pattern:
                return False
            matched = True
    return matched


def _jump(text: str, user: str) -> _Place:
    before, _, after = text.rpartition("@")
    host, _, port = after.partition(":")
    return _Place(host, int(port or _DEFAULT_PORT), before or user)


def _one(site: str, ssh: Ssh, place: _Place, through: paramiko.Transport | None) -> paramiko.Transport:
    """Connect to one server, through another where one is given, and log in."""
    file = ssh.known_hosts or os.path.expanduser("~/.ssh/known_hosts")
    known = _text(site, file)
    pipe = _pipe(site, ssh, place, through)
    try:
        link = paramiko.Transport(pipe)
    except BaseException:
        pipe.close()
        raise
    try:
        link.banner_timeout = link.handshake_timeout = link.auth_timeout = link.channel_timeout = ssh.connect_timeout_s
        _prefer(link, {one.kind for one in listed(known, place.name) if not one.revoked})
        try:
            link.start_client(timeout=ssh.connect_timeout_s)
            key = link.get_remote_server_key()
        except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
            raise UnreachableError(
                f"site {site}: no SSH server at {place.host}:{place.port}, or it ended the talk",
                got=said(error), hint="see host and port in [ssh] of the site file; it is tried again",
            ) from error  # fmt: skip
        try:
            check_host_key(file, known, place.name, key.get_name(), key.asbytes())
        except ConfigError as error:
            what = f"site {site}: {error.what}"
            raise ConfigError(what, got=error.got, wanted=error.wanted, hint=error.hint) from None
        _authenticate(site, ssh, place, link)
        if ssh.keepalive_s:
            link.set_keepalive(ssh.keepalive_s)
    except BaseException:
        close([link])
        raise
    return link


def _pipe(site: str, ssh: Ssh, place: _Place, through: paramiko.Transport | None) -> Any:  # noqa: ANN401 - of two kinds
    """Return the connection below SSH."""
    try:
        if through is not None:
            where = (place.host, place.port)
            return through.open_channel("direct-tcpip", where, ("127.0.0.1", 0), timeout=ssh.connect_timeout_s)
        pipe = socket.create_connection((place.host, place.port), timeout=ssh.connect_timeout_s)
    except (OSError, paramiko.SSHException, EOFError) as error:
        way = f" from {ssh.jump}" if through is not None else ""
        raise UnreachableError(
            f"site {site}: {place.host}:{place.port} cannot be reached{way}", got=said(error),
            hint="see [ssh] in the site file; it is tried again",
        ) from error  # fmt: skip
    pipe.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError, AttributeError):  # what was sent and never acknowledged ends the connection
        patience = 1000 * max(ssh.connect_timeout_s, 2 * ssh.keepalive_s)
        pipe.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    return pipe


def _text(site: str, file: str) -> str:
    try:
        with open(file, "rb") as stream:
            return stream.read(_MOST).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"site {site}: {file} cannot be read", got=error.strerror) from error


def _prefer(link: paramiko.Transport, kinds: set[str]) -> None:
    """Ask the server for a key of a kind that is listed: it may have several."""
    names = {name for kind in kinds for name in _ALGORITHMS.get(kind, (kind,))}
    options = link.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: name not in names)


def _authenticate(site: str, ssh: Ssh, place: _Place, link: paramiko.Transport) -> None:
    """Offer the keys one by one."""
    tried: list[str] = []
    notes: list[str] = []
    for what, key in _keys(site, ssh, notes):
        tried.append(f"{what} ({fingerprint(key.asbytes())})")
        try:
            more = link.auth_publickey(place.user, key)
        except BadAuthenticationType as error:
            notes.append(f"it takes {' or '.join(error.allowed_types)}")
            break
        except paramiko.AuthenticationException:
            if not link.is_active():  # it has had enough
                notes.append("the server ended the connection")
                break
            continue
        except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
            if link.is_active():  # this key cannot sign, or its agent is gone
                notes.append(f"{what}: {said(error)}")
                continue
            raise UnreachableError(
                f"site {site}: the connection to {place} was lost", got=said(error), hint="it is tried again"
            ) from error
        if link.is_authenticated():
            return
        notes.append(f"after the key it wants {' and '.join(more)}, which nobody is here to give")
        break
    offered = ", ".join(tried) if tried else "no key to offer"
    raise ConfigError(
        f"site {site}: {place} lets none of our keys in",
        got="; ".join([offered, *notes]), wanted="a key that opens without a question",
        hint=f"see user and key in [ssh] of the site file; try: ssh -p {place.port} {place.user}@{place.host}",
    )  # fmt: skip


def _keys(site: str, ssh: Ssh, notes: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to offer: the one that the site file names, else the agent's, then those in ~/.ssh."""
    if ssh.key:
        try:
            yield ssh.key, _load(ssh.key)
        except PasswordRequiredException:
            yield from _of_agent(ssh.key)
            notes.append(f"{ssh.key} has a passphrase: ssh-add {ssh.key}")
        except NexapodError as error:
            what = f"site {site}: {error.what}"
            raise ConfigError(what, got=error.got, wanted=error.wanted, hint=error.hint) from None
        return
    yield from _of_agent("")
    for name in _DEFAULT_KEYS:
        file = os.path.expanduser(f"~/.ssh/{name}")
        if not os.path.exists(file):
            continue
        try:
            yield file, _load(file)
        except PasswordRequiredException:
            notes.append(f"{file} has a passphrase: ssh-add {file}")
        except NexapodError as error:
            notes.append(f"{error.what} ({error.hint})")


def _load(file: str) -> paramiko.PKey:
    """Return a private key; PasswordRequiredException when it is locked, ConfigError when it cannot be used."""
    try:
        mode = os.stat(file).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"key {file} is no file", hint="see [ssh] key in the site file")
        check_private("key", file, mode)
        return paramiko.PKey.from_path(file)
    except ConfigError:
        raise
    except OSError as error:
        hint = "see [ssh] key in the site file"
        raise ConfigError(f"key {file} cannot be read", got=error.strerror, hint=hint) from error
    except Exception as error:
        if isinstance(error, PasswordRequiredException) or "assword" in str(error):
            raise PasswordRequiredException(file) from error
        hint = "wanted is a private key of OpenSSH: ssh-keygen -t ed25519"
        raise ConfigError(f"key {file} cannot be used", got=said(error), hint=hint) from error


def _of_agent(file: str) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the agent's keys; with `file` the one whose public half lies beside it goes first."""
    place = os.environ.get("SSH_AUTH_SOCK", "")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            probe.connect(place)
    except OSError:
        return
    wanted = b""
    with suppress(OSError, IndexError, ValueError):
        wanted = base64.b64decode(Path(f"{file}.pub").read_text(encoding="utf-8").split()[1])
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError, ValueError):
        return
    try:
        for key in sorted(agent.get_keys(), key=lambda one: one.asbytes() != wanted):
            yield "a key of the agent", key
    finally:
        agent.close()


def said(error: BaseException | str) -> str:
    """Return one printable line of an error: servers choose some of the words."""
    text = str(error) or type(error).__name__
    return re.sub(r"[^ -~]", "?", text)[:300]

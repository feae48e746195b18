"""Where a node that joined keeps what is its own: `agent/<name>/` in the home.

| path | what |
|---|---|
| `agent.json` | which coordinator it joined, by URL, pin and key; what it offers |
| `key` | its private key, mode 0600; it never leaves this folder |
| `spool/`, `work/`, `inputs/` | as of any node: bundles, claims, reports; work folders; inputs by digest |
| `fetched/` | inputs that it fetched by itself, by digest |
| `later.json` | launches to forget as soon as they are over |
| `keys.json` | the keys that took the place of the coordinator's |
| `leader.json` | which coordinator it follows, in which epoch |
| `roster.json` | which servers may be its coordinator |
| `witness.json` | the newest head of the coordinator's ledger that it has seen |
| `held/`, `reported/` | for a stand-in: bundles, and reports that were taken in |
| `agent.lock` | held by the one `node run` |
"""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct
from msgspec import json as msgjson

from nexapod_batch.errors import BusyError, ConfigError, NotFoundError
from nexapod_batch.files import atomic, careful, keyfile
from nexapod_batch.files.own import base_of, check_plain, own_folder

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.trust.dsse import Signer

__all__ = ["AgentHome", "AgentSettings", "homes", "only_home"]

_MAX = 1 << 20


class AgentSettings(Struct, frozen=True, kw_only=True):
    """What a node that joined knows of itself and of its coordinator."""

    schema: int = 1
    name: str
    url: str  # https://HOST:PORT, or http:// on this very machine
    pin: str  # SHA256:... of the server's public key; "" where certificate authorities are trusted
    coordinator_key: str  # hex: the key that it joined with; only that, and what it led to, is believed
    owner: str
    tier: str
    cpus: int
    mem_mib: int
    gpus: tuple[str, ...] = ()  # UUIDs that it offers
    gpu_slots: int = 1
    confine: str = "all"
    fetch: str = "here"  # where inputs with URLs are fetched: by the coordinator, or by the `node`
    fetch_proxy: str = ""  # URL of the proxy by which it does
    fetch_cache_mib: int = 20_480  # what it keeps of that, and of what the coordinator sent
    code: str = ""  # while an admin has not approved it


class AgentHome:
    """The folder of one node that joined."""

    def __init__(self, folder: Path) -> None:
        """Know where it lies."""
        self.folder = folder
        self.spool, self.work, self.inputs = folder / "spool", folder / "work", folder / "inputs"
        self.key_file, self.settings_file = folder / "key", folder / "agent.json"
        self.leader_file, self.roster_file = folder / "leader.json", folder / "roster.json"
        self.witness_file, self.keys_file = folder / "witness.json", folder / "keys.json"
        self.fetched = folder / "fetched"
        self._lock = -1

    def make(self) -> None:
        """Make the folders where they are missing."""
        own_folder(self.folder, "spool", "work", "inputs", below=base_of(self.folder))

    def signer(self) -> Signer:
        """Return the key of the node, made where it is missing."""
        if self.key_file.exists():
            return keyfile.load(self.key_file)
        return keyfile.create(self.key_file, "nexapod-batch node")

    def settings(self) -> AgentSettings:
        """Return what was settled when it joined; ConfigError where that cannot be read."""
        try:
            return msgjson.decode(careful.read(self.settings_file, _MAX), type=AgentSettings)
        except (OSError, DecodeError) as error:
            hint = "nexapod-batch node join URL --fingerprint ... joins again with the same key"
            raise ConfigError(f"{self.settings_file} cannot be read", got=str(error), hint=hint) from error

    def keep(self, settings: AgentSettings) -> None:
        """Write the settings."""
        atomic.write(self.settings_file, msgjson.format(msgjson.encode(settings), indent=2) + b"\n", mode=0o600)

    def forget_coordinator(self) -> None:
        """Forget whom the node followed: it joins another coordinator."""
        for path in (self.leader_file, self.roster_file, self.witness_file, self.keys_file):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "held", ignore_errors=True)

    def lock(self) -> None:
        """Hold the node for this process; BusyError where another one does.

        Raises:
            BusyError: `node run` of this node runs already.

        """
        path = self.folder / "agent.lock"
        check_plain(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise BusyError("node run of this node runs already", got=str(self.folder)) from None
        self._lock = fd


def homes(home: Path) -> list[AgentHome]:
    """Return the nodes of this home that joined a coordinator, by name."""
    try:
        names = sorted(os.listdir(home / "agent"))
    except FileNotFoundError:
        return []
    found = [AgentHome(home / "agent" / name) for name in names if not name.startswith(".")]
    return [one for one in found if one.settings_file.exists()]


def only_home(home: Path, name: str | None) -> AgentHome:
    """Return the node of a name, or the only one; NotFoundError where there is none, or several.

    Raises:
        NotFoundError: No such node joined from here.

    """
    found = {one.folder.name: one for one in homes(home)}
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None or name not in found:
        known = ", ".join(found) or "none"
        hint = "nexapod-batch node join URL --fingerprint SHA256:... makes one"
        got = name or "no name"
        raise NotFoundError("no such node joined from here", got=got, wanted=f"one of: {known}", hint=hint)
    return found[name]

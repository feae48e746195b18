"""`node join`: a key and a signed profile of this machine, offered to a coordinator whose server key is pinned."""

from __future__ import annotations

import os
import re
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch.agent.client import Client, RefusedError, check_url
from nexapod_batch.agent.coordinator_keys import CoordinatorKeys
from nexapod_batch.agent.home import AgentHome, AgentSettings
from nexapod_batch.agent.worker import AgentWorker
from nexapod_batch.errors import UnreachableError, UsageError, VerificationError
from nexapod_batch.hardware import machine
from nexapod_batch.local_nodes import gpu_status
from nexapod_batch.mesh import puzzle
from nexapod_batch.mesh.messages import Joined, Registration
from nexapod_batch.model.hardware import Offer, tier_of
from nexapod_batch.trust.keys import KEY_BYTES
from nexapod_batch.trust.profile import seal_offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.trust.dsse import Signer

__all__ = ["Fetch", "Wish", "join", "offer_of"]

_PIN = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
#: Memory that is left to the system where nobody says how much the node may use.
_KEEP_MIB = 512


class Fetch(NamedTuple):
    """Who fetches inputs that have URLs, as the owner of the node says."""

    where: str = "here"  # the coordinator; or `node`: this machine
    proxy: str = ""  # URL of a proxy by which the node does
    cache_mib: int = 20_480  # what the node keeps of that


class Wish:
    """What a person said when joining; None and "" where nothing was said."""

    def __init__(
        self, *, name: str | None = None, owner: str = "", cpus: int | None = None, mem_mib: int | None = None,
        gpus: str | None = None, gpu_slots: int = 1, tier: str | None = None, token: str = "",
        fetch: Fetch | None = None,
    ) -> None:  # fmt: skip
        """Keep it."""
        self.name, self.owner, self.cpus, self.mem_mib = name, owner, cpus, mem_mib
        self.gpus, self.gpu_slots, self.tier, self.token = gpus, gpu_slots, tier, token
        self.fetch = fetch or Fetch()


def join(
    folder: Path, url: str, pin: str, wish: Wish, tell: Callable[[str], None] = lambda _: None
) -> tuple[AgentHome, Joined]:
    """Offer this machine to a coordinator; return where the node is kept, and what the coordinator answered.

    `tell` hears what takes time. `folder` holds a folder for each node that joined from here. The same key joins again
    under the same name.

    Raises:
        UsageError: URL, fingerprint, name, or what is offered of this machine, cannot be.

    """
    check_url(url)
    if pin and not _PIN.fullmatch(pin):
        raise UsageError("not a fingerprint", got=repr(pin), wanted="SHA256: and 43 characters, as serve prints it")
    home = _home(folder, wish.name)
    home.make()
    signer = home.signer()
    offer = offer_of(home, wish.gpus)
    tier = wish.tier or tier_of(offer.devices).value
    cpus = wish.cpus or machine.usable_cpus()
    mem_mib = wish.mem_mib or max(256, machine.memory_mib() - _KEEP_MIB)
    profile = seal_offer(signer, offer)
    asked = Registration(
        public_key=signer.public.hex(), name=home.folder.name, profile=profile.decode(), tier=tier, cpus=cpus,
        mem_mib=mem_mib, gpus=len(offer.gpus) * wish.gpu_slots, owner=wish.owner,
        folder=str(home.inputs), fetched="" if wish.fetch.where == "here" else str(home.fetched),
        token=wish.token.partition(".")[0],
    )  # fmt: skip
    joined = _ask(url, pin, signer, asked, tell)
    settings = AgentSettings(
        name=joined.name, url=url, pin=pin, coordinator_key=joined.coordinator_key, owner=joined.owner, tier=tier,
        cpus=cpus, mem_mib=mem_mib, gpus=offer.gpus, gpu_slots=wish.gpu_slots, code=joined.code,
        fetch=wish.fetch.where, fetch_proxy=wish.fetch.proxy, fetch_cache_mib=wish.fetch.cache_mib,
    )  # fmt: skip
    if home.settings_file.exists() and not _is_known(home, joined, Client(url, pin, signer)):
        home.forget_coordinator()
    home.keep(settings)
    AgentWorker(home, settings, signer, offer)  # writes what its owner can change from now on
    return home, joined


def offer_of(home: AgentHome, gpus: str | None) -> Offer:
    """Return what this machine offers; UsageError for GPUs that it does not have."""
    profile, faults = machine.take(home.work)
    devices = gpu_status.offered(gpus, profile.devices, faults)
    return Offer(profile=profile, gpus=tuple(gpu.uuid for gpu in devices))


def _home(folder: Path, name: str | None) -> AgentHome:
    """Return where a node is kept: by its name, or by one that no other machine has."""
    if name is None:
        short = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:48].strip("-_") or "node"
        known = sorted(_known(folder, short))
        name = known[0] if known else f"{short}-{os.urandom(3).hex()}"
    if not _NAME.fullmatch(name):
        raise UsageError("not a node name", got=repr(name), wanted="letters, digits, _ and -, at most 63")
    return AgentHome(folder / name)


def _is_known(home: AgentHome, joined: Joined, client: Client) -> bool:
    """Say whether it is the coordinator that the node joined before, by whatever key it goes now."""
    public = bytes.fromhex(joined.coordinator_key)
    before = CoordinatorKeys(home.keys_file, bytes.fromhex(home.settings().coordinator_key))
    if public not in before.trusted.ever:
        with suppress(VerificationError), closing(client):
            before.follow(client.ask, lambda _: None)
    return public in before.trusted.ever


def _known(folder: Path, short: str) -> list[str]:
    """Return the nodes of this machine that were named by it."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [name for name in names if re.fullmatch(re.escape(short) + r"-[0-9a-f]{6}", name)]


def _registered(client: Client, body: bytes, tell: Callable[[str], None]) -> bytes:
    """Return the answer to a registration; where many ask, the work that it costs is done once."""
    try:
        return client.post("/v1/nodes", body)
    except RefusedError as error:
        bits, _, challenge = error.headers.get(puzzle.CHALLENGE, "").partition(" ")
        if not (bits.isascii() and bits.isdigit() and challenge):
            raise
        whole = 1 << int(bits[:3])
        tell(f"many nodes ask to join: solving a puzzle of about {whole} hashes")
        number = puzzle.solve(challenge, int(bits[:3]), lambda tried: tell(f"{tried} of about {whole} hashes"))
    return client.post("/v1/nodes", body, more={puzzle.ANSWER: f"{challenge} {number}"})


def _ask(url: str, pin: str, signer: Signer, asked: Registration, tell: Callable[[str], None]) -> Joined:
    client = Client(url, pin, signer)
    try:
        data = _registered(client, msgjson.encode(asked), tell)
    finally:
        client.close()
    try:
        joined = msgjson.decode(data, type=Joined)
    except DecodeError as error:
        raise UnreachableError("the answer is not a coordinator's", got=str(error)[:200]) from error
    if len(bytes.fromhex(joined.coordinator_key)) != KEY_BYTES or joined.name != asked.name:
        raise VerificationError("the coordinator's answer makes no sense", got=joined.name)
    return joined

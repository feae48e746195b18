"""The ordinary worker of a node that joined: what comes from the coordinator is put before it, what it says is read.

The backend `local` starts it, watches it and keeps its files, as for any node of this machine.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, cast

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch.agent.coordinator_keys import CoordinatorKeys
from nexapod_batch.agent.retained import Retained
from nexapod_batch.errors import VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.mesh.delegating import delegation_message, opened_bundle
from nexapod_batch.mesh.messages import Said
from nexapod_batch.model.job import Job, Tier
from nexapod_batch.model.node import JOINED, LOCAL, Node
from nexapod_batch.plugins import BackendState, Launch, NodeContext, load
from nexapod_batch.spool import cancellations, layout, owner_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nexapod_batch.agent.client import Client
    from nexapod_batch.agent.home import AgentHome, AgentSettings
    from nexapod_batch.mesh.key_chain import TrustedKeys
    from nexapod_batch.mesh.messages import Bundle
    from nexapod_batch.model import replica
    from nexapod_batch.model.hardware import Offer
    from nexapod_batch.plugins import Backend
    from nexapod_batch.trust.dsse import Signer

__all__ = ["AgentWorker", "node_of"]

_GOING_ON = frozenset({BackendState.NEW, BackendState.QUEUED, BackendState.ACTIVE})
_NO_JOB = cast("Job", None)  # the backend `local` looks at none


def node_of(settings: AgentSettings, signer: Signer, offer: Offer | None = None) -> Node:
    """Return the node as this machine knows it."""
    return Node(
        id=0, name=settings.name, key_id=signer.key_id, public_key=signer.public, site=LOCAL, owner=settings.owner,
        host=socket.gethostname(), tier=Tier(settings.tier), backend=LOCAL, cpus=settings.cpus,
        mem_mib=settings.mem_mib, gpus=len(settings.gpus) * settings.gpu_slots,
        classes={} if offer is None else offer.classes,
    )  # fmt: skip


class AgentWorker:
    """Bundles for the worker of one node, and its reports."""

    def __init__(
        self, home: AgentHome, settings: AgentSettings, signer: Signer, offer: Offer | None,
        fetching: Mapping[str, object] | None = None, cannot: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Make the spool, and write what the worker is told; `fetching` where it fetches inputs by itself.

        `cannot` says of runtimes that do not work here why.
        """
        self.home, self.settings, self._signer = home, settings, signer
        self.cannot = cannot or {}
        node = node_of(settings, signer, offer)
        self._context = NodeContext(
            node=node, spool=home.spool, work=home.work, state=home.folder, remote_spool=home.spool,
            remote_work=home.work,
        )  # fmt: skip
        self._backend: Backend = load("backend", LOCAL)
        self.coordinator_keys = CoordinatorKeys(home.keys_file, bytes.fromhex(settings.coordinator_key))
        self._later_file = home.folder / "later.json"
        self.retained = Retained(home.folder, home.spool)
        self.fetched, self._fetching = "" if fetching is None else str(home.fetched), fetching
        self._tell(self.coordinator_keys.trusted)
        owner_settings.reserve(home.spool)

    def _tell(self, coordinator: TrustedKeys) -> None:
        """Write what the worker is told."""
        told = self._told(coordinator.bundles)
        if self._fetching is not None:
            told["fetching"] = self._fetching
        self._backend.prepare(self._context, told)

    def _told(self, coordinators: Mapping[str, bytes]) -> dict[str, object]:
        """Return what the worker is told: its node, and whose bundles it takes."""
        settings, node = self.settings, self._context.node
        return {
            "schema": 1,
            "name": node.name,
            "keys": [node.key_id],
            "coordinators": list(coordinators),
            "coordinator_keys": {name: public.hex() for name, public in coordinators.items()},
            "host": node.host,
            "cpus": node.cpus,
            "mem_mib": node.mem_mib,
            "backend": JOINED,
            "classes": dict(node.classes),
            "private": [str(self.home.folder)],
            "idle_exit_s": 10,
            "gpus": list(settings.gpus),
            "gpu_slots": settings.gpu_slots,
            "confine": settings.confine,
            "possession": True,
        }

    def follow_keys(self, client: Client) -> None:
        """Ask for the coordinator's keys, and tell the worker where they are others.

        Raises:
            VerificationError: The newest key that is known does not lead to what the coordinator shows.
            TryAgainError: The coordinator refused, or is not there.

        """
        self.coordinator_keys.follow(client.ask, self._tell)

    def check(self, bundle: Bundle, newer: Callable[[], None]) -> tuple[replica.Bundle, str]:
        """Return a bundle that came, and the node's signature for its key, in hex.

        `newer` looks whether the coordinator has other keys now, and is called where no known one signed the bundle.

        Raises:
            VerificationError: It is not from the coordinator that this node joined, or not to be run here.

        """
        tried = self.coordinator_keys.trusted
        try:
            return self._checked(bundle)
        except VerificationError:
            newer()
            if self.coordinator_keys.trusted == tried:
                raise
        return self._checked(bundle)

    def _checked(self, bundle: Bundle) -> tuple[replica.Bundle, str]:
        """Return what `check` does.

        Raises:
            VerificationError: It is not to be run here.

        """
        coordinators = self.coordinator_keys.trusted.bundles
        opened = opened_bundle(bundle.envelope.encode(), coordinators, self._signer.key_id)
        if opened.launch != bundle.launch:
            raise VerificationError("the bundle is of another launch", got=opened.launch, wanted=bundle.launch)
        if not opened.foreign:  # runners would give it the network, and would not confine its ranks
            raise VerificationError("the bundle wants a job run as one of the node's own", wanted="somebody else's")
        for digest, path in opened.input_paths.items():
            if path not in {str(self.home.inputs / digest), f"{self.fetched or self.home.inputs}/{digest}"}:
                raise VerificationError("the bundle names an input outside this node's folder", got=path)
        try:
            seed = bytes.fromhex(bundle.seed)
        except ValueError:
            seed = b""
        return opened, self._signer.sign(delegation_message(opened, seed)).hex()

    def to_bring(self, opened: replica.Bundle) -> list[str]:
        """Return the digests of inputs that the coordinator has for this node: all but those that it fetches."""
        return [digest for digest, path in opened.input_paths.items() if path == str(self.home.inputs / digest)]

    def needed(self) -> set[str]:
        """Return the digests of what the launches here need; VerificationError where one is of unknown keys."""
        coordinators, found = self.coordinator_keys.trusted.bundles, set[str]()
        for together in self.retained.batches(self.known()):
            for held in together:
                found.update(opened_bundle(held.envelope.encode(), coordinators, self._signer.key_id).input_paths)
        return found

    def put(self, bundle: Bundle) -> None:
        """Give a launch to the worker, unless it had it before; SchedulerError where that cannot be done now."""
        if (self.home.spool / layout.spent(bundle.launch)).exists():
            return
        seed = bytes.fromhex(bundle.seed)
        launch = Launch(key=bundle.launch, envelope=bundle.envelope.encode(), seed=seed, job=_NO_JOB, replicas=1)
        self._backend.launch(self._context, [launch])

    def states(self, launches: Iterable[str]) -> dict[str, Said]:
        """Return what became of launches; a worker that should run and does not is started."""
        found = self._backend.status(self._context, list(launches))
        return {key: Said(state=it.state.value, reason=it.reason, code=it.code) for key, it in found.items()}

    def known(self) -> set[str]:
        """Return the launches that this node has and that were not forgotten."""
        waiting = layout.launches_in(os.listdir(self.home.spool / layout.INBOX))
        claimed = {name for name in os.listdir(self.home.spool / layout.CLAIMS) if layout.is_launch_key(name)}
        names = os.listdir(self.home.spool / layout.REFUSED)
        return waiting | claimed | {launch for name in names if (launch := layout.launch_of_reason(name))}

    def cancel(self, text: str) -> None:
        """Stop what a list of cancellations names."""
        listed = cancellations.read(text.encode(), self.known())
        if listed:
            self._backend.cancel(self._context, listed)

    def forget_later(self, keys: Iterable[str]) -> None:
        """Stop launches that go on, and remember to forget all of them when they are over."""
        mine = [key for key in keys if layout.is_launch_key(key)]
        known = self.known()
        self._backend.cancel(self._context, {key: None for key in mine if key in known})
        later = sorted({*self.later(), *mine})
        atomic.write(self._later_file, msgjson.encode(later), mode=0o600)

    def later(self) -> list[str]:
        """Return the launches that are to be forgotten."""
        try:
            return msgjson.decode(careful.read(self._later_file, 64 << 20), type=list[str])
        except (OSError, DecodeError):
            return []

    def forget_due(self) -> set[str]:
        """Forget what is to be forgotten and is over; return what is still to be."""
        keys = self.later()
        if not keys:
            return set()
        states = self._backend.status(self._context, keys)
        over = [key for key in keys if states[key].state not in _GOING_ON]
        self._backend.forget(self._context, over)
        left = [key for key in keys if states[key].state in _GOING_ON]
        if left != keys:
            atomic.write(self._later_file, msgjson.encode(left), mode=0o600)
        return set(left)

    def expire(self, keys: Iterable[str]) -> None:
        """Drop what keeps launches from being run again."""
        self._backend.expire(self._context, [key for key in keys if layout.is_launch_key(key)])

    def remove(self, replicas: Iterable[str]) -> None:
        """Remove work folders."""
        self._backend.remove(self._context, [name for name in replicas if _is_replica(name)])

    def discard(self, segments: Iterable[str], covered: float) -> None:
        """Take report segments away that the coordinator took in; `covered` as `Retained.prune` has it."""
        self.retained.retire([name for name in segments if layout.is_segment(name)])
        self.retained.prune(self.known(), covered)


def _is_replica(name: str) -> bool:
    from nexapod_batch.model.replica import ReplicaName  # noqa: PLC0415 - with the first removal

    try:
        return str(ReplicaName.parse(name)) == name
    except ValueError:
        return False

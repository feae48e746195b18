"""Nodes that joined, played by a test: a real coordinator's home and mailbox, and whatever a hostile agent would say."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from forging import line_of
from msgspec import json as msgjson
from profiles import profile

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.coordinator.nodes import joining
from nexapod_batch.mesh.commitment import commitments_to
from nexapod_batch.mesh.delegating import delegation_message, opened_bundle
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import Lines, Registration, WorkCall
from nexapod_batch.model.hardware import Offer
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.possession import combined, key_for, tags_of
from nexapod_batch.trust.profile import seal_offer
from nexapod_batch.trust.statement import Outcome, Statement, Subject, vote_of_subjects

if TYPE_CHECKING:
    from pathlib import Path

    from homes import Home

__all__ = ["Given", "JoinedNode", "registration"]


class Given(NamedTuple):
    """A replica that a node was given."""

    name: ReplicaName
    nonce: str
    job_uuid: str
    document: bytes
    key: Signer  # of its launch


def registration(name: str, signer: Signer, **changes: Any) -> Registration:
    """Return what a machine says of itself when it joins."""
    offer = seal_offer(signer, Offer(profile=profile(), gpus=()))
    fields: dict[str, Any] = {
        "public_key": signer.public.hex(), "name": name, "profile": offer.decode(), "tier": "cpu", "cpus": 4,
        "mem_mib": 4000, "folder": f"/nowhere/{name}", "owner": f"owner of {name}", **changes,
    }  # fmt: skip
    return Registration(**fields)


class JoinedNode:
    """A node of a home that says what the test wants."""

    def __init__(self, home: Home, name: str, address: str = "", *, approved: bool = True, **changes: Any) -> None:
        """Join at once, as with a token, from an address: without one from a network of its own; `approved`: its owner."""
        self.name, self.signer = name, Signer.from_seed(hashlib.sha256(name.encode()).digest())
        self._paths = Paths.of(home.path)
        with open_coordinator(self._paths) as c:
            address = address or f"10.{self.signer.public[0]}.{self.signer.public[1]}.1"
            joining.join(c, registration(name, self.signer, **changes), address, trusted=True, approved=approved)
            self.coordinators = {c.signer.key_id: c.signer.public}
        self.box = Mailbox(self._paths.spool(name))

    def take(self) -> list[Given]:
        """Acknowledge every launch that waits; return the replicas of them."""
        found: list[Given] = []
        for message in self.box.look():
            if message.bundle is None:
                continue
            opened = opened_bundle(message.bundle.envelope.encode(), self.coordinators, self.signer.key_id)
            seed = bytes.fromhex(message.bundle.seed)
            signed = self.signer.sign(delegation_message(opened, seed)).hex()
            self.say(acknowledged=(message.name,), delegations={opened.launch: signed})
            found += [
                Given(ReplicaName(opened.job_id, one.task, one.number), one.nonce, opened.job_uuid, opened.document,
                      Signer.from_seed(seed))
                for one in opened.replicas
            ]  # fmt: skip
        return found

    def say(self, **changes: Any) -> None:
        """Call the coordinator."""
        call = WorkCall(poll=os.urandom(16).hex(), folder=f"/nowhere/{self.name}", **changes)
        self.box.take(call, self.signer.public, self.coordinators, time.time())

    def statement(self, given: Given, outputs: dict[str, bytes], **changes: Any) -> Statement:
        """Return what an honest runner would sign of a replica that wrote these outputs and nothing to its logs."""
        subjects = tuple([Subject(n, hashlib.sha256(data).hexdigest(), None, len(data)) for n, data in sorted(outputs.items())])
        job = msgjson.decode(given.document)
        now, empty = int(time.time() * 1000), hashlib.sha256(b"").hexdigest()
        key = key_for(given.nonce, self.signer.key_id)
        tag = combined((name, tags_of([key], [data])[1][0]) for name, data in outputs.items())
        fields: dict[str, Any] = {
            "job_uuid": given.job_uuid, "job_digest": hashlib.sha256(given.document).hexdigest(), "replica": given.name,
            "nonce": given.nonce, "agree": job["quorum"]["agree"], "distinct": tuple(job["quorum"]["distinct"]),
            "backend": "agent", "native_id": "", "host": self.name, "isolation": "none", "classes": {},
            "outcome": Outcome.OK, "detail": "", "exit_code": 0, "wall_ms": 1, "cpu_ms": 1, "max_rss_kib": 1,
            "output_bytes": sum(map(len, outputs.values())), "started_ms": now, "finished_ms": now,
            "builder": self.signer.key_id, "subjects": subjects, "manifest": False, "inputs": (),
            "stdout_sha256": empty, "stderr_sha256": empty, "vote": vote_of_subjects(subjects), "possession": tag,
        }  # fmt: skip
        if "subjects" in changes:
            fields["vote"] = vote_of_subjects(changes["subjects"])
        return Statement(**{**fields, **changes})

    def report(self, given: Given, said: Statement, *, committed: Statement | None = None, carried: str = "") -> None:
        """Commit to one statement, the same unless another is given, and report; `carried` is JSON of files."""
        line = line_of(given.key, said)
        bound = line if committed is None else line_of(given.key, committed)
        self.say(committed=commitments_to([bound]))
        self.send(line, carried)

    def send(self, line: bytes, carried: str = "") -> None:
        """Send a report line without a commitment, in a segment of its own."""
        if carried:
            line = line[:-1] + f', "carried": {carried}}}'.encode()
        segment = f"{os.urandom(16).hex()}.jsonl"
        self.say(lines=(Lines(segment=segment, at=0, text=line.decode() + "\n"),))

    def bring(self, replica: str, outputs: dict[str, bytes]) -> None:
        """Send the files of a replica that the coordinator asked for."""
        folder: Path = self.box.spool / "blobs"
        digests = {}
        for name, data in outputs.items():
            digests[name] = hashlib.sha256(data).hexdigest()
            (folder / digests[name]).write_bytes(data)
        self.say(brought={replica: digests})

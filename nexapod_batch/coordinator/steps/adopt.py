"""Adoption: launches that nodes hold and this database never heard of, as after a takeover from an older copy.

The bundle says what was asked, signed by this coordinator's key; the node signed for the key of the launch. So rows
can be written as they were, with the same names. The server has verified both before it keeps what a node holds.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch import log
from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.context import account
from nexapod_batch.errors import NexapodError, VerificationError
from nexapod_batch.files import careful
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.mesh import holding
from nexapod_batch.mesh.messages import Held
from nexapod_batch.model.document import from_document
from nexapod_batch.store.repositories.replicas import NewReplica
from nexapod_batch.trust.bundle import encode_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.replica import Bundle

__all__ = ["adopt"]


def adopt(c: Coordinator) -> list[Path]:
    """Take in the launches that nodes brought along, in the caller's transaction; return the files to remove after it.

    Whoever reads commitments or reports calls this when it has read them: what a node holds, the server keeps first.
    """
    files = holding.kept(c.paths.home / "spool")
    if not files:
        return []
    by_key = {node.key_id: node for node in c.nodes() if node.joined}
    for path in files:
        with suppress(OSError, DecodeError):
            held = msgjson.decode(careful.read(path, holding.MAX_HELD), type=Held)
            try:
                _adopt(c, by_key, held)
            except NexapodError as error:
                log.warning(__name__, "a launch cannot be adopted", launch=held.launch, error=error.one_line)
    return files


def _adopt(c: Coordinator, nodes: dict[str, Node], held: Held) -> None:
    """Write the rows of one launch, unless they are there.

    Raises:
        VerificationError: Its node is not here, or something else has a name that it needs.

    """
    if c.store.launches.of(held.launch) is not None:
        return
    bundle = holding.opened(held, own_key.not_revoked(c.store, c.signer)).bundle
    node = nodes.get(bundle.audience)
    if node is None:
        raise VerificationError("the bundle is for a node that is not here", got=bundle.audience)
    with c.store.atomic():
        _find_job(c, bundle)
        _check_free(c, bundle)
        _insert(c, node, bundle, held)


def _find_job(c: Coordinator, bundle: Bundle) -> None:
    """Make sure that the job of a bundle is here, under its number.

    Raises:
        VerificationError: Another job has its number.

    """
    known = c.store.views.job_of_uuid(bundle.job_uuid)
    if known == bundle.job_id:
        return
    if known is not None or c.store.jobs.document(bundle.job_id) is not None:
        raise VerificationError("another job has the number of the bundle's", got=bundle.job_id)
    job, digest = from_document(json.loads(bundle.document)), hashlib.sha256(bundle.document).hexdigest()
    number = c.store.jobs.insert(
        uuid=bundle.job_uuid, name=job.name, user=account(), foreign=bundle.foreign, digest=digest,
        folder=str(c.paths.home), priority=job.schedule.priority, held=job.schedule.hold,
        max_running=job.array.max_running if job.array else None, now=c.now(), n_tasks=job.n_tasks,
    )  # fmt: skip
    c.store.jobs.renumber(number, bundle.job_id)
    c.store.jobs.insert_document(bundle.job_id, bundle.document)
    quorum = job.quorum
    said = event(
        Kind.SUBMITTED, c.now(), id=f"{bundle.job_id}", uuid=bundle.job_uuid, tasks=job.n_tasks,
        policy=quorum.policy.value, replicas=quorum.replicas, agree=quorum.agree, sha256=digest_of(bundle.document),
    )  # fmt: skip
    c.store.ledger.note_submitted(bundle.job_id, c.store.ledger.append([said]))
    c.store.tasks.insert(bundle.job_id, job.task_indexes(), quorum.replicas)


def _check_free(c: Coordinator, bundle: Bundle) -> None:
    """Raise VerificationError where another replica has the name of one of the bundle."""
    named = {(one.task, one.number) for one in bundle.replicas}
    rows = c.store.replicas.of_tasks(bundle.job_id, sorted({task for task, _ in named}))
    for row in rows:
        if (row.task, row.number) in named:
            got = f"{bundle.job_id}_{row.task}.{row.number}"
            raise VerificationError("another replica has the name of one of the bundle's", got=got)


def _insert(c: Coordinator, node: Node, bundle: Bundle, held: Held) -> None:
    now, job = c.now(), c.job(bundle.job_id)
    launch = c.store.launches.insert(
        key=bundle.launch, node=node.id, job=bundle.job_id, host_set=-1, envelope=held.envelope.encode(), now=now
    )
    c.store.launches.insert_delegation(
        launch, seed=None, key_id=node.key_id, not_after=bundle.not_after, payload=held.delegation.encode(),
        signature=bytes.fromhex(held.signature),
    )  # fmt: skip
    c.store.launches.hand_over([(bundle.launch, bundle.launch)])
    said = event(
        Kind.PLACED, now, id=f"{bundle.job_id}", launch=bundle.launch, node=node.name,
        replicas=len(bundle.replicas), sha256=digest_of(encode_bundle(bundle)),
    )  # fmt: skip
    placed = c.store.ledger.append([said])
    deadline = now + job.quorum.deadline_s * 1000
    c.store.tasks.placed(bundle.job_id, [(one.task, 1, None) for one in bundle.replicas])
    c.store.replicas.insert([
        NewReplica(bundle.job_id, one.task, one.number, node.id, launch, one.nonce, now, deadline, placed)
        for one in bundle.replicas
    ])

"""The beginning of a ledger: whose it is, and what the database knew before it had one.

What is taken in stands there as `imported`: that it was known when the ledger began, and nothing about the order in
which it happened.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.ledger.events import Kind, encoded_digest, event, imported

if TYPE_CHECKING:
    from nexapod_batch.store import Store
    from nexapod_batch.store.repositories.ledger import Appending
    from nexapod_batch.trust.dsse import Signer

__all__ = ["begin", "origin_of"]


def origin_of(key: str) -> str:
    """Return the name of a coordinator's ledger: no other key's has it."""
    return "nexapod-batch/" + hashlib.sha256(key.encode()).hexdigest()[:32]


def begin(store: Store, signer: Signer, now: int) -> None:
    """Begin the ledger of a database that has none, with all that the database knows, in one transaction."""
    with store.atomic():
        if store.ledger.size():  # another process was faster
            return
        with store.ledger.appending() as entries:
            entries.add(event(Kind.BEGAN, now, origin=origin_of(signer.key_id), key=signer.key_id))
            _nodes(store, entries, now)
            _jobs(store, entries, now)
            _launches(store, entries, now)
            _reports(store, entries, now)
            _verdicts(store, entries, now)
    known = store.ledger.size() - 1
    if known:
        log.warning(__name__, "the ledger begins with what the database knew already, as imported", entries=known)


def _nodes(store: Store, entries: Appending, now: int) -> None:
    for row in store.nodes.all():
        for key in store.nodes.keys(row.id):
            entries.add(
                imported(
                    Kind.REGISTERED, now, key.since, node=row.name, key=key.key_id, owner=row.owner, site=row.site
                )
            )


def _jobs(store: Store, entries: Appending, now: int) -> None:
    for job in store.ledger.known_jobs():
        digest = encoded_digest(bytes.fromhex(job.digest))
        fact = imported(
            Kind.SUBMITTED, now, job.created_at, id=f"{job.id}", uuid=job.uuid, tasks=job.n_tasks, sha256=digest
        )
        store.ledger.note_submitted(job.id, entries.add(fact))


def _launches(store: Store, entries: Appending, now: int) -> None:
    placed = []
    for launch in store.ledger.known_launches():
        fact = imported(
            Kind.PLACED, now, launch.created_at, id=f"{launch.job_id}", launch=launch.key, node=launch.node,
            replicas=launch.replicas,
        )  # fmt: skip
        placed.append((entries.add(fact), launch.id))
    store.ledger.note_placed(placed)


def _reports(store: Store, entries: Appending, now: int) -> None:
    committed = []
    for report in store.ledger.known_reports():
        name = f"{report.job_id}_{report.task}.{report.number}"
        fact = imported(Kind.REPORT, now, report.received_at, id=name, sha256=encoded_digest(report.payload_sha256))
        committed.append((entries.add(fact), report.replica_id))
    store.ledger.note_committed(committed)


def _verdicts(store: Store, entries: Appending, now: int) -> None:
    verdicts, shown = [], []
    for verdict in store.ledger.known_verdicts():
        name = f"{verdict.job_id}_{verdict.idx}"
        fact = imported(
            Kind.VERDICT, now, verdict.since, id=name, state=verdict.state, agree=verdict.agree, basis=verdict.basis,
        )  # fmt: skip
        verdicts.append((entries.add(fact), verdict.job_id, verdict.idx))
        if verdict.published_from is not None:
            fact = imported(Kind.PUBLISHED, now, verdict.since, id=name, replica=verdict.published_from)
            shown.append((entries.add(fact), verdict.job_id, verdict.idx))
    store.ledger.note_verdicts(verdicts)
    store.ledger.note_shown(shown)

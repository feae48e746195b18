"""Proofs that what an export holds stands in the ledger, all against one signed head.

With them a folder cannot leave out what the ledger has: each task that has ended needs the proof of its latest verdict,
whose entry names the SHA-256 of what was signed, and each statement and publication that of its own.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.evidence.export_format import (
    CHECKPOINT,
    LEDGER_KEY,
    job_proof,
    judged_proof,
    publication_proof,
    statement_proof,
    verdict_proof,
)
from nexapod_batch.coordinator.steps.heads import key_of_head, signed_head
from nexapod_batch.coordinator.verification.ledger import since
from nexapod_batch.errors import NotFoundError, VerificationError
from nexapod_batch.ledger.checkpoint import Proof, head_of
from nexapod_batch.ledger.events import encoded_digest
from nexapod_batch.ledger.note import parse
from nexapod_batch.ledger.tree import inclusion_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.note import Note

__all__ = ["first_head", "head_for", "ledger_files"]

#: Nodes of the tree that are kept while proofs are made.
_NODES = 1 << 16


def head_for(c: Coordinator, kept: str | None = None, source: str = "") -> Note:
    """Return the head that proofs are made against: one that was kept, with its cosignatures, or the newest.

    Raises:
        NotFoundError: The ledger is empty.
        VerificationError: What was kept is no head of this ledger, or one that it does not continue.

    """
    size = c.store.ledger.size()
    if not size:
        raise NotFoundError("the ledger is empty", hint="it begins with the next nexapod-batch reconcile or submit")
    if kept is None:
        return signed_head(c, size)
    head = since(c, kept, source).head
    if head.size > size or c.store.ledger.root(head.size) != head.root:
        raise VerificationError(
            "the ledger does not continue that head", got=f"a head of {head.size} entries",
            hint=f"nexapod-batch ledger verify --since {source} says more",
        )  # fmt: skip
    return parse(kept)


def first_head(c: Coordinator, job_id: int, tasks: Collection[int]) -> Note:
    """Return the head of the first entries that hold every fact of some tasks: the same whenever it is asked for.

    It reaches to where the coordinator's key begins, which signs no head from before.

    Raises:
        NotFoundError: The ledger has none of them.

    """
    entries = [entry for _, entry in _entries(c, job_id, tasks)]
    if not entries:
        raise NotFoundError(f"the ledger has nothing of job {job_id}", hint="nexapod-batch reconcile begins it")
    since = own_key.holders(c.store, c.signer)[-1].since
    return signed_head(c, max(*entries, since) + 1)


def ledger_files(c: Coordinator, job_id: int, tasks: Collection[int], head: Note) -> Iterator[tuple[str, bytes]]:
    """Yield name and content: the head, the key that signed it, and the proof of each fact of some tasks of a job.

    VerificationError where the head is older than one of these facts.
    """
    yield CHECKPOINT, str(head).encode()
    yield LEDGER_KEY, f"{key_of_head(c, head)}\n".encode()
    node = lru_cache(maxsize=_NODES)(c.store.ledger.node)  # proofs of neighbours have most of them in common
    for name, entry in _entries(c, job_id, tasks):
        yield name, str(_proof(c, entry, head, node)).encode()


def _entries(c: Coordinator, job_id: int, tasks: Collection[int]) -> Iterator[tuple[str, int]]:
    """Yield the name of each proof, and the entry that it proves; nothing for what the ledger does not have."""
    ledger = c.store.ledger
    submitted = ledger.of_job(job_id)
    if submitted is not None:
        yield job_proof(), submitted
    for task, (decided, shown) in ledger.of_tasks(job_id).items():
        if task in tasks and decided is not None:
            yield verdict_proof(job_id, task), decided
        if task in tasks and shown is not None:
            yield publication_proof(job_id, task), shown
    yield from _judged_entries(c, job_id, tasks)
    yield from _statement_entries(c, job_id, tasks)


def _statement_entries(c: Coordinator, job_id: int, tasks: Collection[int]) -> Iterator[tuple[str, int]]:
    """Yield the same of the statements."""
    ledger = c.store.ledger
    first = ledger.of_reports(job_id)
    counts = dict.fromkeys(first, 0)
    for task, number, digest in c.store.verdicts.statements(job_id, sorted(tasks)):
        committed = first.get((task, number))
        if committed is None:
            continue
        counts[task, number] += 1
        entry: int | None = committed
        if counts[task, number] > 1:
            entry = ledger.entry_after(committed, encoded_digest(digest))
        if entry is not None:
            yield statement_proof(job_id, task, number, counts[task, number]), entry


def _judged_entries(c: Coordinator, job_id: int, tasks: Collection[int]) -> Iterator[tuple[str, int]]:
    """Yield the same of the verdicts under other rules."""
    counts: Counter[int] = Counter()
    for entry, task, _ in c.store.views.judged(job_id, min(tasks, default=0), max(tasks, default=0)):
        if task in tasks:
            counts[task] += 1
            yield judged_proof(job_id, task, counts[task]), entry


def _proof(c: Coordinator, entry: int, head: Note, node: Callable[[int, int], bytes]) -> Proof:
    size, ledger = head_of(head).size, c.store.ledger
    if entry >= size:
        raise VerificationError(
            "that head is older than what is to be proved", got=f"a head of {size} entries",
            wanted=f"one of more than {entry}", hint="have a newer one cosigned: nexapod-batch ledger head",
        )  # fmt: skip
    (content,) = ledger.entries(entry, entry + 1)
    return Proof(entry, tuple(inclusion_proof(entry, size, node)), head, content)

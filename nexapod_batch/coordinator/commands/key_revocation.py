"""`key revoke`: what a key signed counts no longer from an entry of the ledger on.

Order comes from the ledger, not from clocks: a report counts if its entry is before that one. Reports of a node's key
that do not count are withdrawn, so that what rests on them is in doubt, and what is open is placed anew. Verdicts that
the coordinator signed since then are worked out again and, where they hold, signed with the key that it has now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_again, stored_verdicts
from nexapod_batch.coordinator.nodes.keys import is_removed
from nexapod_batch.coordinator.nodes.registry import named
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.queries.keys import COORDINATOR, HeldKey, held_keys, keys_named
from nexapod_batch.coordinator.steps.decide import decide_news
from nexapod_batch.coordinator.steps.heads import sign_news
from nexapod_batch.coordinator.verification.job_evidence import verify
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.store import writer
from nexapod_batch.trust.dsse import pae
from nexapod_batch.trust.verdict import VERDICT_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["Revoked", "revoke"]


class Revoked(NamedTuple):
    """What a revocation came to."""

    holder: str  # `coordinator`, or the name of a node
    key_id: str
    since: int  # entry of the ledger
    withdrawn: tuple[str, ...] = ()  # tasks of which reports count no longer
    stopped: int = 0  # replicas that were under way, and are placed anew
    doubted: tuple[str, ...] = ()  # accepted tasks whose quorum is no longer met
    signed_anew: int = 0  # verdicts
    unsigned: tuple[str, ...] = ()  # tasks whose verdicts do not hold when they are worked out again


def revoke(c: Coordinator, name: str, since: int) -> Revoked:
    """Let nothing count that a key signed for entries of the ledger from `since` on.

    `name` is a fingerprint, or whose key it is where one was replaced.

    Raises:
        NotFoundError: There is no such key.
        UsageError: The key is in use, is revoked already, or there is no such entry.

    """
    with writer(c.store, wait_s=PATIENCE_S):
        c.follow_key()
        key = _chosen(c, name)
        _check(c, key, since)
        withdraw = _of_coordinator if key.of == COORDINATOR else _of_node
        done = withdraw(c, key, since)
        sign_news(c)
    log.warning(__name__, "key revoked", of=done.holder, key=done.key_id, since=since, withdrawn=len(done.withdrawn))
    return done


def _chosen(c: Coordinator, name: str) -> HeldKey:
    """Return the key that is meant: by its fingerprint, or the only one of a holder that could be."""
    found = keys_named(held_keys(c), name)
    if len(found) == 1:
        return found[0]
    replaced = [key for key in found if not key.in_use and key.revoked is None]
    if len(replaced) == 1:
        return replaced[0]
    wanted = ", ".join(key.key_id for key in replaced or found)
    raise UsageError(f"{name} has had several keys", wanted=f"one of: {wanted}", hint=f"nexapod-batch key show {name}")


def _check(c: Coordinator, key: HeldKey, since: int) -> None:
    """Raise UsageError where the key cannot be revoked since this entry."""
    if key.in_use:
        _is_out_of_use(c, key)
    size = c.store.ledger.size()
    if not 0 <= since < size:
        hint = "nexapod-batch ledger log shows what happened when"
        raise UsageError("there is no such entry in the ledger", got=since, wanted=f"0 to {size - 1}", hint=hint)
    if key.revoked is not None and key.revoked <= since:
        raise UsageError("the key is revoked already", got=f"since {since}", wanted=f"before {key.revoked}")
    if key.of == COORDINATOR and key.until is not None and since >= key.until:
        raise UsageError("the key signed nothing from there on", got=since, wanted=f"less than {key.until}")


def _is_out_of_use(c: Coordinator, key: HeldKey) -> None:
    """Raise UsageError for the key of somebody who still signs with it."""
    hint = f"first give {key.name} another key: nexapod-batch key rotate {key.name}"
    if key.of != COORDINATOR:
        node = named(c, key.name)
        if is_removed(c, node) or (node.joined and not node.active):
            return
        if node.joined:  # its key is not here
            hint = f"first: nexapod-batch node drain {key.name}"
    raise UsageError(
        f"{key.key_id} is the key that {key.name} signs with", wanted="one that was replaced", hint=hint
    )


def _append(c: Coordinator, node: str, key: HeldKey, since: int) -> int:
    return c.store.ledger.append([event(Kind.REVOKED, c.now(), node=node, key=key.key_id, entry=since)])


def _of_node(c: Coordinator, key: HeldKey, since: int) -> Revoked:
    """Withdraw what rests on a key of a node, and decide anew."""
    node = named(c, key.name)
    reason = Reason(code=Code.KEY_REVOKED, parameters={"entry": since})
    with c.store.atomic():
        _append(c, node.name, key, since)
        c.store.nodes.revoke_key(key.key_id, since)
        withdrawn = c.store.launches.revoke_reports(node.id, key.key_id, since=since, reason=reason.stored())
        stopped = _stop(c, c.store.launches.of_key(key.key_id), reason)
        c.store.tasks.note_news(sorted(set(withdrawn)))
    decide_news(c, Faults())
    tasks = sorted(set(withdrawn))
    doubted = [f"{job}_{task}" for job, task in tasks if c.store.tasks.get(job, task).doubt]
    names = tuple(f"{job}_{task}" for job, task in tasks)
    return Revoked(node.name, key.key_id, since, names, stopped, tuple(doubted))


def _stop(c: Coordinator, launches: Sequence[int], reason: Reason) -> int:
    """Give up what is under way of some launches, inside the caller's transaction; return how many replicas."""
    stopped = 0
    for launch in launches:
        c.store.replicas.owe_stops([row.id for row in c.store.launches.replicas_out(launch)])
        tasks = c.store.launches.lose(launch, execution=Execution.LOST.value, reason=reason.stored(), now=c.now())
        c.store.tasks.note_news(sorted(set(tasks)))
        stopped += len(tasks)
    return stopped


def _of_coordinator(c: Coordinator, key: HeldKey, since: int) -> Revoked:
    """Sign anew what holds of what was signed with a key of the coordinator, and place anew what it placed."""
    until = c.store.ledger.size() if key.until is None else key.until
    tasks = c.store.verdicts.between(since, until)
    faulty = {name for job in sorted({job for _, job, _ in tasks}) for name in _faulty(c, job)}
    reason = Reason(code=Code.KEY_REVOKED, parameters={"entry": since})
    signed = 0
    with c.store.atomic():
        confirmed = _append(c, "", key, since)
        c.store.operations.revoke_coordinator_key(key.key_id, since)
        stopped = _stop(c, c.store.launches.placed_between(since, until), reason)
        for entry, job, task in tasks:
            if f"{job}_{task}" not in faulty:
                kept = stored_verdicts(c, job, task) + stored_again(c, job, task)
                (payload,) = [verdict.payload for verdict in kept if verdict.entry == entry]
                signature = c.signer.sign(pae(VERDICT_TYPE, payload))
                c.store.verdicts.confirm(entry, confirmed, signature)
                signed += 1
    decide_news(c, Faults())
    unsigned = sorted({f"{job}_{task}" for _, job, task in tasks} & faulty)
    return Revoked(COORDINATOR, key.key_id, since, stopped=stopped, signed_anew=signed, unsigned=tuple(unsigned))


def _faulty(c: Coordinator, job: int) -> set[str]:
    """Return the tasks of a job whose verdicts or statements do not hold; all of them where the job does not."""
    try:
        evidence = verify(c, job, files=False)
    except NotFoundError:  # nothing of it was ever reported
        return set()
    bad = {check["of"].partition(".")[0] for check in evidence.checks if not check["ok"]}
    if f"{job}" in bad:
        bad |= {f"{job}_{task.idx}" for task in c.store.tasks.after(job, -1, c.store.jobs.get(job).n_tasks)}
    return bad

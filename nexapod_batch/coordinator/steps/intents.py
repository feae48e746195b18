"""The intents of launches: their rows with the sealed bundle, written before a backend hears of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.coordinator.nodes.keys import delegate
from nexapod_batch.coordinator.placement.task_files import paths_of
from nexapod_batch.coordinator.steps.continuations import by_task
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.model.replica import Assignment, Bundle, ReplicaName
from nexapod_batch.store.repositories.replicas import NewReplica
from nexapod_batch.trust.bundle import BUNDLE_TYPE, encode_bundle
from nexapod_batch.trust.delegation import Delegation
from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.steps.continuations import GoingOn
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.jobs import JobRow

__all__ = ["Ready", "write_intents"]

#: Replicas in one bundle, at most: what one crash of a runner can lose.
BUNDLE_MAX = 64


class Ready(Struct, frozen=True):
    """What a backend says of replicas that are about to be placed on its node."""

    inputs: Mapping[str, str]  # where its runners find inputs and image
    launch_size: int  # replicas in one launch


def _shares(tasks: Sequence[int], size: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield what each launch holds, after how many others: two replicas of one task never share a launch.

    Launches of the same tasks follow each other, so that a task is decided, and its results are there, long before the
    job ends, and mostly in the pass in which its first report came.
    """
    rounds: list[list[int]] = []
    seen: Counter[int] = Counter()
    for task in tasks:
        if seen[task] == len(rounds):
            rounds.append([])
        rounds[seen[task]].append(task)
        seen[task] += 1
    before = 0
    for start in range(0, len(tasks), size):
        for one in rounds:
            share = one[start : start + size]
            if share:
                yield before, share
                before += len(share)


def write_intents(
    c: Coordinator, row: JobRow, job: Job, node: Node, tasks: Sequence[int], numbers: dict[int, Iterator[int]],
    ready: Ready, host_set: int, states: Sequence[GoingOn],
) -> list[int]:  # fmt: skip
    """Write launch and replica rows for one node; return the launches' row ids. `states` are those gone on from.

    Raises:
        LookupError: The job has no document.

    """
    size = max(1, min(BUNDLE_MAX, ready.launch_size))
    document = c.store.jobs.document(row.id)
    if document is None:
        msg = f"job {row.id} has no document"
        raise LookupError(msg)
    launches: list[int] = []
    begun: list[tuple[ReplicaName, GoingOn]] = []
    nonces = c.random(16 * len(tasks)).hex()
    going = by_task(states)
    for start, members in _shares(tasks, size):
        assignments = []
        for position, task in enumerate(members, start):
            nonce = nonces[32 * position : 32 * position + 32]
            assignment = Assignment(task, next(numbers[task]), nonce, job.parameters(task))
            if going.get(task):
                state = going[task].pop()
                assignment = assignment._replace(continues=state.continues)
                begun.append((ReplicaName(row.id, task, assignment.number), state))
            assignments.append(assignment)
        launches.append(_intent(c, row, job, node, document, assignments, ready, host_set))
    for name, state in begun:
        c.store.continuations.insert(name, state.before, state.continues)
    return launches


def _intent(
    c: Coordinator, row: JobRow, job: Job, node: Node, document: bytes, assignments: Sequence[Assignment],
    ready: Ready, host_set: int,
) -> int:  # fmt: skip
    """Write the rows of one launch, with its sealed bundle and what its key may say; return the launch's row id."""
    now, tasks = c.now(), [assignment.task for assignment in assignments]
    deadline = now + job.quorum.deadline_s * 1000
    key, seed = c.random(16).hex(), c.random(KEY_BYTES)
    subkey = Signer.from_seed(seed)
    bundle = Bundle(
        launch=key, audience=node.key_id, not_after=deadline // 1000, job_id=row.id, job_uuid=row.uuid,
        document=document, input_paths=paths_of(job, tasks, ready.inputs, _states(assignments)),
        replicas=tuple(assignments),
        subkey=subkey.key_id, foreign=row.foreign or node.joined,
    )  # fmt: skip
    payload = encode_bundle(bundle)
    envelope = seal(c.signer, BUNDLE_TYPE, payload)
    launch = c.store.launches.insert(key=key, node=node.id, job=row.id, host_set=host_set, envelope=envelope, now=now)
    delegation = Delegation(
        node=node.key_id, subkey=subkey.public, launch=key, job=row.digest, not_after=bundle.not_after,
        nonces=tuple([assignment.nonce for assignment in assignments]),
    )  # fmt: skip
    delegate(c, node, launch, delegation, seed)
    placed = c.store.ledger.append([_event(bundle, node, payload, now)])
    rows = [
        NewReplica(row.id, replica.task, replica.number, node.id, launch, replica.nonce, now, deadline, placed)
        for replica in assignments
    ]
    c.store.replicas.insert(rows)
    return launch


def _states(assignments: Sequence[Assignment]) -> list[str]:
    """Return the SHA-256 of every file from which one of these goes on."""
    return [sha256 for one in assignments if one.continues is not None for _, sha256 in one.continues.files]


def _event(bundle: Bundle, node: Node, payload: bytes, now: int) -> bytes:
    return event(
        Kind.PLACED, now, id=f"{bundle.job_id}", launch=bundle.launch, node=node.name, replicas=len(bundle.replicas),
        sha256=digest_of(payload),
    )  # fmt: skip

"""Tasks of which all replicas reported the same are decided like one of them: exactly as each would be by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.context import Coordinator
from nexapod_batch.coordinator.steps.alike import likeness
from nexapod_batch.coordinator.steps.judging import Judge
from nexapod_batch.coordinator.steps.votes import Places
from nexapod_batch.model.job import Domain, Isolation, Job, NumericClass, QuorumPolicy, Tier
from nexapod_batch.model.node import Node
from nexapod_batch.store import Store
from nexapod_batch.store.repositories.replicas import VotingReplica
from nexapod_batch.store.repositories.tasks import UndecidedTask
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from nexapod_batch.coordinator.evidence.signed_verdicts import Reached, Signing
    from nexapod_batch.coordinator.steps.judgement import Judgement

NODES = {
    number: Node(
        id=number, name=f"n{number}", key_id=f"k{number}", public_key=b"", site=site, owner=owner, host=host,
        tier=Tier.HPC, backend="local", cpus=1, mem_mib=1, made_by=made_by,
    )
    for number, (site, owner, host, made_by) in enumerate(
        [("local", "o", "h", ""), ("local", "o", "h", "a"), ("far", "o", "g", "a"), ("farther", "p", "f", "")], start=1
    )
}  # fmt: skip
#: What a replica may be otherwise than one that reported what the others did.
CHANGES: dict[str, list[Any]] = {
    "execution": ["reported", "errored", "lost", "running", "submitted", "cancelled"], "voided": [False, True],
    "validation": ["pending", "unneeded", "valid"], "isolation": ["", "none", "files", "container"],
    "numeric_class": ["", "zen2", "zen3"], "host": ["", "h", "h2"], "failure": ["", "failed:7"],
    "machine": ["", "b1,m1,1,2", "b1,m1,1,90000", "b1,m2,3,4", "b2,m1,100000,900000"], "vote": [b"1" * 32, b"2" * 32],
    "reason": ["", '{"code":"replica.signed","parameters":{"text":"x"}}'], "node_id": [1, 2, 3, 4], "number": [1, 2, 3, 9],
}  # fmt: skip
COORDINATOR = Coordinator(
    paths=Paths.of(Path("/nowhere")), store=Store.in_memory(), signer=Signer.from_seed(bytes(32)),
    clock=lambda: 1_800_000_000.0,
)  # fmt: skip
jobs = st.builds(
    lambda **policy: Job(name="j", command=("true",), quorum=QuorumPolicy(**policy)),
    agree=st.integers(1, 3), replicas=st.integers(1, 3), max_replicas=st.integers(2, 4),
    distinct=st.sampled_from([(Domain.RUN,), (Domain.NODE,), (Domain.HOST,), (Domain.SITE, Domain.OWNER)]),
    numeric_class=st.sampled_from([NumericClass.ANY, NumericClass.CPU_MICROARCH]),
    min_isolation=st.sampled_from([Isolation.NONE, Isolation.CONTAINER]),
)  # fmt: skip
changes = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(sorted(CHANGES)), st.integers(0, 5)), max_size=2
)


def task_of(number: int, extra: int, numeric_class: str) -> UndecidedTask:
    return UndecidedTask(
        idx=number, state="active", want=0, numeric_class=numeric_class, extra=extra, basis=None, measured=None, doubt=""
    )


def rows(task: int, nodes: list[int], answer: bytes, seen_ms: int) -> list[VotingReplica]:
    """Return replicas that all reported one answer, on one machine."""
    return [
        VotingReplica(
            id=100 * task + number, job_id=1, task=task, number=number, node_id=node, launch_id=1, isolation="none",
            created_at=1, ended_at=seen_ms, host="h", machine=f"b1,m1,1,{seen_ms}", execution="reported",
            validation="pending", voided=False, numeric_class="zen2", vote=answer, reason="", failure="",
        )
        for number, node in enumerate(nodes, start=1)
    ]  # fmt: skip


def changed(replicas: list[VotingReplica], wanted: list[tuple[int, str, int]]) -> list[VotingReplica]:
    """Return the replicas after changes: which one, what of it, and to which of the values."""
    made = list(replicas)
    for at, name, value in wanted:
        values = CHANGES[name]
        made[at % len(made)] = replace(made[at % len(made)], **{name: values[value % len(values)]})
    return made


def judged(
    job: Job, tasks: list[UndecidedTask], replicas: dict[int, list[VotingReplica]], *, placeable: bool
) -> list[tuple[Judgement, Reached | None]]:
    """Return what one judge makes of tasks, one after the other."""
    nothing = cast("Signing", None)  # what is signed afterwards is no part of a decision
    judge = Judge(COORDINATOR, Places(job, NODES), replicas, (), nothing, placeable, tolerant=False)
    return [judge._one(task) for task in tasks]


@settings(max_examples=150, deadline=None)
@given(
    job=jobs, nodes=st.lists(st.sampled_from(sorted(NODES)), min_size=1, max_size=3), first=changes, second=changes,
    extra=st.integers(0, 1), numeric_class=st.sampled_from(["zen2", "zen3"]), placeable=st.booleans(),
)  # fmt: skip
def test_what_is_decided_like_another_is_what_it_would_be_by_itself(
    job: Job, nodes: list[int], first: list[tuple[int, str, int]], second: list[tuple[int, str, int]], extra: int,
    numeric_class: str, placeable: bool,
) -> None:  # fmt: skip
    """A second task with other digests and times, and perhaps other replicas: alike or not, nothing of it changes."""
    tasks = [task_of(7, 0, "zen2"), task_of(8, 0, "zen2"), task_of(9, extra, numeric_class)]
    replicas = {
        7: changed(rows(7, nodes, b"7" * 32, 500), first),
        8: changed(rows(8, nodes, b"8" * 32, 90_000), first),
        9: changed(rows(9, nodes, b"9" * 32, 70_000), second),
    }
    together = judged(job, tasks, replicas, placeable=placeable)
    alone = [judged(job, [task], replicas, placeable=placeable)[0] for task in tasks]
    assert alone == together


def test_equal_reports_are_alike_and_others_are_not() -> None:
    """Digests, times and row ids make no difference; each thing that a decision depends on does."""
    task, plain = task_of(7, 0, "zen2"), rows(7, [1, 2], b"7" * 32, 500)
    same = likeness(task_of(8, 0, "zen2"), rows(8, [1, 2], b"8" * 32, 900))
    assert likeness(task, plain) == same is not None
    assert likeness(task, []) is None
    assert likeness(task_of(7, 1, "zen2"), plain) != same
    assert likeness(task_of(7, 0, "zen3"), plain) != same
    others = {"execution": 1, "voided": 1, "vote": 0, "machine": 4, "isolation": 3, "host": 2, "reason": 1, "node_id": 3}
    alike = [name for name, value in others.items() if likeness(task, changed(plain, [(1, name, value)])) == same]
    assert alike == []


def test_every_field_of_a_replica_is_thought_of() -> None:
    """Likeness compares a field, or knows that no decision on equal reports depends on it: a new one is one or the other."""
    compared = {
        "execution", "voided", "vote", "machine", "number", "node_id", "isolation", "numeric_class", "reason", "failure",
        "host",
    }  # fmt: skip
    names_and_times = {"id", "job_id", "task", "launch_id", "created_at", "ended_at"}
    decided_before = {"validation"}  # of a replica that reported it takes nothing out of the count
    assert set(VotingReplica.__struct_fields__) == compared | names_and_times | decided_before

"""What every database of a coordinator promises, through its repositories alone.

Another kind of database is one more entry of `STORES`. Nothing here knows SQL, and each row that is read is compared
as the typed value that use cases get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.reason import Code, Reason, same
from nexapod_batch.store import Store
from nexapod_batch.store.repositories.launches import LaunchReason
from nexapod_batch.store.repositories.replicas import NewReplica, ReplicaReport
from nexapod_batch.store.repositories.reports import BadLine, NewReport
from nexapod_batch.store.repositories.tasks import TaskDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nexapod_batch.store.repositories.replicas import ReplicaRow


def in_a_file(folder: Path) -> Store:
    """Return a new SQLite database in a file."""
    return Store.open(folder / "state.db", create=True)


def in_memory(_folder: Path) -> Store:
    """Return a new SQLite database that lies nowhere."""
    return Store.in_memory()


STORES: dict[str, Callable[[Path], Store]] = {"sqlite": in_a_file, "sqlite in memory": in_memory}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return an empty store of each kind."""
    with STORES[request.param](tmp_path) as opened:
        yield opened


def add_node(store: Store, name: str = "n", **fields: object) -> int:
    """Register a node; return its id."""
    known: dict[str, object] = {
        "name": name, "key_id": f"key of {name}", "public_key": name.encode().ljust(32), "site": "local", "owner": "me",
        "host": "h", "tier": "cpu", "backend": "local", "cpus": 4, "mem_mib": 1024, "gpus": 0, "gpu_type": None,
        "hosts": 1, "classes": "{}", "max_queued": 9, "made_by": "me",
    }  # fmt: skip
    store.nodes.put(now=1, **{**known, **fields})  # type: ignore[arg-type] # what a test changes has the right type
    (row,) = [row for row in store.nodes.all() if row.name == name]
    return row.id


def add_job(store: Store, tasks: int = 1, want: int = 2, *, foreign: bool = False, body: bytes = b"{}") -> int:
    """Store a job with its tasks; return its id."""
    number = store.jobs.insert(
        uuid=f"uuid {len(store.views.job_ids(0, 1000))}", name="j", user="me", foreign=foreign, digest="0" * 64,
        folder="/", priority=0, held=False, max_running=None, n_tasks=tasks, now=5,
    )  # fmt: skip
    store.jobs.insert_document(number, body)
    store.tasks.insert(number, range(tasks), want)
    return number


def add_launch(store: Store, job: int, node: int, tasks: list[int], number: int = 1) -> int:
    """Store a launch with one replica of each task; return its id."""
    key = f"{job}-{node}-{number}-{tasks[0]}".ljust(32, "k")
    launch = store.launches.insert(key=key, node=node, job=job, host_set=-1, envelope=b"bundle", now=10)
    store.replicas.insert(
        [NewReplica(job, task, number, node, launch, f"{key[:30]}{task:02}", 10, 100, 7) for task in tasks]
    )
    store.tasks.placed(job, [(task, 1, "linux") for task in tasks])
    return launch


def report(replica: ReplicaRow, execution: str = "reported", *, at: int = 20) -> ReplicaReport:
    """Return what a report makes of a replica."""
    return ReplicaReport(
        execution=execution, reason="", failure="", exit_code=0, host="h", machine="m", numeric_class="linux",
        isolation="none", vote=b"v" * 32, wall_ms=1000, cpu_ms=500, max_rss_kib=64, output_bytes=3, gpus=None,
        ended_at=at, cleaned=0, committed=8, id=replica.id,
    )  # fmt: skip


def decision(job: int, task: int, state: TaskState, want: int = 0) -> TaskDecision:
    """Return a decision on a task."""
    return TaskDecision(state.value, want, 2, '{"code":"accepted"}', 0, "rr", None, 9, job, task)


# Transactions --------------------------------------------------------------------------------------------------------


def test_a_transaction_is_kept_whole_or_not_at_all(store: Store) -> None:
    """What happened in several repositories is undone together; an inner one that fails undoes its own part alone."""

    def fail() -> None:
        with store.atomic():
            add_node(store, "lost")
            add_job(store)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (store.nodes.all(), store.jobs.count_open()) == ([], 0)
    with store.atomic():
        add_node(store, "kept")
        with pytest.raises(KeyboardInterrupt):
            fail()
    assert [row.name for row in store.nodes.all()] == ["kept"]
    assert store.jobs.count_open() == 0


# Nodes ---------------------------------------------------------------------------------------------------------------


def test_a_node_keeps_its_key_and_site(store: Store) -> None:
    """Registered again it takes what may change; with another key or site nothing changes."""
    add_node(store, cpus=4)
    add_node(store, cpus=8, owner="you")
    add_node(store, cpus=16, site="elsewhere")
    add_node(store, cpus=16, key_id="another")
    (row,) = store.nodes.all()
    assert (row.cpus, row.owner, row.site, row.key_id, row.first_key) == (8, "you", "local", "key of n", "key of n")
    assert (row.active, row.blame, row.created_at) == (True, 0, 1)


def test_a_node_keeps_its_cluster_and_who_made_its_key(store: Store) -> None:
    """What its scheduler said stays when the site file changes; who made the key is written once."""
    node = add_node(store, made_by="ann")
    (row,) = store.nodes.all()
    assert (row.made_by, row.cluster, row.cluster_at) == ("ann", "", 0)
    store.nodes.put_cluster(node, "slurm:a@b", 7)
    add_node(store, made_by="bob", owner="other")
    (row,) = store.nodes.all()
    assert (row.made_by, row.owner, row.cluster, row.cluster_at) == ("ann", "other", "slurm:a@b", 7)


def test_a_node_is_drained_blamed_and_deleted(store: Store) -> None:
    """Each of these moves exactly the node that is named."""
    one, other = add_node(store, "one"), add_node(store, "other")
    assert store.nodes.activate("one", active=False)
    assert not store.nodes.activate("unknown", active=False)
    store.nodes.blame(other)
    assert [(row.active, row.blame) for row in store.nodes.all()] == [(False, 0), (True, 1)]
    assert not store.nodes.has_run(one)
    store.nodes.delete("one")
    assert [row.id for row in store.nodes.all()] == [other]


def test_a_key_that_was_replaced_is_remembered(store: Store) -> None:
    """The first key comes first, with the time until which it was the node's."""
    node = add_node(store)
    store.nodes.given("key of n", 2)
    store.nodes.replace_key(node, "new", b"2" * 32, now=7, entry=5, rotation=b"signed")
    assert [(key.key_id, key.since, key.until) for key in store.nodes.keys(node)] == [("key of n", 1, 7), ("new", 7, None)]
    assert [(key.entry, key.over, key.rotation) for key in store.nodes.keys(node)] == [(2, 5, None), (5, None, b"signed")]
    (row,) = store.nodes.all()
    assert (row.key_id, row.public_key, row.first_key) == ("new", b"2" * 32, "key of n")


def test_a_profile_takes_the_place_of_the_one_before(store: Store) -> None:
    """What was signed comes back as the same bytes, by node and by name."""
    node = add_node(store)
    assert store.nodes.profile("n") is None
    for envelope in (b"first", b"\0\xffsecond"):
        store.nodes.put_profile("n", envelope)
    assert store.nodes.profiles() == {node: b"\0\xffsecond"}
    row = store.nodes.profile("n")
    assert row is not None
    assert (row.envelope, row.key_id) == (b"\0\xffsecond", "key of n")


# Jobs ----------------------------------------------------------------------------------------------------------------


def test_a_job_comes_back_as_it_was_stored(store: Store) -> None:
    """Flags are bools, what is missing is None, the document is the same bytes."""
    number = add_job(store, 3, foreign=True, body=b'{"a":1}')
    row = store.jobs.get(number)
    assert (row.foreign, row.held, row.max_running, row.finished_at) == (True, False, None, None)
    assert (row.n_tasks, row.n_waiting, row.n_want, row.created_at) == (3, 3, 3, 5)
    assert store.jobs.document(number) == b'{"a":1}'
    assert store.jobs.any_foreign()
    assert (store.jobs.find(99), store.jobs.document(99)) == (None, None)
    with pytest.raises(LookupError):
        store.jobs.get(99)


def test_the_counters_of_a_job_follow_its_tasks(store: Store) -> None:
    """Whatever way a task moves, the counts are those of the tasks, and the job ends with its last one."""
    job, node = add_job(store, 3, want=1), add_node(store)
    add_launch(store, job, node, [0, 1])
    store.tasks.decide([decision(job, 0, TaskState.FAILED)])
    store.tasks.cancel(job, 1)
    counts = store.jobs.get(job).counts
    assert {state: n for state, n in counts.items() if n} == {
        TaskState.FAILED: 1, TaskState.CANCELLED: 1, TaskState.WAITING: 1,
    }  # fmt: skip
    store.jobs.finish(job, 50)
    assert store.jobs.get(job).finished_at is None
    assert store.tasks.cancel(job, None) == 1
    store.jobs.finish(job, 60)
    store.jobs.finish(job, 70)
    assert store.jobs.get(job).finished_at == 60
    assert (store.jobs.count_open(), store.jobs.still_open([job])) == (0, [])
    assert store.jobs.progress([job])["cancelled"] == 2
    assert store.check() == []


def test_only_what_wants_replicas_and_is_not_held_is_offered(store: Store) -> None:
    """Held jobs wait; a job that has ended cannot be held."""
    first, second = add_job(store), add_job(store)
    assert store.jobs.hold(first, held=True)
    assert not store.jobs.hold(first, held=True)
    assert [row.id for row in store.jobs.wanting()] == [second]
    store.tasks.cancel(second, None)
    assert not store.jobs.hold(second, held=True)
    assert store.jobs.wanting() == []


def test_a_dependency_shows_how_far_the_other_job_is(store: Store) -> None:
    """Counts are those of the job that is waited for."""
    before, after = add_job(store, 2), add_job(store)
    store.jobs.add_dependency(after, before, "accepted")
    store.tasks.cancel(before, 0)
    (on,) = store.jobs.dependencies(after)
    assert (on.on_job, on.condition, on.n_tasks, on.n_waiting) == (before, "accepted", 2, 1)


# Tasks ---------------------------------------------------------------------------------------------------------------


def test_a_task_that_must_wait_is_not_offered(store: Store) -> None:
    """Until its time; a time further ahead than any wait counts as over, for a clock was set back."""
    job = add_job(store, 3)
    waits = [decision(job, task, TaskState.ACTIVE, 1)._replace(not_before=at) for task, at in ((0, 50), (1, 9000))]
    store.tasks.decide(waits)
    assert [row.idx for row in store.tasks.wanting(job, now=10, longest_ms=100, limit=9)] == [1, 2]
    assert [row.idx for row in store.tasks.wanting(job, now=50, longest_ms=100, limit=2)] == [0, 1]


def test_placing_fixes_the_numeric_class_once(store: Store) -> None:
    """The class of the first replica stays; a task that ended takes none."""
    job = add_job(store, 2)
    store.tasks.placed(job, [(0, 1, "linux"), (1, 1, None)])
    store.tasks.placed(job, [(0, 1, "other"), (1, 1, "other")])
    rows = store.tasks.after(job, -1, 9)
    assert [(row.numeric_class, row.want, row.state) for row in rows] == [("linux", 0, "active"), ("other", 0, "active")]
    store.tasks.placed(job, [(0, 1, None)])
    assert store.tasks.get(job, 0).want == 0


def test_news_are_told_until_they_are_decided(store: Store) -> None:
    """A decision and a look that changes nothing both end the news."""
    job = add_job(store, 3)
    store.tasks.note_news([(job, 0), (job, 2)])
    assert store.jobs.with_news() == [job]
    assert [row.idx for row in store.tasks.with_news(job, 9)] == [0, 2]
    store.tasks.decide([decision(job, 0, TaskState.ACCEPTED)])
    store.tasks.quiet(job, [2])
    assert (store.jobs.with_news(), store.tasks.with_news(job, 9)) == ([], [])
    row = store.tasks.get(job, 0)
    assert (row.state, row.agree, row.basis, row.news, row.published) == ("accepted", 2, "rr", False, False)
    assert [(one.idx, one.state) for one in store.tasks.states(job)] == [(0, "accepted"), (1, "waiting"), (2, "waiting")]


def test_what_was_published_says_from_where(store: Store) -> None:
    """Only accepted tasks are to be published, each once; a manifest and a difference replace the one before."""
    job = add_job(store, 2)
    store.tasks.decide([decision(job, 0, TaskState.ACCEPTED)])
    assert store.tasks.unpublished(9) == [(job, 0)]
    assert store.jobs.has_unpublished([job])
    store.tasks.cannot_publish(job, 0, '{"code":"error"}')
    assert not store.jobs.has_unpublished([job])
    store.tasks.published([(job, 0, 2), (job, 1, 1)], 7)
    row = store.tasks.get(job, 0)
    assert (row.published, row.published_from, row.unpublished) == (True, 2, "")
    assert not store.tasks.get(job, 1).published
    assert store.tasks.unpublished(9) == []
    for text in ("first", "second"):
        store.tasks.put_manifest(job, 0, text.encode())
        store.tasks.put_difference(job, 0, text)
    assert (store.tasks.manifest(job, 0), store.tasks.difference(job, 0)) == (b"second", "second")
    assert (store.tasks.manifest(job, 1), store.tasks.difference(job, 1)) == (None, None)


def test_a_retry_opens_what_ended_badly(store: Store) -> None:
    """Replicas without a vote are set aside, there is room for a new winner, and an accepted task stays."""
    job, node = add_job(store, 2, want=1), add_node(store)
    launch = add_launch(store, job, node, [0, 1])
    store.launches.lose(launch, execution="lost", reason="gone", now=15)
    store.tasks.decide([decision(job, 0, TaskState.FAILED), decision(job, 1, TaskState.ACCEPTED)])
    store.jobs.finish(job, 20)
    store.replicas.set_aside(job, None)
    store.tasks.allow_more(job, None, agree=2, max_replicas=1)
    assert store.tasks.retry(job, None) == 1
    store.jobs.reopen(job)
    row = store.tasks.get(job, 0)
    assert (row.state, row.news, row.extra, row.basis) == ("active", True, 2, None)
    assert store.tasks.get(job, 1).state == "accepted"
    assert [replica.validation for replica in store.replicas.of_job(job)] == ["unneeded", "pending"]
    assert store.jobs.get(job).finished_at is None


# Replicas and launches -----------------------------------------------------------------------------------------------


def test_a_replica_is_reported_once(store: Store) -> None:
    """A second report changes nothing; two different statements take the vote away for good."""
    job, node = add_job(store), add_node(store)
    add_launch(store, job, node, [0])
    (replica,) = store.replicas.of_task(job, 0)
    assert (replica.execution, replica.vote, replica.voided, replica.cleaned) == ("submitted", None, False, False)
    store.replicas.start([(job, 0, 1, node)])
    assert store.replicas.of_task(job, 0)[0].execution == "running"
    store.replicas.report([report(replica, at=20)])
    store.replicas.report([report(replica, "errored", at=30)])
    (row,) = store.replicas.of_tasks(job, [0])
    assert (row.execution, row.vote, row.ended_at, row.numeric_class) == ("reported", b"v" * 32, 20, "linux")
    store.replicas.void(replica.id)
    store.replicas.report([report(replica, at=40)])
    (row,) = store.replicas.between(job, 0, 0)
    assert (row.execution, row.voided, row.ended_at) == ("errored", True, 20)


def test_what_a_report_is_compared_with(store: Store) -> None:
    """The replica's own nonce, its job's uuid and digest, and what the scheduler calls its launch."""
    job, node = add_job(store, 2), add_node(store)
    launch = add_launch(store, job, node, [0, 1])
    (open_launch,) = store.launches.all_open()
    store.launches.hand_over([(open_launch.key, "77_1")])
    rows = store.replicas.for_reports(job, {(1, 1), (1, 2)})
    assert [(r.task, r.number, r.node_id, r.launch_id, r.native_id) for r in rows] == [(1, 1, node, launch, "77_1")]
    assert (rows[0].job_uuid, rows[0].job_digest) == ("uuid 0", "0" * 64)


KILLED = Reason.text("killed")


def test_a_launch_is_handed_over_ends_and_is_forgotten(store: Store) -> None:
    """Its replicas that never reported are lost; those that did are not; each state has its own list."""
    job, node = add_job(store, 2), add_node(store)
    launch = add_launch(store, job, node, [0, 1])
    first, _ = store.replicas.of_job(job)
    assert store.launches.envelope(launch).envelope == b"bundle"
    assert (store.launches.envelope(launch).replicas, store.launches.newest()) == (2, launch)
    assert (store.nodes.at_work(), store.nodes.out()) == ({node}, {node: 2})
    store.launches.note_waiting([LaunchReason("Priority", "PENDING", "Priority", launch)])
    assert (store.launches.all_open()[0].native_state, store.launches.all_open()[0].native_reason) == ("PENDING", "Priority")
    assert store.replicas.launch_of(first.id).reason == "Priority"
    assert store.views.waits([job], 100, 9) == [(job, "Priority")]
    store.replicas.report([report(first)])
    assert store.launches.lose(launch, execution="lost", reason=KILLED.stored(), now=30) == [(job, 1)]
    store.launches.explain_lost(launch, Reason.text("by its owner").stored(), "by its owner")
    store.launches.end(LaunchReason("", "", "", launch))
    assert [r.execution for r in store.replicas.of_job(job)] == ["reported", "lost"]
    also = {"also": Reason.text("by its owner")}
    assert same(
        Reason.parse(store.replicas.of_job(job)[1].reason),
        Reason(code=KILLED.code, parameters={**KILLED.parameters, **also}),
    )
    assert (store.launches.all_open(), [(one.id, one.reported) for one in store.launches.ended(9)]) == ([], [(launch, True)])
    store.launches.forget([launch])
    assert store.launches.ended(9) == []


@pytest.mark.parametrize("aside", [False, True])
def test_a_scheduler_overrules_what_a_launch_reported(store: Store, aside: bool) -> None:
    """Only what was reported as well; set aside where the task has not ended, so that it is placed anew."""
    job, node = add_job(store, 3), add_node(store)
    launch = add_launch(store, job, node, [0, 1, 2])
    accepted, active, _ = store.replicas.of_job(job)
    store.replicas.report([report(accepted), report(active)])
    store.tasks.decide([decision(job, 0, TaskState.ACCEPTED), decision(job, 1, TaskState.ACTIVE)])
    assert sorted(store.launches.overrule(launch, reason=KILLED.stored(), aside=aside)) == [(job, 0), (job, 1)]
    rows = store.replicas.of_job(job)
    assert [row.execution for row in rows] == ["errored", "errored", "submitted"]
    assert [row.validation for row in rows] == ["pending", "unneeded" if aside else "pending", "pending"]
    assert [row.vote is None for row in rows] == [False, False, True]
    assert store.launches.overrule(launch, reason=KILLED.stored(), aside=aside) == []


#: What else was in the scheduler's job -> whether that says whom the kernel killed.
EXPLAINED = {
    "reported": (False, "", ""), "errored": (False, "failed:1", ""), "errored for memory": (True, "memory", ""),
    "lost": (False, "", Reason(code=Code.SIGNED, parameters={"text": "the worker was stopped"}).stored()),
    "lost, whose is not known": (True, "", Reason(code=Code.SIGNED, parameters={"text": "out of memory: the kernel killed"}).stored()),
}  # fmt: skip


@pytest.mark.parametrize("where", ["same", "another job of the scheduler's"])
@pytest.mark.parametrize("what", EXPLAINED)
def test_a_report_of_the_same_allocation_says_what_was_killed(store: Store, what: str, where: str) -> None:
    """Then nobody else there is doubted."""
    expected, failure, reason = EXPLAINED[what]
    job, node = add_job(store, 2), add_node(store)
    first, second = add_launch(store, job, node, [0]), add_launch(store, job, node, [1])
    mine, theirs = store.launches.all_open()
    store.launches.hand_over([(mine.key, "77_1"), (theirs.key, "77_1" if where == "same" else "77_2")])
    (_, other) = store.replicas.of_job(job)
    made = report(other, what.partition(",")[0].partition(" ")[0])
    store.replicas.report([made._replace(failure=failure, reason=reason)])
    assert store.launches.memory_explained(first) == (expected and where == "same")
    assert second > first


def test_a_launch_keeps_its_first_hosts(store: Store) -> None:
    """Where it ran is the scheduler's word, and is told once."""
    job, node = add_job(store), add_node(store)
    launch = add_launch(store, job, node, [0])
    store.launches.ran_on(launch, "a,b")
    store.launches.ran_on(launch, "c")
    assert store.launches.hosts(launch).hosts == "a,b"
    assert store.launches.tasks(launch) == [(job, 0)]


def test_the_seed_of_a_delegation_goes_with_the_claim(store: Store) -> None:
    """What was signed stays; a claim that nobody can use any more is expired once."""
    job, node = add_job(store), add_node(store)
    launch = add_launch(store, job, node, [0])
    assert store.launches.delegation(launch) is None
    store.launches.insert_delegation(
        launch, seed=b"s" * 32, key_id="key of n", not_after=60, payload=b"payload", signature=b"g" * 64
    )
    assert store.launches.all_open()[0].keyed
    assert store.launches.envelope(launch).seed == b"s" * 32
    store.launches.claimed([launch])
    assert store.launches.envelope(launch).seed is None
    given = store.launches.delegation(launch)
    assert given is not None
    assert (given.payload, given.signature, given.key_id) == (b"payload", b"g" * 64, "key of n")
    store.launches.end(LaunchReason("", "", "", launch))
    store.launches.forget([launch])
    assert [one.id for one in store.launches.claims_expired(before_s=61, limit=9)] == [launch]
    store.launches.expire_claims([launch])
    assert store.launches.claims_expired(before_s=61, limit=9) == []


def test_what_is_to_stop_is_owed_until_it_was_told(store: Store) -> None:
    """Cancelled replicas are told to their backend; it is known whether their launch is still open."""
    job, node = add_job(store, 2), add_node(store)
    launch = add_launch(store, job, node, [0, 1])
    out = [replica.id for replica in store.replicas.out(job, 1)]
    store.replicas.cancel(out, 30)
    store.replicas.owe_stops([*out, *out])
    assert [(one.id, one.task, one.open) for one in store.replicas.owed_stops()] == [(out[0], 1, True)]
    store.launches.end(LaunchReason("", "", "", launch))
    assert [one.open for one in store.replicas.owed_stops()] == [False]
    store.replicas.stopped(out)
    assert store.replicas.owed_stops() == []


ENDS = {
    "nothing": lambda *_: None,
    "a start": lambda store, _, replica: store.replicas.start([(1, 0, 1, replica.node_id)]),
    "a report": lambda store, _, replica: store.replicas.report([report(replica)]),
    "a failure": lambda store, _, replica: store.replicas.report([report(replica, "errored")]),
    "a deadline": lambda store, *_: store.replicas.lose_overdue(now=200, reason="", limit=9),
    "a cancellation": lambda store, _, replica: store.replicas.cancel([replica.id], 20),
    "a verdict": lambda store, _, replica: store.replicas.drop_unneeded([replica.id], 20),
    "the end of its launch": lambda store, launch, _: store.launches.lose(launch, execution="lost", reason="", now=20),
    "its machine's owner": lambda store, launch, _: store.launches.take_back(launch, reason="", now=20),
}


@pytest.mark.parametrize("what", ENDS)
def test_a_replica_is_out_until_something_ends_it(store: Store, what: str) -> None:
    """What takes a replica out of the states of one that is out gives it an end: by that it is counted."""
    job, node = add_job(store), add_node(store)
    launch = add_launch(store, job, node, [0])
    (replica,) = store.replicas.of_task(job, 0)
    ENDS[what](store, launch, replica)
    (replica,) = store.replicas.of_task(job, 0)
    out = what in {"nothing", "a start"}
    assert (replica.execution in {"submitted", "running"}, replica.ended_at is None) == (out, out)
    assert store.nodes.out().get(node, 0) == store.jobs.replicas_out(job) == len(store.replicas.out(job, None)) == out


def test_an_overdue_replica_is_lost(store: Store) -> None:
    """After its deadline, and each once."""
    job, node = add_job(store), add_node(store)
    add_launch(store, job, node, [0])
    assert store.replicas.lose_overdue(now=100, reason="late", limit=9) == []
    assert store.replicas.lose_overdue(now=101, reason="late", limit=9) == [(job, 0)]
    assert store.replicas.lose_overdue(now=102, reason="late", limit=9) == []
    assert [(r.execution, r.reason, r.ended_at) for r in store.replicas.of_job(job)] == [("lost", "late", 101)]


def test_work_folders_are_cleaned_by_age(store: Store) -> None:
    """Of published tasks by one time, of those that ended otherwise by another; never of open tasks."""
    job, node = add_job(store, 3, want=1), add_node(store)
    add_launch(store, job, node, [0, 1, 2])
    store.replicas.report([report(replica, at=20) for replica in store.replicas.of_job(job)])
    store.tasks.decide([decision(job, 0, TaskState.ACCEPTED), decision(job, 1, TaskState.FAILED)])
    store.tasks.published([(job, 0, 1)], 7)
    assert [r.task for r in store.replicas.unclean(accepted_before=21, others_before=20, limit=9)] == [0]
    assert [r.task for r in store.replicas.unclean(accepted_before=20, others_before=21, limit=9)] == [1]
    rows = store.replicas.unclean(accepted_before=99, others_before=99, limit=9)
    store.replicas.cleaned([row.id for row in rows])
    assert store.replicas.unclean(accepted_before=99, others_before=99, limit=9) == []
    assert [replica.cleaned for replica in store.replicas.of_job(job)] == [True, True, False]


# Reports -------------------------------------------------------------------------------------------------------------


def test_signed_bytes_come_back_as_they_came(store: Store) -> None:
    """The same statement again is no event; several are in the order in which they came."""
    job, node = add_job(store), add_node(store)
    launch = add_launch(store, job, node, [0])
    (replica,) = store.replicas.of_job(job)
    assert store.reports.dictionary(job) is None
    store.reports.insert_dictionary(job, b"words\0")
    later, first = (NewReport(replica.id, bytes([n]) * 32, b"\0\xff", b"s" * 64, n) for n in (9, 8))
    store.reports.insert([later, first, later])
    rows = store.reports.of(replica.id)
    assert [(row.received_at, row.packed, row.signature) for row in rows] == [(n, b"\0\xff", b"s" * 64) for n in (8, 9)]
    assert {(row.dictionary, row.launch_id, row.node_id) for row in rows} == {(b"words\0", launch, node)}


def test_carried_files_are_those_of_the_winner(store: Store) -> None:
    """The lowest valid number is published; none where a loser is to be compared with it."""
    job, node = add_job(store, 2, want=1), add_node(store)
    for number in (1, 2):
        add_launch(store, job, node, [0, 1], number)
    replicas = store.replicas.of_job(job)
    store.replicas.report([report(replica) for replica in replicas])
    store.reports.insert_carried([(replica.id, f"files {replica.number}".encode()) for replica in replicas])
    store.replicas.judge([(replica.id, "valid") for replica in replicas])
    store.replicas.judge([(replica.id, "invalid") for replica in replicas if (replica.task, replica.number) == (1, 2)])
    found = store.reports.carried_results(job, [0, 1])
    assert [(row.task, row.number, row.files) for row in found] == [(0, 1, b"files 1")]
    store.reports.drop_carried_of_tasks([(job, 0)])
    assert [store.reports.carried(r.id) for r in replicas] == [None, None, b"files 1", b"files 2"]
    assert store.views.carried(job, 1) == {1: b"files 1", 2: b"files 2"}


def test_a_segment_is_never_read_backwards(store: Store) -> None:
    """Positions only grow; a segment that is gone is forgotten."""
    node = add_node(store)
    for position in (5, 9, 7):
        store.reports.move_segment(node, "a.jsonl", position)
    assert store.reports.segments(node) == {"a.jsonl": 9}
    assert store.views.segments() == {"n": {"a.jsonl": 9}}
    store.reports.drop_segment(node, "a.jsonl")
    assert store.reports.segments(node) == {}


def test_bad_lines_are_kept_once_and_counted(store: Store) -> None:
    """The same place again is no event; those that are not kept are counted."""
    node = add_node(store)
    line = BadLine(node, "a.jsonl", 3, "torn", b"\xff", 9)
    store.reports.quarantine([line, line, line._replace(position=8, reason="forged")])
    store.reports.note_dropped(node, 4)
    assert (store.reports.count_quarantined(node), store.reports.quarantined()) == (2, (2, 4))
    (last,) = store.reports.last_quarantined(1)
    assert (last.node, last.segment, last.position, last.reason) == ("n", "a.jsonl", 8, "forged")


# What is shown, and what keeps it going ------------------------------------------------------------------------------


def test_usage_leaves_out_what_was_not_measured(store: Store) -> None:
    """Sums are over measured replicas; states are of all."""
    job, node = add_job(store, 2, want=1), add_node(store)
    add_launch(store, job, node, [0, 1])
    first, _ = store.replicas.of_job(job)
    store.replicas.report([report(first)._replace(gpus='[{"time_ms": 250, "peak_mib": 7}]')])
    used, gpu = store.usage.of_job(job), store.usage.of_gpus(job)
    assert (used.n, used.wall_ms, used.cpu_ms, used.max_rss_kib_well) == (1, 1000, 500, 64)
    assert (gpu.n, gpu.time_ms, gpu.peak_mib, gpu.energy_mj) == (1, 250, 7, None)
    assert store.usage.states(job) == {("reported", "pending"): 1, ("submitted", "pending"): 1}
    assert store.usage.elsewhere(job, 9) == []


def test_views_page_and_filter(store: Store) -> None:
    """Jobs newest first and below an id; tasks and replicas in a range; open jobs alone."""
    first, second = add_job(store, 3, body=b'{"labels":{"a":"b"}}'), add_job(store)
    add_launch(store, first, add_node(store), [0, 1])
    store.tasks.cancel(second, None)
    assert [row["id"] for row in store.views.jobs(before=99, limit=9)] == [second, first]
    assert [row["id"] for row in store.views.jobs(before=second, limit=9)] == [first]
    assert [row["id"] for row in store.views.open_jobs(before=99, limit=9)] == store.views.open_job_ids() == [first]
    assert store.views.last_job() == second
    assert [row["idx"] for row in store.views.tasks(first, 1, 9, 9)] == [1, 2]
    shown = store.views.replicas(first, 0, 0)
    assert [(row["node"], row["task"], row["execution"]) for row in shown] == [("n", 0, "submitted")]
    details = store.views.job(first)
    assert details is not None
    assert (details["labels"], details["n_tasks"]) == ('{"a":"b"}', 3)
    assert store.views.job(99) is None
    assert [(row["name"], row["out"]) for row in store.views.nodes()] == [("n", 2)]


def test_faults_keep_what_was_told_first(store: Store) -> None:
    """A fault that is seen again keeps its text, until it is gone."""
    for text in ("first", "second"):
        store.operations.keep_fault("site:a", text, 1)
    assert store.operations.faults() == {"site:a": "first"}
    store.operations.drop_fault("site:a")
    assert store.operations.faults() == {}


def test_a_database_belongs_to_the_first_key(store: Store) -> None:
    """Whoever opened it first stays its coordinator."""
    assert store.operations.coordinator_key() is None
    store.operations.keep_coordinator_key("first", b"1" * 32)
    store.operations.keep_coordinator_key("second", b"2" * 32)
    assert store.operations.coordinator_key() == "first"


def test_a_coordinator_that_has_another_key_stays_who_it_was(store: Store) -> None:
    """Its first key is remembered, and until which entry each signs; a key that was not kept is filled in."""
    store.operations.keep_coordinator_key("first", b"1" * 32)
    store.operations.replace_coordinator_key("second", b"2" * 32, entry=9, now=70, rotation=b"signed")
    assert store.operations.first_coordinator_key() == "first"
    assert store.operations.coordinator_key() == "second"
    first, second = store.operations.coordinator_keys()
    assert (first.public_key, first.since, first.until, first.until_ms, first.rotation) == (b"1" * 32, 0, 9, 70, None)
    assert (second.public_key, second.since, second.until, second.rotation) == (b"2" * 32, 9, None, b"signed")


def test_a_key_is_revoked_since_the_earliest_entry_that_was_named(store: Store) -> None:
    """Revoked once more since a later one it stays as it was; of the coordinator and of nodes."""
    node = add_node(store)
    store.operations.keep_coordinator_key("first", b"1" * 32)
    for since in (9, 7, 8):
        store.operations.revoke_coordinator_key("first", since)
        store.nodes.revoke_key("key of n", since)
    assert [key.revoked for key in store.operations.coordinator_keys()] == [7]
    assert [key.revoked for key in store.nodes.keys(node)] == [7]


def test_a_lease_is_released_by_its_holder_alone(store: Store) -> None:
    """Giving back a lease that somebody else took since changes nothing."""
    assert store.operations.lease() is None
    store.operations.take_lease(host="a", boot="x", pid=1, taken_at=1)
    store.operations.take_lease(host="b", boot="y", pid=2, taken_at=2)
    store.operations.release_lease(host="a", boot="x", pid=1, taken_at=1)
    row = store.operations.lease()
    assert row is not None
    assert (row.host, row.pid, row.released) == ("b", 2, False)
    store.operations.release_lease(host="b", boot="y", pid=2, taken_at=2)
    row = store.operations.lease()
    assert row is not None
    assert row.released is True


def test_launches_that_never_began_are_counted_by_node(store: Store) -> None:
    """As long as the reason is the same; another reason begins anew, a launch that began ends it, and so does a word."""
    job, node = add_job(store, 3), add_node(store)
    first, second, third = (add_launch(store, job, node, [index]) for index in range(3))

    def counted() -> list[tuple[int, int, str, int]]:
        return [(row.node_id, row.alike, row.why, row.at) for row in store.nodes.start_failures()]

    store.nodes.start_failed(first, why="job 1: no licence", pattern="job #: no licence", now=10)
    store.nodes.start_failed(second, why="job 2: no licence", pattern="job #: no licence", now=20)
    assert counted() == [(node, 2, "job 2: no licence", 20)]
    store.nodes.start_failed(third, why="job 3: no module", pattern="job #: no module", now=30)
    assert counted() == [(node, 1, "job 3: no module", 30)]
    store.nodes.started(first)
    assert counted() == []
    store.nodes.start_failed(first, why="a", pattern="a", now=40)
    store.nodes.forget_start_failures()
    assert counted() == []

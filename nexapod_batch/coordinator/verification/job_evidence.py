"""`verify`: everything that a job's verdicts rest on, worked out again from the signed statements.

In this order, each step on what the one before it found: the pinned job; every statement, its key, and what the
database made of it; the verdict on every task; every published file. Nothing that is stored is believed, but for what
no statement can say: the registry of nodes (whose key, site and owner), what the scheduler said of hosts, and how the
replicas stood when the verdict was reached.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from nexapod_batch import log
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.verification.judged_again import again_faults
from nexapod_batch.coordinator.verification.log_trails import trail_faults
from nexapod_batch.coordinator.verification.publication import publication_faults
from nexapod_batch.coordinator.verification.revocations import rekeyed_nodes, revocation_faults
from nexapod_batch.coordinator.verification.signed_verdict import signed_verdict_faults
from nexapod_batch.coordinator.verification.statements import check_statement, row_faults
from nexapod_batch.coordinator.verification.verdicts import results_faults, verdict_faults
from nexapod_batch.errors import CorruptStoreError, NexapodError, NotFoundError, VerificationError
from nexapod_batch.lifecycle import TASK_ENDED, TaskState
from nexapod_batch.model.document import digest
from nexapod_batch.model.reason import Reason
from nexapod_batch.quorum.continued import broken_chains
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Array, Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.jobs import JobRow
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.statement import Statement

__all__ = ["Evidence", "verify"]

#: Tasks that are looked at together.
_BATCH = 200


class Evidence(Struct, kw_only=True):
    """What was checked, and what was found."""

    checks: list[dict[str, Any]] = field(default_factory=list)  # of: name; check: what; ok; problem; node, key
    keys: dict[int, Node] = field(default_factory=dict)  # by row id: whose keys signed
    known: dict[int, dict[str, bytes]] = field(default_factory=dict)  # all keys that each node has and had
    statements: int = 0
    rekeyed: frozenset[int] = frozenset()  # row ids of nodes that have had several keys, or one that is revoked
    with_files: bool = True  # published files are checked as well
    files: int = 0  # bytes of published files that were read

    @property
    def ok(self) -> bool:
        """Say whether everything holds."""
        return all(check["ok"] for check in self.checks)

    def add(self, check: str, of: str, problems: Sequence[str], **more: object) -> None:
        """Note one check."""
        self.checks.append({"check": check, "of": of, "ok": not problems, "problem": "; ".join(problems), **more})


def verify(
    c: Coordinator, job_id: int, advance: Callable[[int], None] = lambda _: None, *, files: bool = True
) -> Evidence:
    """Check everything of a job again, published files too if wanted; `advance` hears of tasks.

    Raises:
        NotFoundError: No statement has come in yet.

    """
    found = Evidence(with_files=files)
    row = c.store.jobs.find(job_id)
    if row is None:
        raise NotFoundError(f"there is no job {job_id}", hint="nexapod-batch ls lists the jobs")
    with c.store.view():
        problems = list(_job_faults(c, row))
        found.add("job", f"{job_id}", problems)
        if not problems:
            job, nodes = c.job(job_id), c.nodes_by_id()
            found.known = {node_id: _keys(c, node) for node_id, node in nodes.items()}
            found.rekeyed = rekeyed_nodes(c)
            for tasks, replicas in _batches(c, job_id):
                for task in tasks:
                    _task(c, job, row, task, replicas[task.idx], nodes, found)
                advance(len(tasks))
            if files:
                found.add("results", f"{job_id}", list(_strays(c, job_id, job)))
    if not found.statements and found.ok:
        raise NotFoundError(f"no statement of job {job_id} has come in yet", hint=f"nexapod-batch wait {job_id}")
    log.info(__name__, "verified", job=job_id, ok=found.ok, checks=len(found.checks), statements=found.statements)
    return found


def _job_faults(c: Coordinator, row: JobRow) -> Iterator[str]:
    """Yield what is wrong with the job's own rows."""
    document = c.store.jobs.document(row.id)
    if document is None:
        yield "its document is missing"
        return
    got = digest(document)
    if got != row.digest:
        yield f"its document is not the one that was pinned: got sha256 {got}, wanted {row.digest}"
        return
    job = c.job(row.id)
    if job.name != row.name:
        yield f"it is called {row.name!r}, and its document {job.name!r}"
    wanted = sorted((one.job, one.when) for one in job.schedule.depends_on)
    if wanted != sorted((dependency.on_job, dependency.condition) for dependency in c.store.jobs.dependencies(row.id)):
        yield "it does not depend on the jobs that its document names"
    yield from _task_faults(c, row, job)


def _task_faults(c: Coordinator, row: JobRow, job: Job) -> Iterator[str]:
    """Yield where a job's tasks are not those of its document, or are not counted as they are."""
    states: dict[str, int] = defaultdict(int)
    for task, index in zip_longest(c.store.tasks.states(row.id), job.task_indexes()):
        if task is None or task.idx != index:
            first = index if task is None else task.idx
            yield f"its tasks are not those of its document: {first} is the first that differs"
            return
        states[task.state] += 1
    for state, counted in row.counts.items():
        if counted != states[state]:
            yield f"{counted} tasks are counted as {state}, and {states[state]} are"


def _keys(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the keys that a node has and had; none where the one that it is registered with is not among them."""
    keys = keys_of(c, node)
    if keys.get(node.key_id) == node.public_key:
        return keys
    return {}


def _batches(c: Coordinator, job_id: int) -> Iterator[tuple[list[TaskRow], dict[int, list[ReplicaRow]]]]:
    """Yield tasks in order, and their replicas by task."""
    after = -1
    while tasks := c.store.tasks.after(job_id, after, _BATCH):
        replicas: dict[int, list[ReplicaRow]] = defaultdict(list)
        after = tasks[-1].idx
        for row in c.store.replicas.between(job_id, tasks[0].idx, after):
            replicas[row.task].append(row)
        yield tasks, replicas


def _task(
    c: Coordinator,
    job: Job,
    job_row: JobRow,
    task: TaskRow,
    rows: list[ReplicaRow],
    nodes: dict[int, Node],
    evidence: Evidence,
) -> None:
    """Check the statements of one task, then its verdict, then its files."""
    name = f"{task.job_id}_{task.idx}"
    statements: dict[int, list[Statement]] = {}
    good = [row.number for row in rows] == list(range(1, len(rows) + 1))
    if not good:
        evidence.add("replicas", name, ["the numbers of its replicas have gaps"])
    for row in rows:
        statements[row.number], problems, has_signed = _replica(c, job, job_row, row, evidence)
        good = _note_statement(f"{name}.{row.number}", nodes.get(row.node_id), problems, has_signed, evidence) and good
    if TaskState(task.state) in TASK_ENDED:
        problems = ["its statements do not hold"]
        if good:
            problems = verdict_faults(c, job, task, rows, nodes) + _chain_faults(statements)
        if not problems and task.state != TaskState.CANCELLED:
            problems = signed_verdict_faults(c, job_row, job, task, rows)
        evidence.add("verdict", name, problems, text=f"{task.state}: {sentence(Reason.parse(task.reason))}")
    elif task.doubt:
        evidence.add("verdict", name, ["it is in doubt, and has no verdict"])
    if good:
        for number, text, problems in again_faults(c, job_row, job, task, rows, nodes, statements):
            evidence.add("judged", f"{name} ({number})", problems, text=text)
    if evidence.with_files:
        _results(c, task, rows, statements, evidence)


def _chain_faults(statements: Mapping[int, Sequence[Statement]]) -> list[str]:
    return broken_chains({number: signed[0] for number, signed in statements.items() if len(signed) == 1})


def _results(
    c: Coordinator,
    task: TaskRow,
    rows: Sequence[ReplicaRow],
    statements: Mapping[int, Sequence[Statement]],
    evidence: Evidence,
) -> None:
    """Check the published files of one task against the statements of its replicas, by number."""

    def read(size: int) -> None:
        evidence.files += size

    problems = results_faults(c, task, rows, statements, read) + publication_faults(c, task)
    if task.published or problems:
        text = f"from replica {task.published_from}" if task.published_from else ""
        evidence.add("results", f"{task.job_id}_{task.idx}", problems, text=text)


def _note_statement(name: str, node: Node | None, problems: Sequence[str], signed: int, evidence: Evidence) -> bool:
    """Note what was found of one replica, of which `signed` statements are stored; return whether it holds."""
    if node is None:
        evidence.add("statement", name, ["its node is not registered any more"])
        return False
    if signed or problems:
        evidence.statements += signed
        evidence.keys[node.id] = node
        evidence.add("statement", name, problems, node=node.name, key=node.key_id)
    return not problems


def _replica(
    c: Coordinator, job: Job, job_row: JobRow, row: ReplicaRow, evidence: Evidence
) -> tuple[list[Statement], list[str], int]:
    """Return what a replica said, what is wrong with it, and how many statements of it are stored."""
    keys = evidence.known.get(row.node_id)
    if not keys:
        return [], ["the registered key of its node is none that the node has or had"], 1
    try:
        reports = stored_reports(c, row.id)
    except (CorruptStoreError, VerificationError) as error:
        return [], [error.what], 1
    said, problems = [], []
    for report in reports:
        try:
            said.append(check_statement(job_row, job, row, keys, report))
        except VerificationError as error:
            problems.append(" ".join(str(error).split()))
    problems += revocation_faults(c, row, looked_for=row.node_id in evidence.rekeyed)
    problems = problems or row_faults(job, row, said) + trail_faults(c, row, said[0] if said else None)
    if said and job.checkpoint is not None and said[0].continues != c.store.continuations.of(row.id):
        problems.append("the database says that it goes on from another state than it signed")
    return said, problems, len(reports)


def _strays(c: Coordinator, job_id: int, job: Job) -> Iterator[str]:
    """Yield what lies in the folder of the job's results and belongs to none of its tasks."""
    folder = c.paths.results / str(job_id)
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise NexapodError(f"{folder} cannot be read", got=error.strerror) from error
    known = job.array if job.array is not None else (0,)
    judged = {f"{task}.judged-{number}" for task, number in _judged(c, job_id)}
    for name in names:
        if name in judged:
            continue
        if not _is_of_task(name, known):
            yield f"{name!a} is no task of it"


def _is_of_task(name: str, known: Array | tuple[int, ...]) -> bool:
    """Say whether something is called as the results of a task are, as while they are written, or their manifest."""
    task = name.removeprefix(".").removesuffix(".partial").removesuffix(".manifest")
    return task.isdecimal() and name in {task, f".{task}.partial", f"{task}.manifest"} and int(task) in known


def _judged(c: Coordinator, job_id: int) -> Iterator[tuple[int, int]]:
    """Yield task and number of each judgement of a job under other rules."""
    numbers: dict[int, int] = defaultdict(int)
    for _, job, task, _ in c.store.verdicts.every_again():
        if job == job_id:
            numbers[task] += 1
            yield task, numbers[task]

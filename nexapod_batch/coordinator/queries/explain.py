"""Why a task is where it is, in sentences: the verdict so far, what is out, what keeps the rest from being placed."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.differences import differences_of
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_verdicts
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults, site_key
from nexapod_batch.coordinator.placement.eligibility import allowed, is_foreign, loads_of
from nexapod_batch.coordinator.queries.deliveries import delivery_of
from nexapod_batch.coordinator.queries.judgements import judgement_lines, judgements
from nexapod_batch.coordinator.queries.programs import differences, programs_of
from nexapod_batch.coordinator.queries.withdrawn_sources import sources_that_differ, withdrawn_sources
from nexapod_batch.coordinator.steps.dispatch import needs_of
from nexapod_batch.coordinator.steps.launch_endings import reason_of
from nexapod_batch.coordinator.steps.votes import Places, votes_of
from nexapod_batch.errors import NexapodError
from nexapod_batch.lifecycle import OUT, TASK_ENDED, Execution, TaskState, Validation
from nexapod_batch.local_nodes.owner_policy import paused
from nexapod_batch.model.job import Domain
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Reason
from nexapod_batch.planner import why_not
from nexapod_batch.plugins import HOPELESS, BackendState
from nexapod_batch.quorum import independence
from nexapod_batch.trust.verdict import decode_verdict
from nexapod_batch.wording import advice, one_line, pattern, sentence
from nexapod_batch.wording.differences import difference_lines
from nexapod_batch.wording.withdrawn import withdrawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.plugins import LaunchStatus
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["Explanation", "explain"]

#: Tasks explained one by one when a whole job is asked for.
_SHOWN = 10
_NOT_ENDED = frozenset({BackendState.QUEUED, BackendState.ACTIVE})


class Explanation(Struct):
    """Why tasks are where they are: for people, and the same reasons as JSON types for programs."""

    lines: list[str] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)


def explain(c: Coordinator, job_id: int, task: int | None) -> Explanation:
    """Return the explanation of a task, or of a job with its first tasks that are not accepted, or in doubt."""
    job = c.job(job_id)
    row = c.store.jobs.get(job_id)
    explanation = Explanation()
    lines = explanation.lines
    if task is not None:
        _explain_task(c, job_id, c.task(job_id, task), explanation)
        lines += _made_with(c, job_id, task)
        lines += _signed(c, job_id, task)
        return explanation
    counts = ", ".join(f"{number} {state.value}" for state, number in row.counts.items() if number)
    lines.append(f"job {job_id} ({job.name}): {job.n_tasks} task{'s' * (job.n_tasks != 1)}: {counts}")
    lines += _made_with(c, job_id, None)
    lines += _delivery(c, job_id)
    if row.held:
        lines.append(f"held: nothing is dispatched before `nexapod-batch release {job_id}`")
    if row.blocked:
        lines.append(sentence(Reason.parse(row.blocked)))
    shown = 0
    for index in job.task_indexes():
        found = c.store.tasks.get(job_id, index)
        if found.state != TaskState.ACCEPTED or found.doubt or job.n_tasks == 1:
            _explain_task(c, job_id, found, explanation)
            shown += 1
        if shown >= _SHOWN:
            lines.append(f"... more: nexapod-batch show {job_id}; one task: nexapod-batch explain {job_id}_{index}")
            break
    return explanation


def _made_with(c: Coordinator, job_id: int, task: int | None) -> list[str]:
    """Return which outputs of earlier jobs a job, or a task of it, was made with that are not accepted any more."""
    lines = [f"  made with {withdrawn(**told)}" for told in withdrawn_sources(c.store, job_id, task)]
    anew = "which was accepted anew, with other outputs: submit this job again to have it made with these"
    return lines + [f"  made with {name}, {anew}" for name in sources_that_differ(c, job_id, task)]


def _delivery(c: Coordinator, job_id: int) -> list[str]:
    """Return where the results of a job lie that are wanted elsewhere, or why they do not."""
    state = delivery_of(c.store, job_id)
    if not state:
        return []
    if state["state"] == "delivered":
        return [f"  delivered to {state['place']}"]
    if state["reason"]:
        at_once = f"at once: nexapod-batch results {job_id} --deliver"
        return [f"  {' '.join(state['reason'].split())}", f"  it is tried again at {state['next']}; {at_once}"]
    return [f"  to be delivered to {state['to']} when the job has ended"]


def _signed(c: Coordinator, job_id: int, task: int) -> list[str]:
    """Return how the latest verdict on a task was signed; nothing where there is none."""
    signed = stored_verdicts(c, job_id, task)
    if not signed:
        return []
    verdict = decode_verdict(signed[-1].payload)
    levels = f" ({', '.join(verdict.levels)})" if verdict.levels else ""
    count = len(verdict.statements)
    what = f"verdict {verdict.state}{levels}, reached from {count} statement{'s' * (count != 1)}"
    return [f"signed: {what}; nexapod-batch ledger prove {job_id}_{task} proves entry {signed[-1].entry}"]


def _explain_task(c: Coordinator, job_id: int, task: TaskRow, explanation: Explanation) -> None:
    """Add one task to an explanation."""
    replicas, nodes = c.store.replicas.of_task(job_id, task.idx), c.nodes_by_id()
    documents = [
        {
            "id": f"{job_id}_{task.idx}.{r.number}", "node": nodes[r.node_id].name, "execution": r.execution,
            "validation": r.validation, **_as_json(Reason.parse(r.reason)),
        }
        for r in replicas
    ]  # fmt: skip
    document: dict[str, Any] = {"index": task.idx, "state": task.state, **_as_json(Reason.parse(task.reason))}
    unpublished = Reason.parse(task.unpublished)
    document["unpublished"] = None if unpublished is None else unpublished.document()
    document |= {"replicas": documents, "not_on": []}
    document["parameters"] = dict(c.job(job_id).parameters(task.idx))
    explanation.tasks.append(document)
    explanation.lines += _task(c, job_id, task, replicas, nodes, document)


def _as_json(reason: Reason | None) -> dict[str, Any]:
    """Return a reason as sentence and as data."""
    return {"reason": sentence(reason), "why": None if reason is None else reason.document()}


def _task_line(task: TaskRow, parameters: Mapping[str, Any], reason: str) -> str:
    """Return what a task is, where it stands, and why."""
    values = ", ".join(f"{name}={value}" for name, value in parameters.items())
    shown = f" ({values})" if values else ""
    line = f"task {task.job_id}_{task.idx}{shown}: {task.state}"
    if reason:
        return f"{line} - {reason}"
    return line


def _task(
    c: Coordinator,
    job_id: int,
    task: TaskRow,
    replicas: list[ReplicaRow],
    nodes: Mapping[int, Node],
    document: dict[str, Any],
) -> list[str]:
    """Return the lines about one task; what is asked of backends and planner is added to its document."""
    reason = document["reason"]
    lines = [_task_line(task, document["parameters"], reason)]
    lines += _replica_lines(replicas, nodes, _unusable(task))
    lines += _since(c, job_id, task, replicas)
    programs = programs_of(c, c.job(job_id), replicas)
    document["programs"] = {who: program._asdict() for who, program in programs.items()}
    lines += [f"  {line}" for line in differences(programs)]
    if task.state not in TASK_ENDED:
        return lines + _open_task(c, job_id, task, replicas, document)
    document["differences"] = differences_of(c, job_id, task.idx)
    lines += [f"  {line}" for line in difference_lines(document["differences"])]
    document["judged_again"] = judgements(c, job_id, task.idx)
    lines += judgement_lines(document["judged_again"])
    lines += [f"  {line}" for line in _independence(c, job_id, replicas) if line not in reason]
    if task.state == TaskState.INCONCLUSIVE:
        loads = loads_of(c, c.job(job_id), usable(c, Faults()), foreign=is_foreign(c, job_id))
        refused = [(load.node.name, load.refused) for load in loads if load.refused is not None]
        lines += _not_on(refused, document)
    return lines + _what_to_do(job_id, task, replicas)


def _unusable(task: TaskRow) -> dict[int, str]:
    """Return why outputs of replicas, by number, could not be compared within tolerances."""
    measured = json.loads(task.measured or "{}")
    return {int(number): why for key in ("apart", "unread") for number, why in measured.get(key, {}).items()}


def _replica_lines(
    replicas: Sequence[ReplicaRow], nodes: Mapping[int, Node], unusable: Mapping[int, str]
) -> Iterator[str]:
    """Yield a line for each replica; those in a row that ended alike without a report, on one node, share one."""

    def alike(replica: ReplicaRow) -> tuple[object, ...]:
        if replica.execution == Execution.REPORTED or Execution(replica.execution) in OUT:
            return (replica.number,)
        return (replica.node_id, replica.execution, replica.validation, pattern(replica.reason))

    for _, group in groupby(replicas, alike):
        first, *others = group
        line = _replica_line(first, nodes[first.node_id])
        if others:
            line += f"  ({len(others) + 1} alike, up to replica {others[-1].number})"
        elif first.number in unusable:
            line += f" ({unusable[first.number]})"
        yield line


def _replica_line(replica: ReplicaRow, node: Node) -> str:
    twin = node.domain(Domain.SITE, "")
    same = f", which is the cluster of site {twin}" if node.cluster and twin != node.site else ""
    where = f"site {node.site}{same}, owner {node.owner}"
    line = f"  replica {replica.number} on {node.name} ({where}): {replica.execution}"
    if replica.execution == Execution.ERRORED and replica.validation == Validation.INCONCLUSIVE:
        line += ", no vote"
    elif replica.validation != Validation.PENDING:
        line += f", {replica.validation}"
    if replica.reason:
        line += f" ({sentence(Reason.parse(replica.reason))})"
    return line + _on_gpus(replica.gpus)


def _what_to_do(job_id: int, task: TaskRow, replicas: list[ReplicaRow]) -> list[str]:
    """Return what a person may do about a task that has ended without a result."""
    name, lines = f"{job_id}_{task.idx}", []
    if task.state == TaskState.FAILED:
        lines.append(f"  all of stderr: nexapod-batch logs {name} --stderr")
    if task.state in {TaskState.FAILED, TaskState.INCONCLUSIVE}:
        lines.append(f"  what its replicas wrote: nexapod-batch results {name} --replica")
    if task.state == TaskState.FAILED and (failures := [replica.failure for replica in replicas if replica.failure]):
        lines.append(f"  {advice(failures[-1], name)}")
    elif task.state != TaskState.ACCEPTED:
        hopeless = any(HOPELESS in replica.reason for replica in replicas)
        before = "when that is mended, " if hopeless else ""
        lines.append(f"  {before}to try again with more replicas: nexapod-batch retry {name}")
        if any(replica.execution == Execution.REPORTED for replica in replicas):
            lines.append(f"  to judge it by another rule: nexapod-batch judge {name} --compare RULE --dry-run")
    return lines


def _open_task(
    c: Coordinator, job_id: int, task: TaskRow, replicas: list[ReplicaRow], document: dict[str, Any]
) -> list[str]:
    """Return what a task waits for that has not ended."""
    job = c.job(job_id)
    more = "the next pass decides how many more" if task.news else f"{task.want} more to place"
    lines = [f"  {task.agree} of {job.quorum.agree} agree; {more}"]
    lines += _backend_words(c, replicas, document)
    if not task.want:
        return lines
    active = [node for node in usable(c, Faults()) if node.active]
    loads = loads_of(c, job, active, c.store.nodes.out(), foreign=is_foreign(c, job_id))
    (need,) = needs_of(c, job_id, [task])
    lines += _not_on(why_not(job, need, loads), document)
    lines += _standing(c, job)
    wait = (task.not_before - c.now()) // 1000
    if wait > 0:
        lines.append(f"  placing waits {wait} s more, after losses")
    return lines


def _not_on(refused: Sequence[tuple[str, Reason]], document: dict[str, Any]) -> list[str]:
    """Return which nodes cannot take another replica, and why."""
    document["not_on"] = [{"node": name, **_as_json(why)} for name, why in refused]
    return [f"  not on {name}: {sentence(why)}" for name, why in refused]


def _since(c: Coordinator, job_id: int, task: TaskRow, replicas: list[ReplicaRow]) -> list[str]:
    """Return what became of an accepted task since, and which of its outputs are empty."""
    lines = []
    number = task.published_from
    row = next((r for r in replicas if r.number == number), None)
    if row is not None and not row.voided:
        with suppress(NexapodError):  # a damaged statement is for `verify` to tell
            empty = [subject.name for subject in statement_of(c, row.id).subjects if subject.size == 0]
            lines += [f"  empty outputs: {', '.join(empty)}"] if empty else []
    if task.doubt:
        lines.append(f"  the quorum is no longer met: {sentence(Reason.parse(task.doubt))}; the result stays")
        lines.append(f"  to ask for another replica: nexapod-batch retry {job_id}_{task.idx}")
    if task.unpublished:
        lines.append(f"  unpublished: {sentence(Reason.parse(task.unpublished))}")
    return lines


def _standing(c: Coordinator, job: Job) -> list[str]:
    """Return what kept whole sites away at the last pass, each once."""
    faults = c.store.operations.faults()
    sites = dict.fromkeys(node.site for node in c.nodes() if node.active and allowed(job, node))
    known = [faults[site_key(site)] for site in sites if site_key(site) in faults]
    return [f"  {one_line(Reason.parse(stored))}" for stored in known]


def _on_gpus(text: str | None) -> str:
    """Return on which GPUs a replica ran."""
    if text is None:
        return ""
    from json import loads  # noqa: PLC0415 - for who had one

    return ", on " + " and ".join(f"{load['model'] or 'a GPU'} ({load['uuid']})" for load in loads(text))


def _backend_words(c: Coordinator, replicas: list[ReplicaRow], document: dict[str, Any]) -> list[str]:
    """Return what the backends say of the launches that are out; it is added to the document of each replica."""
    nodes, lines = c.nodes_by_id(), []
    for replica, shown in zip(replicas, document["replicas"], strict=True):
        execution = Execution(replica.execution)
        if execution not in OUT and execution is not Execution.REPORTED:
            continue
        launch, node = c.store.replicas.launch_of(replica.id), nodes[replica.node_id]
        kept = sentence(Reason.parse(launch.reason))
        if execution is Execution.REPORTED:
            if launch.host_awaited:
                lines.append(f"  replica {replica.number}: {kept or f'{node.name} is still to say where it ran'}")
            continue
        try:
            status = c.backend(node).status(c.context(node), [launch.key])[launch.key]
        except (NexapodError, OSError, KeyError) as error:
            last = f"; it said last: {kept}" if kept else ""
            why = " ".join(str(error).split())
            lines.append(f"  replica {replica.number}: {node.name} cannot be asked: {why}{last}")
            continue
        native = {"id": status.native, "state": status.native_state, "reason": status.native_reason}
        shown["backend"] = {"state": status.state.value, **_as_json(reason_of(status)), "native": native}
        lines += _status_lines(c, replica, node, status, kept)
    return lines


def _status_lines(c: Coordinator, replica: ReplicaRow, node: Node, status: LaunchStatus, kept: str) -> list[str]:
    """Return what a backend says of one replica's launch; `kept` is what it said last of why that waits."""
    line = f"  replica {replica.number}: {node.name} says {status.state}"
    if status.state is BackendState.UNKNOWN:
        line = f"  replica {replica.number}: {node.name} was not handed this yet"
    why = status.reason
    if not why and status.state is not BackendState.ACTIVE:
        why = kept
    if why:
        line += f", {why}"
    if status.state in _NOT_ENDED:
        line += _ahead(c, replica)
    quiet = paused(c.context(node).spool)[0] if node.site == LOCAL else ""
    if quiet and quiet not in why:
        return [line, f"  replica {replica.number}: {node.name} {quiet}"]
    return [line]


def _ahead(c: Coordinator, r: ReplicaRow) -> str:
    """Say behind how many others a replica waits that shares what the backend started with them."""
    if r.execution == Execution.RUNNING:
        return ""
    n = c.store.replicas.ahead_of(r)
    if n:
        return f"; waits its turn there, behind {n} other{'s' * (n != 1)}"
    return ""


def _independence(c: Coordinator, job_id: int, replicas: list[ReplicaRow]) -> list[str]:
    """Return what the accepted replicas had in common, which is what agreement between them cannot prove."""
    valid = [r for r in replicas if r.validation == "valid"]
    if not valid:
        return []
    return [sentence(independence(votes_of(c, Places(c.job(job_id), c.nodes_by_id()), None, valid)))]

"""Jobs that follow others: what keeps them back, and their inputs once the outputs before them are accepted.

Until then an input has no digest, and nothing of the job is placed. The digests are those of the signed statement
whose files were published, each with the verdict that accepted it; the job's document with them in it is what is
signed for from then on, and an entry of the ledger says that it took the place of the one that was submitted.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_verdicts
from nexapod_batch.coordinator.placement import kept_inputs
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.input_names import MAX_FILES, name_in_folder
from nexapod_batch.files.output_files import has_glob, matches
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.model.document import canonical, digest, to_document
from nexapod_batch.model.job import Elements
from nexapod_batch.model.job_source import JobSource, is_job_source, parse_job_source
from nexapod_batch.model.placeholders import expand, literal, names_in, task_values
from nexapod_batch.model.reason import Code, Reason, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.store.repositories.jobs import JobRow

__all__ = ["placeable", "ready"]

#: Forms that a document has at most while tasks get their inputs one after the other, and others run.
_FORMS = 32


class _MissingError(Exception):
    """Outputs that a job needs are not to be had; the reason is its argument."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def _unreadable(error: Exception) -> _MissingError:
    return _MissingError(Reason(code=Code.OUTPUTS_UNREADABLE, parameters={"error": Reason.of_error(error)}))


class _Published(NamedTuple):
    """What is known of the published outputs of one task."""

    files: Mapping[str, str]  # name -> hex SHA-256
    verdict: str  # hex SHA-256 of the signed verdict


def ready(c: Coordinator, row: JobRow) -> JobRow | None:
    """Return the row of a job of which tasks may be placed now; None while something keeps it back, which is kept."""
    job = c.job(row.id)
    reason = _waits_for(c, row, job)
    if reason is None and job.has_open_inputs:
        try:
            if job.elements is None:
                row = _settle(c, row, job)
            reason = _settle_elements(c, row)
            row = c.store.jobs.get(row.id)
        except _MissingError as missing:
            reason = missing.reason
    stored = "" if reason is None else reason.stored()
    if stored != row.blocked:
        with c.store.atomic():
            c.store.jobs.block(row.id, stored)
    return row if reason is None else None


def placeable(job: Job) -> frozenset[int] | None:
    """Return the tasks whose inputs are known; None where that makes no difference between tasks."""
    if job.elements is None or not job.has_open_inputs:
        return None
    return frozenset(job.elements.tasks)


def _waits_for(c: Coordinator, row: JobRow, job: Job) -> Reason | None:
    """Return which job keeps all of this one back: one of which single tasks are waited for keeps back these alone."""
    reason: Reason | None = None
    by_element = _by_element(job)
    for on in c.store.jobs.dependencies(row.id):
        if on.on_job in by_element:
            continue
        ended = on.n_waiting + on.n_active == 0
        accepted = ended and on.n_accepted == on.n_tasks
        met = {"ended": ended, "accepted": accepted, "failed": ended and not accepted}[on.condition]
        if not met:
            parameters = {"job": on.on_job, "condition": on.condition, "ended": ended}
            reason = Reason(code=Code.WAITS_FOR_JOB, parameters=parameters)
    return reason


def _is_of_element(job_input: Input) -> bool:
    """Say whether an input is that of one element of another job for each task."""
    return is_job_source(job_input.source) and bool(names_in(parse_job_source(job_input.source).task))


def _by_element(job: Job) -> frozenset[int]:
    """Return the jobs of which each task waits for one task alone."""
    sources = job.inputs if job.elements is None else job.elements.sources
    open_inputs = [one for one in sources if not one.sha256 and is_job_source(one.source)]
    whole = {parse_job_source(one.source).job for one in open_inputs if not _is_of_element(one)}
    return frozenset({parse_job_source(one.source).job for one in open_inputs if _is_of_element(one)} - whole)


def _settle(c: Coordinator, row: JobRow, job: Job) -> JobRow:
    """Give every input of all tasks its digest, keep the files, and pin the job anew.

    What comes for each task from one element of another job is put aside until that is accepted.
    """
    by_element = _by_element(job)
    inputs = [job_input for job_input in job.inputs if job_input.sha256]
    waiting = []
    known: dict[tuple[int, int], _Published] = {}
    for job_input in job.inputs:
        if not job_input.sha256 and parse_job_source(job_input.source).job in by_element:
            waiting.append(job_input)
        elif not job_input.sha256:
            inputs += _found(c, job, job_input, known)
        if len(inputs) > MAX_FILES:
            raise _MissingError(Reason(code=Code.TOO_MANY_INPUTS, parameters={"limit": MAX_FILES}))
    _keep(c, inputs)
    elements = Elements(sources=tuple(waiting)) if waiting else None
    return _pin(c, row, replace(job, inputs=tuple(inputs), elements=elements))


def _keep(c: Coordinator, inputs: Sequence[Input]) -> None:
    try:
        kept_inputs.keep(c, [one for one in inputs if is_job_source(one.source)], c.paths.results)
    except NexapodError as error:
        raise _unreadable(error) from error


def _settle_elements(c: Coordinator, row: JobRow) -> Reason | None:
    """Give the tasks their inputs whose elements are accepted by now, and pin the job anew.

    Return why nothing of it can be placed meanwhile, where there is nothing else to do. Few at a time wait for more
    while others run: every form of the document has all that are known.
    """
    job = c.job(row.id)
    if job.elements is None:
        return None
    before = _by_element(job)
    published = {number: set(c.store.tasks.published_of(number)) for number in before}
    n_pinned = len(job.elements.tasks)
    is_idle = row.n_waiting + row.n_active <= job.n_tasks - n_pinned  # no task with inputs is open
    takes_few = is_idle or all(_has_ended(c, number) for number in before)
    if not takes_few and not _is_worth_a_form(min(map(len, published.values())) - n_pinned, job):
        return None
    there, missing = _elements_there(c, job, published)
    if takes_few or _is_worth_a_form(len(there), job):
        inputs, tasks, unreadable = _inputs_of_tasks(c, job, there)
        if tasks:
            _keep(c, inputs)
            _pin(c, row, _with_inputs(job, inputs, tasks))
            return None
        missing = unreadable or missing
    return missing if is_idle else None


def _is_worth_a_form(n_tasks: int, job: Job) -> bool:
    """Say whether so many more tasks with inputs are worth another form of the document."""
    return n_tasks * _FORMS >= job.n_tasks


def _inputs_of_tasks(
    c: Coordinator, job: Job, indexes: Sequence[int]
) -> tuple[list[Input], list[int], Reason | None]:
    """Return the inputs of tasks, which of them have theirs, and why another has not.

    Raises:
        _MissingError: The job has too many files by now.

    """
    inputs: list[Input] = []
    done: list[int] = []
    missing: Reason | None = None
    known: dict[tuple[int, int], _Published] = {}
    for index in indexes:
        try:
            inputs += _of_element(c, job, index, known)
        except _MissingError as error:
            missing = error.reason
            continue
        done.append(index)
    if len(job.inputs) + len(inputs) > MAX_FILES:
        raise _MissingError(Reason(code=Code.TOO_MANY_INPUTS, parameters={"limit": MAX_FILES}))
    return inputs, done, missing


def _with_inputs(job: Job, inputs: Sequence[Input], tasks: Sequence[int]) -> Job:
    """Return a job in which some tasks more have their inputs."""
    inputs = (*job.inputs, *inputs)
    if job.elements is None:
        return replace(job, inputs=inputs)
    sources, pinned, forms = job.elements
    pinned = (*pinned, *tasks)
    elements = Elements(sources=sources, tasks=pinned, forms=(*forms, (len(inputs), len(pinned))))
    return replace(job, inputs=inputs, elements=elements)


def _elements_there(
    c: Coordinator, job: Job, published: Mapping[int, set[int]]
) -> tuple[list[int], Reason | None]:
    """Return the tasks whose elements before are all published, and that were not pinned; and what others wait for."""
    if job.elements is None:
        return [], None
    pinned, reason = set(job.elements.tasks), None
    sources = [parse_job_source(source.source) for source in job.elements.sources]
    found = []
    for index in job.task_indexes():
        if index in pinned:
            continue
        values = task_values(job, index, job.parameters(index))
        waits = [one for one in sources if _number(expand(one.task, values)) not in published[one.job]]
        if not waits:
            found.append(index)
        elif reason is None:
            ended = _has_ended(c, waits[0].job)
            parameters = {"job": waits[0].job, "condition": "accepted", "ended": ended}
            reason = Reason(code=Code.WAITS_FOR_JOB, parameters=parameters)
    return found, reason


def _of_element(
    c: Coordinator, job: Job, index: int, known: dict[tuple[int, int], _Published]
) -> list[Input]:
    """Return the inputs that one task gets from the elements before it."""
    values = task_values(job, index, job.parameters(index))
    found = []
    for job_input in job.elements.sources if job.elements is not None else ():
        source = parse_job_source(job_input.source)
        own = JobSource(source.job, expand(source.task, values), expand(source.path, values))
        files = _files(c, job_input, own, known)
        found += [file._replace(only=index, target=literal(expand(file.target, values))) for file in files]
    return found


def _has_ended(c: Coordinator, job: int) -> bool:
    """Say whether no task of a job is open, and all that can be is published."""
    row = c.store.jobs.get(job)
    return row.n_waiting + row.n_active == 0 and not c.store.jobs.has_unpublished([job])


def _number(text: str) -> int:
    """Return the index that a text is; -1 for another one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1


def _pin(c: Coordinator, row: JobRow, job: Job) -> JobRow:
    """Let a document take the place of the one that a job had, and say so in the ledger."""
    document = canonical(to_document(job))
    entry = event(
        Kind.RESOLVED, c.now(), id=f"{row.id}", uuid=row.uuid, sha256=digest_of(document),
        inputs=len(job.inputs),
    )
    with c.store.atomic():
        c.store.jobs.pin(row.id, digest=digest(document), body=document)
        c.store.ledger.note_submitted(row.id, c.store.ledger.append([entry]))
    c.forget_job(row.id)
    return c.store.jobs.get(row.id)


def _found(
    c: Coordinator, job: Job, job_input: Input, known: dict[tuple[int, int], _Published]
) -> Iterator[Input]:
    """Yield the files that an input stands for; with placeholders, those of each task."""
    source = parse_job_source(job_input.source)
    if not names_in(source.task + source.path):
        yield from _files(c, job_input, source, known)
        return
    for index in job.task_indexes():
        values = task_values(job, index, job.parameters(index))
        own = JobSource(source.job, expand(source.task, values), expand(source.path, values))
        for file in _files(c, job_input, own, known):
            yield file._replace(only=index, target=literal(expand(file.target, values)))


def _files(
    c: Coordinator, job_input: Input, source: JobSource, known: dict[tuple[int, int], _Published]
) -> Iterator[Input]:
    """Yield the outputs that a source takes, of one task or of all.

    Those of all tasks of an array lie in a folder for each, as among the results.
    """
    before = c.job(source.job)
    gathers = not source.task and before.array is not None
    target = None if job_input.target == parse_job_source(job_input.source).path else job_input.target
    for task in before.task_indexes() if not source.task else [_index(before, source)]:
        if (source.job, task) not in known:
            known[source.job, task] = _published(c, source.job, task)
        published = known[source.job, task]
        names = [name for name in published.files if matches(name, source.path)]
        if source.path in published.files:
            names = [source.path]
        if not names:
            parameters = {"task": f"{source.job}_{task}", "path": plain(source.path)}
            raise _MissingError(Reason(code=Code.NO_SUCH_OUTPUT, parameters=parameters))
        folder = f"{task}/" if gathers else ""
        for name in names:
            yield job_input._replace(
                source=f"job:{source.job}_{task}/{name}", target=_put(name, source.path, target, folder),
                sha256=published.files[name], verdict=published.verdict,
            )  # fmt: skip


def _put(name: str, pattern: str, target: str | None, folder: str) -> str:
    """Return where an output is put: as the job before calls it, or where `target` says; `folder` is its task's."""
    name = literal(name)
    if target is None:
        return f"{folder}{name}"
    if folder:
        return f"{target.rstrip('/')}/{folder}{name}"
    if has_glob(pattern):
        return name_in_folder(name, pattern, target)
    return target


def _index(before: Job, source: JobSource) -> int:
    """Return which task of the job before is meant."""
    try:
        index = int(source.task)
        if index in (before.array or (0,)):
            return index
    except ValueError:
        pass
    raise _MissingError(Reason(code=Code.NO_SUCH_TASK, parameters={"task": plain(f"{source.job}_{source.task}")}))


def _published(c: Coordinator, job_id: int, task: int) -> _Published:
    """Return what a task that was accepted published, as its statement says it."""
    row = c.store.tasks.get(job_id, task)
    name = f"{job_id}_{task}"
    if not row.published or row.published_from is None:
        raise _MissingError(Reason(code=Code.OUTPUTS_UNPUBLISHED, parameters={"task": name}))
    if row.doubt:  # by a key that was revoked since, say: what is built on it would rest on nothing
        raise _MissingError(Reason(code=Code.OUTPUTS_DOUBTED, parameters={"task": name}))
    (replica,) = [one for one in c.store.replicas.of_task(job_id, task) if one.number == row.published_from]
    try:
        statement = statement_of(c, replica.id)
        files = listed(statement, c.store.tasks.manifest(job_id, task))
        verdicts = stored_verdicts(c, job_id, task)
    except NexapodError as error:
        raise _unreadable(error) from error
    if files is None:
        raise _MissingError(Reason(code=Code.OUTPUTS_UNKNOWN, parameters={"task": name}))
    verdict = hashlib.sha256(verdicts[-1].payload).hexdigest() if verdicts else ""
    return _Published(files, verdict)

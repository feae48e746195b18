"""What a statement may say of a replica, as the pinned job has it: all of it is compared here, and nowhere else.

`contradiction` names the first thing that no honest runner signs. Such a statement is no vote, whoever signed it, and
whoever signed it answers for it. What is a node's own word (its host, what it measured, when by its clock) is held to
what is possible at all. That the statement is about this replica (job, nonce, launch) is `trust.delegation`'s question.
"""

from __future__ import annotations

from os.path import normpath
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.compare.stores import normalized_of, stores
from nexapod_batch.files.output_files import has_glob, matches
from nexapod_batch.model.job import Agreement, CompareRule, Isolation, TaskInputs
from nexapod_batch.model.placeholders import expand, task_values
from nexapod_batch.model.reason import Code, Reason, plain
from nexapod_batch.trust.statement import NO_DIGEST, NO_VOTE, Outcome, normalizers_of, unread_digest
from nexapod_batch.trust.statement_rules import MAX_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.trust.statement import Statement, Subject

__all__ = ["MAX_SKEW_MS", "Expected", "Place", "isolation_at_least"]

#: By how much the clocks of a node and of the coordinator may differ, in milliseconds: some are hours off.
MAX_SKEW_MS = 2 * 86_400 * 1000
_MAX_CPUS = 1 << 16
_MAX_KIB = 1 << 44
_SLACK_MS = 60_000
_RANKS: dict[str, int] = {isolation.value: rank for rank, isolation in enumerate(Isolation)}


#: Path or glob of an output of one task, its rule, and whether it may be missing.
_Declared = tuple[str, CompareRule, bool]


class Place(Struct, frozen=True, kw_only=True):
    """What the coordinator knows of where and when a replica was to run; times in milliseconds since 1970."""

    backend: str
    host: str | None  # None: its node is made of many, or of machines that come and go
    given_ms: int  # when it was launched
    received_ms: int


def isolation_at_least(isolation: str, wanted: Isolation) -> bool:
    """Say whether what a statement says of isolation is as much as is wanted."""
    return _RANKS[isolation] >= _RANKS[wanted]


class _Inputs:
    """The inputs of each task, as statements name them."""

    def __init__(self, job: Job) -> None:
        self._by_task = TaskInputs(job.inputs)
        self._shared = self._named(0) if self._by_task.alike else None

    def of(self, task: int) -> tuple[tuple[str, str], ...]:
        return self._named(task) if self._shared is None else self._shared

    def _named(self, task: int) -> tuple[tuple[str, str], ...]:
        return tuple([(job_input.target, job_input.sha256) for job_input in self._by_task.of(task)])


class Expected:
    """What the statements of one job may say; what does not depend on the task is worked out once."""

    def __init__(self, job: Job) -> None:
        """Take the pinned job."""
        self._job = job
        self._inputs = _Inputs(job)
        self._distinct = tuple([field.value for field in job.quorum.distinct])
        self._normalizers = normalizers_of(job)
        self._max_bytes = job.resources.disk_mib * 2**20
        self._outputs: tuple[int, list[_Declared]] | None = None  # of the last task

    def contradiction(self, statement: Statement, place: Place) -> Reason | None:
        """Return what of a statement contradicts the job or the world; None when nothing does."""
        return (
            self._terms(statement)
            or _outcome(statement)
            or _place(statement, place)
            or self._container(statement)
            or self._gpus(statement)
            or self._program(statement)
            or self._subjects(statement)
            or self._normalized(statement)
            or self._figures(statement)
            or _times(statement, place)
        )

    def _terms(self, statement: Statement) -> Reason | None:
        """Compare the quorum policy and the inputs that it was given."""
        if statement.agree != self._job.quorum.agree or statement.distinct != self._distinct:
            return Reason(code=Code.OTHER_POLICY)
        if statement.inputs != self._inputs.of(statement.replica.task):
            return Reason(code=Code.OTHER_INPUTS)
        if statement.saved or statement.continues is not None:
            return self._state(statement)
        return None

    def _state(self, statement: Statement) -> Reason | None:
        """Compare what was saved, and from what it went on, with what the job wants saved."""
        checkpoint = self._job.checkpoint
        names = [file.name for file in statement.saved]
        if statement.continues is not None:
            names += [name for name, _ in statement.continues.files]
        size = sum(file.size for file in statement.saved)
        if (
            checkpoint is None
            or not _all_match(names, checkpoint.paths)
            or size > min(self._max_bytes, statement.output_bytes)
            or (statement.saved and statement.outcome is not Outcome.PREEMPTED)
        ):
            return Reason(code=Code.STATE_UNASKED)
        return None

    def _container(self, statement: Statement) -> Reason | None:
        """Compare isolation, image and network."""
        wanted, used = self._job.container, statement.container
        if (used is not None) != (statement.isolation == "container"):
            return Reason(code=Code.ISOLATION_WITHOUT_CONTAINER)
        if wanted is None:
            if used is None:
                return None
            return Reason(code=Code.CONTAINER_UNASKED)
        if used is None:
            may_do_without = wanted.isolation == "any" or statement.outcome is not Outcome.OK
            if may_do_without:
                return None
            return Reason(code=Code.CONTAINER_UNUSED)
        if (used.image, used.sha256) != (wanted.image, wanted.sha256):
            return Reason(code=Code.OTHER_IMAGE)
        if used.network != wanted.network:
            return Reason(code=Code.OTHER_NETWORK, parameters={"network": used.network, "wanted": wanted.network})
        return None

    def _gpus(self, statement: Statement) -> Reason | None:
        """Compare the GPUs that it had with how many were asked for, each once."""
        if not statement.gpus:
            return None
        asked = self._job.resources
        number, different = len(statement.gpus), len({gpu.uuid for gpu in statement.gpus})
        if number > asked.gpus * (asked.nodes or 1) or different < number:
            return Reason(code=Code.GPUS_UNASKED)
        return None

    def _program(self, said: Statement) -> Reason | None:
        """Compare the digest of a program with that of the input that it is."""
        program = said.program
        if program is None or not program.sha256 or program.file.startswith("/"):
            return None
        brought = {normpath(target): sha256 for target, sha256 in self._inputs.of(said.replica.task)}
        wanted = brought.get(program.file, program.sha256)
        if wanted == program.sha256:
            return None
        return Reason(code=Code.OTHER_PROGRAM)

    def _subjects(self, statement: Statement) -> Reason | None:
        """Compare names, digests and sizes of the outputs with what the job declares."""
        if statement.outcome is not Outcome.OK or not self._job.outputs:
            return _only_stdout(statement)
        outputs = self._of_task(statement.replica.task)
        if statement.manifest:
            few = len(outputs) <= MAX_SUBJECTS and not any(has_glob(pattern) for pattern, _, _ in outputs)
            if few:
                return Reason(code=Code.OUTPUTS_UNLISTED)
            return None
        return _listed(statement, outputs)

    def _normalized(self, statement: Statement) -> Reason | None:
        """Compare the commands that normalised outputs, and their image."""
        wanted = self._normalizers if statement.outcome is Outcome.OK else ()
        if statement.normalizers != wanted:
            return Reason(code=Code.OTHER_NORMALIZERS)
        return None

    def _of_task(self, task: int) -> list[_Declared]:
        if self._outputs is None or self._outputs[0] != task:
            values: Mapping[str, str] = task_values(self._job, task, self._job.parameters(task))
            self._outputs = task, [
                (expand(output.path, values), output.rule, output.optional) for output in self._job.outputs
            ]
        return self._outputs[1]

    def _figures(self, statement: Statement) -> Reason | None:
        """Hold what was measured to what can be."""
        size = 0
        for subject in statement.subjects:
            size += subject.size or 0
        if statement.outcome is Outcome.OK and not statement.manifest and self._job.outputs and size > self._max_bytes:
            return Reason(code=Code.OUTPUTS_TOO_LARGE)
        if not statement.manifest and size > statement.output_bytes:
            return Reason(code=Code.OUTPUTS_UNWRITTEN)
        return _usage(statement)


def _all_match(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return all(any(matches(name, pattern) for pattern in patterns) for name in names)


def _outcome(statement: Statement) -> Reason | None:
    """Compare its outcome with its exit code."""
    if statement.outcome is Outcome.OK and statement.exit_code != 0:
        return Reason(code=Code.OUTCOME_WITH_EXIT_CODE, parameters={"exit_code": statement.exit_code})
    return None


def _usage(statement: Statement) -> Reason | None:
    """Hold CPU time and memory to what a machine may have."""
    if (statement.cpu_ms or 0) > (statement.wall_ms + _SLACK_MS) * _MAX_CPUS or (statement.max_rss_kib or 0) > _MAX_KIB:
        return Reason(code=Code.IMPOSSIBLE_USAGE)
    return None


def _place(statement: Statement, place: Place) -> Reason | None:
    """Compare where it says that it ran with what is known of its node."""
    if statement.backend != place.backend:
        return Reason(code=Code.OTHER_BACKEND)
    if place.host is None:
        return None
    if statement.host != place.host:
        return Reason(code=Code.OTHER_HOST)
    if statement.passed:
        return Reason(code=Code.VARIABLES_OF_NO_SITE)
    return None


def _only_stdout(statement: Statement) -> Reason | None:
    """Compare the one output of a job that declares none, or of a replica that did not end well."""
    output = statement.subjects[0]
    if len(statement.subjects) > 1 or statement.manifest or output.name != "stdout" or output.normalized is not None:
        return Reason(code=Code.ONLY_STDOUT)
    if output.sha256 != statement.stdout_sha256:
        return Reason(code=Code.STDOUT_DIGESTS_DIFFER)
    return None


def _listed(statement: Statement, outputs: Sequence[_Declared]) -> Reason | None:
    """Compare outputs that are listed one by one with the patterns that the job declares."""
    missing = {pattern for pattern, _, optional in outputs if not optional}
    rules: dict[str, CompareRule] = {}
    for output in statement.subjects:
        matching = [(pattern, rule) for pattern, rule, _ in outputs if matches(output.name, pattern)]
        if not matching:
            return Reason(code=Code.OUTPUT_UNDECLARED, parameters={"output": plain(output.name)})
        _, rules[output.name] = matching[0]
        missing.difference_update(pattern for pattern, _ in matching)
    if (without := _without_digest(statement.subjects, rules)) is not None:
        return Reason(code=Code.OUTPUT_DIGESTS, parameters={"output": plain(without)})
    if missing:
        return Reason(code=Code.OUTPUT_MISSING, parameters={"pattern": plain(min(missing))})
    return None


def _without_digest(subjects: Sequence[Subject], rules: Mapping[str, CompareRule]) -> str | None:
    """Return the first output that has not the kind of normalised digest that its rule asks for; None for none.

    Of a store the file that stands for it has one, and the others have no vote, unless none of it could be read.
    """
    wanted: dict[str, str] = {}
    by_name = {subject.name: subject for subject in subjects}
    for store in stores(rules):
        head = by_name[store.head]
        unread = head.normalized == unread_digest(head.sha256)
        digests = {name: by_name[name].sha256 for name in store.members}
        wanted |= normalized_of(store, None if unread else head.normalized or "", digests)
        wanted.pop(store.head)  # which is held to the rule, as any file is
    for subject in subjects:
        if subject.name in wanted:
            misses = subject.normalized != wanted[subject.name]
        else:
            misses = _misses_digest(rules[subject.name], subject.normalized)
        if misses:
            return subject.name
    return None


def _misses_digest(rule: CompareRule, normalized: str | None) -> bool:
    match rule.agreement:
        case Agreement.BYTES:
            return normalized is not None
        case Agreement.TOLERANCE:
            return normalized != NO_DIGEST
        case Agreement.NORMAL_FORM:
            return normalized in {None, NO_DIGEST, NO_VOTE}
        case Agreement.NOTHING:
            return normalized != NO_VOTE


def _times(statement: Statement, place: Place) -> Reason | None:
    """Hold times by the node's clock to what can be; clocks may differ by days, order may not."""
    if statement.finished_ms < statement.started_ms:
        return Reason(code=Code.FINISHED_BEFORE_START)
    if statement.started_ms < place.given_ms - MAX_SKEW_MS:
        return Reason(code=Code.STARTED_BEFORE_LAUNCH)
    if statement.finished_ms > place.received_ms + MAX_SKEW_MS:
        return Reason(code=Code.FINISHED_AFTER_REPORT)
    if statement.wall_ms > statement.finished_ms - statement.started_ms + MAX_SKEW_MS:
        return Reason(code=Code.RAN_TOO_LONG)
    return None

"""What a statement may say of a replica, as the pinned job has it: all of it is compared here, and nowhere else.

`contradiction` names the first thing that no honest runner signs. Such a statement is no vote, whoever signed it, and
whoever signed it answers for it. What is a node's own word (its host, what it measured, when by its clock) is held to
what is possible at all. That the statement is about this replica (job, nonce, launch) is `trust.delegation`'s question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.files.output_files import has_glob, matches
from nexapod_batch.model.job import Agreement, Comparator, CompareRule, Isolation
from nexapod_batch.model.placeholders import expand, task_values
from nexapod_batch.trust.statement import NO_DIGEST, Outcome
from nexapod_batch.trust.statement_rules import MAX_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.trust.statement import Statement

__all__ = ["MAX_SKEW_MS", "Expected", "Place", "isolation_at_least"]

#: By how much the clocks of a node and of the coordinator may differ, in milliseconds: some are hours off.
MAX_SKEW_MS = 2 * 86_400 * 1000
_MAX_CPUS = 1 << 16
_MAX_KIB = 1 << 44
_SLACK_MS = 60_000
_RANKS: dict[str, int] = {isolation.value: rank for rank, isolation in enumerate(Isolation)}


class Place(Struct, frozen=True, kw_only=True):
    """What the coordinator knows of where and when a replica was to run; times in milliseconds since 1970."""

    backend: str
    host: str | None  # None: its node is made of many, or of machines that come and go
    given_ms: int  # when it was launched
    received_ms: int


def isolation_at_least(isolation: str, least: Isolation) -> bool:
    """Say whether what a statement says of isolation is as much as is wanted."""
    return _RANKS[isolation] >= _RANKS[least]


class Expected:
    """What the statements of one job may say; what does not depend on the task is worked out once."""

    def __init__(self, job: Job) -> None:
        """Take the pinned job."""
        self._job = job
        self._inputs = tuple([(one.target, one.sha256) for one in job.inputs])
        self._distinct = tuple([field.value for field in job.quorum.distinct])
        self._most = job.resources.disk_mib * 2**20
        self._outputs: tuple[int, list[tuple[str, CompareRule]]] | None = None  # of the last task

    def contradiction(self, said: Statement, place: Place) -> str:
        """Return what of a statement contradicts the job or the world, in words; "" when nothing does."""
        return (
            self._terms(said)
            or _outcome(said)
            or _place(said, place)
            or self._container(said)
            or self._gpus(said)
            or self._subjects(said)
            or self._figures(said)
            or _times(said, place)
        )

    def _terms(self, said: Statement) -> str:
        """Compare the quorum policy and the inputs that it was given."""
        if said.agree != self._job.quorum.agree or said.distinct != self._distinct:
            return "it was told another quorum policy"
        return "" if said.inputs == self._inputs else "its inputs are not those of the job"

    def _container(self, said: Statement) -> str:
        """Compare isolation, image and network."""
        wanted, used = self._job.container, said.container
        if (used is not None) != (said.isolation == "container"):
            return "isolation and container contradict each other"
        if wanted is None:
            return "" if used is None else "the container is not its own: the job has none"
        if used is None:
            may_do_without = wanted.isolation == "any" or said.outcome is not Outcome.OK
            return "" if may_do_without else "the container is not its own: it ran in none"
        if (used.image, used.sha256) != (wanted.image, wanted.sha256):
            return "the container is not its own: it is another image"
        if used.network != wanted.network:
            return f"its network was {used.network}, the job's is {wanted.network}"
        return ""

    def _gpus(self, said: Statement) -> str:
        """Compare the GPUs that it had with how many were asked for, each once."""
        asked = self._job.resources
        if len(said.gpus) > asked.gpus * (asked.nodes or 1) or len({one.uuid for one in said.gpus}) < len(said.gpus):
            return "it had GPUs that the job did not ask for"
        return ""

    def _subjects(self, said: Statement) -> str:
        """Compare names, digests and sizes of the outputs with what the job declares."""
        if said.outcome is not Outcome.OK or not self._job.outputs:
            return _only_stdout(said)
        outputs = self._of_task(said.replica.task)
        if said.manifest:
            few = len(outputs) <= MAX_SUBJECTS and not any(has_glob(pattern) for pattern, _ in outputs)
            return "so few outputs are listed one by one" if few else ""
        return _listed(said, outputs)

    def _of_task(self, task: int) -> list[tuple[str, CompareRule]]:
        if self._outputs is None or self._outputs[0] != task:
            values: Mapping[str, str] = task_values(self._job, task, self._job.parameters(task))
            self._outputs = task, [(expand(one.path, values), one.rule) for one in self._job.outputs]
        return self._outputs[1]

    def _figures(self, said: Statement) -> str:
        """Hold what was measured to what can be."""
        size = sum(one.size or 0 for one in said.subjects)
        if said.outcome is Outcome.OK and not said.manifest and self._job.outputs and size > self._most:
            return "its outputs are larger than the job may have"
        if not said.manifest and size > said.output_bytes:
            return "its outputs are larger than all that it wrote"
        return _usage(said)


def _outcome(said: Statement) -> str:
    """Compare its outcome with its exit code."""
    if said.outcome is Outcome.OK and said.exit_code != 0:
        return f"outcome ok with exit code {said.exit_code}"
    return ""


def _usage(said: Statement) -> str:
    """Hold CPU time and memory to what a machine may have."""
    if (said.cpu_ms or 0) > (said.wall_ms + _SLACK_MS) * _MAX_CPUS or (said.max_rss_kib or 0) > _MAX_KIB:
        return "it used more than any machine has"
    return ""


def _place(said: Statement, place: Place) -> str:
    """Compare where it says that it ran with what is known of its node."""
    if said.backend != place.backend:
        return "the backend is not its own"
    if place.host is None:
        return ""
    if said.host != place.host:
        return "the host is not that of its node"
    return "it had variables of a site, and its node belongs to none" if said.passed else ""


def _only_stdout(said: Statement) -> str:
    """Compare the one output of a job that declares none, or of a replica that did not end well."""
    (one, *more) = said.subjects
    if more or said.manifest or one.name != "stdout" or one.normalized is not None:
        return "its only output is stdout"
    return "" if one.sha256 == said.stdout_sha256 else "its two digests of stdout differ"


def _listed(said: Statement, outputs: Sequence[tuple[str, CompareRule]]) -> str:
    """Compare outputs that are listed one by one with the patterns that the job declares."""
    left = {pattern for pattern, _ in outputs}
    for one in said.subjects:
        matching = [(pattern, rule) for pattern, rule in outputs if matches(one.name, pattern)]
        if not matching:
            return f"the job declares no output {one.name!r:.80}"
        _, first_rule = matching[0]
        if _misses_digest(first_rule.comparator, one.normalized):
            return f"output {one.name!r:.80} has not the digests that its comparator takes"
        left.difference_update(pattern for pattern, _ in matching)
    return f"no output for {min(left)!r:.80}" if left else ""


def _misses_digest(comparator: Comparator, normalized: str | None) -> bool:
    match comparator.agreement:
        case Agreement.BYTES:
            return normalized is not None
        case Agreement.TOLERANCE:
            return normalized != NO_DIGEST
        case Agreement.NORMAL_FORM:
            return normalized is None or normalized == NO_DIGEST


def _times(said: Statement, place: Place) -> str:
    """Hold times by the node's clock to what can be; clocks may differ by days, order may not."""
    if said.finished_ms < said.started_ms:
        return "it finished before it started"
    if said.started_ms < place.given_ms - MAX_SKEW_MS:
        return "it started before it was launched"
    if said.finished_ms > place.received_ms + MAX_SKEW_MS:
        return "it finished after its report came"
    if said.wall_ms > said.finished_ms - said.started_ms + MAX_SKEW_MS:
        return "it ran for longer than from start to finish"
    return ""

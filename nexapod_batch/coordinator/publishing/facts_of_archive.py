"""What a checked archive holds, as the facts of a page. Nothing is said that the archive does not prove or quote."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.evidence.export_format import CHECKPOINT
from nexapod_batch.coordinator.verification.export_check import described
from nexapod_batch.coordinator.verification.export_statements import open_statements, reason_of
from nexapod_batch.errors import NexapodError
from nexapod_batch.lifecycle import Execution, TaskState, Validation
from nexapod_batch.model.document import to_document
from nexapod_batch.model.job import NumericClass
from nexapod_batch.model.reason_codes import Code
from nexapod_batch.publication.facts import (
    Facts,
    KeyFacts,
    OutputFacts,
    ReplicaFacts,
    ReproductionFacts,
    Standing,
    TaskFacts,
)
from nexapod_batch.trust.statement import Outcome
from nexapod_batch.wording import sentence
from nexapod_batch.wording.independence import in_few_words, is_independent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.archives.check import Checked
    from nexapod_batch.coordinator.evidence.export_format import ExportedReplica, ExportedTask
    from nexapod_batch.coordinator.verification.export_check import Export
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.reason import Reason
    from nexapod_batch.trust.statement import Statement

__all__ = ["facts_of"]

#: Bytes of a difference report that are shown; files of a task that are listed.
_MAX_REPORT, _MAX_OUTPUTS = 1 << 16, 1_000
#: Nodes and differences of a reproduction that are named.
_FEW = 5
#: Digits by which an answer is told from others.
_ANSWER = 8
#: What is said of the kind of a machine.
_KINDS = (NumericClass.OS_ARCH, NumericClass.CPU_MICROARCH, NumericClass.GPU_MODEL)
#: What a word of ours that is none, or has no parameters, raises.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, LookupError)


def facts_of(checked: Checked, given: Mapping[str, bytes], path: Path, name: str, sha256: str) -> Facts:
    """Return what the archive at `path` holds, which is called `name` and has this digest where it is published.

    Of one whose files are not those that were signed only that is told.
    """
    export, document = checked.export, described(checked.evidence, checked.export, given)
    failed = [check for check in checked.evidence.checks if not check["ok"]]
    problems = [f"{check['of']}, {check['check']}: {check['problem']}" for check in failed]
    problems = [_without_place(problem, path, name) for problem in problems]
    if export is None:
        return _broken(name, sha256, problems)
    word, job, outputs = export.word, export.job, _outputs(checked)
    return Facts(
        job=word.job,
        name=job.name,
        uuid=word.uuid,
        digest=word.digest,
        program=_program(job),
        image=_image(job),
        inputs=tuple((one.target, one.source, one.sha256) for one in job.inputs),
        compared=_compared(job),
        policy=_policy(job),
        tasks=tuple(_task(checked, export, task, outputs.get(task.task, ())) for task in word.tasks),
        keys=tuple(_key(key) for key in document["keys"]),
        reproductions=tuple(_reproduction(one, given) for one in checked.reproductions),
        checkpoint=_checkpoint(export),
        problems=tuple(problems),
        statements=document["statements"],
        archive=name,
        archive_sha256=sha256,
    )


def _program(job: Job) -> str:
    """Return what was run, as a shell would read it."""
    if job.command:
        return shlex.join(job.command)
    return job.script


def _without_place(problem: str, path: Path, name: str) -> str:
    """Return a problem with the archive's name for the place where it lies here, which concerns nobody else."""
    for place in (os.path.realpath(path), os.path.abspath(path), str(path)):
        problem = problem.replace(place, name)
    return problem


def _broken(name: str, sha256: str, problems: Sequence[str]) -> Facts:
    """Return that nothing in an archive can be believed."""
    return Facts(
        job=None, name="", uuid=name.removesuffix(".tar").removeprefix(bag.bag_name("")), digest="", program="",
        image="", inputs=(), compared=(), policy="", tasks=(), problems=tuple(problems), archive=name,
        archive_sha256=sha256,
    )  # fmt: skip


def _key(key: Mapping[str, str]) -> KeyFacts:
    return KeyFacts(key["key"], key["node"], key["site"], key["owner"], key["from"])


def _reproduction(found: Mapping[str, Any], given: Mapping[str, bytes]) -> ReproductionFacts:
    """Return what one of those who ran it again signed."""
    where = dict.fromkeys(f"{task['node']} (site {task['site']})" for task in found["tasks"])
    differences = [f"{task['task']}: {line}" for task in found["tasks"] for line in task["differences"]]
    return ReproductionFacts(
        who=found["who"], where=", ".join(list(where)[:_FEW]), when_ms=found["time_ms"], agreed=found["agreed"],
        how="; ".join(differences[:_FEW]), key=found["key"], known=found["key"] in given,
    )  # fmt: skip


def _image(job: Job) -> str:
    if job.container is None:
        return ""
    return f"{job.container.image}, SHA-256 {job.container.sha256}"


def _compared(job: Job) -> tuple[tuple[str, str], ...]:
    """Return how two versions of each output are compared."""
    found = []
    for output in to_document(job)["outputs"]:
        settings = {key: value for key, value in output.items() if key not in {"path", "compare"} and value is not None}
        words = ", ".join(f"{key} = {value}" for key, value in settings.items())
        found.append((output["path"], f"{output['compare']} ({words})" if words else output["compare"]))
    return tuple(found) or (("stdout", "exact"),)


def _policy(job: Job) -> str:
    quorum = job.quorum
    fields = " and ".join(field.value for field in quorum.distinct)
    text = f"{quorum.agree} executions, each with another {fields}, give the same answer"
    text += f"; at most {quorum.max_replicas} are made"
    if quorum.min_isolation.value != "none":
        text += f"; isolation at least {quorum.min_isolation.value}"
    if quorum.numeric_class.value != "any":
        text += f"; all on one {quorum.numeric_class.value}"
    return text


def _checkpoint(export: Export) -> str:
    if CHECKPOINT not in export.files.names:
        return ""
    return export.files.read(CHECKPOINT).decode("utf-8", "replace")


def _task(checked: Checked, export: Export, task: ExportedTask, outputs: Sequence[OutputFacts]) -> TaskFacts:
    accepted = task.state == TaskState.ACCEPTED and not task.doubt
    why = _reason(task.why)
    counted: dict[str, Any] = {"agreed": 0, "votes": 0, "independence": "", "independent": False}
    if accepted and why is not None and why.code == Code.ACCEPTED:
        independence = _reason(why.parameters.get("independence"))
        counted = {
            "agreed": int(why.parameters["winners"]),
            "votes": int(why.parameters["votes"]),
            "independence": "" if independence is None else in_few_words(independence),
            "independent": independence is not None and is_independent(independence),
        }
    return TaskFacts(
        number=task.task,
        accepted=accepted,
        state=f"{task.state}, in doubt" if task.doubt else task.state,
        verdict=_sentence(_reason(task.doubt_why) or why),
        parameters=tuple(export.job.parameters(task.task).items()),
        replicas=tuple(_replica(export, task, replica, accepted=accepted) for replica in task.replicas),
        outputs=tuple(outputs[:_MAX_OUTPUTS]),
        differences=_differences(checked, task.task),
        **counted,
    )


def _reason(data: Any) -> Reason | None:  # noqa: ANN401 - whatever JSON spells
    """Return a reason; None for what is none: it has been said already that the archive does not hold."""
    try:
        return reason_of(data)
    except _UNREADABLE:
        return None


def _sentence(reason: Reason | None) -> str:
    try:
        return sentence(reason)
    except _UNREADABLE:
        return ""


def _outputs(checked: Checked) -> dict[int, list[OutputFacts]]:
    """Return the published files by task, as they are in the archive, sorted by name."""
    found: dict[int, list[OutputFacts]] = {}
    sizes = {} if checked.members is None else checked.members.sizes
    for name in sorted(checked.digests):
        task, slash, file = name.removeprefix(bag.RESULTS).partition("/")
        if name.startswith(bag.RESULTS) and slash and task.isascii() and task.isdecimal():
            found.setdefault(int(task), []).append(OutputFacts(file, checked.digests[name], sizes.get(name)))
    return found


def _differences(checked: Checked, task: int) -> tuple[str, ...]:
    """Return the difference report of a task, line by line."""
    name = f"{bag.DIFFERENCES}{task}.txt"
    if checked.members is None or name not in checked.members.sizes:
        return ()
    try:
        text = checked.members.read(name, _MAX_REPORT)
    except OSError:
        return (f"a report of {checked.members.sizes[name]} bytes: see the archive",)
    return tuple(text.decode("utf-8", "replace").splitlines())


def _replica(export: Export, task: ExportedTask, replica: ExportedReplica, *, accepted: bool) -> ReplicaFacts:
    try:
        found = open_statements(export.files, export.word, export.job, task.task, replica, export.keys)
    except (NexapodError, OSError, *_UNREADABLE):
        found = []
    standing = _standing(replica, accepted=accepted)
    remark = _sentence(_reason(replica.no_vote) or _reason(replica.why))
    if not found and not remark:
        remark = f"{replica.execution}: it signed nothing that is here"
    facts = ReplicaFacts(
        number=replica.number, node=replica.node, site=replica.site, owner=replica.owner, standing=standing,
        remark=remark,
    )  # fmt: skip
    if not found:
        return facts
    return _measured(facts, found[0].said)


def _standing(replica: ExportedReplica, *, accepted: bool) -> Standing:
    if replica.no_vote is not None or replica.execution != Execution.REPORTED:
        return Standing.NONE
    if not accepted:
        return Standing.UNDECIDED
    if replica.validation == Validation.VALID:
        return Standing.AGREES
    if replica.validation == Validation.INVALID:
        return Standing.DIFFERS
    return Standing.NONE


def _machine(said: Statement) -> str:
    """Return what kind of machine it was, as far as its node said."""
    kinds = [said.classes.get(name, "none") for name in _KINDS] + [gpu.model for gpu in said.gpus]
    return ", ".join(kind for kind in dict.fromkeys(kinds) if kind not in {"", "none"})


def _measured(facts: ReplicaFacts, said: Statement) -> ReplicaFacts:
    """Return a replica with what its node signed of it."""
    energies = [gpu.energy_mj for gpu in said.gpus if gpu.energy_mj is not None]
    answer, remark = said.vote[:_ANSWER], ""
    if said.outcome is not Outcome.OK:
        answer, remark = "", said.detail or said.outcome.value
    return facts._replace(
        answer=answer,
        remark=facts.remark or remark,
        host=said.host,
        machine=_machine(said),
        isolation=said.isolation or "none",
        started_ms=said.started_ms,
        finished_ms=said.finished_ms,
        wall_ms=said.wall_ms,
        cpu_ms=said.cpu_ms,
        max_rss_kib=said.max_rss_kib,
        gpu_energy_mj=sum(energies) if energies else None,
    )

"""`reproduce`: an archived job once more, on the reader's own nodes, compared by the job's own rules, and signed.

What is run is the job that the archive proves, with the inputs that it pinned; what differs is who runs it: one replica
a task is enough, for the archive holds the others. A job that asks for one numeric class runs in the archived one, or
not at all: results of another would say nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from msgspec.structs import replace

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.commands.resubmit import only
from nexapod_batch.coordinator.commands.submit import submit
from nexapod_batch.coordinator.context import PATIENCE_S, account
from nexapod_batch.coordinator.evidence.differences import different_files
from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.coordinator.nodes.registry import ensure_nodes, usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.verification.export_statements import open_statements
from nexapod_batch.errors import NotFoundError, UnsafeOutputError, UsageError, VerificationError
from nexapod_batch.files import careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.job import Domain, NumericClass, QuorumPolicy, Schedule
from nexapod_batch.model.reason import Reason
from nexapod_batch.store import writer
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.reproduction import ReproducedTask, Reproduction, seal_reproduction
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.wording import sentence
from nexapod_batch.wording.differences import file_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.coordinator.archives.check import Checked
    from nexapod_batch.coordinator.archives.members import Members
    from nexapod_batch.coordinator.commands.submit import Submitted
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.export_format import ExportedTask
    from nexapod_batch.coordinator.verification.export_check import Export
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.trust.statement import Statement

__all__ = ["begin", "concluded", "require_whole"]

_BLOCK = 1 << 20
#: Lines on what differs that are signed for one task, and characters of each.
_LINES, _LINE = 20, 300


class _Files(NamedTuple):
    """Published files, and how one is opened."""

    files: Mapping[str, str]  # hex SHA-256 by name
    folder: str
    members: Members | None  # None: the folder is one of this machine

    def open(self, name: str) -> BinaryIO:
        """Return an open stream of one; UnsafeOutputError where it cannot be read."""
        try:
            if self.members is not None:
                return self.members.open(f"{self.folder}/{name}")
            return careful.stream(f"{self.folder}/{name}")
        except OSError as error:
            raise UnsafeOutputError(f"output {name!a} cannot be read", got=error.strerror, wanted="a file") from error


def require_whole(path: Path, checked: Checked) -> tuple[Members, Export]:
    """Return what is in an archive of which everything holds.

    Raises:
        VerificationError: Something does not.

    """
    if checked.members is None or checked.export is None or not checked.evidence.ok:
        bad = [str(check["problem"]) for check in checked.evidence.checks if not check["ok"]]
        hint = f"nexapod-batch verify {path} says all of it"
        raise VerificationError(f"{path} does not hold", got="; ".join(bad)[:300], hint=hint)
    return checked.members, checked.export


def begin(c: Coordinator, checked: Checked, site: str | None, *, trusted: bool = False) -> Submitted:
    """Submit the archived job to nodes of ours; it is somebody else's unless our key signed it, or it is `trusted`.

    NotFoundError where an input cannot be had, no node of ours is of the archived class, or nothing was accepted;
    DescriptorError where it cannot be met.

    Raises:
        UsageError: Something in the archive does not hold.

    """
    members, export = checked.members, checked.export
    if members is None or export is None:
        raise UsageError("an archive that does not hold is not run")
    tasks = _accepted(export)
    _require_classes(c, export, tasks, site)
    _take_inputs(c, members, export.job)
    job = _job(export.job, sorted(tasks), site)
    classed = [(index, task) for index, task in tasks.items() if task.numeric_class]
    ours = key_id(export.files.coordinators[0]) == c.identity
    done = submit(c, job, Path.cwd(), {}, foreign=not ours and not trusted)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        c.store.tasks.fix_classes(done.job, [(index, task.numeric_class or "") for index, task in classed])
        c.store.jobs.hold(done.job, held=False)
    return done


def _accepted(export: Export) -> dict[int, ExportedTask]:
    """Return the tasks that have an answer to compare with, by index."""
    found = {
        task.task: task
        for task in export.word.tasks
        if task.state == TaskState.ACCEPTED and task.published_from is not None
    }
    if not found:
        raise NotFoundError("no task of the archived job was accepted", wanted="one whose result can be reproduced")
    return found


def _require_classes(c: Coordinator, export: Export, tasks: Mapping[int, ExportedTask], site: str | None) -> None:
    """NotFoundError where no node here is of a class that the archived results are of."""
    kind = export.job.quorum.numeric_class
    if kind is NumericClass.ANY:
        return
    ensure_nodes(c)
    nodes = [node for node in usable(c, Faults()) if node.active and site in {None, node.site}]
    here = sorted({node.numeric_class(kind) for node in nodes})
    wanted = sorted({task.numeric_class for task in tasks.values() if task.numeric_class} - set(here))
    if wanted:
        raise NotFoundError(
            f"no node here is of the class that the result is of ({kind.value})",
            got=f"here: {', '.join(here) or 'no node'}", wanted=", ".join(wanted),
            hint="results of another class need not be the same: run it where there is such a machine",
        )  # fmt: skip


def _take_inputs(c: Coordinator, members: Members, job: Job) -> None:
    """Keep the inputs of a job, from the archive or from where they came; NotFoundError where one cannot be had."""
    if job.inputs:
        own_folder(c.paths.inputs, below=c.paths.home)
    for one in {job_input.sha256: job_input for job_input in job.inputs if job_input.sha256}.values():
        kept, name = c.paths.inputs / one.sha256, f"{bag.INPUTS}{one.sha256}"
        if kept.exists():
            continue
        try:
            stream = members.open(name) if name in members.sizes else careful.stream(os.path.realpath(one.source))
        except OSError as error:
            raise NotFoundError(
                f"the input {one.target!a} is not in the archive, and cannot be read where it came from",
                got=f"{one.source!a}: {error.strerror}", wanted=f"a file of SHA-256 {one.sha256}",
                hint=f"put it at {one.source!a}, or ask for an archive with its inputs",
            ) from error  # fmt: skip
        with stream:
            _keep(stream, kept, one.target, one.sha256)


def _keep(stream: BinaryIO, kept: Path, target: str, sha256: str) -> None:
    partial, digest = kept.with_name(f".{sha256}.{os.getpid()}"), hashlib.sha256()
    try:
        with partial.open("xb") as sink:
            while data := stream.read(_BLOCK):
                digest.update(data)
                sink.write(data)
        if digest.hexdigest() != sha256:
            raise NotFoundError(
                f"the input {target!a} is not what it was", got=f"SHA-256 {digest.hexdigest()}", wanted=sha256,
                hint="ask for an archive with its inputs",
            )  # fmt: skip
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _job(job: Job, tasks: list[int], site: str | None) -> Job:
    """Return the job that is run: the archived one, once a task, here. Pure.

    Tasks keep their numbers, which commands may use: of an array without ids all are run.
    """
    if job.array is not None and job.array.ranges:
        job = only(job, tasks)
    quorum = QuorumPolicy(
        agree=1, replicas=1, max_replicas=max(job.quorum.max_errors, 1) + 2, max_errors=job.quorum.max_errors,
        max_lost=job.quorum.max_lost, deadline_s=job.quorum.deadline_s, distinct=(Domain.RUN,),
        numeric_class=job.quorum.numeric_class, min_isolation=job.quorum.min_isolation,
    )  # fmt: skip
    schedule = Schedule(hold=True, sites=() if site is None else (site,))
    inputs = tuple([_plain(job_input) for job_input in job.inputs])
    return replace(
        job, quorum=quorum, schedule=schedule, inputs=inputs, sites=(), path="", program=None, results_to="",
        elements=None,
    )


def _plain(job_input: Input) -> Input:
    """Return an input that is a file by its digest alone, also where it came from a job that is not here. Pure."""
    if job_input.source.startswith("job:"):
        return job_input._replace(source=f"inputs/{job_input.sha256}", verdict="")
    return job_input


def _asked(job: Job) -> Job:
    """Return what a job asks for, without what depends on where it was submitted. Pure."""
    return replace(job, schedule=Schedule(), path="", program=None, container=None)


def concluded(c: Coordinator, checked: Checked, job_id: int) -> tuple[bytes, Reproduction]:
    """Compare what our job came to with the archive; return the signed statement.

    Raises:
        UsageError: The job has not ended, or is not a run of the archived one.

    """
    members, export = checked.members, checked.export
    if members is None or export is None:
        raise UsageError("an archive that does not hold is not compared with")
    row, own = c.store.jobs.get(job_id), c.job(job_id)
    archived = _accepted(export)
    if _asked(_job(export.job, sorted(archived), None)) != _asked(own):
        hint = "nexapod-batch reproduce ARCHIVE begins one"
        raise UsageError(f"job {job_id} is no run of the archived job", hint=hint)
    if row.n_waiting or row.n_active:
        raise UsageError(f"job {job_id} has not ended", hint=f"nexapod-batch wait {job_id}")
    tasks = [_task(c, members, export, task, job_id) for _, task in sorted(archived.items())]
    reproduction = Reproduction(
        archive=checked.sha256, job_uuid=export.word.uuid, job_sha256=export.word.digest, own_uuid=row.uuid,
        own_sha256=row.digest, who=f"{account()} on {platform.node()}", public=c.signer.public, time_ms=c.now(),
        tasks=tuple(tasks),
    )  # fmt: skip
    return seal_reproduction(reproduction, c.signer), reproduction


def _task(c: Coordinator, members: Members, export: Export, task: ExportedTask, job_id: int) -> ReproducedTask:
    """Return what became of one task, and where it differs."""
    row = c.store.tasks.get(job_id, task.task)
    replicas = c.store.replicas.of_task(job_id, task.task)
    run = next((one for one in replicas if one.number == row.published_from), None)
    if run is None:
        why = sentence(Reason.parse(row.reason) or Reason.parse(row.unpublished)) or row.state
        last = replicas[-1] if replicas else None
        return _without_answer(c, export, task, last, f"no answer: {row.state}: {why}")
    reports = stored_reports(c, run.id)
    said = decode(reports[0].payload)
    lines = _differences(c, members, export, task, said, job_id)
    return _reproduced(c, export, task, run, tuple(lines))


def _without_answer(
    c: Coordinator, export: Export, task: ExportedTask, run: ReplicaRow | None, why: str
) -> ReproducedTask:
    if run is not None:
        return _reproduced(c, export, task, run, (why[:_LINE],))
    name = f"{export.word.job}_{task.task}"
    return ReproducedTask(
        task=name, agreed=False, node="", site="", numeric_class="", isolation="", statement="",
        differences=(why[:_LINE],),
    )  # fmt: skip


def _reproduced(
    c: Coordinator, export: Export, task: ExportedTask, run: ReplicaRow, differences: tuple[str, ...]
) -> ReproducedTask:
    node, reports = c.nodes_by_id()[run.node_id], stored_reports(c, run.id)
    return ReproducedTask(
        task=f"{export.word.job}_{task.task}",
        agreed=not differences,
        node=node.name,
        site=node.site,
        numeric_class=run.numeric_class or "",
        isolation=run.isolation or "",
        statement=hashlib.sha256(reports[0].payload).hexdigest() if reports else "",
        differences=differences,
    )


def _differences(
    c: Coordinator, members: Members, export: Export, task: ExportedTask, own: Statement, job_id: int
) -> list[str]:
    """Return where our answer differs from the archived one, as for replicas of a task; nothing where it agrees."""
    archived = _archived(export, task)
    left = _Files(_listed(export, task, archived), f"{bag.RESULTS}{task.task}", members)
    files = listed(own, c.store.tasks.manifest(job_id, task.task))
    if files is None:
        return ["the manifest of our outputs is missing"]
    right = _Files(files, str(c.paths.results / str(job_id) / str(task.task)), None)
    different = list(different_files(export.job, task.task, left, right))
    lines = list(file_lines(different, ("archived", "ours")))
    if not lines and archived.vote != own.vote:
        lines = ["its outputs are other ones"]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], f"and {len(lines) - _LINES} more"]
    return [" ".join(line.split())[:_LINE] for line in lines]


def _archived(export: Export, task: ExportedTask) -> Statement:
    """Return what the replica signed whose files are in the archive."""
    replica = next(replica for replica in task.replicas if replica.number == task.published_from)
    return open_statements(export.files, export.word, export.job, task.task, replica, export.keys)[0].said


def _listed(export: Export, task: ExportedTask, said: Statement) -> dict[str, str]:
    """Return the digests of the archived outputs."""
    if not said.manifest:
        return {subject.name: subject.sha256 for subject in said.subjects}
    text = export.files.read(f"{export.word.job}_{task.task}.manifest").decode()
    return {name: digest for digest, name in (line.split("  ", 1) for line in text.split("\n")[:-1])}

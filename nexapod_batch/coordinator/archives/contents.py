"""What goes into an archive beside the proof: published files, inputs, where losers differed. Nothing is copied here.

Each file is expected to have the digest that was signed, or pinned: one that has another is never archived.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.archives.bag_format import DIFFERENCES, INPUTS, RESULTS
from nexapod_batch.coordinator.evidence.differences import differences_of
from nexapod_batch.coordinator.evidence.judged_again import folder_of, written_again
from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.stored_statements import stored_reports
from nexapod_batch.errors import NotFoundError, VerificationError
from nexapod_batch.files import output_files
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.wording.differences import difference_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.statement import Statement

__all__ = [
    "EMPTY", "Item", "Run", "TaskRuns", "difference_items", "input_items", "judged_items", "result_items",
    "runs",
]  # fmt: skip

#: Logs with nothing in them are not published.
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Item(NamedTuple):
    """A file that goes into an archive."""

    name: str  # in the archive
    source: Path | bytes  # a file, or what is in it
    size: int  # bytes
    sha256: str = ""  # that it must have, in hex; "" where nobody said


class Run(NamedTuple):
    """A replica, and what it signed."""

    row: ReplicaRow
    said: tuple[Statement, ...]


class TaskRuns(NamedTuple):
    """A task, and its replicas."""

    row: TaskRow
    replicas: tuple[Run, ...]
    outputs: dict[str, str] | None  # hex SHA-256 of the published files by name; None where nothing is published


def runs(c: Coordinator, job_id: int) -> Iterator[TaskRuns]:
    """Yield the tasks of a job that have replicas, with what was signed of them."""
    by_task: dict[int, list[ReplicaRow]] = defaultdict(list)
    for row in c.store.replicas.of_job(job_id):
        by_task[row.task].append(row)
    for index in sorted(by_task):
        task = c.store.tasks.get(job_id, index)
        replicas = [
            Run(row, tuple([decode(report.payload) for report in stored_reports(c, row.id)])) for row in by_task[index]
        ]
        yield TaskRuns(task, tuple(replicas), _outputs(c, task, replicas))


def _outputs(c: Coordinator, task: TaskRow, replicas: Sequence[Run]) -> dict[str, str] | None:
    """Return what the replica signed whose files are published."""
    source = [run for run in replicas if run.row.number == task.published_from and run.said]
    if not task.published or not source:
        return None
    said = source[0].said[0]
    outputs = listed(said, c.store.tasks.manifest(task.job_id, task.idx))
    if outputs is None:
        raise VerificationError(
            f"the manifest of the outputs of {task.job_id}_{task.idx} is missing, or is not the signed one",
            hint=f"nexapod-batch verify {task.job_id} says more",
        )  # fmt: skip
    logs = {"stdout": said.stdout_sha256, "stderr": said.stderr_sha256}
    return {name: digest for name, digest in logs.items() if digest != EMPTY} | outputs


def result_items(c: Coordinator, task: TaskRuns) -> list[Item]:
    """Return the published files of a task; VerificationError where one is gone."""
    folder = c.paths.results / str(task.row.job_id) / str(task.row.idx)
    return list(_items(folder, f"{RESULTS}{task.row.idx}/", task.outputs or {}, task.row.job_id))


def judged_items(c: Coordinator, task: TaskRuns) -> list[Item]:
    """Return the files that are kept for verdicts on a task under other rules; VerificationError where one is gone."""
    job_id, index = task.row.job_id, task.row.idx
    found: list[Item] = []
    said = {run.row.number: run.said[0] for run in task.replicas if run.said}
    for _, verdict in written_again(c, job_id, index):
        again = verdict.again
        if again is None or again.replica is None:
            continue
        if task.row.published and again.replica == task.row.published_from:
            continue  # they are the published ones
        folder = folder_of(c.paths.results, job_id, index, again.number)
        signed = said.get(again.replica)
        files = None if signed is None else listed(signed, None)
        if files is None:  # so many that the digest of their manifest alone is signed
            files = {file.name: "" for file in output_files.find(folder, ["**"])}
        found += _items(folder, f"{RESULTS}{folder.name}/", files, job_id)
    return found


def _items(folder: Path, prefix: str, files: Mapping[str, str], job_id: int) -> Iterator[Item]:
    for file, digest in files.items():
        size = _size(folder / file)
        if size is None:
            hint = f"nexapod-batch verify {job_id} says what else is not as it was signed"
            name = f"{job_id}/{folder.name}"
            raise VerificationError(f"a published file of {name} is gone", got=f"no {file!a}", hint=hint)
        yield Item(f"{prefix}{file}", folder / file, size, digest)


def input_items(c: Coordinator, job: Job) -> list[Item]:
    """Return the inputs of a job, each once; NotFoundError where one is not kept any more."""
    wanted: dict[str, Input] = {one.sha256: one for one in job.inputs if one.sha256}
    found = []
    for digest, job_input in sorted(wanted.items()):
        size = _size(c.paths.inputs / digest)
        if size is None:
            raise NotFoundError(
                "an input of the job is not kept any more", got=f"no {job_input.target!a}",
                hint="--without-inputs names inputs by digest and source instead",
            )  # fmt: skip
        found.append(Item(f"{INPUTS}{digest}", c.paths.inputs / digest, size, digest))
    return found


def difference_items(c: Coordinator, task: TaskRuns) -> list[Item]:
    """Return where those who lost differ from what was accepted, as it was found then."""
    kept = c.store.tasks.difference(task.row.job_id, task.row.idx)
    lines = [] if kept is None else list(difference_lines(differences_of(c, task.row.job_id, task.row.idx)))
    if not lines:
        return []
    text = "".join([f"{line}\n" for line in lines]).encode()
    return [Item(f"{DIFFERENCES}{task.row.idx}.txt", text, len(text))]


def _size(path: Path) -> int | None:
    """Return the size of a plain file; None where there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None

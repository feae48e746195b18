"""Copying accepted outputs to `results/`, writing down what the losers did differently, and clearing away the rest.

Files are copied under a temporary name, hashed on the way, made durable, and renamed; a crash leaves a partial folder
that the next pass replaces. If the lowest-numbered valid replica's files are not what it signed, the next one is taken;
within tolerances the centre's are published, whose answer it was. Which replica it was is kept with the task. A folder
that is there already is never replaced: it is taken for this task's when its files are those that a winner signed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.evidence.differences import put_differences
from nexapod_batch.coordinator.evidence.published_results import faults_of, listed, pack_manifest, write_manifest
from nexapod_batch.coordinator.evidence.replica_outputs import outputs_of, statement_of
from nexapod_batch.coordinator.steps.carried_files import fresh_folder, partial_folder, write_carried
from nexapod_batch.coordinator.steps.possession import withdraw_copies
from nexapod_batch.errors import ConfigError, NexapodError, OnTheWayError, SchedulerError, UnsafeOutputError
from nexapod_batch.files import umask
from nexapod_batch.files.apart import keep_apart
from nexapod_batch.files.atomic import sync_files
from nexapod_batch.files.own import own_folder
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.model.reason import Code, Reason, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.replica_outputs import Outputs
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReplicaRow, UncleanReplica
    from nexapod_batch.store.repositories.reports import CarriedFiles

__all__ = ["clean", "publish", "remove_work", "unclean"]

_BATCH = 500
#: Tasks of the first batch where there is not time for all: it shows how many the next one may be. Each costs a sync.
_FIRST = 100
_EMPTY = hashlib.sha256(b"").hexdigest()
#: Later than every time that is stored.
_EVER = 2**63 - 1


def publish(c: Coordinator, faults: Faults, *, seconds: float = inf) -> int:
    """Publish accepted tasks; return how many. What lies on a machine that cannot be reached now waits.

    After so many seconds nothing more is begun, and at once only what will be done by then.
    """
    nodes = c.nodes_by_id()
    published, end = 0, time.monotonic() + seconds
    together = _BATCH if seconds == inf else _FIRST
    tried: set[tuple[int, int]] = set()
    while (began := time.monotonic()) < end:
        waiting = c.store.tasks.unpublished(together + len(tried))
        batch = [one for one in waiting if one not in tried][:together]
        if not batch:
            break
        tried.update(batch)
        copied = _copy_batch(c, nodes, batch, faults)
        shown, results = [], str(c.paths.results)
        for (job, task), folder in copied.items():
            number = _reveal(c, f"{results}/{job}", job, task, folder)
            if number:
                shown.append((job, task, number))
        with c.store.atomic():
            first = c.store.ledger.append(_events(c, shown))
            c.store.tasks.published(shown, first)
            c.store.reports.drop_carried_of_tasks([(job, task) for job, task, _ in shown])
        published += len(shown)
        if seconds < inf:
            together = _as_many(len(batch), time.monotonic() - began, end - time.monotonic())
    return published


def _as_many(done: int, took: float, left: float) -> int:
    """Return how many tasks will be published in the seconds that are left, as `done` of them took so many."""
    return max(1, min(_BATCH, int(done * left / max(took, 0.001))))


def _events(c: Coordinator, shown: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """Return what the ledger says of results that are shown now."""
    tasks: dict[int, list[int]] = defaultdict(list)
    for job, task, _ in shown:
        tasks[job].append(task)
    signed = {job: c.store.ledger.statements_of(job, members) for job, members in tasks.items()}
    now = c.now()
    return [
        event(
            Kind.PUBLISHED, now, id=f"{job}_{task}", replica=number, sha256=encoded_digest(signed[job][task, number])
        )
        for job, task, number in shown
    ]


def _copy_batch(
    c: Coordinator, nodes: dict[int, Node], batch: Sequence[tuple[int, int]], faults: Faults
) -> dict[tuple[int, int], _Copied]:
    """Put the files of tasks into partial folders, durably; return those by (job, task)."""
    folders = [_folder_of(c, job) for job in {job for job, _ in batch}]
    carried = _carried(c, batch)
    copied: dict[tuple[int, int], _Copied] = {}
    refused: dict[tuple[int, int], Reason] = {}
    for written in write_carried(c, carried):
        if written.fault is not None:
            refused[written.job, written.task] = written.fault
        else:
            copied[written.job, written.task] = _Copied(written.number, written.paths)
    _find_copies(c, nodes, copied)
    for job, task in batch:
        if (job, task) in carried:
            continue
        try:
            result = _publish(c, nodes, job, task)
        except (SchedulerError, ConfigError) as error:
            if not faults.knows(error) and not isinstance(error, OnTheWayError):
                faults.add(Code.PUBLISH_FAULT, task=f"{job}_{task}", error=Reason.of_error(error))
            continue
        if isinstance(result, Reason):
            refused[job, task] = result
        else:
            copied[job, task] = result
    sync_files([path for one in copied.values() for path in one.files], below=folders)
    _note_copies(c, copied, refused)
    return copied


def _folder_of(c: Coordinator, job: int) -> Path:
    """Return the folder of a job's results, which is there then."""
    results, mode = c.paths.results, umask.folder_mode()
    folder = results / str(job)
    if not folder.exists():
        own_folder(results, below=results.parent, mode=mode)
        keep_apart(results)
    own_folder(folder, below=results.parent, mode=mode)
    return folder


def _find_copies(c: Coordinator, nodes: Mapping[int, Node], copied: Mapping[tuple[int, int], _Copied]) -> None:
    """Withdraw the replicas that agree with what came with a report, and never had it; an unread file says nothing."""
    if not any(node.joined for node in nodes.values()):
        return
    for (job, task), done in copied.items():
        with suppress(OSError, UnsafeOutputError):
            folder = Path(partial_folder(str(c.paths.results / str(job)), task))
            withdraw_copies(c, nodes, c.store.replicas.of_task(job, task), done.number, folder)


def _note_copies(
    c: Coordinator, copied: Mapping[tuple[int, int], _Copied], refused: Mapping[tuple[int, int], Reason]
) -> None:
    """Store the manifests of what was copied, and why the rest never can be."""
    with c.store.atomic():
        for (job, task), why in refused.items():
            c.store.tasks.cannot_publish(job, task, why.stored())
        for (job, task), folder in copied.items():
            if folder.manifest is not None:
                c.store.tasks.put_manifest(job, task, folder.manifest)


class _Copied(NamedTuple):
    """A partial folder that is complete."""

    number: int  # of the replica whose files it holds
    files: Sequence[Path | str]
    manifest: bytes | None = None  # as it is stored, where the outputs are too many for a statement


def _carried(c: Coordinator, batch: Sequence[tuple[int, int]]) -> dict[tuple[int, int], CarriedFiles]:
    """Return the files that came with the report that is to be published, for the tasks that have such a report."""
    tasks = defaultdict(list)
    for job, task in batch:
        tasks[job].append(task)
    return {
        (job, row.task): row
        for job, wanted in tasks.items()
        for row in c.store.reports.carried_results(job, wanted)
    }


def _publish(c: Coordinator, nodes: dict[int, Node], job_id: int, task: int) -> _Copied | Reason:
    """Copy one task's files into a partial folder; return them, or why it could not be done."""
    replicas = c.store.replicas.of_task(job_id, task)
    tried = []
    for replica in _in_order(c, job_id, task, replicas):
        try:
            outputs = outputs_of(c, nodes[replica.node_id], replica)
            with umask.as_given():
                files = _copy(outputs, c.paths.results / str(job_id), task)
            folder = Path(partial_folder(str(c.paths.results / str(job_id)), task))
            if replica.number in withdraw_copies(c, nodes, replicas, replica.number, folder):
                raise UnsafeOutputError("it never had the outputs that it signed")
            if any(r.validation == "invalid" for r in replicas):
                put_differences(c, nodes, replicas, outputs)
            manifest = _manifest(outputs, c.paths.results / str(job_id) / str(task))
        except (UnsafeOutputError, OSError) as error:
            tried.append({"number": replica.number, "error": Reason.of_error(error)})
            continue
        return _Copied(replica.number, files, manifest)
    there = c.paths.results / str(job_id) / str(task)
    if there.is_dir() and (number := _holder(c, job_id, task, there)):  # published before, as after a salvage
        return _Copied(number, [])
    if not tried:
        return Reason(code=Code.UNPUBLISHED_NO_FILES)
    return Reason(code=Code.UNPUBLISHED_FILES, parameters={"replicas": tried})


def _manifest(outputs: Outputs, folder: Path) -> bytes | None:
    """Return the manifest of outputs, where they are too many for a statement; it lies beside their folder then."""
    if not outputs.statement.manifest:
        return None
    packed = pack_manifest(outputs.files)
    if not os.path.lexists(folder):  # else it is there from before, or the folder is another job's
        write_manifest(folder, packed)
    return packed


def _in_order(c: Coordinator, job_id: int, task: int, replicas: Sequence[ReplicaRow]) -> list[ReplicaRow]:
    """Return the replicas whose files may be published, the first choice first.

    Equal answers are all as good; within tolerances it is the centre that was voted for, and what has the same bytes.
    """
    valid = [r for r in replicas if r.validation == "valid" and r.execution == "reported"]
    row = c.store.tasks.get(job_id, task)
    centre = json.loads(row.measured or "{}").get("centre")
    if centre is None:
        return valid
    signed = {r.number: {(s.name, s.sha256) for s in statement_of(c, r.id).subjects} for r in valid}
    same = [r for r in valid if signed[r.number] == signed.get(centre)]
    return sorted(same, key=lambda r: (r.number != centre, r.number))


def _copy(outputs: Outputs, folder: Path, task: int) -> list[Path]:
    partial = Path(fresh_folder(str(folder), task))
    made = []
    for name, digest in {**outputs.logs, **outputs.files}.items():
        if digest == _EMPTY and name not in outputs.files:
            continue  # an empty log says nothing
        if "/" in name:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
        outputs.copy(name, partial / name)
        made.append(partial / name)
    return made


def _reveal(c: Coordinator, folder: str, job_id: int, task: int, done: _Copied) -> int:
    """Give a complete partial folder its name; return the replica whose files lie there then, 0 where others do.

    `folder` is that of the results of the job.
    """
    final, partial = f"{folder}/{task}", partial_folder(folder, task)
    try:
        os.rename(partial, final)
    except OSError:  # it is not empty: a crash came between, or it is another job's
        number = _holder(c, job_id, task, Path(final))
        shutil.rmtree(partial, ignore_errors=True)
        if not number:
            why = Reason(code=Code.UNPUBLISHED_FOLDER_TAKEN, parameters={"folder": plain(final)})
            with c.store.atomic():
                c.store.tasks.cannot_publish(job_id, task, why.stored())
        return number
    return done.number


def _holder(c: Coordinator, job_id: int, task: int, folder: Path) -> int:
    """Return the number of the winner whose files lie in a folder, exactly as it signed them; 0 for none."""
    manifest = c.store.tasks.manifest(job_id, task)
    for replica in c.store.replicas.of_task(job_id, task):
        if replica.validation == "valid" and replica.execution == "reported":
            said = statement_of(c, replica.id)
            files = listed(said, manifest)
            if not faults_of(folder, said, files):
                return replica.number
    return 0


def unclean(c: Coordinator, limit: int) -> Sequence[UncleanReplica]:
    """Return the replicas whose work folders are kept no longer; ConfigError when the settings cannot be read.

    The time is counted from the end of each replica. The settings are read only when there is a folder at all.
    """
    if not c.store.replicas.unclean(accepted_before=_EVER, others_before=_EVER, limit=1):
        return []
    now = c.now()
    # "At once" does not ask the clock: it may have been set back since the replica ended.
    accepted, others = (now - kept if kept else _EVER for kept in c.retention())
    return c.store.replicas.unclean(accepted_before=accepted, others_before=others, limit=limit)


def clean(c: Coordinator, faults: Faults, *, limit: int = 10_000) -> int:
    """Remove the work folders that are kept no longer; return how many."""
    nodes = c.nodes_by_id()
    done = 0
    while done < limit:
        try:
            rows = unclean(c, _BATCH)
        except ConfigError as error:
            faults.add(Code.RETENTION_FAULT, error=Reason.of_error(error))
            break
        of_node: dict[int, list[UncleanReplica]] = defaultdict(list)
        for row in rows:
            of_node[row.node_id].append(row)
        gone: list[int] = []
        for node_id, mine in of_node.items():
            if remove_work(c, nodes[node_id], mine, faults):
                gone += [row.id for row in mine]
        with c.store.atomic():
            c.store.replicas.cleaned(gone)
            c.store.reports.drop_carried(gone)
        done += len(gone)
        if len(gone) < _BATCH:
            break
    return done


def remove_work(c: Coordinator, node: Node, replicas: Sequence[UncleanReplica], faults: Faults) -> bool:
    """Let a backend remove work folders; False when it cannot now."""
    try:
        c.backend(node).remove(c.context(node), [f"{r.job_id}_{r.task}.{r.number}" for r in replicas])
    except (NexapodError, OSError) as error:
        faults.of_node(Code.CLEAN_FAULT, node, error)
        return False
    return True

"""Copying accepted outputs to `results/`, writing down what the losers did differently, and clearing away the rest.

Files are copied under a temporary name, hashed on the way, made durable, and renamed; a crash leaves a partial folder
that the next pass replaces. If the lowest-numbered valid replica's files are not what it signed, the next one is taken.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from itertools import islice
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.compare import first_difference
from nexapod_batch.coordinator.outputs import outputs_of, rule_for
from nexapod_batch.errors import CompareError, ConfigError, NexapodError, SchedulerError, UnsafeOutputError
from nexapod_batch.files.atomic import sync_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.outputs import Outputs
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Row

__all__ = ["clean", "compare", "publish"]

_BATCH = 500
_EMPTY = hashlib.sha256(b"").hexdigest()
#: Failed work folders are kept this long, so that somebody can look.
KEEP_FAILED_MS = 7 * 86_400_000


def publish(c: Coordinator, faults: dict[str, str], *, seconds: float | None = None) -> int:
    """Publish accepted tasks; return how many. What lies on a machine that cannot be reached now waits."""
    nodes = c.nodes_by_id()
    published, end = 0, None if seconds is None else c.clock() + seconds
    tried: set[tuple[int, int]] = set()
    while end is None or c.clock() < end:
        rows = c.store.all("tasks_unpublished", limit=_BATCH + len(tried))
        batch = list(islice(((r["job_id"], r["idx"]) for r in rows if (r["job_id"], r["idx"]) not in tried), _BATCH))
        if not batch:
            break
        tried.update(batch)
        for job in {job for job, _ in batch}:
            (c.paths.results / str(job)).mkdir(parents=True, exist_ok=True)
        done = []
        for job, task in batch:
            try:
                done.append((job, task, _publish(c, nodes, job, task)))
            except (SchedulerError, ConfigError) as error:
                faults["publish"] = f"results of {job}_{task} cannot be fetched: {error}"
        sync_files([path for _, _, result in done if not isinstance(result, str) for path in result])
        good = []
        with c.store.atomic():
            for job, task, result in done:
                if isinstance(result, str):
                    c.store.run("task_reason", job=job, task=task, reason=f"unpublished: {result}")
                else:
                    good.append((job, task))
        for job, task in good:
            _reveal(c.paths.results / str(job), task)
        reasons = {(row["job_id"], row["idx"]): row["reason"] for row in rows}
        with c.store.atomic():
            c.store.many("task_published", [(_settled(reasons[key]), *key) for key in good])
            c.store.many("task_uncarried", good)
        published += len(good)
    return published


def _publish(c: Coordinator, nodes: dict[int, Node], job_id: int, task: int) -> list[Path] | str:
    """Copy one task's files to a partial folder; return them, or why it could not be done."""
    carried = c.store.one("carried_result", job=job_id, task=task)
    if carried is not None:
        try:
            return _write_carried(c, carried["files"], job_id, task)
        except OSError as error:
            return str(error)
    replicas = c.store.all("replicas_of_task", job=job_id, task=task)
    faults = []
    for replica in replicas:
        if replica["validation"] != "valid" or replica["execution"] != "reported":
            continue
        try:
            outputs = outputs_of(c, nodes[replica["node_id"]], replica)
            files = _copy(outputs, c.paths.results / str(job_id), task)
            if any(r["validation"] == "invalid" for r in replicas):
                _differences(c, nodes, replicas, outputs)
        except (UnsafeOutputError, OSError) as error:
            faults.append(f"replica {replica['number']}: {error}")
            continue
        return files
    return "; ".join(faults) or "no valid replica has its files"


def _write_carried(c: Coordinator, files: bytes, job_id: int, task: int) -> list[Path]:
    """Write files that came with the report; they were compared with what was signed before they were stored."""
    folder = c.paths.results / str(job_id)
    partial = _fresh(folder, task)
    logs = {"stderr", "stdout"} if c.job(job_id).outputs else {"stderr"}  # without [[outputs]] stdout is the output
    made = []
    for name, text in orjson.loads(files).items():
        if not text and name in logs:
            continue  # an empty log says nothing
        path = f"{partial}/{name}"
        if "/" in name:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb", buffering=0) as sink:
            sink.write(base64.b64decode(text))
        made.append(partial / name)
    return made


def _fresh(folder: Path, task: int) -> Path:
    """Return a new empty partial folder for a task; what a crash left of an earlier one goes."""
    partial = folder / f".{task}.partial"
    try:
        os.mkdir(partial)
    except FileExistsError:
        shutil.rmtree(partial)
        os.mkdir(partial)
    return partial


def _settled(reason: str) -> str:
    """Return a task's reason without an earlier fault of publishing."""
    return "" if reason.startswith("unpublished: ") else reason


def _copy(outputs: Outputs, folder: Path, task: int) -> list[Path]:
    partial = _fresh(folder, task)
    made = []
    for name, digest in {**outputs.logs, **outputs.files}.items():
        if digest == _EMPTY and name not in outputs.files:
            continue  # an empty log says nothing
        if "/" in name:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
        outputs.copy(name, partial / name)
        made.append(partial / name)
    return made


def _reveal(folder: Path, task: int) -> None:
    """Give a complete partial folder its name; one that is already there (a crash came between) is replaced."""
    final, partial = f"{folder}/{task}", f"{folder}/.{task}.partial"
    try:
        os.rename(partial, final)
    except OSError:  # it is not empty
        shutil.rmtree(final)
        os.rename(partial, final)


def _differences(c: Coordinator, nodes: dict[int, Node], replicas: Sequence[Row], winner: Outputs) -> None:
    """Keep, for people, where each loser's files differ from the accepted ones."""
    job_id, task = winner.statement.replica.job, winner.statement.replica.task
    job, lines = c.job(job_id), []
    for replica in replicas:
        if replica["validation"] != "invalid":
            continue
        node = nodes[replica["node_id"]]
        who = f"{job_id}_{task}.{replica['number']} on node {node.name} (owner {node.owner}, {node.key_id})"
        lines.append(f"{who} disagrees with accepted replica {winner.statement.replica}:")
        try:
            loser = outputs_of(c, node, replica)
            lines += [f"  {line}" for line in compare(job, task, winner, loser)]
        except (UnsafeOutputError, OSError, ValueError) as error:
            lines.append(f"  its files cannot be compared: {error}")
    with c.store.atomic():
        c.store.run("difference_put", job=job_id, task=task, text="\n".join(lines))


def compare(
    job: Job, task: int, left: Outputs, right: Outputs, words: tuple[str, str] = ("accepted", "rejected")
) -> list[str]:
    """Return one line for each file that differs: where, and what either side (named by `words`) says there."""
    found = []
    for name in sorted({*left.files, *right.files}):
        if name not in right.files or name not in left.files:
            found.append(f"{name}: only {words[0] if name in left.files else 'other'} replica has it")
        elif left.files[name] != right.files[name]:
            rule = rule_for(job, task, name)
            try:
                with left.open(name) as one, right.open(name) as two:
                    difference = first_difference(one, two, name, rule)
            except CompareError as error:
                found.append(f"{name}: {error}")
                continue
            if difference is not None:
                said = f"{words[0]} {difference.left}, {words[1]} {difference.right}"
                found.append(f"{name}, {difference.where}: {said}")
    return found


def clean(c: Coordinator, faults: dict[str, str], *, limit: int = 10_000) -> int:
    """Remove the work folders that are no longer needed; return how many."""
    nodes = c.nodes_by_id()
    done = 0
    while done < limit:
        rows = c.store.all("replicas_unclean", before=c.now() - KEEP_FAILED_MS, limit=_BATCH)
        gone = []
        for node_id in {r["node_id"] for r in rows}:
            node, mine = nodes[node_id], [r for r in rows if r["node_id"] == node_id]
            try:
                c.backend(node).remove(c.context(node), [f"{r['job_id']}_{r['task']}.{r['number']}" for r in mine])
                gone += mine
            except (NexapodError, OSError) as error:
                faults[f"clean:{node.name}"] = f"node {node.name}: work folders cannot be removed: {error}"
        with c.store.atomic():
            c.store.many("replica_cleaned", [(r["id"],) for r in gone])
            c.store.many("replica_uncarried", [(r["id"],) for r in gone])
        done += len(gone)
        if len(gone) < _BATCH:
            break
    return done

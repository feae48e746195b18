"""Documents as lines for people. Every function is pure: a document in, lines out.

Much of what is shown was said by nodes and jobs; whoever prints the lines spells out what is unsafe (`terminal.clean`).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from nexapod_batch.cli.rendering.values import because, cell, colour, count, duration, energy, size, table, vote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "cell",
    "changed",
    "collected",
    "colour",
    "copied",
    "doubted",
    "duration",
    "how_to_go_on",
    "jobs_ended",
    "log_paths",
    "nothing",
    "reconciled",
    "reopened",
    "settings",
    "show",
    "show_replicas",
    "shows",
    "size",
    "submitted",
    "table",
    "tree",
    "what_next",
    "what_next_of_several",
]

Document = dict[str, Any]

#: Replicas that are listed one by one although they ended alike.
_FOLDED = 2
#: Replicas of a task that are listed before "and N more".
TASKS_SHOWN = 20


def nothing(_: Document) -> Iterator[str]:
    """Describe nothing; for documents that only programs read."""
    return iter(())


def submitted(document: Document) -> Iterator[str]:
    """Describe a job that was just submitted."""
    cost = document["core_hours"]
    price = ", cost unknown (no resources.time)" if cost is None else f", at most {cost:.3g} core-hours to start with"
    yield f"job {document['job']}: {count(document['tasks'], 'task')}{price}"
    if document.get("reach"):
        yield f"  reach:   {document['reach']}"
    if document.get("travel"):
        from nexapod_batch.wording.travel import travel

        for way in document["travel"]:
            yield f"  inputs:  {travel(**way)}"
    yield f"  results: {document['results']}"


def what_next(document: Document) -> Iterator[str]:
    """Say how a job goes on that nobody waits for."""
    if document["state"] in {"waiting", "active"}:
        yield f"  next:    {how_to_go_on([str(document['job'])])}"


def what_next_of_several(document: Document) -> Iterator[str]:
    """Say how jobs that were submitted together go on, where nobody waits for them."""
    still_open = [str(job["job"]) for job in document["submitted"] if job["state"] in {"waiting", "active"}]
    if still_open:
        yield f"  next:    {how_to_go_on(still_open)}"


def how_to_go_on(jobs: Sequence[str]) -> str:
    """Say who takes in what is reported of jobs that nobody waits for."""
    return f"nexapod-batch wait {' '.join(jobs)}, or a timer: nexapod-batch reconcile --print cron"


def show(document: Document) -> Iterator[str]:
    """Describe a job and the tasks that were asked for."""
    job = document["job"]
    yield f"job {job['id']} {job['name']!r}: {_state(job)}"
    for name in ("uuid", "digest", "folder", "submitted", "finished", "labels", "results"):
        if job.get(name):
            yield f"  {name + ':':<11}{cell(job[name])}"
    yield from _terms(job)
    if document.get("each", True) or len(document["tasks"]) <= TASKS_SHOWN:
        yield from _tasks(job, document["tasks"])
    else:
        yield from _folded(job, document["tasks"])
    if document["more"]:
        last = document["tasks"][-1]["index"] if document["tasks"] else -1
        yield f"... more tasks: nexapod-batch show {job['id']} --tasks {last + 1}-{last + 1000}"


def _terms(job: Document) -> Iterator[str]:
    """Describe what a job asks for."""
    quorum = job["quorum"]
    if quorum:
        distinct = ", ".join(quorum["distinct"])
        apart = f", isolation at least {quorum['min_isolation']}" if quorum.get("min_isolation") else ""
        limit = f"at most {quorum['max_replicas']} replicas"
        yield f"  quorum:    {quorum['agree']} must agree, distinct by {distinct}, {limit}{apart}"
    if job.get("foreign"):
        yield "  foreign:   yes, somebody else's: its commands are confined"
    if job.get("container"):
        yield f"  image:     {job['container']['image']}"
    for dependency in job["depends_on"]:
        yield f"  after:     job {dependency['job']} {dependency['when']}"
    if job.get("withdrawn_sources"):
        from nexapod_batch.wording.withdrawn import withdrawn

        yield from (f"  made with: {withdrawn(**one)}" for one in job["withdrawn_sources"])
    yield from _delivery(job.get("delivery"))
    if job.get("staging"):
        from nexapod_batch.wording.travel import on_the_way

        for way in job["staging"]:
            yield f"  staging:   {on_the_way(way['node'], files=way['files'], size=way['size'], sent=way['sent'])}"


def _delivery(delivery: Document | None) -> Iterator[str]:
    """Describe where results are delivered to, and how far that is."""
    if delivery is None:
        return
    if delivery["state"] == "delivered":
        yield f"  delivered: {delivery['place']}"
    elif delivery["reason"]:
        yield f"  delivery:  {delivery['reason']}"
        yield f"             tried {count(delivery['tries'], 'time')}, next at {delivery['next']}"
    else:
        yield f"  delivery:  to {delivery['to']}, when the job has ended"


def shows(document: Document) -> Iterator[str]:
    """Describe several jobs or tasks, one after the other."""
    before = None
    for shown in document["jobs"]:
        if before == shown["job"]["id"]:
            yield from _tasks(shown["job"], shown["tasks"])
        else:
            yield from show(shown)
        before = shown["job"]["id"]


def _folded(job: Document, tasks: Sequence[Document]) -> Iterator[str]:
    """Describe many tasks: those in a row that stand alike in one line, others with their replicas."""
    for _, group in groupby(tasks, lambda task: (task["state"], task["reason"], task["doubt"])):
        alike = list(group)
        if len(alike) == 1:
            yield from _tasks(job, alike)
            continue
        first, last = alike[0], alike[-1]
        replicas = sum(len(task["replicas"]) for task in alike)
        names = f"{job['id']}_{first['index']} to {job['id']}_{last['index']}"
        yield f"{names}  {first['state']}{because(first['reason'])}"
        yield f"  {count(len(alike), 'task')}, {count(replicas, 'replica')}"
        if first["doubt"]:
            yield f"  {doubted(job['id'], first)}"
    yield f"each task: nexapod-batch show {job['id']} --tasks {tasks[0]['index']}-{tasks[-1]['index']}"


def _tasks(job: Document, tasks: Sequence[Document]) -> Iterator[str]:
    before = ""
    for task in tasks:
        reason = task["reason"]
        shown = "as above" if reason and reason == before else reason
        values = _values(task.get("parameters"))
        yield f"{job['id']}_{task['index']}{values}  {task['state']}{because(shown)}"
        if task["doubt"]:
            yield f"  {doubted(job['id'], task)}"
        for judged in task.get("judged_again", ()):
            why = f"nexapod-batch explain {job['id']}_{task['index']}"
            yield f"  judged again, under other rules: {judged['state']} ({why})"
        before = reason
        yield from show_replicas(job, task["replicas"])


def show_replicas(job: Document, replicas: Sequence[Document]) -> Iterator[str]:
    """Describe replicas; those in a row that ended alike without a report, on one node, share a line."""
    from nexapod_batch.wording import pattern

    def alike(replica: Document) -> tuple[object, ...]:
        same = tuple(replica[name] for name in ("execution", "node", "validation", "exit_code"))
        return (*same, pattern(replica["reason"]))

    for key, group in groupby(replicas, alike):
        same = list(group)
        if len(same) > _FOLDED and key[0] != "reported":
            text = "  ".join(_replica(same[0], contained=bool(job.get("container"))))
            yield f"  {text}  ({len(same)} alike, up to {same[-1]['id']})"
            continue
        for replica in same:
            yield "  " + "  ".join(_replica(replica, contained=bool(job.get("container"))))


def _values(parameters: Document | None) -> str:
    """Return the parameters of a task for people, with a blank before them."""
    if not parameters:
        return ""
    pairs = ", ".join(f"{name}={value}" for name, value in parameters.items())
    return f" ({pairs})"


def doubted(job: int, task: Document) -> str:
    """Say that the quorum of an accepted task is no longer met, and the way out."""
    name = f"{job}_{task['index']}"
    return f"{name} is no longer met by a quorum: {task['doubt']}; to ask for more: nexapod-batch retry {name}"


def jobs_ended(document: Document) -> Iterator[str]:
    """Describe how jobs stand after waiting: a verdict each, the first tasks of each, and where the results are."""
    for job in document["jobs"]:
        yield f"job {job['id']} {job['name']!r}: {_state(job)}"
        tasks = job.get("tasks", [])[:TASKS_SHOWN]
        yield from _verdicts(job, tasks)
        if len(job.get("tasks", [])) > TASKS_SHOWN or job.get("more"):
            yield f"  ... nexapod-batch show {job['id']} lists all of its tasks"
        yield from (f"  {doubted(job['id'], task)}" for task in tasks if task["doubt"])
        if job["counts"]["accepted"]:
            yield f"  results: {job['results']}"
        if job["state"] in {"failed", "inconclusive"}:
            yield from _where_to_look(job)


def _where_to_look(job: Document) -> Iterator[str]:
    """Name the commands that show why a job has no result, and what its first failed task wrote."""
    yield f"  why:     nexapod-batch explain {job['id']}"
    failed = [task for task in job.get("tasks", []) if task["state"] == "failed"]
    yield from (f"  stderr:  nexapod-batch logs {job['id']}_{task['index']} --stderr" for task in failed[:1])


def _verdicts(job: Document, tasks: Sequence[Document]) -> Iterator[str]:
    """Describe tasks, those in a row that stand alike in one line."""
    for (state, reason), alike in groupby(tasks, lambda task: (task["state"], task["reason"])):
        names = [f"{job['id']}_{task['index']}" for task in alike]
        shown = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        yield f"  {shown}  {state}{because(reason)}"


def reconciled(document: Document) -> Iterator[str]:
    """Describe a pass of reconcile in one line."""
    yield (
        f"{count(document['ingested'], 'report')} taken in, {document['decided']} decided, "
        f"{document['launched']} launched, {document['published']} published; "
        f"{count(document['open_jobs'], 'open job')}"
    )
    if document["moved"]:
        yield f"{count(document['moved'], 'replica')} taken back from machines whose owners want quiet"
    if document["quarantined"]:
        yield f"{count(document['quarantined'], 'bad line')} quarantined: nexapod-batch doctor"
    yield from (f"still: {fault}" for fault in document["standing"])


def log_paths(document: Document) -> Iterator[str]:
    """Describe where logs lie."""
    for log in document["logs"]:
        yield log["path"] or f"{log['of']}: {log['bytes']} bytes in the database; leave --path out to see them"


def copied(document: Document) -> Iterator[str]:
    """Describe what was copied of one replica, and what of it is not what its node signed."""
    total = sum(file["bytes"] for file in document["files"])
    kib = -(-total // 1024)
    yield f"{document['replica']}: {count(len(document['files']), 'file')}, {size(kib)}, to {document['folder']}"
    for file in document["files"]:
        if file["signed"] == "no":
            yield f"  {file['name']} is not what was signed"
    for one in document["left_out"]:
        yield f"  {one['name']} was left out: {one['why']}"


def collected(document: Document) -> Iterator[str]:
    """Describe which results were copied to where."""
    yield f"{count(document['files'], 'file')} of {count(document['tasks'], 'task')}, to {document['folder']}"


def changed(document: Document) -> Iterator[str]:
    """Describe which jobs, tasks or nodes were changed."""
    (verb, names), *_ = document.items()
    if names:
        yield f"{verb}: {' '.join(names)}"
    else:
        yield f"nothing to do: all of these have ended, or are {verb} already"


def reopened(document: Document) -> Iterator[str]:
    """Describe which jobs and tasks were reopened, and how far they may go."""
    if "submitted" not in document:
        yield from changed(document)
    for name, most in document["at_least_more"].items():
        which = "" if "_" in name else " for each task"
        yield f"  {name}: at least {count(most, 'more replica')} may run{which}; earlier reports still count"
    for one in document.get("submitted", ()):
        with_files = f"changed since: {', '.join(one['changed'])}" if one["changed"] else "no input has changed"
        yield f"job {one['job']} does {', '.join(one['of'])} again, with the files of now ({with_files})"
        yield f"  to go on: nexapod-batch wait {one['job']}"
    if document["reopened"]:
        jobs = dict.fromkeys(name.partition("_")[0] for name in document["reopened"])
        yield f"  to go on: nexapod-batch wait {' '.join(jobs)}"


def settings(document: Document) -> Iterator[str]:
    """Describe settings, with the origin of each where it was asked for."""
    for setting in document["settings"]:
        origin = f"    # {setting['origin']}" if "origin" in setting else ""
        yield f"{setting['key']} = {setting['value']}{origin}"


def tree(document: Document, indent: str = "") -> Iterator[str]:
    """Describe any object: one line a value, objects and lists indented below their name."""
    for key, value in document.items():
        name = str(key).replace("_", " ")
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from tree(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
            yield f"{indent}{name}:"
            for one in value:
                yield indent + "  - " + ", ".join(f"{k} {cell(v)}" for k, v in one.items())
        else:
            yield f"{indent}{name}: {cell(value)}"


def gpu_use(gpu: Document) -> str:
    """Describe what one GPU was used for, as far as anybody could tell: `GPU-1111 for 3.2 s, 700 MiB, 36 J`."""
    words = [] if gpu["time_ms"] is None else [f"for {duration(gpu['time_ms'] / 1000)}"]
    words += [] if gpu["peak_mib"] is None else [size(gpu["peak_mib"] * 1024)]
    words += [] if gpu["energy_mj"] is None else [energy(gpu["energy_mj"] / 1000)]
    name = gpu["uuid"] if len(gpu["uuid"]) < 13 else gpu["uuid"][:12]
    return " ".join([name, ", ".join(words)]).strip()


def _state(job: Document) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in job["counts"].items() if count)
    words = [job["state"]]
    if job["n_doubted"]:
        words.append(f"(no quorum any more for {count(job['n_doubted'], 'task')})")
    if job["n_tasks"] > 1:
        words.append(f"({counts} of {job['n_tasks']} tasks)")
    if job["held"]:
        words.append(f"held: nexapod-batch release {job['id']}")
    if job["blocked"]:
        words.append(job["blocked"])
    return "  ".join(words)


def _replica(replica: Document, *, contained: bool) -> Iterator[str]:
    yield f"{replica['id']:<10}"
    yield f"{replica['node']:<14}"
    yield f"{replica['execution']:<9} {vote(replica['execution'], replica['validation']):<9}"
    if replica["wall_ms"] is not None:
        yield duration(replica["wall_ms"] / 1000)
    if replica["max_rss_kib"]:
        yield size(replica["max_rss_kib"])
    yield from map(gpu_use, replica["gpus"])
    yield from _peculiarities(replica, contained=contained)


def _peculiarities(replica: Document, *, contained: bool) -> Iterator[str]:
    """Yield what is not as usual."""
    reported = replica["execution"] == "reported"
    yield from _isolation(replica, bare=contained and reported)
    if reported and replica.get("output_bytes") == 0:
        yield "it wrote nothing: all outputs are empty"
    if replica["exit_code"] and not replica["reason"].startswith("exit code"):
        yield f"exit {replica['exit_code']}"
    if replica["voided"]:
        yield "voided: two different signed statements"
    if replica.get("continues"):
        yield f"goes on from replica {replica['continues']}"
    if replica["reason"]:
        yield replica["reason"]


def _isolation(replica: Document, *, bare: bool) -> Iterator[str]:
    """Yield how a command was kept apart, or that it was not, though its job has a container."""
    if replica["isolation"] not in {"", "none"}:
        yield f"isolation: {replica['isolation']}"
    elif bare:
        yield "isolation: none, it ran bare"

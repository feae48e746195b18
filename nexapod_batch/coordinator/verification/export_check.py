"""`verify --folder`: everything that an exported folder says, checked without a database and without a home.

In this order, each step on what the one before it found: the files, against the manifest that the coordinator signed;
the job; every statement, from its node's key down; the signed verdict on every task, which names every statement; the
same decision once more, from the statements; the proofs that the ledger has all that, and nothing else of it; and
published results, where they are given.

Whose a key is, no folder can prove. Keys that the reader got elsewhere are given; of the others it is said that they
came with the folder.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nexapod_batch.coordinator.evidence.export_format import JOB, VERDICT, ExportedVerdict, judged_file, judged_folder
from nexapod_batch.coordinator.evidence.published_results import ResultsFolder, listed
from nexapod_batch.coordinator.verification.export_files import ExportedFiles
from nexapod_batch.coordinator.verification.export_ledger_check import MAX_JUDGED, LedgerProofs
from nexapod_batch.coordinator.verification.export_statements import (
    domain_faults,
    open_statements,
    reason_of,
    vote_faults,
    vote_of_replica,
)
from nexapod_batch.coordinator.verification.export_verdict import exported_again_faults, opened_again, signed_faults
from nexapod_batch.coordinator.verification.job_evidence import Evidence
from nexapod_batch.coordinator.verification.verdicts import reached_faults
from nexapod_batch.errors import DescriptorError, NexapodError, VerificationError
from nexapod_batch.lifecycle import TASK_ENDED, TaskState
from nexapod_batch.model.document import digest, from_document
from nexapod_batch.quorum.continued import broken_chains
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.nesting import depth_within, loads
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.evidence.export_format import ExportedReplica, ExportedTask
    from nexapod_batch.coordinator.evidence.published_results import PublishedFiles
    from nexapod_batch.coordinator.verification.export_statements import FoundStatement
    from nexapod_batch.ledger.note import NoteKey
    from nexapod_batch.model.job import Job
    from nexapod_batch.trust.verdict import JudgedAgain

__all__ = ["Export", "checked_export", "described", "verify_folder"]

#: What hostile JSON, or a word that is none of ours, raises on its way.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, LookupError, OverflowError, DescriptorError)

_EMPTY = hashlib.sha256(b"").hexdigest()


class _Record(NamedTuple):
    """What is kept of a verdict, as `reached_faults` takes it."""

    job_id: int
    idx: int
    state: str
    agree: int
    reason: str
    doubt: str
    basis: str | None
    measured: str | None
    extra: int


class _Judged(NamedTuple):
    """A replica, and what it is worth."""

    number: int
    execution: str
    validation: str
    vote: bytes | None


class Export(NamedTuple):
    """An exported folder whose files are as they were signed."""

    files: ExportedFiles
    word: ExportedVerdict
    job: Job
    keys: dict[str, bytes]  # of nodes, by id
    results: PublishedFiles | None


def verify_folder(
    path: Path,
    given: Mapping[str, bytes],
    results: Path | None = None,
    uuid: str | None = None,
    witnesses: Sequence[NoteKey] = (),
) -> dict[str, Any]:
    """Return what was found in a folder, as a document; `ok` says whether everything holds.

    `given` are keys that the reader got elsewhere, by id; `results` is the published folder of the job, and `uuid` that
    of the job as whoever published it says, if any. `witnesses` must have cosigned the head of the ledger.
    NotFoundError where there is no such folder.
    """
    evidence = Evidence()
    published = None if results is None else ResultsFolder(results)
    export = checked_export(ExportedFiles(path), given, published, uuid, witnesses, evidence)
    looked_at = None if results is None else str(results)
    document = {"folder": str(path), "uuid_given": uuid is not None, "results": looked_at}
    return document | described(evidence, export, given)


def checked_export(
    files: ExportedFiles,
    given: Mapping[str, bytes],
    results: PublishedFiles | None,
    uuid: str | None,
    witnesses: Sequence[NoteKey],
    evidence: Evidence,
) -> Export | None:
    """Check everything; return what the folder holds, None where it cannot be read or is not as it was signed."""
    path = files.path
    problems = files.faults()
    evidence.add("files", f"{path}", problems)
    if problems:
        return None
    try:
        export = _opened(files, results)
    except (VerificationError, OSError, *_UNREADABLE) as error:
        evidence.add("job", f"{path}", [f"{JOB}, {VERDICT} or a key cannot be read: {_shown(error)}"])
        return None
    problems = _job_faults(export)
    if uuid is not None and uuid != export.word.uuid:
        problems.append(f"it is another job: got uuid {export.word.uuid}, wanted {uuid}")
    evidence.add("job", f"{export.word.job}", problems)
    evidence.add("keys", f"{export.word.job}", _key_faults(export, given))
    if evidence.ok:
        ledger = LedgerProofs(files, export.word, witnesses)
        problems = ledger.head_faults()
        evidence.add("ledger", f"{export.word.job}", problems, text=ledger.described())
        for task in export.word.tasks:
            _check_task(export, ledger, task, evidence)
    return export


def _opened(files: ExportedFiles, results: PublishedFiles | None) -> Export:
    word = files.read(VERDICT)
    if not depth_within(word):
        raise ValueError("nested too deeply")
    files.open_rotations()
    return Export(
        files=files,
        word=msgspec.json.decode(word, type=ExportedVerdict),
        job=from_document(loads(files.read(JOB))),
        keys=files.keys(),
        results=results,
    )


def _job_faults(export: Export) -> list[str]:
    """Return where the coordinator's word is not about the job that is here."""
    word, faults = export.word, []
    if word.schema != 1:
        faults.append(f"{VERDICT} has schema {word.schema}, which this version does not know")
    if digest(export.files.read(JOB)) != word.digest:
        faults.append(f"{JOB} is not the one that {VERDICT} is about")
    tasks = [task.task for task in word.tasks]
    if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(export.job.task_indexes()):
        faults.append(f"the tasks of {VERDICT} are not tasks of {JOB}")
    expected = _names_of(word)
    evidence = {name for name in export.files.names if name.endswith((".dsse.json", ".delegation.json", ".vsa.json"))}
    faults += [f"{name} is of no replica that {VERDICT} names" for name in sorted(evidence - expected)]
    return faults


def _names_of(word: ExportedVerdict) -> set[str]:
    """Return what statements, delegations and verdicts of an export may be called."""
    names = set()
    for task in word.tasks:
        names.add(f"{word.job}_{task.task}.vsa.json")
        names |= {judged_file(word.job, task.task, number) for number in range(1, min(task.judged, MAX_JUDGED) + 1)}
        for replica in task.replicas:
            name = f"{word.job}_{task.task}.{replica.number}"
            names |= {f"{name}.dsse.json", f"{name}.delegation.json"}
            names |= {f"{name}.{number}.dsse.json" for number in range(2, min(replica.statements, 100) + 1)}
    return names


def _key_faults(export: Export, given: Mapping[str, bytes]) -> list[str]:
    """Return which keys do not agree with those that the reader got elsewhere."""
    coordinators = {key_id(public) for public in export.files.coordinators}
    used = {*export.keys, *coordinators}
    faults = [f"the key {key} that was given is none of this folder" for key in sorted(given.keys() - used)]
    if given and not coordinators & given.keys():  # then nobody vouches for what the coordinator says of nodes
        faults += [f"the key {key} of a node was not given" for key in sorted(export.keys.keys() - given.keys())]
    return faults


def _check_task(export: Export, ledger: LedgerProofs, task: ExportedTask, evidence: Evidence) -> None:
    name = f"{export.word.job}_{task.task}"
    found, good = _check_replicas(export, task, name, evidence)
    why = ""
    try:
        why = sentence(reason_of(task.why))  # the words beside it could say anything
        problems = _verdict_faults(export, task, found) if good else ["its statements do not hold"]
    except _UNREADABLE as error:
        problems = [f"it cannot be worked out again: {_shown(error)}"]
    signed = "" if f"{name}.vsa.json" in export.files.names else " (of no signed verdict)"
    evidence.add("verdict", name, problems, text=f"{task.state}: {why}{signed}")
    for number in range(1, min(task.judged, MAX_JUDGED) + 1):
        problems = _judged_faults(export, task, number, found, evidence) if good else ["its statements do not hold"]
        evidence.add("judged", f"{name} ({number})", problems)
    if not good:
        return
    if ledger.head is not None:
        evidence.add("ledger", name, ledger.task_faults(task, found))
    try:
        _results(export, task, found, evidence)
    except (OSError, *_UNREADABLE) as error:
        evidence.add("results", name, [_shown(error)])


def _check_replicas(
    export: Export, task: ExportedTask, name: str, evidence: Evidence
) -> tuple[dict[int, list[FoundStatement]], bool]:
    """Return the statements of a task by the number of their replica, and whether all of them hold."""
    found: dict[int, list[FoundStatement]] = {}
    good = [replica.number for replica in task.replicas] == list(range(1, len(task.replicas) + 1))
    if not good:
        evidence.add("replicas", name, ["the numbers of its replicas have gaps"])
    for replica in task.replicas:
        found[replica.number], problems = _replica(export, task, replica)
        evidence.statements += len(found[replica.number])
        if replica.statements or problems:
            evidence.add("statement", f"{name}.{replica.number}", problems, node=replica.node, key=replica.key)
        good = good and not problems
    return found, good


def _replica(export: Export, task: ExportedTask, replica: ExportedReplica) -> tuple[list[FoundStatement], list[str]]:
    try:
        found = open_statements(export.files, export.word, export.job, task.task, replica, export.keys)
    except NexapodError as error:
        return [], [" ".join(str(error).split())]
    except OSError as error:
        return [], [str(error.strerror)]
    return found, vote_faults(replica, found)


def _verdict_faults(export: Export, task: ExportedTask, found: Mapping[int, Sequence[FoundStatement]]) -> list[str]:
    """Return what is wrong with the verdict on a task whose statements hold."""
    if TaskState(task.state) not in TASK_ENDED:
        return [f"it has not ended: it is {task.state}"]
    if task.state == TaskState.CANCELLED:
        return []
    faults = domain_faults(task.replicas, found) + signed_faults(export.files, export.word, export.job, task, found)
    faults += broken_chains({number: signed[0].said for number, signed in found.items() if len(signed) == 1})
    if not task.basis:
        return [*faults, "what it was reached from was not kept: it is of an early version"]
    votes = [vote_of_replica(export.job, replica, found[replica.number]) for replica in task.replicas]
    judged = [
        _Judged(replica.number, replica.execution, replica.validation, vote.answer)
        for replica, vote in zip(task.replicas, votes, strict=True)
    ]
    return faults + reached_faults(export.job, _record(export.word.job, task), task.basis, judged, votes)


def _judged_faults(
    export: Export, task: ExportedTask, number: int, found: Mapping[int, Sequence[FoundStatement]], evidence: Evidence
) -> list[str]:
    """Return what is wrong with a verdict on a task under other rules, and with its files where they are here."""
    votes = [vote_of_replica(export.job, replica, found[replica.number]) for replica in task.replicas]
    try:
        verdict, again = opened_again(export.files, export.word.job, task.task, number)
        faults = exported_again_faults(export.word, export.job, task, verdict, again, votes, found)
        return faults + _judged_files(export, task, again, found, evidence)
    except (OSError, VerificationError, *_UNREADABLE) as error:
        return [f"it cannot be worked out again: {_shown(error)}"]


def _judged_files(
    export: Export, task: ExportedTask, again: JudgedAgain, found: Mapping[int, Sequence[FoundStatement]],
    evidence: Evidence,
) -> list[str]:
    """Return where files that are kept for a verdict under other rules are not what their replica signed."""
    folder, results = judged_folder(task.task, again.number), export.results
    if results is None or not results.has(folder):
        return []
    signed = found.get(again.replica or 0, ())
    if len(signed) != 1:
        return [f"files lie in {folder}, and its result is of no replica that made one statement"]
    said = signed[0].said._replace(stdout_sha256=_EMPTY, stderr_sha256=_EMPTY)  # logs are not kept with it

    def read(size: int) -> None:
        evidence.files += size

    return [f"{folder}: {fault}" for fault in results.faults(folder, said, listed(said, None), read)]


def _record(job: int, task: ExportedTask) -> _Record:
    reason, doubt = reason_of(task.why), reason_of(task.doubt_why)
    return _Record(
        job_id=job,
        idx=task.task,
        state=task.state,
        agree=task.agree,
        reason="" if reason is None else reason.stored(),
        doubt="" if doubt is None else doubt.stored(),
        basis=task.basis,
        measured=None if task.measured is None else msgspec.json.encode(task.measured).decode(),
        extra=task.extra,
    )


def _results(
    export: Export, task: ExportedTask, found: Mapping[int, Sequence[FoundStatement]], evidence: Evidence
) -> None:
    """Check the manifest of a task's outputs, and the published files where they are given."""
    name, source = f"{export.word.job}_{task.task}", found.get(task.published_from or 0)
    if task.published_from is None:
        if export.results is not None and export.results.has(str(task.task)):
            evidence.add("results", name, ["files lie in its folder, and nothing of it is said to have been published"])
        return
    if not source:
        evidence.add("results", name, [f"it was published from replica {task.published_from}, which signed nothing"])
        return
    said, packed = source[0].said, None
    if said.manifest:
        file = f"{name}.manifest"
        text = export.files.read(file) if file in export.files.names else b""
        if hashlib.sha256(text).hexdigest() != said.subjects[0].sha256:
            evidence.add("results", name, [f"{file} is missing, or is not the one that was signed"])
            return
        packed = zlib.compress(text, 1)
    if export.results is None:
        return

    def read(size: int) -> None:
        evidence.files += size

    problems = export.results.faults(str(task.task), said, listed(said, packed), read)
    evidence.add("results", name, problems, text=f"from replica {task.published_from}")


def described(evidence: Evidence, export: Export | None, given: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what was found, in the form of every verification."""
    document: dict[str, Any] = {
        "job": None, "uuid": None, "digest": None, "ok": evidence.ok, "policy": None, "keys": [],
        "statements": evidence.statements,
        "verdicts": sum(check["check"] == "verdict" for check in evidence.checks),
        "bytes": evidence.files,
        "checks": evidence.checks,
    }  # fmt: skip
    if export is None:
        return document
    quorum = export.job.quorum
    document |= {"job": export.word.job, "uuid": export.word.uuid, "digest": export.word.digest}
    document["policy"] = {
        "agree": quorum.agree,
        "distinct": [field.value for field in quorum.distinct],
        "max_replicas": quorum.max_replicas,
        "class": quorum.numeric_class.value,
    }
    document["keys"] = _keys(export, given)
    return document


def _keys(export: Export, given: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return whose the keys are said to be, and who says so."""
    coordinators = [key_id(public) for public in reversed(export.files.coordinators)]
    vouched = any(key in given for key in coordinators)
    rows = [_key(key, "the coordinator", "", "", given, vouched=vouched) for key in coordinators]
    for replica in {replica.node: replica for task in export.word.tasks for replica in task.replicas}.values():
        known = [key for key in replica.keys if key in export.keys]
        rows += [_key(key, replica.node, replica.site, replica.owner, given, vouched=vouched) for key in known]
    return rows


def _key(
    key: str, node: str, site: str, owner: str, given: Mapping[str, bytes], *, vouched: bool
) -> dict[str, Any]:
    if key in given:
        origin = "given by you"
    elif vouched:
        origin = "as the coordinator has it"
    else:
        origin = f"unattributed: it came with the folder; ask {owner or 'its owner'} for it, and give it with --key"
    named = {"key": key, "node": node, "site": site, "owner": owner, "host": ""}
    return {**named, "from": origin, "private_key_here": False}


def _shown(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

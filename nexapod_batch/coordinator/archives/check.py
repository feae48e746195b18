"""`verify ARCHIVE`: everything that an archive says, checked without a home, a database, or unpacking anything.

In this order: the members (plain files with plain names, so many and so large at most); the coordinator's signature of
the tag manifest; every file against its manifest, and no other; then the proof inside, as `verify --folder` checks it,
with the published files and the inputs of the archive. Nothing large is read before its size is known to be right.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.coordinator.archives import bag_format as bag
from nexapod_batch.coordinator.archives.members import open_members
from nexapod_batch.coordinator.archives.reproductions import check_reproductions, keys_of_reproductions
from nexapod_batch.coordinator.evidence.export_format import judged_folder
from nexapod_batch.coordinator.evidence.published_results import DigestedResults
from nexapod_batch.coordinator.verification.export_check import checked_export, described
from nexapod_batch.coordinator.verification.export_files import ExportedFiles, public_key
from nexapod_batch.coordinator.verification.export_ledger_check import MAX_JUDGED
from nexapod_batch.coordinator.verification.job_evidence import Evidence
from nexapod_batch.errors import NexapodError, UnsafeOutputError, VerificationError
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.nesting import loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.archives.members import Members
    from nexapod_batch.coordinator.verification.export_check import Export
    from nexapod_batch.ledger.note import NoteKey

__all__ = ["Checked", "check_archive", "verify_archive"]

#: Problems that are named; more say no more.
_NAMED = 20
#: Bytes of a key, a signature or a short text, at most.
_SHORT = 1 << 16
_SIGNATURE_BYTES = 64


class Checked(NamedTuple):
    """An archive that was checked."""

    members: Members | None  # None: nothing in it can be listed
    digests: dict[str, str]  # hex SHA-256 of the payload, by name; empty where something is wrong with it
    export: Export | None  # the proof in it; None where something is wrong with it
    evidence: Evidence
    sha256: str  # of the tag manifest, in hex
    reproductions: list[dict[str, Any]]  # what those who ran it again signed


class _Proof(ExportedFiles):
    """The exported folder in an archive whose files were digested already."""

    def __init__(self, members: Members, digests: Mapping[str, str]) -> None:
        """Take the files of the proof; nothing is read yet."""
        self.path = members.path / bag.PROOF
        self.names = {name.removeprefix(bag.PROOF) for name in members.sizes if name.startswith(bag.PROOF)}
        self.coordinator = b""
        self._members, self._digests = members, digests

    def read(self, name: str) -> bytes:
        """Return what is in a file; OSError for what is too large."""
        return self._members.read(f"{bag.PROOF}{name}", bag.MAX_TEXT)

    def digest(self, name: str) -> str:
        """Return the hex SHA-256 of a file."""
        return self._digests[f"{bag.PROOF}{name}"]


def verify_archive(
    path: Path, given: Mapping[str, bytes], uuid: str | None = None, witnesses: Sequence[NoteKey] = ()
) -> dict[str, Any]:
    """Return what was found in an archive, as a document; `ok` says whether everything holds.

    `given` are keys that the reader got elsewhere, by id; `uuid` is that of the job as whoever published it says, if
    any; `witnesses` must have cosigned the head of the ledger. NotFoundError where there is no archive.
    """
    checked = check_archive(path, given, uuid, witnesses)
    if checked.members is not None:
        checked.members.close()
    document = {"folder": str(path), "uuid_given": uuid is not None, "results": str(path)}
    return document | described(checked.evidence, checked.export, given) | {
        "archive": checked.sha256, "reproductions": checked.reproductions,
    }  # fmt: skip


def check_archive(
    path: Path, given: Mapping[str, bytes], uuid: str | None = None, witnesses: Sequence[NoteKey] = ()
) -> Checked:
    """Check everything in an archive; NotFoundError where there is none that can be read."""
    evidence = Evidence()
    try:
        members = open_members(path)
    except VerificationError as error:
        evidence.add("archive", f"{path}", [" ".join(str(error).split())])
        return Checked(None, {}, None, evidence, "", [])
    digests: dict[str, str] = {}
    tags = ""
    try:
        problems, tags = _bag_faults(members, digests)
    except (OSError, ValueError, KeyError, UnsafeOutputError) as error:
        problems = [_shown(error)]
    evidence.add("archive", f"{path}", _few(problems))
    if problems:
        return Checked(members, {}, None, evidence, tags, [])
    results = _results(members, digests)
    reproductions: list[dict[str, Any]] = []
    others = keys_of_reproductions(members)  # they signed nothing of the proof
    known = {key: public for key, public in given.items() if key not in others}
    export = checked_export(_Proof(members, digests), known, results, uuid, witnesses, evidence)
    if export is not None:
        evidence.add("inputs", str(export.word.job), _input_faults(members, digests, export))
        evidence.add("files", str(export.word.job), _other_faults(members, export))
        evidence.add("metadata", bag.CRATE, _crate_faults(members, export))
        job = (export.word.uuid, export.word.digest)
        reproductions = check_reproductions(members, tags, job, given, evidence)
    return Checked(members, digests, export, evidence, tags, reproductions)


def _shown(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename!a} cannot be read: {error.strerror}"
    return " ".join(str(error).split())[:300]


def _few(problems: list[str]) -> list[str]:
    if len(problems) > _NAMED:
        return [*problems[:_NAMED], f"and {len(problems) - _NAMED} more"]
    return problems


def _bag_faults(members: Members, digests: dict[str, str]) -> tuple[list[str], str]:
    """Return what is wrong with the bag, and the digest of its tag manifest; `digests` become those of the payload.

    OSError, ValueError or UnsafeOutputError for what cannot be read.
    """
    needed = (*bag.TAG_FILES, bag.TAGS, bag.SIGNATURE, bag.COORDINATOR_KEY, bag.CRATE)
    missing = [f"{name} is missing" for name in needed if name not in members.sizes]
    if missing:
        return missing, ""
    text = members.read(bag.TAGS, _SHORT)
    tags = hashlib.sha256(text).hexdigest()
    problems = _signature_faults(members, text) or _tag_faults(members, text)
    if problems:
        return problems, tags
    wanted = bag.parse_manifest(members.read(bag.MANIFEST, bag.MAX_TEXT))
    problems = _name_faults(members, wanted) or _size_faults(members, wanted)
    if not problems:
        digests.update(members.digests(sorted(wanted)))
        problems = [
            f"{name!a} was changed: got sha256 {digests[name]}, wanted {digest}"
            for name, digest in wanted.items()
            if digests[name] != digest
        ]
    return problems, tags


def _signature_faults(members: Members, text: bytes) -> list[str]:
    coordinator = public_key(members.read(bag.COORDINATOR_KEY, _SHORT))
    signature = members.read(bag.SIGNATURE, _SHORT)
    try:
        if len(signature) != _SIGNATURE_BYTES:
            raise BadSignatureError
        crypto_sign_open(signature + text, coordinator)
    except BadSignatureError:
        name = key_id(coordinator)
        return [f"one of {bag.TAGS}, {bag.SIGNATURE} and {bag.COORDINATOR_KEY} was changed: no signature by {name}"]
    return []


def _tag_faults(members: Members, text: bytes) -> list[str]:
    wanted = bag.parse_manifest(text)
    if set(wanted) != set(bag.TAG_FILES):
        return [f"{bag.TAGS} names other files than those of an archive"]
    problems = [
        f"{name} was changed: got another SHA-256 than {digest}"
        for name, digest in wanted.items()
        if hashlib.sha256(members.read(name, bag.MAX_TEXT)).hexdigest() != digest
    ]
    if not problems and members.read(bag.BAGIT, _SHORT) != bag.BAGIT_TEXT:
        problems = [f"{bag.BAGIT} is of a version that this one does not know"]
    return problems


def _name_faults(members: Members, wanted: Mapping[str, str]) -> list[str]:
    """Return which files are missing, and which belong to nothing."""
    known = {*wanted, *bag.TAG_FILES, bag.TAGS, bag.SIGNATURE}
    missing = [f"{name!a} is missing" for name in sorted(wanted.keys() - members.sizes.keys())]
    more = [name for name in sorted(members.sizes.keys() - known) if not name.startswith(bag.REPRODUCTIONS)]
    return missing + [f"{name!a} is not of this archive" for name in [*more, *members.empty]]


def _size_faults(members: Members, wanted: Mapping[str, str]) -> list[str]:
    """Return that the payload is larger or smaller than it was: then none of it is read."""
    info = bag.parse_bag_info(members.read(bag.BAG_INFO, _SHORT))
    found = f"{sum(members.sizes[name] for name in wanted)}.{len(wanted)}"
    if info.get("Payload-Oxum") != found:
        return [f"its files have another size: got {found} (bytes.files), wanted {info.get('Payload-Oxum')}"]
    return []


def _results(members: Members, digests: Mapping[str, str]) -> DigestedResults:
    """Return the published files, and those of second verdicts, by folder, as they were digested."""
    by_folder: dict[str, dict[str, str]] = defaultdict(dict)
    sizes: dict[str, int] = defaultdict(int)
    for name, digest in digests.items():
        folder, slash, file = name.removeprefix(bag.RESULTS).partition("/")
        if name.startswith(bag.RESULTS) and slash:
            by_folder[folder][file] = digest
            sizes[folder] += members.sizes[name]
    return DigestedResults(by_folder, sizes)


def _input_faults(members: Members, digests: Mapping[str, str], export: Export) -> list[str]:
    """Return which inputs are missing that should be here, and which are not those of the job."""
    wanted = {f"{bag.INPUTS}{one.sha256}": one.sha256 for one in export.job.inputs if one.sha256}
    here = {name: digests[name] for name in members.sizes if name.startswith(bag.INPUTS)}
    faults = [f"{name!a} is no input of the job" for name in sorted(here) if here[name] != wanted.get(name)]
    info = bag.parse_bag_info(members.read(bag.BAG_INFO, _SHORT))
    if info.get("Nexapod-Inputs") == "here":
        faults += [f"{name} is missing" for name in sorted(wanted.keys() - here.keys())]
    return faults


def _other_faults(members: Members, export: Export) -> list[str]:
    """Return which files have no place in an archive of this job, whoever signed for them."""
    folders = [str(task.task) for task in export.word.tasks if task.published_from is not None]
    for task in export.word.tasks:
        folders += [judged_folder(task.task, number) for number in range(1, min(task.judged, MAX_JUDGED) + 1)]
    known = (bag.PROOF, bag.INPUTS, bag.REPRODUCTIONS, *[f"{bag.RESULTS}{folder}/" for folder in folders])
    single = {f"{bag.DIFFERENCES}{task.task}.txt" for task in export.word.tasks}
    single |= {bag.CRATE, *bag.TAG_FILES, bag.TAGS, bag.SIGNATURE}
    others = [name for name in members.sizes if name not in single and not name.startswith(known)]
    return _few([f"{name!a} belongs to nothing in the proof" for name in sorted(others)])


def _crate_faults(members: Members, export: Export) -> list[str]:
    """Return that the metadata cannot be read, or is about another job."""
    try:
        document = loads(members.read(bag.CRATE, bag.MAX_TEXT))
        root = next(entity for entity in document["@graph"] if entity["@id"] == "./")
        identifier = root["identifier"]
    except (OSError, ValueError, KeyError, TypeError, StopIteration, NexapodError) as error:
        return [f"it cannot be read: {_shown(error)}"]
    wanted = f"urn:uuid:{export.word.uuid}"
    return [] if identifier == wanted else [f"it is about another job: got {identifier!a}, wanted {wanted}"]

"""What is still kept of the outputs that the replicas of a task signed, to be compared once more.

A file is found by its digest: what one replica wrote stands for every replica that signed the same bytes, and so do the
published results. Nothing that is read is believed: it is digested while it is read.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from nexapod_batch.compare.stores import normalized_of, stores
from nexapod_batch.compare.unread import Voted, voted, why_unread
from nexapod_batch.coordinator.evidence.closeness import Digesting
from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.replica_outputs import opened_store, outputs_of, rule_for, statement_of
from nexapod_batch.errors import CompareError, UnsafeOutputError
from nexapod_batch.files import careful
from nexapod_batch.model.job import Agreement
from nexapod_batch.trust.statement import NO_DIGEST, NO_VOTE, unread_digest, vote_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.compare.stores import Store
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.replica_outputs import OpenFiles
    from nexapod_batch.model.job import CompareRule, Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.statement import Statement

__all__ = ["Answer", "KeptOutputs", "answer_of_folder", "kept_outputs"]


class Answer(NamedTuple):
    """What a replica comes to by the rules of a job."""

    vote: bytes
    unread: str  # why one of its outputs cannot be compared


class _Published(NamedTuple):
    """The published files of a task."""

    folder: Path
    files: Mapping[str, str]

    def open(self, name: str) -> BinaryIO:
        """Return an open stream of one; UnsafeOutputError when it is no plain file any more."""
        try:
            return careful.stream(self.folder / name)
        except OSError as error:
            raise UnsafeOutputError(f"output {name!r} cannot be read", got=error.strerror) from error


class _Files(NamedTuple):
    """The outputs of one replica, wherever the same bytes are kept."""

    files: Mapping[str, str]
    places: Mapping[tuple[str, str], Sequence[OpenFiles]]  # by name and digest

    def open(self, name: str) -> BinaryIO:
        """Return an open stream of one; UnsafeOutputError where its bytes are nowhere."""
        for place in self.places.get((name, self.files[name]), ()):
            try:
                return place.open(name)
            except UnsafeOutputError:
                continue
        raise UnsafeOutputError(f"output {name!r} is not kept any more")


class KeptOutputs:
    """The outputs of the reported replicas of one task, as far as they are kept."""

    def __init__(self, task: int) -> None:
        """Begin without any."""
        self._task = task
        self._signed: dict[int, Mapping[str, str]] = {}  # digests by name, of each replica whose outputs are known
        self._why: dict[int, str] = {}  # why the files of a replica are not here themselves
        self._places: dict[tuple[str, str], list[OpenFiles]] = defaultdict(list)
        self._normal: dict[tuple[str, str], Voted] = {}
        self._normalized_by_node: dict[int, Mapping[str, str | None]] = {}

    def add(self, number: int, signed: Mapping[str, str] | None, place: OpenFiles | None, why: str) -> None:
        """Note what a replica signed, where known, and where its files are, or why they are not there."""
        if signed is not None:
            self._signed[number] = signed
        if place is None:
            self._why[number] = why
        else:
            self.add_place(place)

    def add_normalized(self, number: int, statement: Statement) -> None:
        """Note what a replica's node signed as the normalised digests of its outputs."""
        if not statement.manifest:
            self._normalized_by_node[number] = {subject.name: subject.normalized for subject in statement.subjects}

    def add_place(self, place: OpenFiles) -> None:
        """Note files that lie somewhere."""
        for name, digest in place.files.items():
            self._places[name, digest].append(place)

    def files_of(self, number: int) -> OpenFiles:
        """Return the outputs of a replica."""
        return _Files(self._signed.get(number, {}), self._places)

    def copy(self, number: int, folder: Path) -> list[Path]:
        """Copy the outputs of a replica into a folder; return their paths.

        UnsafeOutputError where one is nowhere any more, or is not what was signed.
        """
        outputs = self.files_of(number)
        made = []
        for name, digest in outputs.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with outputs.open(name) as source, path.open("xb") as sink:
                read = Digesting(source)
                shutil.copyfileobj(cast("BinaryIO", read), sink)
                copied = read.hexdigest()
            if copied != digest:
                raise UnsafeOutputError(f"{name!r} changed after it was signed", wanted=f"sha256 {digest}")
            made.append(path)
        return made

    def answer(self, number: int, job: Job) -> Answer:
        """Return what a replica votes for by the rules of a job, as a node would have signed it.

        Raises:
            UnsafeOutputError: A file that must be read for it is nowhere any more.
            ReaderMissingError: What reads the format is not installed here.

        """
        signed = self._signed.get(number)
        if signed is None:
            raise UnsafeOutputError(self._why.get(number, "what it wrote is not known"))
        rules = {name: rule_for(job, self._task, name) for name in signed}
        found: dict[str, Voted] = {}
        for store in stores(rules):
            found |= self._of_store(number, store)
        found |= {name: self._voted(number, name, rule) for name, rule in rules.items() if name not in found}
        vote = vote_of([(name, one.normalized or signed[name]) for name, one in found.items()])
        return Answer(bytes.fromhex(vote), next((one.unread for one in found.values() if one.unread), ""))

    def _of_store(self, number: int, store: Store) -> dict[str, Voted]:
        """Return what each file of a store votes by; those of one that cannot be read by their bytes."""
        from nexapod_batch.compare.registry import normalized_digest  # noqa: PLC0415

        normal: str | None = NO_DIGEST
        why = ""
        if store.rule.agreement is Agreement.TOLERANCE:
            for name in store.members:
                self._must_be_kept(number, name)
        else:
            try:
                files = cast("BinaryIO", opened_store(store, self.files_of(number)))
                normal = normalized_digest(files, store.name, store.rule)
            except CompareError as error:
                normal, why = None, why_unread(store.name, error)
            except UnsafeOutputError as error:
                raise self._not_kept(number, store.name) from error
        of_each = normalized_of(store, normal, self._signed[number])
        return {name: Voted(digest, why) for name, digest in of_each.items()}

    def _voted(self, number: int, name: str, rule: CompareRule) -> Voted:
        signed = self._signed[number][name]
        if rule.normalize:  # it ran on the node: what it came to stands in the statement alone
            return self._as_signed(number, name)
        match rule.agreement:
            case Agreement.BYTES:
                return Voted(signed)
            case Agreement.NOTHING:
                return Voted(NO_VOTE)
            case Agreement.TOLERANCE:
                self._must_be_kept(number, name)
                return Voted(NO_DIGEST)
            case Agreement.NORMAL_FORM:
                key = (name, signed)
                if key not in self._normal:
                    self._normal[key] = self._normalized(number, name, rule)
                return self._normal[key]

    def _as_signed(self, number: int, name: str) -> Voted:
        normalized = self._normalized_by_node.get(number, {}).get(name)
        if normalized is None:
            raise UnsafeOutputError(f"what {name} was normalised to is in no statement, as its outputs are so many")
        if normalized == unread_digest(self._signed[number][name]):
            return Voted(normalized, f"output {name!r} cannot be compared: its node could not read what was printed")
        return Voted(normalized)

    def _must_be_kept(self, number: int, name: str) -> None:
        """Look whether a file is there, unless every replica signed the same bytes, which agree unread."""
        if len({files.get(name) for files in self._signed.values()}) == 1:
            return
        try:
            self.files_of(number).open(name).close()
        except UnsafeOutputError as error:
            raise self._not_kept(number, name) from error

    def _normalized(self, number: int, name: str, rule: CompareRule) -> Voted:
        """Return what a file votes by, wherever it is kept as it was signed."""
        from nexapod_batch.compare.registry import normalized_digest  # noqa: PLC0415

        signed = self._signed[number][name]
        for place in self._places.get((name, signed), ()):
            try:
                with place.open(name) as stream:
                    read = Digesting(stream)
                    found = voted(partial(normalized_digest, cast("BinaryIO", read), name, rule), name, signed)
                    if found.normalized is not None and read.hexdigest() == signed:
                        return found
            except UnsafeOutputError:
                continue
        raise self._not_kept(number, name)

    def _not_kept(self, number: int, name: str) -> UnsafeOutputError:
        return UnsafeOutputError(self._why.get(number, f"its output {name} is not what it signed any more"))


def kept_outputs(c: Coordinator, task: TaskRow, rows: Sequence[ReplicaRow], nodes: Mapping[int, Node]) -> KeptOutputs:
    """Find the outputs of the reported replicas among `rows`; what lies on nodes elsewhere is fetched.

    SchedulerError where a machine cannot be reached now.
    """
    kept = KeptOutputs(task.idx)
    folder = c.paths.results / str(task.job_id) / str(task.idx)
    packed = c.store.tasks.manifest(task.job_id, task.idx)
    for row in rows:
        statement = statement_of(c, row.id)
        signed = listed(statement, packed)
        kept.add_normalized(row.number, statement)
        if signed is not None and _is_published(task, row):
            kept.add_place(_Published(folder, signed))
        if row.cleaned and c.store.reports.carried(row.id) is None:
            kept.add(row.number, signed, None, "its work folder was removed")
            continue
        try:
            outputs = outputs_of(c, nodes[row.node_id], row)
        except (UnsafeOutputError, OSError) as error:
            kept.add(row.number, signed, None, str(error).partition("\n")[0])
            continue
        here = outputs.carried is not None or os.path.isdir(outputs.folder) or not c.job(row.job_id).outputs
        kept.add(row.number, outputs.files, outputs if here else None, "its work folder is gone")
    return kept


def _is_published(task: TaskRow, row: ReplicaRow) -> bool:
    """Say whether the published files of a task are those of a replica."""
    return bool(task.published) and row.number == task.published_from


def answer_of_folder(
    folder: Path, files: Mapping[str, str], statement: Statement, task: int, job: Job
) -> bytes:
    """Return what published files, by name and signed digest, come to by the rules of a job.

    UnsafeOutputError where one is not what was signed.
    """
    kept = KeptOutputs(task)
    kept.add(0, files, _Published(folder, files), "")
    kept.add_normalized(0, statement)
    return kept.answer(0, job).vote

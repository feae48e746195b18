"""What a replica produced, as a statement names it: outputs found, digested raw and normalised."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from nexapod_batch.errors import CompareError, ReaderMissingError, UnsafeOutputError
from nexapod_batch.files import careful
from nexapod_batch.model.job import Agreement, CompareRule
from nexapod_batch.model.placeholders import expand
from nexapod_batch.trust.statement import NO_DIGEST, NO_VOTE, Subject, unread_digest, vote_of_subjects
from nexapod_batch.trust.statement_rules import MAX_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO  # not above: a runner that starts has a stand-in for `typing` without it

    from nexapod_batch.model.job import Job

__all__ = ["EMPTY", "Produced", "digest_descriptor", "digest_outputs", "stdout_only"]

#: SHA-256 of nothing.
EMPTY = hashlib.sha256(b"").hexdigest()

_BLOCK = 1 << 20


class Produced(NamedTuple):
    """The outputs of one replica."""

    subjects: tuple[Subject, ...]  # what the statement lists
    vote: str
    names: tuple[str, ...]  # files in the work folder, relative; empty when stdout is the output
    size: int  # bytes of those files
    manifest: bytes | None  # its text, when there are more outputs than a statement lists
    unread: str = ""  # why one of them cannot be compared


def digest_descriptor(fd: int, size: int) -> str:
    """Return the hex SHA-256 of the first `size` bytes behind a descriptor."""
    if size == 0:
        return EMPTY
    digest, at = hashlib.sha256(), 0
    while at < size:
        block = os.pread(fd, min(_BLOCK, size - at), at)
        if not block:
            break
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


def stdout_only(sha256: str, size: int) -> Produced:
    """Return what a replica produced whose one output is its stdout; also for one that failed."""
    subjects = (Subject(name="stdout", sha256=sha256, size=size),)
    return Produced(subjects=subjects, vote=vote_of_subjects(subjects), names=(), size=0, manifest=None)


def digest_outputs(
    job: Job, values: Mapping[str, str], root: str, normalize: Callable[[str, str, CompareRule], str]
) -> Produced:
    """Find and digest the declared outputs; UnsafeOutputError says which file is wrong and how.

    `values` are those of the task's placeholders. A file that several patterns name is compared by the rule of the
    first. `normalize` runs the command of a rule on a file, by name and digest, and returns the digest of what it
    printed.
    """
    from nexapod_batch.files import output_files  # noqa: PLC0415 - many jobs declare none

    folder = Path(root)
    rules = _found(job, values, folder)
    output_files.check_no_log(rules)
    _check_finished(root, rules)
    digests = sorted(output_files.digest_tree(folder, list(rules)), key=lambda entry: os.fsencode(entry[0]))
    unread = ""
    subjects = []
    with _bounded(rules.values()), _readers_kept(rules):
        of_stores = _of_stores(folder, rules, digests)
        for name, sha256, size in digests:
            normal, why = of_stores.get(name) or _voted(folder, name, sha256, rules[name], normalize)
            unread = unread or why
            subjects.append(Subject(name=name, sha256=sha256, normalized=normal, size=size))
    listed = tuple(subjects)
    vote, total = vote_of_subjects(listed), sum(size for _, _, size in digests)
    names = tuple([name for name, _, _ in digests])
    if len(listed) <= MAX_SUBJECTS:
        return Produced(subjects=listed, vote=vote, names=names, size=total, manifest=None, unread=unread)
    text = output_files.manifest([(name, sha256) for name, sha256, _ in digests])
    of_text = hashlib.sha256(text).hexdigest()
    if unread:
        vote = unread_digest(of_text)
    one = Subject(name="manifest", sha256=of_text, normalized=vote, size=len(text))
    return Produced(subjects=(one,), vote=vote, names=names, size=total, manifest=text, unread=unread)


def _readers_kept(rules: Mapping[str, CompareRule]) -> AbstractContextManager[None]:
    """Keep what reads files of certain formats from one to the next; most outputs are not read as what they are."""
    if all(rule.agreement is not Agreement.NORMAL_FORM for rule in rules.values()):
        return nullcontext()
    from nexapod_batch.compare.formats.foreign.programs import kept  # noqa: PLC0415 - seldom

    return kept()


def _found(job: Job, values: Mapping[str, str], folder: Path) -> dict[str, CompareRule]:
    """Return the outputs that are there, with the rule of each; UnsafeOutputError where one is not to be taken."""
    from nexapod_batch.files import output_files  # noqa: PLC0415 - as above

    rules: dict[str, CompareRule] = {}
    length, most = 0, job.resources.disk_mib * 2**20
    for output in job.outputs:
        for file in output_files.find(folder, [expand(output.path, values)], optional=output.optional):
            length += 0 if file.name in rules else file.size
            rules.setdefault(file.name, output.rule)
    if length > most:  # holes take no room, but are read and copied all the same
        got, wanted = f"{length / 2**20:.1f} MiB", f"at most {most / 2**20:.0f} MiB ([resources] disk)"
        raise UnsafeOutputError("the outputs are too long, holes included", got=got, wanted=wanted)
    return rules


def _bounded(rules: Collection[CompareRule]) -> AbstractContextManager[object]:
    """Return what bounds the time of comparing all outputs of a replica."""
    if all(rule.agreement is not Agreement.NORMAL_FORM and not rule.normalize for rule in rules):
        return nullcontext()
    from nexapod_batch.compare.budget import Budget, within  # noqa: PLC0415 - seldom

    return within(Budget())


def _check_finished(root: str, rules: Mapping[str, CompareRule]) -> None:
    """Raise UnsafeOutputError for a database without changes that were made to it: two of them may well be alike.

    Whole it is with the file that has the changes, where this is an output whose bytes must agree, too.
    """
    from nexapod_batch.files.database_logs import unfinished  # noqa: PLC0415 - many jobs declare no outputs

    for name, rule in rules.items():
        if rule.agreement is Agreement.NOTHING:
            continue
        beside = unfinished(root, name)
        if beside is None:
            continue
        of_beside = rules.get(beside)
        if of_beside is None or of_beside.agreement is not Agreement.BYTES:
            raise UnsafeOutputError(
                f"output {name!a} is a database that was left unfinished", got=f"changes that are in {beside!a} alone",
                wanted="all of it in one file",
                hint="end with PRAGMA wal_checkpoint(TRUNCATE), or commit and close each connection",
            )  # fmt: skip


def _of_stores(
    folder: Path, rules: Mapping[str, CompareRule], digests: Sequence[tuple[str, str, int]]
) -> dict[str, tuple[str | None, str]]:
    """Return for the files of stores, by name, what `_voted` returns for others."""
    if not any(".zarr/" in name.lower() for name in rules):
        return {}
    from nexapod_batch.compare.stores import StoreFiles, normalized_of, stores  # noqa: PLC0415 - seldom
    from nexapod_batch.compare.unread import why_unread  # noqa: PLC0415 - seldom

    found: dict[str, tuple[str | None, str]] = {}
    raw, sizes = ({entry[0]: entry[at] for entry in digests} for at in (1, 2))
    for store in stores(rules):
        files = StoreFiles(store, partial(_content, folder), sum(int(sizes[name]) for name in store.members))
        normal: str | None = NO_DIGEST
        why = ""
        try:
            if store.rule.agreement is Agreement.NORMAL_FORM:
                normal = _digest_of(cast("BinaryIO", files), store.name, store.rule)
        except CompareError as error:
            why, normal = why_unread(store.name, error), None
        of_each = normalized_of(store, normal, {name: str(raw[name]) for name in store.members})
        found |= {name: (digest, why) for name, digest in of_each.items()}
    return found


def _content(folder: Path, name: str) -> bytes:
    from nexapod_batch.compare.stores import content  # noqa: PLC0415 - seldom

    with careful.stream(folder / name) as stream:
        return content(stream, name)


def _voted(
    folder: Path, name: str, sha256: str, rule: CompareRule, normalize: Callable[[str, str, CompareRule], str]
) -> tuple[str | None, str]:
    """Return what is signed beside the raw digest, and why its comparator cannot read it, if it cannot."""
    if rule.normalize or rule.agreement is Agreement.NORMAL_FORM:
        from nexapod_batch.compare.unread import voted  # noqa: PLC0415 - seldom

        if rule.normalize:
            return voted(lambda: normalize(name, sha256, rule), name, sha256)
        return voted(lambda: _normalized(folder, name, rule), name, sha256)
    if rule.agreement is Agreement.BYTES:
        return None, ""
    return NO_DIGEST if rule.agreement is Agreement.TOLERANCE else NO_VOTE, ""


def _normalized(folder: Path, name: str, rule: CompareRule) -> str | None:
    with careful.stream(folder / name) as stream:
        return _digest_of(stream, name, rule)


def _digest_of(stream: BinaryIO, name: str, rule: CompareRule) -> str | None:
    """Return the digest of a normal form; CompareError for what its comparator cannot read."""
    from nexapod_batch.compare.registry import normalized_digest  # noqa: PLC0415 - seldom

    try:
        return normalized_digest(stream, name, rule)
    except ReaderMissingError as error:  # running it once more changes nothing
        raise UnsafeOutputError(error.what, got=error.got, hint=error.hint) from error

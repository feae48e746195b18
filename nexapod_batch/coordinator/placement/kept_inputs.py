"""Inputs of jobs, kept by digest: what runs is what was there at submit, whatever becomes of the files since."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.placement.images import Silent
from nexapod_batch.coordinator.placement.node_fetch import left_to_nodes
from nexapod_batch.coordinator.placement.remote_inputs import fetch_input
from nexapod_batch.errors import DescriptorError, NotFoundError, TryAgainError
from nexapod_batch.files import careful
from nexapod_batch.files.atomic import FULL, sync_files
from nexapod_batch.files.beneath import open_beneath
from nexapod_batch.files.known_digests import KnownDigests
from nexapod_batch.files.known_folder import KnownFolder
from nexapod_batch.files.least_used import remove
from nexapod_batch.files.own import own_folder
from nexapod_batch.model.job_source import is_job_source, is_remote, parse_job_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Input, Job

__all__ = [
    "NoSpaceError", "changed", "drop_changed", "folder_of", "keep", "keep_again", "note_removal", "removals", "todays",
]  # fmt: skip

_CHUNK = 1024 * 1024
_MANY = 256
#: The file of the home that changes before kept inputs are removed.
_REMOVED = "inputs.removed"


class NoSpaceError(TryAgainError):
    """There is no space to keep inputs."""


def keep(c: Coordinator, inputs: Sequence[Input], folder: Path) -> None:
    """Copy inputs under their digest; DescriptorError for one that cannot be read, or is not what was pinned.

    NoSpaceError where they have no room.
    """
    if not inputs:
        return
    own_folder(c.paths.inputs, below=c.paths.home)
    copies: dict[Path, Path] = {}  # where each is kept -> the copy that is to be named so
    try:
        for sha256, job_input in _absent(c, inputs).items():
            if is_remote(job_input.source):
                fetch_input(c, job_input, Silent())
                continue
            kept = c.paths.inputs / sha256
            copies[kept] = kept.with_name(f".{sha256}.{os.getpid()}.{os.urandom(4).hex()}")  # of this host alone
            _keep_one(c, folder, job_input, copies[kept])
        _sync(c, copies)  # together: one after the other, thousands of small files wait for the disk each
        for kept, partial in copies.items():
            partial.replace(kept)
    except BaseException:
        for partial in copies.values():
            partial.unlink(missing_ok=True)
        raise


def _sync(c: Coordinator, copies: Mapping[Path, Path]) -> None:
    try:
        sync_files(copies.values())
    except OSError as error:
        if error.errno in FULL:
            raise _no_space(c, error) from error
        raise


def _no_space(c: Coordinator, error: OSError) -> NoSpaceError:
    return NoSpaceError(
        "no space to keep the job's inputs", got=f"{error.strerror}: {c.paths.inputs}",
        hint="make room on that disk, then submit again; or let less be kept: [retention] inputs_size in config.toml",
    )  # fmt: skip


def removals(c: Coordinator) -> tuple[int, int]:
    """Return what differs once kept inputs were removed since, also by another host."""
    try:
        with (c.paths.home / _REMOVED).open("rb") as file:  # opened: servers of files are asked then
            about = os.fstat(file.fileno())
    except FileNotFoundError:
        return 0, 0
    return about.st_ino, about.st_mtime_ns


def note_removal(c: Coordinator) -> None:
    """Note that kept inputs are about to be removed; who notes it writes the database."""
    file, now = c.paths.home / _REMOVED, time.time_ns()
    file.touch(mode=0o600)
    os.utime(file, ns=(now, now))  # finer than the kernel's own times


def _absent(c: Coordinator, inputs: Sequence[Input]) -> dict[str, Input]:
    """Return those that are not kept yet, each digest once."""
    folder = os.fspath(c.paths.inputs)
    if len(inputs) > _MANY:
        wanted = _absent_of_many(c, [job_input.sha256 for job_input in inputs])
    else:
        wanted = {job_input.sha256 for job_input in inputs}
        wanted = {digest for digest in wanted if digest and not os.path.exists(f"{folder}/{digest}")}
    if not wanted:
        return {}
    first: dict[str, Input] = {}
    for job_input in inputs:
        if job_input.sha256 in wanted:
            first.setdefault(job_input.sha256, job_input)
    return first


def _absent_of_many(c: Coordinator, digests: Sequence[str]) -> set[str]:
    """Return which of many are not kept: one look at all that is there costs less than one at each.

    Where all of them were there, the next job with the same inputs looks at the folder alone, if that is as it was.
    """
    asked = KnownFolder(c.paths.digests, c.paths.inputs, "".join(digests))
    if asked.is_as_it_was():
        return set()
    absent = set(digests).difference(os.listdir(c.paths.inputs), {""})  # others come from jobs that have not ended
    if not absent:
        asked.remember()
    return absent


def _keep_one(c: Coordinator, folder: Path, job_input: Input, partial: Path) -> None:
    """Copy one input, and see that it is the one that was pinned."""
    try:
        found = _copy(*_origin(c, folder, job_input), partial)
    except OSError as error:
        if error.errno in FULL:
            raise _no_space(c, error) from error
        what = f"input {job_input.source} cannot be read"
        raise DescriptorError(what, got=error.strerror, wanted="a file") from error
    if found != job_input.sha256:
        KnownDigests(c.paths.digests, folder).forget()  # the next submit reads all of them
        what = f"input {job_input.source} changed while it was read"
        raise DescriptorError(what, got=found, wanted=job_input.sha256)


def _origin(c: Coordinator, folder: Path, job_input: Input) -> tuple[Path, str]:
    """Return the folder and the name in it of what an input is a copy of."""
    if not is_job_source(job_input.source):
        return folder, job_input.source
    source = parse_job_source(job_input.source)
    return c.paths.results / str(source.job) / source.task, source.path


def _copy(folder: Path, source: str, target: Path) -> str:
    """Copy a file, and return the digest of what was copied.

    Where it lies was judged when it was pinned: something else in its place has another digest.
    """
    digest = hashlib.sha256()
    with os.fdopen(open_beneath(folder, source, outside=True), "rb") as reader, target.open("xb") as sink:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            sink.write(chunk)
    return digest.hexdigest()


def keep_again(c: Coordinator, job_id: int) -> None:
    """Copy those inputs of a job again that were removed since it ended.

    NotFoundError when a file that is needed is not what it was, with how to take today's.
    """
    job = c.job(job_id)
    missing = [job_input for job_input in job.inputs if not (c.paths.inputs / job_input.sha256).exists()]
    nodes = [node for node in c.nodes() if node.active and (not job.schedule.sites or node.site in job.schedule.sites)]
    elsewhere = left_to_nodes(c, missing, nodes)
    missing = [job_input for job_input in missing if job_input.sha256 not in elsewhere]
    try:
        keep(c, missing, folder_of(c, job_id))
    except DescriptorError as error:
        names = ", ".join(one.target for one in missing)
        raise NotFoundError(
            f"kept inputs of job {job_id} are gone ([retention] inputs), and their files are no longer what they were",
            got=f"{names}: {' '.join(str(error).split())}",
            hint=f"to run with the files of today: nexapod-batch retry {job_id} --fresh",
        ) from error


def drop_changed(c: Coordinator, job_id: int, tasks: Sequence[int]) -> None:
    """Remove copies that are not what was pinned, as nodes said; copy them again where their files are unchanged.

    Only what nodes complained of is looked at, and only what is wrong here goes: what they say decides nothing.
    """
    wrong = [sha256 for sha256 in c.store.replicas.changed_inputs(job_id, tasks) if _is_wrong(c.paths.inputs / sha256)]
    if not wrong:
        return
    for sha256 in wrong:
        remove(c.paths.inputs / sha256)
    again = [one for one in c.job(job_id).inputs if one.sha256 in wrong and not is_remote(one.source)]
    with suppress(DescriptorError, TryAgainError):  # then the job waits, and it is said for what
        keep(c, again, folder_of(c, job_id))


def _is_wrong(kept: Path) -> bool:
    """Say whether there is a copy whose digest is not its name."""
    try:
        with os.fdopen(careful.open_plain(kept), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() != kept.name
    except careful.NotPlainError:
        return True
    except OSError:
        return False


def folder_of(c: Coordinator, job_id: int) -> Path:
    """Return the folder that a job was submitted from."""
    return Path(c.store.jobs.get(job_id).folder)


def changed(c: Coordinator, job_id: int) -> list[str]:
    """Return, by their targets, the inputs of a job whose files have another content now, or are gone."""
    folder = folder_of(c, job_id)
    files = [job_input for job_input in c.job(job_id).inputs if job_input.source.startswith("/")]
    return [job_input.target for job_input in files if _today(job_input, folder)[0] != job_input.sha256]


def todays(job: Job, folder: Path) -> tuple[Input, ...]:
    """Return the inputs of a job as their files are now; DescriptorError for one that is gone."""
    found = []
    for job_input in job.inputs:
        if not job_input.source.startswith("/"):  # what was accepted, or fetched, stays what it was
            found.append(job_input)
            continue
        digest, executable = _today(job_input, folder)
        if not digest:
            raise DescriptorError(f"input {job_input.source} cannot be read", wanted="a file", hint="put it back")
        found.append(job_input._replace(sha256=digest, executable=executable))
    return tuple(found)


def _today(one: Input, folder: Path) -> tuple[str, bool]:
    """Return the digest of an input's file as it is now, and whether its owner may run it; "" where it is gone."""
    try:
        with os.fdopen(open_beneath(folder, one.source, outside=True), "rb") as stream:
            executable = bool(os.fstat(stream.fileno()).st_mode & stat.S_IXUSR)
            return hashlib.file_digest(stream, "sha256").hexdigest(), executable
    except OSError:
        return "", False

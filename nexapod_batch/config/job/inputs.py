"""[[inputs]] of a descriptor turned into pinned files: one file, those that a glob takes, or one for each task.

A source with placeholders is another file for each task, and every task gets only its own. A name that is that of a
file here means this file, whatever characters it has. Every function reports to a `Report`; none raises.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nexapod_batch.config.job import job_sources, remote_sources
from nexapod_batch.config.job.paths import check_inside, open_beside
from nexapod_batch.config.job.sources import SCHEME, local_path
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.input_names import MAX_FILES, name_in_folder
from nexapod_batch.files.output_files import find, has_glob
from nexapod_batch.model.job import Input
from nexapod_batch.model.job_source import is_remote
from nexapod_batch.model.placeholders import expand, literal, names_in, task_values
from nexapod_batch.schema.kinds import BAD, Report, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader

    from nexapod_batch.model.job import Job

__all__ = ["inputs", "with_task_inputs"]

#: Tasks of one input whose faults are told one by one.
_TOLD = 3
_SMALL = 1 << 20  # bytes of a file that is read at once


class _Place(NamedTuple):
    """Where the descriptor lies, and what may be read from there."""

    folder: Path
    outside: bool


def inputs(
    section: Value, folder: Path, report: Report, *, outside: bool = False, jobs: Mapping[str, int] | None = None
) -> tuple[Input, ...]:
    """Return the inputs with absolute source and pinned digest; report those that cannot be used.

    With `outside` they may lie outside the folder; a warning lists those that do. `jobs` are the numbers of jobs that
    are named. What is another file for each task, or comes from another job, has no digest yet.
    """
    found: list[Input] = []
    targets: set[PurePosixPath] = set()
    place = _Place(folder, outside)
    for number, one in enumerate(section if isinstance(section, list) else ()):
        if any(value is BAD for value in one.values()):
            continue
        read = _read(one, place, f"inputs[{number}]", jobs or {}, report)
        where = f"inputs[{number}].target"
        found += [job_input for job_input in read if _check_target(job_input, targets, where, report)]
    if len(found) > MAX_FILES:
        report.add("inputs", "too many files", got=len(found), wanted=f"at most {MAX_FILES}", hint="pack them into one")
    return tuple(found)


def _read(one: dict[str, Value], place: _Place, where: str, jobs: Mapping[str, int], report: Report) -> Sequence[Input]:
    """Return what one table of the descriptor brings."""
    text, given = one["source"], one["sha256"]
    if job_sources.is_job_source(text):
        return job_sources.read(text, one["target"], given, where, jobs, report)
    scheme = SCHEME.match(text)
    if scheme is not None and scheme[1].lower() != "file":
        return remote_sources.read(text, one["target"], given, where, report)
    if scheme is not None or _is_here(place.folder, text):
        return _one_file(text, one["target"], given, place, where, report)
    if has_names(text):
        if given is not None:
            report.add(f"{where}.sha256", "the source is another file for each task", wanted="no sha256")
        return [Input(source=text, target=one["target"] or text, sha256="")]
    if has_glob(text):
        if given is not None:
            report.add(f"{where}.sha256", "the source may be several files", wanted="no sha256")
        return _taken(text, one["target"], place, where, report)
    return _one_file(text, one["target"], given, place, where, report)


def _one_file(
    text: str, target: str | None, given: str | None, place: _Place, where: str, report: Report
) -> Sequence[Input]:
    source = _source(text, place.folder, where, report)
    if source is None:
        return ()
    pinned = _pin(source, given, place, where, report)
    if pinned is None:
        return ()
    digest, executable = pinned
    return [
        Input(source=str(source), target=target or _default_target(text, source), sha256=digest, executable=executable)
    ]


def _taken(pattern: str, target: str | None, place: _Place, where: str, report: Report) -> Sequence[Input]:
    """Return the files that a glob takes, under the names that they have, or in the folder `target`."""
    names = _names(pattern, place, where, report)
    if len(names) > MAX_FILES:
        wanted = f"at most {MAX_FILES}"
        report.add(f"{where}.source", "takes too many files", got=len(names), wanted=wanted, hint="pack them into one")
        return ()
    found: list[Input] = []
    for name in names:
        pinned = _pin(place.folder / name, None, place, where, report)
        if pinned is not None:
            put = literal(name if target is None else name_in_folder(name, pattern, target))
            found.append(Input(source=str(place.folder / name), target=put, sha256=pinned[0], executable=pinned[1]))
    return found


def _names(pattern: str, place: _Place, where: str, report: Report) -> list[str]:
    if not check_inside(pattern, f"{where}.source", report):
        return []
    try:
        return [file.name for file in find(place.folder, [pattern])]
    except NexapodError as error:
        what = error.what.replace("no output matches", "no file here matches").replace("output", "input")
        report.add(f"{where}.source", what, got=error.got, wanted="plain files below the folder of the descriptor")
        return []


def has_names(text: str) -> bool:
    """Say whether a source has placeholders."""
    try:
        return bool(names_in(text))
    except ValueError:  # a lone brace means itself
        return False


def _is_here(folder: Path, text: str) -> bool:
    """Say whether a source is the name of something here, as it is spelled."""
    try:
        return os.path.lexists(os.path.join(folder, text))
    except (OSError, ValueError):  # no name of a file
        return False


def _check_target(job_input: Input, taken: set[PurePosixPath], where: str, report: Report) -> bool:
    """Report a target that is no file of its own; say whether it is inside the work folder at all."""
    if not check_inside(job_input.target, where, report):
        return False
    place = PurePosixPath(job_input.target)
    if place in taken or place == PurePosixPath("."):
        report.add(where, "is taken", got=job_input.target, wanted="a file of its own for each input")
    taken.add(place)
    return True


def _source(text: str, folder: Path, where: str, report: Report) -> Path | None:
    path = local_path(text, f"{where}.source", report)
    if path is None:
        return None
    source = folder / path
    try:
        str(source).encode()
    except UnicodeEncodeError:
        report.add(f"{where}.source", "the path is not UTF-8", got=text, wanted="a folder whose name is UTF-8")
        return None
    return source


def _default_target(text: str, source: Path) -> str:
    """Return the path as it was written where that stays below the work folder, else the file name alone."""
    plain = not text.startswith(("/", "~")) and "://" not in text and not {"..", ""} & set(text.split("/"))
    return literal(text if plain else source.name)


def _pin(
    source: Path, given: str | None, place: _Place, where: str, report: Report
) -> tuple[str, bool] | None:
    """Return the digest of an input, and whether its owner may run it; None when it cannot be used."""
    fd = open_beside(place.folder, source, f"{where}.source", report, outside=place.outside)
    if fd is None:
        return None
    try:
        with os.fdopen(fd, "rb") as stream:
            seen = os.fstat(fd)
            executable = bool(seen.st_mode & stat.S_IXUSR)
            digest = _sha256(stream, seen.st_size)
    except OSError as cause:
        report.add(f"{where}.source", f"{source}: {(cause.strerror or str(cause)).lower()}", wanted="a file to read")
        return None
    if given is not None and given.lower() != digest:
        report.add(
            f"{where}.sha256",
            f"{source.name} is not the file that was meant: got {digest}",
            wanted=given.lower(),
            hint="restore the file, or correct sha256",
        )
        return None
    return digest, executable


def _sha256(stream: BufferedReader, size: int) -> str:
    """Return the digest of a file; a small one is read at once, which costs a third."""
    if size < _SMALL:
        data = stream.read(_SMALL)
        if len(data) < _SMALL:
            return hashlib.sha256(data).hexdigest()
        stream.seek(0)  # it grew meanwhile
    return hashlib.file_digest(stream, "sha256").hexdigest()


def with_task_inputs(job: Job, folder: Path, report: Report, *, outside: bool) -> Job:
    """Return a job in which each source with placeholders has become the files of each task."""
    if all(job_input.sha256 or not has_names(job_input.source) for job_input in job.inputs):
        return job
    place = _Place(folder, outside)
    pins: dict[str, Sequence[Input]] = {}
    found: list[Input] = []
    for number, job_input in enumerate(job.inputs):
        if job_input.sha256 or job_sources.is_job_source(job_input.source) or is_remote(job_input.source):
            found.append(job_input)
            continue
        for rows in _of_tasks(job, job_input, place, f"inputs[{number}]", pins, report):
            found += rows
            if len(found) > MAX_FILES:
                wanted = f"at most {MAX_FILES} for all tasks"
                hint = "submit the array in parts"
                report.add(f"inputs[{number}].source", "too many files", wanted=wanted, hint=hint)
                return job
    return replace(job, inputs=tuple(found))


def _of_tasks(
    job: Job, job_input: Input, place: _Place, where: str, pins: dict[str, Sequence[Input]], report: Report
) -> list[Sequence[Input]]:
    """Return the files of each task; after a few tasks without, the rest of them are only counted."""
    found: list[Sequence[Input]] = []
    missing = 0
    for index in job.task_indexes():
        values = task_values(job, index, job.parameters(index))
        text = expand(job_input.source, values)
        target = expand(job_input.target, values)
        if text not in pins:
            told = len(report.problems)
            pins[text] = _of_task(text, place, where, report)
            missing += len(report.problems) > told
            if missing > _TOLD:
                del report.problems[told:]
        given = None if job_input.target == job_input.source else target
        rows = [row._replace(target=literal(_named(row, text, given)), only=index) for row in pins[text]]
        found.append([row for row in rows if check_inside(row.target, f"{where}.target", report)])
    if missing > _TOLD:
        report.add(f"{where}.source", f"and {missing - _TOLD} more files like these cannot be used")
    return found


def _of_task(text: str, place: _Place, where: str, report: Report) -> Sequence[Input]:
    if has_glob(text) and not _is_here(place.folder, text):
        return _taken(text, None, place, where, report)
    return _one_file(text, None, None, place, where, report)


def _named(row: Input, text: str, target: str | None) -> str:
    """Return where a file of a task is put; the braces of its name mean themselves by now."""
    name = expand(row.target, {})
    if target is None:
        return name
    if has_glob(text):
        return name_in_folder(name, text, target)
    return target

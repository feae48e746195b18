"""[[inputs]] of a descriptor turned into pinned files: one file, those that a glob takes, or one for each task.

A source with placeholders is another file for each task, and every task gets only its own. A name that is that of a
file here means this file, whatever characters it has. Every function reports to a `Report`; none raises.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.config.job import job_sources, remote_sources, task_lists
from nexapod_batch.config.job.paths import check_inside
from nexapod_batch.config.job.sources import SCHEME, local_path
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.input_names import MAX_FILES, name_in_folder, parents
from nexapod_batch.files.output_files import find, has_glob
from nexapod_batch.model.job import Input
from nexapod_batch.model.job_source import is_remote
from nexapod_batch.model.placeholders import expand, literal, names_in, template, values_of_tasks
from nexapod_batch.schema.kinds import BAD, Report, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.config.job.pins import Pins
    from nexapod_batch.model.job import Job

__all__ = ["inputs", "with_task_inputs"]

#: Tasks of one input whose faults are told one by one.
_TOLD = 3


def inputs(
    section: Value, pins: Pins, report: Report, *, jobs: Mapping[str, int] | None = None
) -> tuple[Input, ...]:
    """Return the inputs with absolute source and pinned digest; report those that cannot be used.

    `jobs` are the numbers of jobs that are named. What is another file for each task, or comes from another job, has no
    digest yet.
    """
    found: list[Input] = []
    targets: set[PurePosixPath] = set()
    for number, one in enumerate(section if isinstance(section, list) else ()):
        if any(value is BAD for value in one.values()):
            continue
        read = _read(one, pins, f"inputs[{number}]", jobs or {}, report)
        where = f"inputs[{number}].target"
        found += [job_input for job_input in read if _check_target(job_input, targets, where, report)]
    _check_folders({str(place) for place in targets}, report)
    if len(found) > MAX_FILES:
        report.add("inputs", "too many files", got=len(found), wanted=f"at most {MAX_FILES}", hint="pack them into one")
    return tuple(found)


def _read(one: dict[str, Value], pins: Pins, where: str, jobs: Mapping[str, int], report: Report) -> Sequence[Input]:
    """Return what one table of the descriptor brings."""
    text, given = one["source"], one["sha256"]
    if job_sources.is_job_source(text):
        return job_sources.read(text, one["target"], given, where, jobs, report)
    scheme = SCHEME.match(text)
    if scheme is not None and scheme[1].lower() != "file":
        return remote_sources.read(text, one["target"], given, where, report)
    if scheme is not None or _is_here(pins.folder, text):
        return _one_file(text, one["target"], given, pins, where, report)
    if has_names(text):
        if given is not None:
            report.add(f"{where}.sha256", "the source is another file for each task", wanted="no sha256")
        return [Input(source=text, target=one["target"] or text, sha256="")]
    if has_glob(text):
        if given is not None:
            report.add(f"{where}.sha256", "the source may be several files", wanted="no sha256")
        return _taken(text, one["target"], pins, where, report)
    return _one_file(text, one["target"], given, pins, where, report)


def _one_file(
    text: str, target: str | None, given: str | None, pins: Pins, where: str, report: Report
) -> Sequence[Input]:
    source = _source(text, pins.folder, where, report)
    if source is None:
        return ()
    pinned = pins.read(source, given, where, report)
    if pinned is None:
        return ()
    digest, executable = pinned
    return [
        Input(source=str(source), target=target or _default_target(text, source), sha256=digest, executable=executable)
    ]


def _taken(pattern: str, target: str | None, pins: Pins, where: str, report: Report) -> Sequence[Input]:
    """Return the files that a glob takes, under the names that they have, or in the folder `target`."""
    names = _names(pattern, pins, where, report)
    if len(names) > MAX_FILES:
        wanted = f"at most {MAX_FILES}"
        report.add(f"{where}.source", "takes too many files", got=len(names), wanted=wanted, hint="pack them into one")
        return ()
    found: list[Input] = []
    for name in names:
        pinned = pins.at_a_look(name) or pins.read(pins.folder / name, None, where, report)
        if pinned is not None:
            put = literal(name if target is None else name_in_folder(name, pattern, target))
            found.append(Input(pins.path(name), put, *pinned))
    return found


def _names(pattern: str, pins: Pins, where: str, report: Report) -> list[str]:
    if not check_inside(pattern, f"{where}.source", report):
        return []
    try:
        return [file.name for file in find(pins.folder, [pattern])]
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


def _check_folders(targets: set[str], report: Report) -> None:
    """Report an input that would lie below another one, which is a file."""
    for target in sorted(targets):
        for folder in parents(target):
            if folder in targets:
                wanted = "a file of its own for each input"
                report.add("inputs", f"one is put at {folder}, and another one below it", got=target, wanted=wanted)
                return


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


def with_task_inputs(job: Job, pins: Pins, report: Report) -> Job:
    """Return a job in which each source with placeholders has become the files of each task."""
    if all(job_input.sha256 or not has_names(job_input.source) for job_input in job.inputs):
        return job
    taken: dict[str, Sequence[Input]] = {}
    found: list[Input] = []
    for number, job_input in enumerate(job.inputs):
        if job_input.sha256 or job_sources.is_job_source(job_input.source) or is_remote(job_input.source):
            found.append(job_input)
            continue
        found += _of_tasks(job, job_input, pins, f"inputs[{number}]", taken, report)
        if len(found) > MAX_FILES:
            wanted = f"at most {MAX_FILES} for all tasks"
            report.add(f"inputs[{number}].source", "too many files", wanted=wanted, hint="submit the array in parts")
            return job
    return replace(job, inputs=tuple(found))


def _of_tasks(
    job: Job, job_input: Input, pins: Pins, where: str, taken: dict[str, Sequence[Input]], report: Report
) -> list[Input]:
    """Return the files of each task; after a few tasks without, the rest of them are only counted."""
    key = task_lists.key_of(job, job_input, pins.folder)
    found = task_lists.recalled(pins, key)
    if found is not None:
        return found
    texts: list[str] = []
    found = _looked_at(job, job_input, pins, where, taken, texts, report)
    if not report.problems:
        task_lists.remember(pins, key, texts, found)
    return found


def _looked_at(
    job: Job, job_input: Input, pins: Pins, where: str, taken: dict[str, Sequence[Input]], texts: list[str],
    report: Report,
) -> list[Input]:  # fmt: skip
    """Return the same by looking at each file; `texts` gets the source of each task."""
    found: list[Input] = []
    missing = 0
    source, target = template(job_input.source), template(job_input.target)
    is_moved = job_input.target != job_input.source
    for index, values in values_of_tasks(job):
        text = source(values)
        texts.append(text)
        if text not in taken:
            told = len(report.problems)
            taken[text] = _of_task(text, pins, where, report)
            missing += len(report.problems) > told
            if missing > _TOLD:
                del report.problems[told:]
        put = target(values) if is_moved else None
        for row in taken[text]:
            name = row.target if put is None else literal(_named(row, text, put))
            if check_inside(name, f"{where}.target", report):
                found.append(Input(row.source, name, row.sha256, row.executable, index))
    if missing > _TOLD:
        report.add(f"{where}.source", f"and {missing - _TOLD} more files like these cannot be used")
    return found


def _of_task(text: str, pins: Pins, where: str, report: Report) -> Sequence[Input]:
    pin = pins.at_a_look(text)
    if pin is not None:
        return [Input(pins.path(text), text, *pin)]
    if has_glob(text) and not _is_here(pins.folder, text):
        return _taken(text, None, pins, where, report)
    return _one_file(text, None, None, pins, where, report)


def _named(row: Input, text: str, target: str) -> str:
    """Return where a file of a task is put that is put elsewhere; the braces of its name mean themselves by now."""
    if has_glob(text):
        return name_in_folder(expand(row.target, {}), text, target)
    return target

"""Paths of a descriptor: what lies beside it (images, programs) and where things are in the work folder.

Every function reports to a `Report`; none raises.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nexapod_batch.config.job.sources import SCHEME
from nexapod_batch.files.beneath import OutsideError, open_beneath
from nexapod_batch.files.careful import NotPlainError
from nexapod_batch.files.output_files import LOGS
from nexapod_batch.files.script_form import WINDOWS_LINES, beginning, read_by_shell, trouble
from nexapod_batch.model.placeholders import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.model.job import Input, Output
    from nexapod_batch.schema.kinds import Report, Value

__all__ = ["PLAIN", "check_inside", "check_no_log", "image", "open_beside", "outputs", "program_files", "workdir"]

#: Says whether a name means itself everywhere: no dots alone, nothing of a URL, a glob, a placeholder or a home.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,200}(?:/[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,200}){0,15}").fullmatch
_IMAGE_SCHEMES = ("docker", "oras", "library", "https")


def check_inside(value: str, path: str, report: Report) -> bool:
    """Say whether a path stays inside the work folder; report why not."""
    if PLAIN(value):
        return True
    wanted = "a path below the work folder, as in out/result.csv"
    if value.startswith(("/", "~")):
        report.add(path, "not a relative path", got=value, wanted=wanted)
    elif ".." in value.split("/"):
        report.add(path, "leaves the work folder", got=value, wanted=wanted)
    elif value.endswith("/") and value.strip("/"):
        report.add(path, "ends in a slash", got=value, wanted=value.rstrip("/"))
    elif "" in value.split("/"):
        report.add(path, "has an empty part", got=value, wanted=wanted)
    elif any(len(part.encode()) > 255 for part in value.split("/")):
        report.add(path, "has a part of more than 255 bytes", got=value, wanted=wanted)
    else:
        return True
    return False


def check_no_log(value: str, path: str, report: Report) -> None:
    """Report the path of an output that lies where the published logs lie."""
    first = value.partition("/")[0]
    if first in LOGS:
        wanted = "another name: what the command prints is published beside its outputs"
        report.add(path, f"is called as what is kept of {first} is", got=value, wanted=wanted)


def workdir(value: Value, report: Report) -> None:
    """Check job.workdir."""
    if isinstance(value, str):
        check_inside(value, "job.workdir", report)


def outputs(parsed: tuple[Output, ...], report: Report) -> None:
    """Check outputs.path; a single dot is no file."""
    for number, output in enumerate(parsed):
        where = f"outputs[{number}].path"
        if check_inside(output.path, where, report) and PurePosixPath(output.path) == PurePosixPath("."):
            report.add(where, "is the work folder", got=output.path, wanted="a file, or a glob such as out/*")
        check_no_log(output.path, where, report)


def open_beside(folder: Path, source: Path, where: str, report: Report, *, outside: bool) -> int | None:
    """Return a descriptor of a file that a descriptor names; report why it is not opened, and that it lies outside."""
    try:
        return open_beneath(folder, str(source))
    except OutsideError:
        if not outside:
            report.add(
                where, f"{source} lies outside the folder of the descriptor", got=os.path.realpath(source),
                wanted=f"a file below {folder}", hint="if you mean to give it to the job: submit --allow-outside",
            )  # fmt: skip
            return None
    except NotPlainError as cause:
        report.add(where, f"{source} {cause.strerror}", wanted="a plain file", hint="list its files one by one")
        return None
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or str(cause)
        report.add(where, f"{source}: {reason.lower()}", wanted="a file beside the descriptor")
        return None
    try:
        found = open_beneath(folder, str(source), outside=True)
    except OSError as cause:
        report.add(where, f"{source}: {(cause.strerror or str(cause)).lower()}", wanted="a plain file")
        return None
    report.warnings.append(f"{where}: {os.path.realpath(source)} lies outside the folder of the descriptor")
    return found


def image(
    value: Value, pinned: Value, folder: Path, report: Report, *, compared: bool, outside: bool = False
) -> str | None:
    """Return an image reference, or the absolute path of an image file or folder.

    A web server may give another file tomorrow, so that its image needs a digest where replicas are `compared`. What
    is made of a docker:// image here differs from what is made of it elsewhere: it is pinned by its own digest. A path
    that is spelled out in full may lead outside the folder; anything else does so only with `outside`.
    """
    if not isinstance(value, str):
        return None
    if scheme := SCHEME.match(value):
        return _remote_image(value, scheme[1], pinned, report, compared=compared)
    return _local_image(value, folder, report, outside=outside)


def _remote_image(value: str, scheme: str, pinned: Value, report: Report, *, compared: bool) -> str | None:
    """Return a reference to an image elsewhere; None when it is none. Report a digest that is missing, or not used."""
    wanted = ", ".join(f"{image_scheme}://" for image_scheme in _IMAGE_SCHEMES)
    if scheme not in _IMAGE_SCHEMES or not re.fullmatch(r"[!-~]+", value, re.ASCII):
        report.add("container.image", "not an image", got=value, wanted=f"{wanted} or a path")
        return None
    if scheme == "docker" and isinstance(pinned, str):
        report.add("container.sha256", "not accepted with docker://", wanted="docker://name@sha256:<digest>")
    if scheme == "https" and compared and pinned is None:
        hint = "nexapod-batch image pull URL prints it"
        report.add("container.sha256", "missing", wanted="the SHA-256 of the file behind https://", hint=hint)
    return value


def _local_image(value: str, folder: Path, report: Report, *, outside: bool) -> str | None:
    """Return the absolute path of an image beside the descriptor, or outside where that may be; else None."""
    found = folder / value
    try:
        if found.exists():
            str(found).encode()
            real, inside = os.path.realpath(found), f"{os.path.realpath(folder).rstrip('/')}/"
            if real.startswith(inside):
                return str(found)
            if outside or value == real:  # as written it says so itself: it is listed, and no link misleads
                report.warnings.append(f"container.image: {real} lies outside the folder of the descriptor")
                return str(found)
            hint = "if you mean to run it: submit --allow-outside"
            report.add("container.image", "lies outside the folder of the descriptor", got=real, hint=hint)
            return None
    except (OSError, ValueError):  # too long a name, or one that is not UTF-8
        pass
    report.add("container.image", "no such image file", got=value, wanted="a .sif file, or docker://name:tag")
    return None


def program_files(what: dict[str, Value], staged: tuple[Input, ...], folder: Path, report: Report) -> None:
    """Refuse a program that nothing puts into the work folder; warn of arguments that look forgotten.

    Only arguments without placeholders are looked at. A name is taken relative to workdir, as the command will.
    """
    command, base = what["command"], what["workdir"]
    if not isinstance(command, list) or not isinstance(base, str):
        return
    report.warnings.extend(_script_faults(command, PurePosixPath(base), staged))
    absent = _not_staged(command, PurePosixPath(base), staged)
    program = absent.pop(0, "")
    if "/" in program and _targets_are_known(staged, report):
        wanted = f'[[inputs]] source = "{PurePosixPath(program)}"'
        report.add("job.command[0]", "no input puts the program there", got=program, wanted=wanted)
    sources = {Path(one.source) for one in staged}
    for number, text in absent.items():
        if _is_forgotten(folder / text, sources):
            report.warnings.append(
                f"job.command[{number}]: {text!r} lies beside the descriptor but is not in [[inputs]], "
                f"so the command will not find it"
            )


def _script_faults(command: list[str], base: PurePosixPath, staged: tuple[Input, ...]) -> Iterator[str]:
    """Yield what is wrong with the script that a command runs, or has a shell read, by how it begins."""
    by_target = {PurePosixPath(one.target): one.source for one in staged}
    for number, text in enumerate(("".join(command[:1]), read_by_shell(command))):
        source = by_target.get(base / text, "") if text and not _is_template(text) else ""
        start = beginning(source) if source.startswith("/") else b""
        why = WINDOWS_LINES if number and b"\r\n" in start else trouble(start)
        if why:
            yield f"job.command[{number}]: {text}: {why}"


def _not_staged(command: list[str], base: PurePosixPath, staged: tuple[Input, ...]) -> dict[int, str]:
    """Return, by their place in the command, the words that can be names of files and are no input's."""
    targets = {PurePosixPath(one.target) for one in staged}
    words = dict(enumerate(command))
    return {number: text for number, text in words.items() if _may_be_file(text) and base / text not in targets}


def _targets_are_known(staged: tuple[Input, ...], report: Report) -> bool:
    """Say whether all that inputs put into the work folder can be told here, and not on the node only."""
    if any(_is_template(one.target) or not one.sha256 for one in staged):
        return False
    return not any(problem.path.startswith("inputs") for problem in report.problems)


def _may_be_file(text: str) -> bool:
    """Say whether a word of a command can be the name of a file in the work folder."""
    if not text or text.startswith("/") or "\n" in text:
        return False
    return len(text) <= 1_024 and not _is_template(text)


def _is_forgotten(beside: Path, sources: set[Path]) -> bool:
    """Say whether a file lies beside the descriptor, and is no input."""
    try:
        return beside.is_file() and beside not in sources
    except (OSError, ValueError):  # no name of a file
        return False


def _is_template(text: str) -> bool:
    try:
        return bool(names_in(text)) or "{" in text or "}" in text
    except ValueError:
        return True

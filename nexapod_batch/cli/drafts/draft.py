"""A descriptor in the making: its document, and what people are told of how it came about."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch.cli.drafts.named_files import input_rows, named_files, output_rows, words_of_script
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Additions", "Draft", "from_command", "from_script"]


class Additions(Struct, frozen=True, kw_only=True):
    """What options add to a command or a script; a descriptor says these things itself."""

    inputs: tuple[str, ...] = ()  # FILE, or FILE:TARGET
    outputs: tuple[str, ...] = ()  # PATH, or PATH:COMPARE,KEY=NUMBER
    env: tuple[str, ...] = ()  # NAME=VALUE, or NAME for the value that it has here
    parameters: bool = False  # an array is given, with placeholders of its own


class Draft(Struct, frozen=True, kw_only=True):
    """A document, and what is said of it."""

    document: dict[str, Any]
    notes: tuple[str, ...] = ()  # how lines of a script were read, one each
    refused: tuple[str, ...] = ()  # what cannot be translated, and would change what the job does


def from_command(command: Sequence[str], folder: Path, more: Additions) -> Draft:
    """Return the draft of a command that is run in `folder`; files of it that the command names become inputs.

    Raises:
        UsageError: There is no command, or a file of it cannot be an input.

    """
    if not command or not command[0]:
        raise UsageError("no command after --", wanted="nexapod-batch submit -- PROGRAM ARGUMENTS")
    files = named_files(command, folder)
    job: dict[str, Any] = {"name": _job_name(command), "command": [_literal(word, more) for word in command]}
    return _completed(job, {}, files, more)


def from_script(script: str, name: str, folder: Path, more: Additions, *, site: str | None) -> Draft:
    """Return the draft of a script with its `#SBATCH` lines; `site` is the one whose partitions these name."""
    from nexapod_batch.cli.drafts.sbatch_script import translate

    found = translate(script, site)
    job: dict[str, Any] = {"name": _clean_name(name), **found.job, "script": script}
    files = named_files([*words_of_script(script), *found.files], folder)
    draft = _completed(job, found.tables, files, more)
    return Draft(document=draft.document, notes=found.notes + draft.notes, refused=found.refused)


def _completed(job: dict[str, Any], tables: dict[str, Any], files: Sequence[str], more: Additions) -> Draft:
    """Return the whole document: what was found, and what options add.

    Two executions that agree are enough, wherever they run: they are spread as widely as can be, and the verdict says
    what was reached. Who needs more says --distinct.
    """
    notes = []
    env = {**job.pop("env", {}), **_variables(more)}
    if env:
        job["env"] = env
    document: dict[str, Any] = {"schema": 1, "job": job, **tables, "quorum": {"agree": 2, "distinct": "run"}}
    if inputs := input_rows(files, more.inputs):
        document["inputs"] = inputs
    if files:
        notes.append(f"inputs: {', '.join(files)} (named there, and beside it; more with --input FILE)")
    outputs = output_rows(more.outputs)
    if outputs:
        document["outputs"] = outputs
    else:
        notes.append("output: what it prints; files that it writes are kept and compared with --output FILE")
    return Draft(document=document, notes=tuple(notes))


def _variables(more: Additions) -> dict[str, str]:
    found = {}
    for text in more.env:
        name, equals, value = text.partition("=")
        if not equals:
            if name not in os.environ:
                raise UsageError(f"--env {text}: there is no such variable here", wanted="--env NAME=VALUE")
            value = os.environ[name]
        found[name] = _literal(value, more)
    return found


def _literal(text: str, more: Additions) -> str:
    """Return a word in which braces mean themselves, but for `{task}` and the like, and parameters of an array."""
    from nexapod_batch.model.placeholders import BUILT_IN, literal, names_in

    try:
        names = set(names_in(text))
    except ValueError:
        return literal(text)
    if more.parameters or names <= set(BUILT_IN):
        return text
    return literal(text)


def _job_name(command: Sequence[str]) -> str:
    """Return a name for the job of a command: its program, or the script that an interpreter is given."""
    first = os.path.basename(command[0])
    if first.startswith(("Rscript", "python", "julia", "bash", "sh", "perl", "ruby", "node")):
        scripts = [word for word in command[1:] if "." in word and not word.startswith("-")]
        first = os.path.basename(scripts[0]) if scripts else first
    return _clean_name(first)


def _clean_name(text: str) -> str:
    from nexapod_batch.config.rules import default_name

    return default_name(os.path.basename(text))

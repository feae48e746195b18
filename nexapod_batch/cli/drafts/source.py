"""Where a job comes from: a descriptor, a script, a command after `--`, or any of the first two on stdin."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.cli.drafts.draft import Additions, Draft, from_command, from_script
from nexapod_batch.cli.drafts.toml_text import toml_text
from nexapod_batch.errors import DescriptorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Source", "read_source"]

_INTERPRETERS = {
    ".py": "python3", ".sh": "bash", ".bash": "bash", ".slurm": "bash", ".sbatch": "bash", ".R": "Rscript",
    ".r": "Rscript", ".jl": "julia", ".pl": "perl", ".m": "octave", ".lua": "lua", ".js": "node", ".rb": "ruby",
}  # fmt: skip
#: Formats of other systems, by the ending of their files.
_OTHERS = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML", ".smk": "Snakemake", ".nf": "Nextflow", ".cwl": "CWL"}


class Source(Struct, frozen=True, kw_only=True):
    """A descriptor's text, and how people and messages call it."""

    text: str
    name: str  # for messages, and without its ending for the job
    folder: Path  # its paths are relative to this one
    owner: int  # uid of whoever owns what was read
    draft: Draft | None = None  # how it was made, where nobody wrote it


def read_source(arguments: Sequence[str], command: Sequence[str] | None, more: Additions, site: str | None) -> Source:
    """Return what to submit; `arguments` stand before `--`, `command` after it.

    UsageError for too much, too little, or options that a descriptor says itself; DescriptorError for what cannot be
    read, or is no descriptor.
    """
    if command is not None:
        if arguments:
            raise UsageError("a descriptor or a command, not both", got=f"{arguments[0]} and, after --, {command[0]}")
        draft = from_command(command, Path.cwd(), more)
        return _drafted(draft, "the command", os.geteuid())
    if not arguments:
        wanted = "a descriptor, a script, or a command after --"
        raise UsageError("nothing to submit", wanted=wanted, hint="nexapod-batch submit -- python3 run.py, say")
    if len(arguments) > 1:
        interpreter = _INTERPRETERS.get(Path(arguments[0]).suffix)
        shown = shlex.join([interpreter, *arguments] if interpreter else arguments)
        hint = f"a command goes after --: nexapod-batch submit -- {shown}"
        raise UsageError("one descriptor or script at a time", got=shlex.join(arguments), hint=hint)
    return _read(arguments[0], more, site)


def _read(word: str, more: Additions, site: str | None) -> Source:
    if word == "-":
        text, owner, name, folder = _stdin(), os.geteuid(), "stdin", Path.cwd()
    else:
        path = Path(word)
        text, owner = _file(path)
        name, folder = path.name, path.parent
    if text.startswith("#!"):
        draft = from_script(text, name, Path.cwd(), more, site=site)
        return _drafted(draft, name, owner)
    if more.inputs or more.outputs or more.env:
        given = "--input, --output or --env"
        raise UsageError("a descriptor names its inputs, outputs and variables itself", got=given)
    _refuse_other_formats(text, name, word)
    return Source(text=text, name=name, folder=folder, owner=owner)


def _stdin() -> str:
    """Return what stands on stdin, at most what a descriptor may have; DescriptorError for bytes that are no text."""
    from nexapod_batch.config.toml import MAX_BYTES

    if sys.stdin.isatty():
        sys.stderr.write("reading a descriptor or a script from the terminal; Ctrl-D ends it\n")
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DescriptorError("stdin is too large", got="more than 64 KiB", wanted=f"at most {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DescriptorError("stdin is not UTF-8", got=f"byte 0x{data[error.start]:02x}") from error


def _file(path: Path) -> tuple[str, int]:
    from nexapod_batch.config.toml import read_owned

    try:
        return read_owned(path)
    except DescriptorError as error:
        if path.is_file() and os.access(path, os.X_OK):
            program = path if path.is_absolute() else f"./{path}"
            raise DescriptorError(
                f"{path} is a program, not a descriptor", wanted="a TOML file, or a script that begins with #!",
                hint=f"nexapod-batch submit -- {program}",
            ) from error  # fmt: skip
        raise


def _refuse_other_formats(text: str, name: str, word: str) -> None:
    """Raise DescriptorError for what is plainly no descriptor, with the way to submit it."""
    ending = Path(name).suffix
    interpreter = _INTERPRETERS.get(ending)
    directives = re.search(r"^#SBATCH\b", text, re.MULTILINE) and not re.search(r"^schema *=", text, re.MULTILINE)
    if interpreter is not None or directives:
        raise DescriptorError(
            f"{name} is a script without an interpreter, not a descriptor",
            wanted="#!/bin/bash, say, as its first line",
            hint=f"or submit the command: nexapod-batch submit -- {interpreter or 'bash'} {word}",
        )
    if ending in _OTHERS or name in {"Snakefile", "Makefile"}:
        kind = _OTHERS.get(ending, name)
        hint = "nexapod-batch init writes one to start from"
        raise DescriptorError(f"{name} is {kind}, not a descriptor", wanted="a TOML file", hint=hint)


def _drafted(draft: Draft, name: str, owner: int) -> Source:
    return Source(text=toml_text(draft.document), name=name, folder=Path.cwd(), owner=owner, draft=draft)

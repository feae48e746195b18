"""`man`: the manual page, made of the commands themselves."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

import click

from nexapod_batch import __version__
from nexapod_batch.cli.command_table import COMMANDS, SECTIONS
from nexapod_batch.cli.context import json_option
from nexapod_batch.cli.examples import EXAMPLES
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["man", "manual_page"]

_EXIT_CODES = (
    ("0", "accepted, or done"), ("1", "failed or cancelled"), ("2", "the command was not understood"),
    ("3", "no quorum"), ("4", "a wait ran out of time"), ("65", "the descriptor cannot be used"),
    ("66", "no such job, task, node or file"), ("69", "a scheduler, registry or device does not answer"),
    ("75", "not now: try again"), ("78", "the configuration cannot be used"), ("130", "interrupted"),
)  # fmt: skip
_VARIABLES = (
    ("NEXAPOD_HOME", "the folder of the whole state; without it the XDG directories are used"),
    ("NEXAPOD_LOG", "what is logged, and where to"),
    ("NO_COLOR, FORCE_COLOR", "never, or always, colour what is printed"),
)


@click.command()
@json_option
def man(as_json: bool) -> None:
    """Print the manual page, in the language of man."""
    output(as_json).lines("page", list(manual_page()))


def manual_page() -> Iterator[str]:
    """Yield the lines of nexapod-batch(1), in roff."""
    yield f'.TH NEXAPOD-BATCH 1 "" "nexapod-batch {__version__}" "User Commands"'
    yield from (".SH NAME", "nexapod\\-batch \\- batch results that several independent executions agree on")
    yield from (".SH SYNOPSIS", ".B nexapod\\-batch", "[\\-v] [\\-q] [\\-\\-color WHEN] COMMAND [OPTIONS] [ARGUMENTS]")
    for section, names in SECTIONS.items():
        yield f'.SH "{section.upper()}"'
        for name in names:
            entry = COMMANDS[name]
            command: click.Command = getattr(import_module(f"nexapod_batch.cli.{entry.module}"), entry.attribute)
            yield from _command(name, command)
    yield ".SH EXIT STATUS"
    yield from _list(_EXIT_CODES)
    yield ".SH ENVIRONMENT"
    yield from _list(_VARIABLES)


def _command(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner)
        return
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f'.SS "{_escaped(path)} {_escaped(usage)}"'
    for paragraph in (command.help or "").split("\n\n"):
        if "\b" not in paragraph:
            yield from (_escaped(" ".join(paragraph.split())), ".PP")
    yield from _options(command, context)
    if path in EXAMPLES:
        yield from (".PP", "Examples:", ".nf", *(f"  {_escaped(line)}" for line in EXAMPLES[path]), ".fi")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for param in command.params:
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None:
            yield from (".TP", f".B {_escaped(record[0])}", _escaped(record[1] or " "))


def _list(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, text in rows:
        yield from (".TP", f".B {_escaped(name)}", _escaped(text))


def _escaped(text: str) -> str:
    """Return text that roff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"^([.'])", r"\\&\1", escaped)

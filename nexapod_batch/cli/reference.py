"""The command reference, made from the commands themselves: `python -m nexapod_batch.cli.reference > FILE`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.command_table import COMMANDS, SECTIONS
from nexapod_batch.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reference"]

_HEAD = """\
# Commands

<!-- Made by `python -m nexapod_batch.cli.reference`; change the commands in nexapod_batch/cli instead. -->

Jobs are named `42`, their tasks `42_7`, `42_1-5` or `42_[1,3-5]`; `40-45` is a range of jobs, `40,42` a list, `last`
the newest one, and `all` every job (every open one, for commands that change something). Commands that take `ID...`
take any of these, and choose among them by `--state`, `--name`, `--label`, `--since` and `--where`; with `ID` they
take one job or task. Times are Slurm's: `10` is ten minutes; `90s`, `1h30m` and `1:30:00` are
understood too. Every command takes `--help`, and all but `completion` and `schema` take `--json`, for output
that programs read; [states](../states.md) lists the exit codes. `nexapod-batch --version` prints the version, and
`-v` with any command [logs what it does](../how-to/operate.md#see-what-a-pass-did).

What a command prints as its result goes to stdout, everything else (warnings, progress, faults) to stderr.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [_HEAD]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in names:
            entry = COMMANDS[name]
            command: click.Command = getattr(import_module(f"nexapod_batch.cli.{entry.module}"), entry.attribute)
            parts.extend(_command(name, command, "###"))
    return "\n".join(parts)


def _command(name: str, command: click.Command, heading: str) -> Iterator[str]:
    """Yield heading, help, usage and options of a command, then the same of its subcommands."""
    yield f"{heading} `{name}`\n"
    yield f"{_cell(command.help or '')}\n"
    if isinstance(command, click.Group):
        for inner, sub in command.commands.items():
            yield from _command(f"{name} {inner}", sub, heading + "#")
        return
    context = click.Context(command, info_name=f"nexapod-batch {name}")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"    nexapod-batch {name} {pieces}\n"
    yield from _choices(command)
    if name in EXAMPLES:
        yield "\n".join(f"    {line}" for line in EXAMPLES[name]) + "\n"
    rows = [_row(param) for param in command.params if isinstance(param, click.Option) and not param.hidden]
    yield "\n".join(["| option | |", "|---|---|", *rows]) + "\n"


def _choices(command: click.Command) -> Iterator[str]:
    """Yield what an argument may be, where that is a list."""
    for param in command.params:
        if isinstance(param, click.Argument) and isinstance(param.type, click.Choice):
            yield f"{param.human_readable_name}: {', '.join(f'`{choice}`' for choice in param.type.choices)}\n"


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" {_value(option)}"
    notes = [f"Default: `{option.default}`."] if option.show_default else []
    notes += ["Required."] if option.required else []
    notes += ["May be repeated."] if option.multiple else []
    return f"| {names}{value} | {' '.join([*filter(None, [_cell(option.help or '')]), *notes])} |"


def _value(option: click.Option) -> str:
    """Return what stands for an option's value."""
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    words = {"integer range": "N", "float range": "SECONDS", "directory": "FOLDER", "path": "PATH"}
    return words.get(option.type.name, (option.name or "").upper())


def _cell(text: str) -> str:
    """Return a help text as one line of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())

"""`completion`: scripts for bash, zsh and fish, which ask the program itself what can stand at a place."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

__all__ = ["completion", "script"]

#: The variable by which a script asks; click reads it.
VARIABLE = "_NEXAPOD_BATCH_COMPLETE"
_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options and their values, files, jobs with their names, nodes, sites, and the keys of --set.
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """Return the script; no shell is started for it, as click itself would do to ask for a version."""
    kind = _SHELLS[shell]
    asked = kind(click.Group("nexapod-batch"), {}, "nexapod-batch", VARIABLE)
    text = kind.source_template % asked.source_vars()
    # A value may hold commas (40,42): only the first one separates it from its kind.
    text = text.replace('string split ","', 'string split --max 1 ","')
    return f"{text}\n"

"""Options that every command takes, wherever they stand: `-v`, `-q`, `--color`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["add_global_options", "be_quiet", "be_verbose", "set_color"]

COLORS = click.Choice(["auto", "always", "never"])


def add_global_options(command: click.Command, path: str) -> None:
    """Let a command, or each one of a group, take the options; its help gets its examples. `path` is `node ls`, say."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            add_global_options(inner, f"{path} {name}")
        return
    if path in EXAMPLES and not command.epilog:
        lines = "\n".join(f"  {line}" for line in EXAMPLES[path])
        command.epilog = f"\b\nExamples:\n{lines}"
    _add(command, ["-v", "verbose"], be_verbose, count=True)
    _add(command, ["-q", "quiet_"], be_quiet, is_flag=True)
    _add(command, ["--color", "color"], set_color, type=COLORS)


def _add(command: click.Command, names: list[str], callback: Callable[..., None], **how: Any) -> None:  # noqa: ANN401 - click's
    if not any(names[0] in param.opts for param in command.params):
        command.params.append(click.Option(names, expose_value=False, hidden=True, callback=callback, **how))


def be_verbose(ctx: click.Context, _: click.Parameter, count: int) -> None:
    """Log to stderr from now on, if that is asked for."""
    if count and not ctx.resilient_parsing:
        from nexapod_batch.cli import log_output

        log_output.to_stderr("debug" if count > 1 else "info", ctx.command_path.partition(" ")[2])


def be_quiet(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Say on stderr from now on nothing but errors, if that is asked for."""
    if asked and not ctx.resilient_parsing:
        from nexapod_batch.cli.rendering import render

        render.be_quiet()


def set_color(ctx: click.Context, _: click.Parameter, when: str | None) -> None:
    """Colour stdout from now on always, never, or as the terminal and NO_COLOR say."""
    if when is not None and not ctx.resilient_parsing:
        from nexapod_batch.cli.rendering import render

        render.set_color(when)

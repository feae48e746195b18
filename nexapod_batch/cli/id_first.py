"""A group whose first word is a job unless it is a subcommand: `archive 41` is `archive create 41`."""

from __future__ import annotations

import click

__all__ = ["IdFirst"]


class IdFirst(click.Group):
    """A group that takes the first word for a job unless it is a subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `create` before what is no subcommand."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["create", *args]
        return super().parse_args(ctx, args)

"""Every command with its one-line help, static, so that help and completion import nothing.

`tests/functional/test_cli_help.py` compares this table with the commands themselves.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "SECTIONS", "Entry"]


class Entry(NamedTuple):
    """Where a command is, and what help and completion say of it."""

    module: str  # below nexapod_batch.cli
    attribute: str
    summary: str  # first line of its help
    words: tuple[str, ...]  # its subcommands, or its long options


COMMANDS: dict[str, Entry] = {
}

SECTIONS: dict[str, tuple[str, ...]] = {
    "Jobs": (
        "submit", "ls", "show", "explain", "logs", "wait", "cancel", "hold", "release", "retry", "results", "report",
    ),
    "Evidence": ("verify", "attestations"),
    "Upkeep": ("reconcile", "gc", "doctor"),
    "Setup": ("node", "site", "key", "config", "db", "schema", "completion"),
}  # fmt: skip

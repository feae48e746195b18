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
    "submit": Entry(
        "submit",
        "submit",
        "Submit the job of a TOML descriptor.",
        (
            "--wait",
            "--follow",
            "--dry-run",
            "--set",
            "--array",
            "--replicas",
            "--agree",
            "--site",
            "--partition",
            "--account",
            "--foreign", "--allow-outside", "--parsable",
            "--json",
        ),
    ),
    "ls": Entry("look", "ls", "List jobs, the newest first.", ("--open", "--limit", "--json")),
    "show": Entry("look", "show", "Show a job (42) or a task (42_7) with its replicas.", ("--tasks", "--json")),
    "explain": Entry(
        "prove", "explain", "Say why a job or task is where it is, and where replicas differ.", ("--json",)
    ),
    "logs": Entry(
        "prove",
        "logs",
        "Print what a task wrote (the first task of a job).",
        ("--stderr", "--all", "--path", "--follow", "--raw", "--json"),
    ),
    "wait": Entry("act", "wait", "Wait until jobs have ended, and drive them meanwhile.", ("--timeout", "--json")),
    "cancel": Entry("act", "cancel", "Cancel jobs or tasks; what was accepted stays accepted.", ("--json",)),
    "hold": Entry("act", "hold", "Dispatch nothing more of jobs until they are released.", ("--json",)),
    "release": Entry("act", "release", "Let held jobs go on.", ("--json",)),
    "retry": Entry(
        "act", "retry", "Reopen tasks that failed, found no quorum, were cancelled, or are in doubt.", ("--json",)
    ),
    "results": Entry(
        "look", "results", "Print the folders of a job's accepted results.", ("--replica", "--out", "--json")
    ),
    "report": Entry("prove", "report", "Compare what a job asked for with what it used.", ("--json",)),
    "verify": Entry(
        "prove", "verify", "Work verdicts out again from the signed statements; compare results.", ("--json",)
    ),
    "attestations": Entry(
        "prove", "attestations", "Write the signed statements and the signers' public keys.", ("--out", "--json")
    ),
    "reconcile": Entry(
        "upkeep",
        "reconcile",
        "Take in reports, decide, dispatch and publish, once.",
        ("--quiet", "--max-seconds", "--dry-run", "--print", "--steal", "--json"),
    ),
    "gc": Entry(
        "upkeep", "gc", "Remove work folders, spool files and losers that nothing needs.", ("--dry-run", "--json")
    ),
    "doctor": Entry(
        "upkeep", "doctor", "Check this installation: database, keys, nodes, reports in quarantine.", ("--json",)
    ),
    "node": Entry(
        "nodes",
        "node",
        "Set up and look at nodes.",
        ("ls", "show", "init", "drain", "rekey", "resume", "remove", "profile", "set", "snooze", "status", "unit"),
    ),
    "site": Entry(
        "sites",
        "site",
        "Look at sites, start new site files, and check that sites work.",
        ("ls", "show", "init", "check"),
    ),
    "image": Entry(
        "images",
        "image",
        "Fetch, list, build and remove container images.",
        ("ls", "pull", "prune", "inspect", "build"),
    ),
    "key": Entry("setup", "key", "List and export public keys.", ("ls", "export")),
    "config": Entry("setup", "config", "Show settings and where they come from.", ("show",)),
    "db": Entry("setup", "db", "Back up, check and begin the database.", ("backup", "init", "check")),
    "schema": Entry("setup", "schema", "Print the formats that files are written in.", ("job",)),
    "completion": Entry("completion", "completion", "Print the completion script of a shell.", ("bash", "zsh", "fish")),
}

SECTIONS: dict[str, tuple[str, ...]] = {
    "Jobs": (
        "submit", "ls", "show", "explain", "logs", "wait", "cancel", "hold", "release", "retry", "results", "report",
    ),
    "Evidence": ("verify", "attestations"),
    "Upkeep": ("reconcile", "gc", "doctor"),
    "Setup": ("node", "site", "image", "key", "config", "db", "schema", "completion"),
}  # fmt: skip

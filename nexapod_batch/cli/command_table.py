"""Every command with its one-line help, static, so that help and completion import nothing.

`tests/functional/test_cli_help.py` compares this table with the commands themselves.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "ELSEWHERE", "JOB_COLUMNS", "REMOTE", "SECTIONS", "Entry"]


class Entry(NamedTuple):
    """Where a command is, and what help and completion say of it."""

    module: str  # below nexapod_batch.cli
    attribute: str
    summary: str  # first line of its help
    words: tuple[str, ...]  # its subcommands, or its long options


#: The options of every command that takes jobs and tasks.
_SELECTION = ("--state", "--name", "--label", "--since", "--where")

COMMANDS: dict[str, Entry] = {
    "submit": Entry(
        "commands.submit",
        "submit",
        "Submit TOML descriptors, a script, or a command.",
        (
            *("--wait", "--follow", "--dry-run", "--print", "--set", "--name", "--time", "--mem", "--cpus-per-task"),
            *("--ntasks", "--nodes", "--gpus", "--gpu-type", "--tier", "--image", "--array", "--replicas", "--agree"),
            *("--distinct", "--site", "--input", "--output", "--env", "--label", "--partition", "--account"),
            *("--foreign", "--allow-outside", "--parsable", "--json"),
        ),
    ),
    "init": Entry(
        "commands.init",
        "init",
        "Write a commented descriptor to start from.",
        ("--out", "--force", "--json", "script", "sweep", "container", "gpu", "mpi", "netcdf"),
    ),
    "ls": Entry(
        "commands.list_commands",
        "ls",
        "List jobs, the newest first.",
        (*_SELECTION, "--open", "--limit", "--sort", "--format", "--json"),
    ),
    "show": Entry(
        "commands.list_commands",
        "show",
        "Show jobs (42) or tasks (42_7) with their replicas.",
        (*_SELECTION, "--tasks", "--json"),
    ),
    "explain": Entry(
        "commands.evidence_commands",
        "explain",
        "Say why a job or task is where it is, and where replicas differ.",
        ("--json",),
    ),
    "compare": Entry(
        "commands.comparing",
        "compare",
        "Compare two files or folders as outputs are compared, and say by how much they differ.",
        ("--rule", "--json"),
    ),
    "judge": Entry(
        "commands.comparing",
        "judge",
        "Decide on the kept outputs of tasks that have ended again, by other rules.",
        (
            *("--compare", "--digits", "--rtol", "--atol", "--integers", "--ignore", "--output", "--dry-run"),
            "--json",
        ),
    ),
    "logs": Entry(
        "commands.evidence_commands",
        "logs",
        "Print what a task wrote (the first task of a job).",
        ("--stderr", "--all", "--path", "--follow", "--raw", "--verify", "--json"),
    ),
    "wait": Entry(
        "commands.job_commands",
        "wait",
        "Wait until jobs have ended, and drive them meanwhile.",
        (*_SELECTION, "--timeout", "--json"),
    ),
    "cancel": Entry(
        "commands.job_commands",
        "cancel",
        "Cancel jobs or tasks; what was accepted stays accepted.",
        (*_SELECTION, "--json"),
    ),
    "hold": Entry(
        "commands.job_commands",
        "hold",
        "Dispatch nothing more of jobs until they are released.",
        (*_SELECTION, "--json"),
    ),
    "release": Entry("commands.job_commands", "release", "Let held jobs go on.", (*_SELECTION, "--json")),
    "retry": Entry(
        "commands.job_commands",
        "retry",
        "Reopen tasks that failed, found no quorum, were cancelled, or are in doubt.",
        (*_SELECTION, "--fresh", "--wait", "--json"),
    ),
    "results": Entry(
        "commands.results",
        "results",
        "Print the folders of accepted results, or copy them.",
        (*_SELECTION, "--replica", "--out", "--flat", "--table", "--pull", "--deliver", "--json"),
    ),
    "report": Entry(
        "commands.evidence_commands", "report", "Compare what a job asked for with what it used.", ("--json",)
    ),
    "usage": Entry(
        "commands.operating.accounting",
        "usage",
        "Say who submitted what, and what it used.",
        ("--by", "--since", "--json"),
    ),
    "verify": Entry(
        "commands.evidence_commands",
        "verify",
        "Work verdicts out again from the signed statements; compare results.",
        ("--folder", "--key", "--uuid", "--results", "--witness", "--chain", "--roster", "--json"),
    ),
    "attestations": Entry(
        "commands.evidence_commands",
        "attestations",
        "Write the signed statements and the signers' public keys.",
        ("--out", "--checkpoint", "--json"),
    ),
    "archive": Entry(
        "commands.archives",
        "archive",
        "Write one folder or tar that proves a job to anybody: archive ID.",
        ("create", "show", "add"),
    ),
    "reproduce": Entry(
        "commands.archives",
        "reproduce",
        "Run an archived job on your own nodes, compare, and sign what came out.",
        ("--site", "--job", "--out", "--trust", "--json"),
    ),
    "publish": Entry(
        "commands.publishing",
        "publish",
        "Publish an archive: a page, a badge, and what catalogues read.",
        (
            *("--to", "--invenio", "--publish", "--token-file", "--metadata", "--key", "--uuid", "--witness"),
            *("--unverified", "--dry-run", "--json"),
        ),
    ),
    "ledger": Entry(
        "commands.operating.ledger",
        "ledger",
        "Prove what happened: signed heads, proofs, published copies.",
        ("head", "verify", "prove", "export", "witness", "log"),
    ),
    "reconcile": Entry(
        "commands.operating.upkeep",
        "reconcile",
        "Take in reports, decide, dispatch and publish, once.",
        (
            *("--quiet", "--max-seconds", "--dry-run", "--print", "--steal", "--status-file", "--exit-code"),
            "--json",
        ),
    ),
    "gc": Entry(
        "commands.operating.upkeep",
        "gc",
        "Remove work folders, spool files and losers that nothing needs.",
        ("--dry-run", "--json"),
    ),
    "doctor": Entry(
        "commands.operating.upkeep",
        "doctor",
        "Check this installation: database, keys, nodes, quarantine, results.",
        ("--json",),
    ),
    "node": Entry(
        "node.nodes",
        "node",
        "Set up and look at nodes.",
        (
            *("ls", "show", "init", "drain", "rekey", "resume", "profile", "set", "snooze", "stop", "start", "remove"),
            *("join", "run", "leave", "check", "approve", "status", "history", "witness", "unit"),
        ),
    ),
    "serve": Entry(
        "commands.serve",
        "serve",
        "Serve this coordinator to people and nodes elsewhere.",
        (
            *("--init", "--standby", "--host", "--port", "--name", "--tls-cert", "--tls-key", "--behind-proxy"),
            *("--rate", "--open-jobs", "--open-tasks", "--approve-owners", "--public", "--unit", "--json"),
        ),
    ),
    "token": Entry(
        "commands.tokens", "token", "Make, list and revoke tokens of people elsewhere, and say what they may have.",
        ("new", "ls", "revoke", "quota"),
    ),
    "owner": Entry(
        "commands.owners", "owner", "Make, list, approve and suspend the owners of nodes that joined.",
        ("new", "ls", "approve", "suspend"),
    ),
    "site": Entry(
        "commands.sites",
        "site",
        "Look at sites, start site files, check, rename and remove sites.",
        ("ls", "show", "init", "check", "remove", "rename"),
    ),
    "image": Entry(
        "commands.images",
        "image",
        "Fetch, list, build and remove container images.",
        ("ls", "pull", "prune", "inspect", "build"),
    ),
    "key": Entry(
        "commands.operating.keys",
        "key",
        "List, rotate, revoke and export keys.",
        ("ls", "show", "rotate", "revoke", "export", "roster"),
    ),
    "config": Entry("commands.setup", "config", "Show settings and where they come from.", ("show",)),
    "backup": Entry(
        "commands.operating.database",
        "backup",
        "Write everything needed to go on elsewhere into one checked file.",
        ("--results", "--json"),
    ),
    "db": Entry(
        "commands.operating.database",
        "db",
        "Check, copy, restore, salvage and begin the database.",
        ("backup", "init", "check", "restore", "salvage"),
    ),
    "schema": Entry("commands.setup", "schema", "Print the formats that files are written in.", ("job", "output")),
    "man": Entry("commands.manual", "man", "Print the manual page, in the language of man.", ("--json",)),
    "completion": Entry(
        "commands.completion", "completion", "Print the completion script of a shell.", ("bash", "zsh", "fish")
    ),
}

#: Commands that also work on a coordinator elsewhere, where `NEXAPOD_URL` or `--url` names its server.
#: They are below nexapod_batch.cli.remote in the module that stands beside each.
REMOTE: dict[str, str] = {
    **dict.fromkeys(("submit", "ls", "show", "wait", "results", "logs", "cancel"), "commands"),
    **dict.fromkeys(("explain", "verify", "attestations", "archive", "ledger"), "evidence"),
}

#: What people type who know other systems, and the command that does it here.
ELSEWHERE: dict[str, str] = {
    "new": "init", "create": "init", "template": "init", "example": "init", "sample": "init",
    "run": "submit", "sbatch": "submit", "srun": "submit", "qsub": "submit", "bsub": "submit", "start": "submit",
    "exec": "submit", "queue": "ls", "squeue": "ls", "qstat": "ls", "bjobs": "ls", "list": "ls", "jobs": "ls",
    "job": "ls", "ps": "ls", "status": "show", "sacct": "show", "scontrol": "show", "info": "show", "describe": "show",
    "why": "explain", "log": "logs", "output": "logs", "tail": "logs", "cat": "logs", "sattach": "logs",
    "scancel": "cancel", "qdel": "cancel", "bkill": "cancel", "kill": "cancel", "stop": "cancel", "rm": "cancel",
    "delete": "cancel", "abort": "cancel", "requeue": "retry", "rerun": "retry", "resubmit": "retry",
    "restart": "retry",
    "resume": "release", "pause": "hold", "suspend": "hold", "get": "results", "fetch": "results", "collect": "results",
    "download": "results", "seff": "report", "efficiency": "report", "sreport": "usage", "accounting": "usage",
    "sinfo": "node", "nodes": "node", "worker": "node", "workers": "node", "cluster": "site", "clusters": "site",
    "sites": "site", "partition": "site",
    "images": "image", "pull": "image", "keys": "key", "settings": "config", "configure": "config",
    "clean": "gc", "cleanup": "gc", "prune": "gc", "check": "doctor", "health": "doctor", "export": "attestations",
    "restore": "db", "recover": "db", "salvage": "db", "database": "db", "dump": "backup",
    "diff": "compare", "cmp": "compare", "manual": "man", "commands": "--help", "version": "--version",
}  # fmt: skip

#: Everything that `ls` can show and sort by.
JOB_COLUMNS = (
    "id", "name", "state", "tasks", "accepted", "submitted", "labels", "user", "finished", "failed", "active",
    "waiting", "inconclusive", "cancelled", "priority", "uuid", "held", "doubted",
)  # fmt: skip

SECTIONS: dict[str, tuple[str, ...]] = {
    "Jobs": (
        "init", "submit", "ls", "show", "explain", "logs", "wait", "cancel", "hold", "release", "retry", "results",
        "compare", "judge", "report",
    ),
    "Evidence": ("verify", "attestations", "archive", "reproduce", "publish", "ledger"),
    "Upkeep": ("reconcile", "gc", "doctor", "usage", "backup"),
    "Setup": ("serve", "token", "owner", "node", "site", "image", "key", "config", "db", "schema", "man", "completion"),
}  # fmt: skip

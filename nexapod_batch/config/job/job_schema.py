"""The keys of a job descriptor, `schema = 1`. Words and units are Slurm's, with `_` for `-`."""

from __future__ import annotations

from nexapod_batch.config.job.delivery import RESULTS
from nexapod_batch.config.job.publication import PUBLICATION
from nexapod_batch.model.job import Comparator, Domain, Isolation, NumericClass, PolicyName, Tier
from nexapod_batch.model.words import ACCOUNT, ACCOUNT_WORDS, SITE_NAME
from nexapod_batch.schema.kinds import REQUIRED, Choice, Flag, Key, ListOf, MapOf, Number, Scalar, Table, Text, Whole
from nexapod_batch.schema.paths import BIND
from nexapod_batch.schema.quantities import Duration, Size
from nexapod_batch.schema.shorthand import JobName, OrShort

__all__ = ["ALLOCATION", "JOB", "PARAMETER", "QUORUM", "RESOURCES"]

_YEAR = 365 * 86_400
_PIB = 1024**3  # MiB
_ID = 10**18 - 1

#: Names of array parameters: they become placeholders and environment variables.
PARAMETER = r"[A-Za-z_][A-Za-z0-9_]{0,63}"

#: What the scheduler of one site wants to hear. The patterns keep these words harmless in a `#SBATCH` line.
ALLOCATION = {
    "partition": Key(
        Text("letters, digits, `_ . -`, commas between names", pattern=r"[A-Za-z0-9_.,-]{1,256}"),
        "Partition, or several with commas.",
    ),
    "account": Key(Text(ACCOUNT_WORDS, pattern=ACCOUNT), "Account that is charged."),
    "qos": Key(Text(ACCOUNT_WORDS, pattern=ACCOUNT), "Quality of service."),
    "constraint": Key(
        Text("letters, digits, `_ . : , & | * ( ) [ ] -`", pattern=r"[A-Za-z0-9_.:,&|*()\[\]-]{1,256}"),
        "Features that nodes must have.",
    ),
    "reservation": Key(Text("letters, digits, `_ . , -`", pattern=r"[A-Za-z0-9_.,-]{1,256}"), "Reservation to use."),
}

_RESOURCES = {
    "tier": Key(Choice(Tier), "Kind of machine.", "any"),
    "nodes": Key(Whole(1, 100_000), "Hosts for one replica.", shown="the site's"),
    "ntasks": Key(Whole(1, 1_000_000), "Processes (MPI ranks) for one replica.", shown="the site's"),
    "cpus_per_task": Key(
        Whole(1, 100_000),
        "CPUs for each process; tells it how many threads (`OMP_NUM_THREADS`, ...).",
        shown="the site's",
    ),
    "mem": Key(Size(1, _PIB), "Memory of one replica; what its processes share counts once.", shown="the site's"),
    "gpus": Key(Whole(0, 100_000), "GPUs of one replica.", 0),
    "gpu_type": Key(
        Text("letters, digits, `_ . -`", pattern=r"[A-Za-z0-9_.-]{1,64}"), "GPU model, as the site calls it."
    ),
    "gpu_mem": Key(Size(1, _PIB), "Memory that each GPU must have at least.", shown="any"),
    "time": Key(Duration(1, _YEAR), "Wall-clock limit of one replica.", shown="the site's"),
    "disk": Key(
        Size(1, _PIB),
        "What one replica may write: outputs, other files and logs together, each once and without holes.",
        10_240,
        shown="10GiB",
    ),
}
RESOURCES = Table(_RESOURCES, "What one replica of one task asks for.")

_SITE_RESOURCES = Table(
    ALLOCATION
    | {name: Key(key.kind, key.text, shown="as in [resources]") for name, key in _RESOURCES.items() if name != "tier"}
)

QUORUM = Table(
    {
        "agree": Key(Whole(1, 100), "How many distinct domains must agree.", 2),
        "replicas": Key(Whole(1, 1_000), "How many replicas to start with.", shown="`agree`"),
        "max_replicas": Key(Whole(1, 1_000), "How many replicas there may be in all.", shown="`agree` + 4"),
        "max_errors": Key(Whole(0, 1_000), "How many may fail, in whatever ways.", 3),
        "max_lost": Key(Whole(0, 100_000), "How many replicas the infrastructure may lose.", 20),
        "deadline": Key(
            Duration(1, _YEAR), "When a replica that was not heard of is lost.", 7 * 86_400, shown="7 days"
        ),
        "distinct": Key(
            ListOf(Choice(Domain), 1, len(Domain), alone=True),
            "In which fields replicas must differ to count.",
            ["node"],
            shown="node",
        ),
        "class": Key(Choice(NumericClass), "What replicas must share for their numbers to be comparable.", "any"),
        "min_isolation": Key(
            Choice(Isolation), "How well a replica must have been kept apart to have a vote.", Isolation.NONE.value
        ),
        "policy": Key(Choice(PolicyName), "By what a task is decided.", PolicyName.STRICT.value),
    },
    "When a task is accepted, and how far to go to get there.",
)

_PATH = Text("a path", max_length=1_024)

_JOB = Table(
    {
        "name": Key(
            Text("letters, digits, `_ . + = @ : -`, no dot first", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.+=@:-]{0,127}"),
            "Name of the job.",
            shown="the name of the descriptor",
        ),
        "command": Key(
            ListOf(Text("a string without NUL", min_length=0, max_length=65_536, multiline=True), 1, 10_000),
            "Program and arguments; `{placeholders}` are expanded. Either this or `script`.",
        ),
        "script": Key(
            Text("text of a script", max_length=65_536, multiline=True),
            "Script, first line `#!`. Not expanded: it reads `NEXAPOD_*` variables.",
        ),
        "workdir": Key(_PATH, "Where in the work folder the command runs.", "."),
        "stdin": Key(_PATH, "The input, by its target, that the command reads as stdin.", shown="nothing to read"),
        "left_over": Key(
            Choice(("wait", "kill")), "What is done with processes that the command leaves behind.", "wait"
        ),
        "home": Key(
            Choice(("work", "account")), "`HOME`: the work folder, or the account's own home on each node.", "work"
        ),
        "reproducible": Key(
            Flag(),
            "Pin `SOURCE_DATE_EPOCH` (1980), `TZ` (UTC), `LANG` and `LC_ALL` (C.UTF-8), `PYTHONHASHSEED` (0), and as "
            "numbers of threads `cpus_per_task`, or 1. What `env` says wins.",
            default=False,
        ),
        "env": Key(
            MapOf("a variable name", r"[A-Za-z_][A-Za-z0-9_]{0,127}", Scalar()),
            "Environment variables; `{placeholders}` are expanded.",
            {},
            shown="none",
        ),
        "labels": Key(
            MapOf("letters, digits, `_ . -`", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", Text(max_length=256, min_length=0)),
            "Words of your own, to find jobs again.",
            {},
            shown="none",
        ),
    },
    "What is run.",
)

_CONTAINER = Table(
    {
        "image": Key(
            Text("docker://, oras://, library://, https:// or a path"),
            "Image to run in; a path leads to a .sif file or a sandbox folder. It is fetched once, at submit.",
            REQUIRED,
        ),
        "sha256": Key(
            Text("64 hex digits", pattern="[0-9A-Fa-f]{64}"),
            "What the .sif file must hash to; needed for https:// where replicas are compared.",
            shown="pinned at submit",
        ),
        "network": Key(Choice(["none", "host"]), "Network that the command sees.", "none"),
        "isolation": Key(
            Choice(["container", "any"]),
            "`any`: a node that has no containers may run the command without one, and its statement says so.",
            "container",
        ),
        "bind": Key(
            ListOf(BIND, 0, 100),
            "Folders of the site to see under the same path, as its file allows: to read, with `:rw` to write.",
            [],
            shown="none",
        ),
    },
    "Run the command in a container.",
)

_ARRAY = Table(
    {
        "ids": Key(
            Text('as in "0-15", "1,3,5-9", "0-100:10" or "1-100%10"', pattern=r"[0-9,:%-]{1,4096}"),
            "Task ids, as in Slurm.",
        ),
        "values": Key(_PATH, "CSV (with a header) or JSON lines file: one task for each row."),
        "matrix": Key(MapOf("a parameter name", PARAMETER, ListOf(Scalar(), 1), 32), "One task for each combination."),
        "max_running": Key(Whole(1, 1_000_000_000), "Replicas out at once (the `%10` of `ids`).", shown="no limit"),
    },
    "Many tasks from one job: exactly one of `ids`, `values` and `matrix`.",
)

_INPUT = Table(
    {
        "source": Key(
            Text("a path or URL", max_length=4_096),
            "File beside the descriptor (or absolute); a glob such as `data/**`; `fq/{sample}.fq` for one file per "
            "task; `job:41/path`, `job:name/path` or `job:41_{task}/path` for an output of another job.",
            REQUIRED,
        ),
        "target": Key(_PATH, "Where it is put in the work folder; `{placeholders}` are expanded.", shown="as `source`"),
        "sha256": Key(
            Text("64 hex digits", pattern="[0-9A-Fa-f]{64}"), "What it must hash to.", shown="pinned at submit"
        ),
    },
    "A file that the command needs.",
)

_OUTPUT = Table(
    {
        "path": Key(_PATH, "File in the work folder, or a glob; `{placeholders}` are expanded.", REQUIRED),
        "compare": Key(Choice(Comparator), "How two versions are compared.", "exact"),
        "digits": Key(Whole(0, 17), "Decimal places (round) or significant digits (significant)."),
        "rtol": Key(Number(), "Relative tolerance (allclose)."),
        "atol": Key(Number(), "Absolute tolerance (allclose)."),
        "integers": Key(
            Choice(["exact", "approximate"]),
            "Whole numbers: they must be the same, or are rounded or close as other numbers are.",
            "exact",
        ),
        "ignore": Key(
            ListOf(Text("a /regular expression/ for lines, a .path in JSON, or a name", max_length=1_000), 0, 100),
            "What does not count: lines in which `/a regular expression/` is found, `.paths` in JSON, names of CSV "
            "columns, header fields, attributes and variables. In plain text the slashes can be left out.",
            [],
            shown="nothing",
        ),
        "unordered": Key(
            Flag(), "Lines of text, rows of tables and documents of JSON Lines may stand in any order.", default=False
        ),
        "delimiter": Key(
            Text("one character, or tab", pattern=r"tab|[^\w\s\"'.+-]"),
            "Between the cells of CSV.",
            shown="as the first line has it",
        ),
        "decimal": Key(Choice([".", ","]), "The decimal mark of numbers in CSV.", "."),
        "comments": Key(
            Text("one to eight characters without blanks, quotes or digits", pattern=r"[^\w\s\"'.+-]{1,8}"),
            "How lines of CSV begin that are no rows.",
            shown="all lines are rows",
        ),
        "quoted_numbers": Key(
            Flag(), "What is in quotes, in CSV and JSON, is a number where it looks like one.", default=False
        ),
        "normalize": Key(
            ListOf(Text("a string without NUL", min_length=0, max_length=65_536, multiline=True), 0, 1_000),
            "Command and arguments that run on the node, without network, on a copy of the file, which is its stdin "
            "and `{output}`: what it prints is compared in the file's place, by exact, round or significant.",
            [],
            shown="nothing",
        ),
        "optional": Key(Flag(), "It may be missing.", default=False),
    },
    "A file that the command leaves. Without any, stdout is the output, compared exactly.",
)

_CHECKPOINT = Table(
    {
        "path": Key(
            ListOf(_PATH, 1, 100, alone=True),
            "Files in the work folder, or globs, that a later attempt finds where they were left.",
            REQUIRED,
        ),
        "signal": Key(
            Text("a signal and seconds, as in `USR1@60`", pattern=r"(SIG)?(USR1|USR2|HUP|INT|TERM)@[1-9][0-9]{0,5}"),
            "Signal that the command gets so many seconds before its time is over.",
            shown="none",
        ),
        "exit_code": Key(
            Whole(1, 125), "With which the command says that it saved its state and is not done.", 85
        ),
    },
    "How a command that is stopped before it is done goes on, from files that it saved.",
)

_DEPENDENCY = Table(
    {
        "job": Key(JobName(_ID), "Job id, or the name of a job that is submitted together with it.", REQUIRED),
        "when": Key(Choice(["accepted", "ended", "failed"]), "State it must have reached.", "accepted"),
    }
)

_SCHEDULE = Table(
    {
        "priority": Key(Whole(-1_000_000, 1_000_000), "Higher goes first.", 0),
        "hold": Key(Flag(), "Submit without dispatching.", default=False),
        "depends_on": Key(
            ListOf(OrShort(_DEPENDENCY, "job"), 0, 1_000),
            'Jobs that go before, as `41`, `"name"` or `{ job = 41, when = "accepted" }`.',
            [],
            shown="none",
        ),
        "sites": Key(
            ListOf(Text("a site name", pattern=SITE_NAME), 0, 100, alone=True),
            "Sites whose nodes may run it; `local` is this machine. It holds for every replica, later ones too.",
            [],
            shown="any",
        ),
    },
    "When and where the job may run.",
)

_SITE = Table({"resources": Key(_SITE_RESOURCES, "Scheduler words, and resources that differ on this site.", {})})

#: The whole descriptor.
JOB = Table(
    {
        "schema": Key(Whole(1, 1), "Version of this format.", REQUIRED),
        "job": Key(_JOB, _JOB.text, {}),
        "resources": Key(RESOURCES, RESOURCES.text, {}),
        "container": Key(_CONTAINER, _CONTAINER.text),
        "array": Key(_ARRAY, _ARRAY.text),
        "quorum": Key(QUORUM, QUORUM.text, {}),
        "inputs": Key(ListOf(_INPUT), _INPUT.text, []),
        "outputs": Key(ListOf(_OUTPUT, 0, 1_000), _OUTPUT.text, []),
        "schedule": Key(_SCHEDULE, _SCHEDULE.text, {}),
        "results": Key(RESULTS, RESULTS.text),
        "checkpoint": Key(_CHECKPOINT, _CHECKPOINT.text),
        "publication": Key(PUBLICATION, PUBLICATION.text),
        "site": Key(MapOf("a site name", SITE_NAME, _SITE, 100), "Words for one site.", {}),
    },
    "A job: one descriptor, strict. Unknown keys are refused.",
)

"""The keys of a site file, `schema = 1`. Words and units are Slurm's, with `_` for `-`.

What reaches a script or a command line is held to an allow-list of characters here, so that an admin's slip is found
when the file is read and not when a job is submitted.
"""

from __future__ import annotations

from nexapod_batch.config.site.site_kinds import OWN_DIRECTIVES, Directive, Dispensable, HostName, Line, Rate
from nexapod_batch.model.job import NumericClass, Tier
from nexapod_batch.model.words import ACCOUNT, ACCOUNT_WORDS, OWNER, OWNER_WORDS, PROXY, SITE_NAME
from nexapod_batch.schema.kinds import REQUIRED, Choice, Flag, FlagBefore, Key, ListOf, MapOf, Table, Text, Whole
from nexapod_batch.schema.paths import BIND, PART, PATH, USER_PATH
from nexapod_batch.schema.quantities import Duration, Size

__all__ = ["OWN_DIRECTIVES", "SITE", "with_table"]

_YEAR = 365 * 86_400
_PIB = 1024**3  # MiB

_LINE = Text("one line of text", max_length=256)
_ACCOUNT = Text(ACCOUNT_WORDS, pattern=ACCOUNT)
_WORD = Text("letters, digits, `_ . -`", pattern=r"[A-Za-z0-9_.-]{1,64}")
_ARGUMENT = Text("an argument", max_length=256)

_ABOUT = Table(
    {
        "name": Key(
            Text("letters, digits, `_ -`, at most 63", pattern=SITE_NAME), "Name, as the file is called.", REQUIRED
        ),
        "title": Key(_LINE, "Name in full.", shown="`name`"),
        "contact": Key(_LINE, "Whom to ask."),
        "url": Key(Text("https://...", pattern=r"https?://[!-~]{1,1000}"), "Where to read more."),
        "hostnames": Key(
            ListOf(
                HostName(
                    "a host name; `*`, `?` and `[0-9]` as in a shell, no regular expression",
                    pattern=r"[A-Za-z0-9.*?!\[\]-]{1,253}",
                ),
                0,
                100,
            ),
            "Login nodes: there no local node is made unasked.",
            [],
            shown="none",
        ),
        "owner": Key(
            Text(OWNER_WORDS, pattern=OWNER),
            'Who answers for its machines; counted by `distinct = "owner"`.',
            shown="the account that registers it",
        ),
        "fetch": Key(
            Choice(["here", "node", "proxy"]),
            "Where inputs with URLs and `sha256` are fetched: `here`, where jobs are submitted; by the `node` itself; "
            "or by the node through `fetch_proxy`.",
            "here",
        ),
        "fetch_proxy": Key(
            Text("http://host:port", pattern=PROXY),
            'The proxy of its nodes, with `fetch = "proxy"`.',
            shown="none",
        ),
        "fetch_cache": Key(
            Size(1, _PIB),
            "What a node keeps of inputs that it fetched, and of those that were sent to it; what was not used for "
            "longest goes first, and of what was sent nothing that a job needs.",
            20_480, shown="20GiB",
        ),
    },
    "What it is.",
)

_SCHEDULER = Table(
    {
        "type": Key(
            Text("the name of a backend", pattern=r"[a-z][a-z0-9_-]{0,62}"),
            "Backend that launches here.",
            REQUIRED,
        ),
        "bin": Key(PATH, "Folder of the scheduler's commands.", shown="`PATH`"),
        "conf": Key(PATH, "The scheduler's configuration file.", shown="the scheduler's own"),
        "cluster": Key(_WORD, "Cluster, where one client serves several (`--clusters`)."),
        "transport": Key(Choice(["local", "ssh"]), "Where the commands run: here, or on `[ssh]` host.", "local"),
        "memory": Key(
            Choice(["per-node", "per-cpu", "none"]),
            "Which memory option may be written: `--mem`, `--mem-per-cpu`, or none where the site forbids them.",
            "per-node",
        ),
        "gpu_option": Key(
            Choice(["gpus", "gres"]), "How GPUs are asked for: `--gpus-per-node` or `--gres=gpu`.", "gpus"
        ),
        "account": Key(_ACCOUNT, "Account that is charged where a job names none."),
        "account_required": Key(Flag(), "Refuse jobs without an account.", default=False),
        "qos": Key(_ACCOUNT, "Quality of service where a job names none."),
        "extra_directives": Key(
            ListOf(
                Directive(
                    "`--option` or `--option=value` of letters, digits, `_ . , : / @ + * & | ( ) [ ] = -`",
                    pattern=r"--[a-z][a-z0-9-]{0,63}(=[A-Za-z0-9_.,:/@+*&|()\[\]=-]{1,256})?",
                ),
                0,
                50,
            ),
            "Options written into every script, as in `--constraint=ib`; none that nexapod-batch writes itself.",
            [],
            shown="none",
        ),
        "skip_directives": Key(
            ListOf(
                Dispensable("the name of an option without dashes, as in mem", pattern=r"[a-z][a-z0-9-]{0,63}"), 0, 50
            ),
            "Options that are never written, by name.",
            [],
            shown="none",
        ),
        "cmd_timeout": Key(Duration(1, 3_600), "How long one call of a command may take.", 60, shown="60s"),
        "accounting": Key(
            Choice(["auto", "sacct", "squeue"]), "Where ended jobs are looked up: `auto` finds out.", "auto"
        ),
        "template": Key(PATH, "The site's own script template.", shown="the one that comes with nexapod-batch"),
        "launcher": Key(ListOf(_ARGUMENT, 1, 64), "What starts a task of several ranks.", ["srun"], shown="srun"),
    },
    "How jobs start.",
)

_SSH = Table(
    {
        "host": Key(
            Text("a host name or address", pattern=r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}"), "Login node.", REQUIRED
        ),
        "user": Key(
            Text("a user name", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}"),
            "Account there.",
            shown="the same as here",
        ),
        "port": Key(Whole(1, 65_535), "Port of its SSH server.", 22),
        "key": Key(PATH, "Private key file.", shown="the agent's, then those in `~/.ssh`"),
        "known_hosts": Key(
            PATH, "File of host keys; an unknown or changed key is refused.", shown="`~/.ssh/known_hosts`"
        ),
        "jump": Key(
            Text(
                "[user@]host[:port]",
                pattern=r"([A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}@)?[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?",
            ),
            "Host in between.",
        ),
        "keepalive": Key(Duration(0, 3_600), "Time between two signs of life; 0 sends none.", 30, shown="30s"),
        "connect_timeout": Key(Duration(1, 600), "How long a connection may take to come up.", 20, shown="20s"),
    },
    'How a login node is reached, with `transport = "ssh"`.',
)

_PACK = Table(
    {
        "tasks": Key(Whole(1, 1_000_000), "Replicas in one scheduler job; 1 switches packing off.", 2_000),
        "time": Key(Duration(60, _YEAR), "Wall time of one scheduler job.", 3_600, shown="1h"),
        "cpus": Key(Whole(0, 100_000), "CPUs of one scheduler job; 0 means those of one host.", 0),
    },
    "How many small replicas one scheduler job may run.",
)

_LIMITS = Table(
    {
        "max_queued": Key(Whole(1, 10_000_000), "Replicas that may be out at once, for each node.", 5_000),
        "max_jobs": Key(Whole(1, 10_000_000), "Scheduler jobs (array elements) of ours in its queue.", 1_000),
        "max_array": Key(Whole(1, 10_000_000), "Elements of one scheduler array.", 1_000),
        "submit_rate": Key(Rate(), "Submissions a second.", 2.0),
        "poll_interval": Key(Duration(1, 86_400), "Time between two looks at the queue.", 30, shown="30s"),
        "status_batch": Key(Whole(1, 10_000), "Job ids in one call.", 100),
        "gpu_slots": Key(Whole(1, 64), "Replicas that may share one GPU.", 1),
        "call_timeout": Key(Duration(1, 86_400), "How long one call of the backend may take.", 600, shown="10m"),
        "transfer_timeout": Key(
            Duration(1, 2_592_000), "The same where it moves files or runs test jobs.", 86_400, shown="1 day"
        ),
        "pack": Key(_PACK, _PACK.text, {}, shown="see below"),
    },
    "How hard it may be used.",
)

_ENVIRONMENT = Table(
    {
        "modules": Key(
            ListOf(Text("letters, digits, `_ . + / -`", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,127}"), 0, 100),
            "Modules to load.",
            [],
            shown="none",
        ),
        "setup": Key(
            ListOf(Text("one line of shell", max_length=1_024), 0, 200),
            "Shell lines, run as they are.",
            [],
            shown="none",
        ),
        "env": Key(
            MapOf("a variable name", r"[A-Za-z_][A-Za-z0-9_]{0,127}", Line()),
            "Environment variables.",
            {},
            shown="none",
        ),
        "pass": Key(
            ListOf(Text("a variable name", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,127}"), 0, 100),
            "Variables that commands get as modules, `env` and `setup` leave them; `PATH` they have anyway.",
            [],
            shown="none",
        ),
    },
    "What is set up before the runner starts: modules, then variables, then shell lines.",
)

_RUNNER = Table(
    {
        "python": Key(PATH, "Interpreter on the compute nodes that has nexapod-batch.", shown="the one in use here"),
        "path": Key(
            Text("absolute paths with `:` between them", pattern=r"(/[A-Za-z0-9_.,+@=-]+)+(:(/[A-Za-z0-9_.,+@=-]+)+)*"),
            "`PATH` of commands.",
            shown="the runner's own",
        ),
        "confine": Key(
            FlagBefore(("foreign", "all", "never")),
            "Whose commands without a container are confined by `bwrap`: those of somebody else's jobs, or of all.",
            "foreign",
            shown="foreign",
        ),
    },
    "The program on the compute node.",
)

_CONTAINER = Table(
    {
        "runtime": Key(
            Text(
                "apptainer, singularity or the absolute path of one",
                pattern=rf"apptainer|singularity|(/{PART}+)+",
            ),
            "Program that runs containers there.",
            shown="apptainer, else singularity, in `PATH`",
        ),
        "module": Key(
            Text("letters, digits, `_ . + / -`", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,127}"),
            "Module to load before a job with `[container]`.",
        ),
        "bind": Key(
            ListOf(BIND, 0, 100),
            "Folders of the site that a job may have bound, with everything below: to read, with `:rw` to write.",
            [],
            shown="none",
        ),
    },
    "How jobs with `[container]` run, and what of the site they may see.",
)

_FILESYSTEM = Table(
    {
        "work_dir": Key(USER_PATH, "Folder that login and compute nodes share.", shown="the home of nexapod-batch"),
        "scratch": Key(USER_PATH, "Work folders of replicas; login and compute nodes see it.", shown="in `work_dir`"),
        "local_scratch": Key(
            Text("an absolute path of at most 50 characters", pattern=r"(?=.{1,50}$)(/[A-Za-z0-9_.,+@=:-]+)+"),
            "A folder on the compute node's own disk, for `$TMPDIR` of commands.",
            shown="what the scheduler says, else `/tmp` or `/var/tmp`",
        ),
    },
    "Where files lie.",
)

_POLICY = Table(
    {
        "max_time": Key(Duration(1, _YEAR), "Longest replica.", shown="no limit"),
        "min_agree": Key(Whole(1, 100), "Smallest quorum.", 1),
    },
    "What a job cannot override. Where two files of one name say different things, the stricter word holds.",
)

_PARTITION = Table(
    {
        "name": Key(_WORD, "Name of the partition.", REQUIRED),
        "node": Key(
            Text("letters, digits, `_ -`", pattern=r"[A-Za-z0-9_-]{1,32}"),
            "Word for the group of hosts: partitions that share hosts carry the same one, and are one node.",
            shown="the site's main group",
        ),
        "tier": Key(Choice([one for one in Tier if one is not Tier.ANY]), "Kind of machine.", "hpc"),
        "hosts": Key(Whole(1, 1_000_000), "How many hosts it has.", 1),
        "max_time": Key(Duration(1, _YEAR), "Longest job.", shown="no limit"),
        "max_nodes": Key(Whole(1, 1_000_000), "Most hosts of one job.", shown="`hosts`"),
        "max_cpus": Key(Whole(1, 100_000), "CPUs of one host.", 1),
        "max_mem": Key(Size(1, _PIB), "Memory of one host that jobs may have.", 1_024, shown="1GiB"),
        "gpus": Key(Whole(0, 1_000), "GPUs of one host.", 0),
        "gpu_types": Key(ListOf(_WORD, 0, 100), "GPU models, as `gpu_type` names them.", [], shown="none"),
        "gpu_mem": Key(Size(1, _PIB), "Memory of each GPU.", shown="unknown"),
        "features": Key(ListOf(_WORD, 0, 100), "Features of its hosts, for `constraint`.", [], shown="none"),
        "workers": Key(
            ListOf(
                Text("a worker's name or address; `*`, `?` and `[0-9]` as in a shell", pattern=r"[!-~]{1,256}"), 1, 100
            ),
            "Workers that it is made of, where the scheduler has workers.",
            shown="all",
        ),
        "classes": Key(
            MapOf(
                f"one of {', '.join(one for one in NumericClass if one is not NumericClass.ANY)}",
                "|".join(one for one in NumericClass if one is not NumericClass.ANY),
                Text("letters, digits, `_ . / + -`", pattern=r"[A-Za-z0-9_./+-]{1,128}"),
            ),
            "Numeric classes that all its hosts belong to, where the admin vouches for it.",
            {},
            shown="unknown",
        ),
    },
    "One partition. Jobs go to the first one, in this order, that can run them.",
)

#: The whole file.
SITE = Table(
    {
        "schema": Key(Whole(1, 1), "Version of this format.", REQUIRED),
        "site": Key(_ABOUT, _ABOUT.text, {}),
        "scheduler": Key(_SCHEDULER, _SCHEDULER.text, {}),
        "ssh": Key(_SSH, _SSH.text),
        "limits": Key(_LIMITS, _LIMITS.text, {}),
        "environment": Key(_ENVIRONMENT, _ENVIRONMENT.text, {}),
        "runner": Key(_RUNNER, _RUNNER.text, {}),
        "container": Key(_CONTAINER, _CONTAINER.text, {}),
        "filesystem": Key(_FILESYSTEM, _FILESYSTEM.text, {}),
        "policy": Key(_POLICY, _POLICY.text, {}),
        "partitions": Key(ListOf(_PARTITION, 0, 1_000), _PARTITION.text, []),
    },
    "A site: how a group of nodes is reached, what may be asked of it, and what it is made of.",
)


def with_table(name: str, table: Table, whole: Table = SITE) -> Table:
    """Return `whole`, a site file, as a backend has it that brings a table `[name]` of its own."""
    keys: dict[str, Key] = {}
    for before, key in whole.keys.items():
        if before == "limits":
            keys[name] = Key(table, table.text)
        keys[before] = key
    return Table(keys, whole.text)

"""Scripts: only what was asked for, nothing that was not, whatever strings a descriptor or a site file holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nexapod_backends.slurm.jobs.directives import SbatchRequest, SchedulerOptions, directives
from nexapod_backends.slurm.jobs.pack import Geometry
from nexapod_backends.slurm.jobs.script import narrowed, read_template, render

from nexapod_batch import __version__
from nexapod_batch.errors import ConfigError
from nexapod_batch.model.site import Environment, Partition, Scheduler, Site

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "slurm"
TEMPLATE = (ROOT / "templates" / "slurm.sh.jinja").read_text("utf-8")

SITE = Site(name="c1", scheduler=Scheduler(type="slurm"))
ASK = SbatchRequest(
    group="ab12", log="/shared/logs/ab12-%A_%a.log", runner=("/opt/py/bin/python", "-m", "x"), geometry=Geometry()
)
FULL_SITE = Site(
    name="c1",
    scheduler=Scheduler(
        type="slurm",
        account="phys",
        qos="normal",
        gpu_option="gres",
        memory="per-cpu",
        extra_directives=("--constraint=ib", "--exclude=bad[1-2]", "--exclusive", "--nice=5"),
        skip_directives=("nodes", "comment"),
    ),
    environment=Environment(
        modules=("gcc/12.2", "openmpi"), setup=("ulimit -c 0", 'echo "$HOSTNAME" \\'), env={"A": "it's # $(x)"}
    ),
)
FULL_ASK = SbatchRequest(
    group="ab12",
    array="0-9",
    log="/shared/logs/ab12-%A_%a.log",
    runner=("/opt/py/bin/python", "-m", "nexapod_batch.runner", "/shared/it's here"),
    geometry=Geometry(nodes=2, ntasks=4, cpus_per_task=2, mem_mib=4_001, time_s=90_061, gpus=4, gpu_type="a100"),
    options=SchedulerOptions(
        partition="short,long", account="bio", constraint="fast", reservation="spring", exclude=("n1", "n[3-4]")
    ),
    env={"NEXAPOD_GROUP": "ab12"},
)


def _options(site: Site = SITE, ask: SbatchRequest = ASK) -> list[str]:
    return [str(one) for one in directives(site, ask)]


def _unquoted(option: str) -> str:
    """Return an option as Slurm hands it on: paths with odd characters, and long ones, stand in quotes."""
    name, equals, value = option.partition("=")
    if value.startswith('"') and value.endswith('"'):
        value = value[1:-1].replace('\\"', '"')
    return name + equals + value


def lexed(script: str, *, old: bool) -> list[str]:  # noqa: C901, PLR0912 - one function, as in its model
    """Return the options that Slurm reads from a script: a model of `get_argument` in its sbatch/opt.c.

    Up to 20.11 (`old`) the words packjob and hetjob are blanked wherever they stand in a line.
    """
    space = " \t\n\v\f\r"
    found: list[str] = []
    for line in script.split("\n"):
        if line.startswith(("#SBATCH", "#SLURM")):
            rest = line[7 if line.startswith("#SBATCH") else 6 :]
        elif line.strip(space) == "" or line.lstrip(space).startswith("#"):
            continue
        else:
            break
        at = 0
        while True:
            at = next((i for i in range(at, len(rest)) if rest[i] not in space), len(rest))
            lower = rest[at:].lower()
            for word in ("packjob", "hetjob"):
                where = lower.find(word) if old else (0 if lower.split(None, 1)[:1] == [word] else -1)
                if where >= 0:
                    start = at + where
                    rest = rest[:start] + " " * len(word) + rest[start + len(word) :]
                    break
            if at == len(rest):
                break
            assert rest[at] != ":", "Slurm ends with an error here"
            argument, quote, escape = "", "", False
            while at < len(rest) and (quote or rest[at] not in space):
                char = rest[at]
                if escape:
                    escape = False
                elif char == "\\" and not old and rest[at + 1 : at + 2] == " ":
                    argument, at = argument + " ", at + 2
                    continue
                elif char == "\\":
                    at, escape = at + 1, True
                    continue
                elif quote:
                    if char == quote:
                        quote, at = "", at + 1
                        continue
                elif char in "\"'":
                    quote, at = char, at + 1
                    continue
                elif char == "#":
                    at = len(rest)
                    break
                argument += char
                at += 1
            assert not quote, "Slurm ends with an error here"
            if not argument:  # for Slurm the line ends here
                break
            found.append(argument)
    return found


def _bash_accepts(script: str) -> bool:
    return subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("name", "site", "ask"), [("minimal", SITE, ASK), ("full", FULL_SITE, FULL_ASK)])
def test_golden(name: str, site: Site, ask: SbatchRequest) -> None:
    """The exact script, as an admin reviewed it."""
    script = render(site, ask, TEMPLATE)
    expected = (GOLDEN / f"script-{name}.sh").read_text("utf-8").replace("{version}", __version__)
    assert script == expected
    assert _bash_accepts(script)


@pytest.mark.parametrize("old", [False, True])
def test_model_of_the_lexer(old: bool) -> None:
    """The model knows what tripped others: quotes, escapes, comments, blanks, the cut words, the first command."""
    script = '#!/bin/bash\n#SBATCH --a=\'b c\' --g="h\\"i" --d=e#f --no\n\n#SBATCH --j=x\\ y\nls\n#SBATCH --late\n'
    assert lexed(script, old=old) == ["--a=b c", '--g=h"i', "--d=e", *(["--j=x", "y"] if old else ["--j=x y"])]
    assert lexed("#SBATCH --p=hetjob1\n", old=old) == (["--p=", "1"] if old else ["--p=hetjob1"])


@pytest.mark.parametrize("site", [SITE, FULL_SITE])
def test_a_part_of_a_group_has_the_script_that_would_be_rendered_for_it(site: Site) -> None:
    """Name, log and array are the part's own; nothing else differs."""
    whole, part = ("0123456789abcdef", "fedcba9876543210")

    def ask(group: str, elements: int) -> SbatchRequest:
        runner = ("/opt/bin/python", "-m", "x", "/spool", "--group", group)
        return replace(FULL_ASK, group=group, log=f"/spool/logs/{group}.%a", runner=runner, array=f"0-{elements - 1}", env={})

    script = narrowed(render(site, ask(whole, 10), TEMPLATE), whole, 10, part, 4)
    assert script == render(site, ask(part, 4), TEMPLATE)


def test_only_what_was_asked_for() -> None:
    """A job that asks for nothing gets no geometry, no memory, no time."""
    assert _options() == [
        "--job-name=nexapod-ab12",
        "--comment=nexapod:ab12",
        "--no-requeue",
        "--chdir=/",
        "--output=/shared/logs/ab12-%A_%a.log",
        "--error=/shared/logs/ab12-%A_%a.log",
        "--signal=B:USR2@60",
    ]


@pytest.mark.parametrize(
    ("memory", "expected"), [("per-node", "--mem=2001M"), ("per-cpu", "--mem-per-cpu=501M"), ("none", None)]
)
def test_memory_as_the_site_wants_it(memory: str, expected: str | None) -> None:
    """The three memory options exclude each other, and some sites forbid all."""
    site = replace(SITE, scheduler=Scheduler(type="slurm", memory=memory))
    ask = replace(ASK, geometry=Geometry(nodes=2, ntasks=4, cpus_per_task=2, mem_mib=4_001))
    assert [one for one in _options(site, ask) if "mem" in one] == ([expected] if expected else [])


@pytest.mark.parametrize(("time_s", "warning"), [(None, 60), (86_400, 60), (600, 60), (300, 30), (121, 12), (30, 5)])
def test_warning_before_the_end(time_s: int | None, warning: int) -> None:
    """A short job is not warned as soon as it starts."""
    assert f"--signal=B:USR2@{warning}" in _options(ask=replace(ASK, geometry=Geometry(time_s=time_s)))


def test_a_job_that_says_no_time_is_warned_as_its_partition_ends_it() -> None:
    """A debug partition of two minutes would else warn halfway."""
    tiny = Partition(name="debug", max_time_s=120, max_cpus=1, max_mem_mib=1)
    site = replace(SITE, partitions=(tiny,))
    assert "--signal=B:USR2@12" in _options(site, replace(ASK, options=SchedulerOptions(partition="debug")))
    assert "--signal=B:USR2@60" in _options(site, replace(ASK, options=SchedulerOptions(partition="other")))


def test_gpus() -> None:
    """GPUs are asked for by node; what cannot be shared out is refused."""
    ask = replace(ASK, geometry=Geometry(nodes=2, gpus=4))
    assert "--gpus-per-node=2" in _options(ask=ask)
    with pytest.raises(ConfigError, match="a multiple of 2"):
        directives(SITE, replace(ASK, geometry=Geometry(nodes=2, gpus=3)))


def test_job_goes_before_site() -> None:
    """An option of the site gives way to the same of the job; excluded hosts add up; skipped options never appear."""
    scheduler = Scheduler(
        type="slurm",
        qos="normal",
        extra_directives=("--reservation=all", "--exclude=bad", "--mem=1M", "--nice=1"),
        skip_directives=("mem", "nice", "signal"),
    )
    ask = replace(ASK, geometry=Geometry(mem_mib=5), options=SchedulerOptions(qos="high", reservation="mine", exclude=("n1",)))
    found = _options(replace(SITE, scheduler=scheduler), ask)
    assert {"--qos=high", "--reservation=mine", "--exclude=n1,bad"} <= set(found)
    assert not [one for one in found if one.startswith(("--mem", "--nice", "--signal"))]


def test_constraints_that_cannot_be_combined() -> None:
    """Neither the site's nor the job's demand is dropped silently."""
    site = replace(SITE, scheduler=Scheduler(type="slurm", extra_directives=("--constraint=ib",)))
    with pytest.raises(ConfigError, match="cannot be combined"):
        directives(site, replace(ASK, options=SchedulerOptions(constraint="[rack1|rack2]")))


@pytest.mark.parametrize("name", ["no-requeue", "job-name", "output", "error"])
def test_needed_options_cannot_be_skipped(name: str) -> None:
    """Without them a job could run twice or never be found again."""
    with pytest.raises(ConfigError, match=name):
        directives(replace(SITE, scheduler=Scheduler(type="slurm", skip_directives=(name,))), ASK)


@pytest.mark.parametrize("extra", ["--requeue", "--wrap=x", "--job-name=x", "mem=1", "--a b", "--a=#", "-p x", "--A=b"])
def test_extra_options_that_are_refused(extra: str) -> None:
    """A site cannot add what would undo ours, nor what is no option."""
    with pytest.raises(ConfigError, match="extra_directives"):
        directives(replace(SITE, scheduler=Scheduler(type="slurm", extra_directives=(extra,))), ASK)


HOSTILE = [
    "",
    " ",
    "a b",
    "a\nb",
    "a\n#SBATCH --uid=0",
    "a #SBATCH --wrap=x",
    "#",
    "a#b",
    "\\",
    "a\\ --uid=0",
    "'",
    "a' --uid=0 '",
    '"',
    "$(reboot)",
    "`reboot`",
    "${HOME}",
    ";reboot",
    "&& reboot",
    "|reboot",
    "a\0b",
    "a\rb",
    "a\x85b",
    "a\u2028b",
    "a\tb",
    "a\vb",
    "hetjob",
    "my-HetJob-1",
    "PackJob",
    ":",
    "--uid=0",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "ключ",
    "\ud800",
    "x" * 300,
    "/" + "x" * 300,
    "/" + "x/" * 300,
    "~",
    "*",
    "!reboot",
    "EOF",
]
STRINGS = st.sampled_from(HOSTILE) | st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_.,:/@=%\[\]#'\" \\-]{1,30}")
FIELDS = {
    "group": lambda s: (FULL_SITE, replace(FULL_ASK, group=s)),
    "array": lambda s: (FULL_SITE, replace(FULL_ASK, array=s)),
    "log": lambda s: (FULL_SITE, replace(FULL_ASK, log=s)),
    "runner": lambda s: (FULL_SITE, replace(FULL_ASK, runner=("/opt/python", s))),
    "gpu_type": lambda s: (FULL_SITE, replace(FULL_ASK, geometry=Geometry(gpus=1, gpu_type=s))),
    **{
        word: lambda s, word=word: (FULL_SITE, replace(FULL_ASK, options=replace(FULL_ASK.options, **{word: s})))
        for word in ("partition", "account", "qos", "constraint", "reservation")
    },
    "exclude": lambda s: (FULL_SITE, replace(FULL_ASK, options=SchedulerOptions(exclude=(s, "n1")))),
    "nodelist": lambda s: (FULL_SITE, replace(FULL_ASK, options=SchedulerOptions(nodelist=(s,)))),
    "env": lambda s: (FULL_SITE, replace(FULL_ASK, env={"A": s})),
    "env name": lambda s: (FULL_SITE, replace(FULL_ASK, env={s: "1"})),
    "site": lambda s: (replace(FULL_SITE, name=s), FULL_ASK),
    "site account": lambda s: (replace(SITE, scheduler=Scheduler(type="slurm", account=s)), FULL_ASK),
    "site qos": lambda s: (replace(SITE, scheduler=Scheduler(type="slurm", qos=s)), FULL_ASK),
    "extra": lambda s: (replace(SITE, scheduler=Scheduler(type="slurm", extra_directives=(s,))), FULL_ASK),
    "extra value": lambda s: (
        replace(SITE, scheduler=Scheduler(type="slurm", extra_directives=(f"--licenses={s}",))),
        FULL_ASK,
    ),
    "skip": lambda s: (replace(SITE, scheduler=Scheduler(type="slurm", skip_directives=(s,))), FULL_ASK),
    "module": lambda s: (replace(SITE, environment=Environment(modules=(s,))), FULL_ASK),
    "site env": lambda s: (replace(SITE, environment=Environment(env={"A": s})), FULL_ASK),
    "setup": lambda s: (replace(SITE, environment=Environment(setup=(s,))), FULL_ASK),
}


@settings(max_examples=400)
@given(field=st.sampled_from(sorted(FIELDS)), text=STRINGS)
def test_no_string_gets_through(field: str, text: str) -> None:
    """A string is refused, or the script is sound and Slurm reads exactly the options that were meant."""
    site, ask = FIELDS[field](text)
    try:
        script = render(site, ask, TEMPLATE)
    except ConfigError:
        return
    meant = [_unquoted(option) for option in _options(site, ask)]
    assert lexed(script, old=False) == lexed(script, old=True) == meant
    assert script.count("#SBATCH ") == len(meant) + (text.count("#SBATCH ") if field in _QUOTED else 0)
    if field != "setup":  # the admin's shell is the admin's
        assert _bash_accepts(script)


@pytest.mark.parametrize("text", ["a\0b", "a\rb", "a\x1b[2Jb", "a\u2028b", "\ud800"])
@pytest.mark.parametrize("field", ["runner", "env", "site env", "setup"])
def test_control_characters_are_refused(field: str, text: str) -> None:
    """Sbatch refuses some of them, a file cannot hold others, and a terminal obeys the rest."""
    with pytest.raises(ConfigError, match="control characters"):
        render(*FIELDS[field](text), TEMPLATE)


@pytest.mark.parametrize(
    "line", ["#SBATCH --uid=0", "  #SBATCH --uid=0", "true\n#SLURM --uid=0", "#PBS -q x", "#BSUB x"]
)
def test_setup_lines_are_no_directives(line: str) -> None:
    """Before the first command Slurm would read them."""
    with pytest.raises(ConfigError, match="setup line is a directive"):
        render(*FIELDS["setup"](line), TEMPLATE)


@pytest.mark.parametrize("runner", [(), ("",), ("python",), ("-c", "/bin/x"), ("A=1", "/bin/x")])
def test_runner_is_a_program(runner: tuple[str, ...]) -> None:
    """`exec` would take a word with a dash for an option of its own."""
    with pytest.raises(ConfigError, match="runner"):
        render(SITE, replace(ASK, runner=runner), TEMPLATE)


_QUOTED = {"runner", "env", "site env", "setup"}  # where shell quoting keeps a text harmless


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable() and text])
def test_quoted_text_arrives_unchanged(text: str) -> None:
    """What the runner is given reaches it as it was, through the shell."""
    ask = replace(ASK, runner=("/usr/bin/printf", "%s", text), env={"A": text})
    script = render(SITE, ask, TEMPLATE)
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("#!/bin/bash\n{% for %}", "line 2: "),
        ("#!/bin/bash\n\n{{ nobody }}\n", "line 3: UndefinedError: 'nobody' is undefined"),
        ("#!/bin/bash\n{{ ''.__class__.__mro__ }}\n", "line 2: SecurityError"),
        ("#!/bin/bash\n{{ directives.append('--uid=0') }}\n", "line 2: SecurityError"),
        ("#!/bin/bash\n{% include '/etc/passwd' %}\n", "line 2: TypeError"),
        ("#!/bin/bash\n{{ 1 / 0 }}\n", "line 2: ZeroDivisionError"),
        ("{% for d in directives %}\n#SBATCH {{ d }}\n{% endfor %}\nexec {{ runner }}\n", "does not begin with #!"),
        ("#!/bin/bash\nexec {{ runner }}\n", "lacks the directives --job-name=nexapod-ab12"),
        ("#!/bin/bash\nls\n{% for d in directives %}\n#SBATCH {{ d }}\n{% endfor %}\nexec {{ runner }}\n", "lacks"),
        (TEMPLATE.replace("exec ", ""), "the last line"),
        (TEMPLATE + "echo done\n", "the last line"),
        (TEMPLATE.replace("\n\n", "\n\0\n", 1), "NUL"),
        ("x" * 70_000, "too large"),
    ],
)
def test_template_of_a_site_that_is_broken(template: str, message: str) -> None:
    """A fault in a template says which template, which line, and what."""
    site = replace(SITE, scheduler=Scheduler(type="slurm", template="/etc/nexapod/ours.jinja"))
    with pytest.raises(ConfigError) as caught:
        render(site, ASK, template)
    assert "/etc/nexapod/ours.jinja" in str(caught.value)
    assert message in str(caught.value)


def test_template_of_a_site() -> None:
    """A site may add what it likes around what we need."""
    template = TEMPLATE.replace("\n\n", "\n#SBATCH --mail-type=NONE\n\n", 1).replace("exec ", "echo {{ group }}\nexec ")
    script = render(SITE, ASK, template)
    assert lexed(script, old=True) == [*_options(), "--mail-type=NONE"]
    assert "\necho ab12\nexec /opt/py/bin/python -m x\n" in script


def test_reading_templates(tmp_path: Path) -> None:
    """Ours comes with the package; a file that is not there, not text or too large is named."""
    assert read_template() == TEMPLATE
    good, binary, large = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    good.write_text("#!/bin/bash\n", "utf-8")
    binary.write_bytes(b"\xff\xfe")
    large.write_text("x" * 70_000, "utf-8")
    assert read_template(str(good)) == "#!/bin/bash\n"
    for path in (binary, large, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=path.name):
            read_template(str(path))

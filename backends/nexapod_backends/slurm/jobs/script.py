r"""The batch script: directives that pass an allow-list, and their rendering through a sandboxed template.

Only what was asked for is emitted. Every value of an `#SBATCH` line passes a pattern of its own, because Slurm's lexer
is no shell: `\` escapes even inside single quotes, an unquoted `#` ends the line, a newline cannot be written, and up
to 20.11 the words `hetjob` and `packjob` are cut out wherever they stand. Of a job descriptor nothing reaches the
script but numbers and such words; only the admin's setup lines and template are raw shell. The last line makes the
batch shell the runner, so that the USR2 of `--signal=B:` reaches it.
"""

from __future__ import annotations

import os
import re
import shlex
import traceback
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch import __version__, interpreter
from nexapod_batch.errors import ConfigError, Problem
from nexapod_batch.files import own
from nexapod_batch.model.words import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_backends.slurm.jobs.pack import Geometry
    from nexapod_batch.model.site import Scheduler, Site

__all__ = [
    "Ask",
    "Directive",
    "TemplateFaultError",
    "Words",
    "as_it_is",
    "directives",
    "narrowed",
    "read_template",
    "render",
]

#: The largest script and template, in bytes.
SCRIPT_MAX = 1 << 20
TEMPLATE_MAX = 1 << 16
#: Seconds between USR2 and the end, so that the runner can report; less for short jobs.
SIGNAL_S = 60

_TEMPLATE = "slurm.sh.jinja"


class TemplateFaultError(ConfigError):
    """A script template cannot be used: a fault of the site, whatever a job asks for."""


class Words(Struct, frozen=True, kw_only=True):
    """What the scheduler is told beside numbers: the job's words, else the site's; "" is not said."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    exclude: tuple[str, ...] = ()  # hosts, or host lists
    nodelist: tuple[str, ...] = ()  # likewise


class Ask(Struct, frozen=True, kw_only=True):
    """One call of sbatch."""

    group: str  # id by which it is found again
    log: str  # absolute path of what the batch script prints; may hold %A, %a and %j
    runner: tuple[str, ...]  # argv that the batch shell becomes
    geometry: Geometry
    words: Words = field(default_factory=Words)
    array: str = ""  # as in 0-99; "" for a single job
    env: Mapping[str, str] = field(default_factory=dict)  # beside and over the site's
    container: bool = False  # the job runs in one


class Directive(Struct, frozen=True, kw_only=True):
    """One option of sbatch."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        """Return it as it stands in the script."""
        return f"--{self.name}" if self.value is None else f"--{self.name}={self.value}"


_COUNT = r"[1-9][0-9]{0,8}"
_NAMES = r"[A-Za-z0-9_.,-]{1,256}"
_HOSTS = r"[A-Za-z0-9_.,\[\]-]{1,200000}"
#: A path that needs no quotes; `%` begins what Slurm fills in.
_PATH = re.compile(r"(/[A-Za-z0-9_.,+@=:%-]{1,255}){1,64}", re.ASCII)
_PATHS = frozenset({"output", "error"})
_PATH_MAX = 4_000
_OTHER = r"[A-Za-z0-9_.,:/@+*&|()\[\]=%-]{1,256}"
#: What the value of an option may look like.
_ALLOWED = {
    "job-name": r"nexapod-[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "comment": r"nexapod:[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "chdir": "/",
    "array": r"[0-9]{1,9}(-[0-9]{1,9}(:[0-9]{1,9})?)?(,[0-9]{1,9}(-[0-9]{1,9}(:[0-9]{1,9})?)?){0,10000}(%[0-9]{1,9})?",
    "partition": _NAMES,
    "account": ACCOUNT,
    "qos": ACCOUNT,
    "constraint": r"[A-Za-z0-9_.:,&|*()\[\]-]{1,256}",
    "reservation": _NAMES,
    "exclude": _HOSTS,
    "nodelist": _HOSTS,
    "nodes": _COUNT,
    "ntasks": _COUNT,
    "cpus-per-task": _COUNT,
    "mem": _COUNT + "M",
    "mem-per-cpu": _COUNT + "M",
    "time": r"([0-9]{1,5}-)?[0-9]{2}:[0-9]{2}:[0-9]{2}",
    "gpus-per-node": r"([A-Za-z0-9_.-]{1,64}:)?" + _COUNT,
    "gres": r"gpu:([A-Za-z0-9_.-]{1,64}:)?" + _COUNT,
    "signal": r"B:USR2@[0-9]{1,5}",
}
#: Options without which a job could not be found again, could run twice, or would leave nothing to read.
_NEEDED = frozenset({"array", "error", "job-name", "no-requeue", "output"})
#: Options that no site may add: they are ours, or would change what becomes of a job behind our back.
_OURS = _NEEDED | {
    *("chdir", "comment", "dependency", "export", "export-file", "parsable", "requeue", "signal", "test-only"),
    *("wait", "wrap"),
}
_EXTRA = re.compile(rf"--([a-z][a-z0-9-]{{0,63}})(?:=({_OTHER}))?", re.ASCII)
_FEATURES = re.compile(r"[A-Za-z0-9_.-]+(&[A-Za-z0-9_.-]+)*", re.ASCII)
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,127}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_DIRECTIVE = ("#SBATCH", "#SLURM", "#PBS", "#BSUB")


def directives(site: Site, ask: Ask) -> tuple[Directive, ...]:
    """Return the options of one sbatch call, in order; ConfigError for a value that its allow-list does not admit."""
    scheduler = site.scheduler
    extra = dict(_extra(scheduler))
    found: dict[str, str | None] = {}
    asked = (*_about(ask), *_words(scheduler, ask.words), *_sizes(scheduler, ask.geometry), _signal(site, ask))
    for name, value in asked:
        if name in scheduler.skip_directives:
            if name in _NEEDED:
                raise ConfigError(
                    f"site {site.name}: --{name} cannot be left out",
                    got="it is in skip_directives",
                    hint="without it a job could not be found again, or could run twice",
                )
            continue
        found[name] = value
    for name, value in extra.items():
        if name in scheduler.skip_directives:
            continue
        ours = found.setdefault(name, value)  # what the job asks for goes before what the site adds
        if name == "constraint" and ours and value and ours != value:
            found[name] = _both(site, ours, value)
        elif name == "exclude" and ours and value and ours != value:
            found[name] = f"{ours},{value}"
    return tuple(_checked(site, name, value) for name, value in found.items())


def render(site: Site, ask: Ask, template: str) -> str:
    """Return the script; ConfigError names what is wrong with a value, or the template and its line."""
    options = directives(site, ask)
    name = site.scheduler.template or _TEMPLATE
    if not ask.runner or not ask.runner[0].startswith("/"):
        raise ConfigError("runner cannot be started", got=repr(ask.runner[:1]), wanted="the absolute path of a program")
    runner = shlex.join(_printable("runner", word) for word in ask.runner)
    modules = [*site.environment.modules, *([site.container.module] if ask.container and site.container.module else ())]
    script = _fill(
        template,
        name,
        {
            "program": f"nexapod-batch {__version__}",
            "site": _matched(_SITE, "name of the site", site.name),
            "group": ask.group,
            "directives": [str(one) for one in options],
            "modules": [_matched(_MODULE, "module", one) for one in modules],
            "environment": list(_environment({**site.environment.env, **ask.env})),
            "setup": list(_setup(site.environment.setup)),
            "runner": runner,
        },
    )
    _check(script, name, options, f"exec {runner}")
    return script


def narrowed(script: str, group: str, elements: int, part: str, left: int) -> str:
    """Return the script of a part of a group: it differs in the group's name, and in how many elements there are."""
    whole, of_part = f"#SBATCH --array=0-{elements - 1}\n", f"#SBATCH --array=0-{left - 1}\n"
    return script.replace(whole, of_part, 1).replace(group, part)


def as_it_is(path: str) -> str:
    """Return a path of which Slurm fills in nothing, for the front of a log's name."""
    return path.replace("%", "%%")


def read_template(path: str = "") -> str:
    """Return the text of a site's own template, or of the one that comes with nexapod-batch; ConfigError."""
    if not path:
        from importlib.resources import files  # noqa: PLC0415 - only where a script is rendered

        return files("nexapod_batch.templates").joinpath(_TEMPLATE).read_text("utf-8")
    try:
        with os.fdopen(own.open_file(Path(path)), "rb") as file:
            body = file.read(TEMPLATE_MAX + 1)
        text = body.decode("utf-8")
    except (OSError, ValueError) as error:
        raise TemplateFaultError(f"template {path} cannot be read", got=str(error)) from error
    if len(body) > TEMPLATE_MAX:
        raise TemplateFaultError(f"template {path} is too large", wanted=f"at most {TEMPLATE_MAX} bytes")
    return text


def _about(ask: Ask) -> Iterator[tuple[str, str | None]]:
    yield "job-name", f"nexapod-{ask.group}"
    yield "comment", f"nexapod:{ask.group}"
    yield "no-requeue", None
    yield "chdir", interpreter.FOLDER
    if ask.array:
        yield "array", ask.array
    yield "output", ask.log
    yield "error", ask.log


def _words(scheduler: Scheduler, words: Words) -> Iterator[tuple[str, str]]:
    said = {
        "partition": words.partition,
        "account": words.account or scheduler.account or "",
        "qos": words.qos or scheduler.qos or "",
        "constraint": words.constraint,
        "reservation": words.reservation,
        "exclude": ",".join(words.exclude),
        "nodelist": ",".join(words.nodelist),
    }
    yield from ((name, value) for name, value in said.items() if value)


def _sizes(scheduler: Scheduler, asked: Geometry) -> Iterator[tuple[str, str]]:
    counts = {"nodes": asked.nodes, "ntasks": asked.ntasks, "cpus-per-task": asked.cpus_per_task}
    yield from ((name, str(count)) for name, count in counts.items() if count is not None)
    nodes = asked.nodes or 1
    if asked.mem_mib is not None and scheduler.memory == "per-node":
        yield "mem", f"{-(-asked.mem_mib // nodes)}M"
    elif asked.mem_mib is not None and scheduler.memory == "per-cpu":
        yield "mem-per-cpu", f"{-(-asked.mem_mib // ((asked.ntasks or 1) * (asked.cpus_per_task or 1)))}M"
    if asked.gpus:
        if asked.gpus % nodes:
            raise ConfigError("GPUs cannot be shared out evenly", got=asked.gpus, wanted=f"a multiple of {nodes} nodes")
        count = f"{asked.gpu_type}:{asked.gpus // nodes}" if asked.gpu_type else str(asked.gpus // nodes)
        yield ("gres", f"gpu:{count}") if scheduler.gpu_option == "gres" else ("gpus-per-node", count)
    if asked.time_s is not None:
        yield "time", _clock(asked.time_s)


def _signal(site: Site, ask: Ask) -> tuple[str, str]:
    """Return when the runner is warned: of a job that says no time, as if it had the longest of its partition."""
    longest = next((one.max_time_s for one in site.partitions if one.name == ask.words.partition), None)
    time_s = ask.geometry.time_s or longest
    return "signal", f"B:USR2@{SIGNAL_S if time_s is None else max(5, min(SIGNAL_S, time_s // 10))}"


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def _extra(scheduler: Scheduler) -> Iterator[tuple[str, str | None]]:
    """Yield the options that the site adds."""
    for text in scheduler.extra_directives:
        found = _EXTRA.fullmatch(text)
        if not found:
            raise ConfigError(
                "extra_directives: no option",
                got=repr(text[:100]),
                wanted="--option or --option=value of letters, digits and _ . , : / @ + * & | ( ) [ ] = % -",
            )
        if found[1] in _OURS:
            raise ConfigError(f"extra_directives: --{found[1]} is written by nexapod-batch", hint="take it out")
        yield found[1], found[2]


def _both(site: Site, job: str, extra: str) -> str:
    """Return the constraint that demands what the job and what the site demands."""
    if not (_FEATURES.fullmatch(job) and _FEATURES.fullmatch(extra)):
        raise ConfigError(
            f"site {site.name}: the constraints of job and site cannot be combined",
            got=f"{job!r} and {extra!r}",
            wanted="features with & between them",
            hint=f"write the whole constraint in [site.{site.name}.resources] or in extra_directives, not in both",
        )
    return f"{job}&{extra}"


def _checked(site: Site, name: str, value: str | None) -> Directive:
    """Return the directive if its value is harmless in an #SBATCH line."""
    if name in _PATHS and value is not None:
        value = _quoted_path(site, name, value)
    one = Directive(name=name, value=value)
    pattern = ".*" if name in _PATHS else _ALLOWED.get(name, _OTHER)
    if value is not None and not re.fullmatch(pattern, value, re.ASCII):
        raise ConfigError(
            f"site {site.name}: --{name} cannot be written into a script",
            got=repr(value if len(value) <= 100 else value[:100] + "..."),
            wanted=f"text that matches {pattern}",
        )
    if re.search("hetjob|packjob", str(one), re.IGNORECASE):
        raise ConfigError(
            f"site {site.name}: --{name} cannot be written into a script",
            got=repr(value),
            wanted="a value without the words hetjob and packjob, which Slurm cuts out",
        )
    return one


def _quoted_path(site: Site, name: str, path: str) -> str:
    """Return a path as an #SBATCH line holds it: Slurm's lexer knows double quotes, and a backslash before one."""
    if _PATH.fullmatch(path):
        return path
    if not (path.startswith("/") and path.isprintable() and "\\" not in path and len(path) < _PATH_MAX):
        raise ConfigError(
            f"site {site.name}: --{name} cannot be written into a script",
            got=repr(path if len(path) <= 100 else path[:100] + "..."),
            wanted=f"a path of printable characters, without a backslash, shorter than {_PATH_MAX}",
            hint="set work_dir in [filesystem] of the site file, or NEXAPOD_HOME, to another folder",
        )
    escaped = path.replace('"', '\\"')
    return f'"{escaped}"'


def _matched(pattern: re.Pattern[str], what: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise ConfigError(
            f"{what} cannot be written into a script",
            got=repr(value[:100]),
            wanted=f"text that matches {pattern.pattern}",
        )
    return value


def _printable(what: str, value: str) -> str:
    if not value.isprintable():
        raise ConfigError(
            f"{what} cannot be written into a script",
            got=repr(value[:100]),
            wanted="one line without control characters",
        )
    return value


def _environment(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield names and shell-quoted values."""
    for name, value in env.items():
        yield (
            _matched(_VARIABLE, "name of an environment variable", name),
            shlex.quote(_printable(f"environment variable {name}", value)),
        )


def _setup(lines: Sequence[str]) -> Iterator[str]:
    """Yield the admin's shell lines as they are; none may pass for a directive."""
    for line in lines:
        for part in line.split("\n"):
            _printable("setup line", part.replace("\t", " "))
            if part.lstrip().startswith(_DIRECTIVE):
                raise ConfigError("setup line is a directive", got=repr(part[:100]), hint="use extra_directives")
            yield part


def _fill(template: str, name: str, values: Mapping[str, object]) -> str:
    """Render the template; whatever goes wrong in it is a ConfigError with its line."""
    from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError  # noqa: PLC0415 - 25 ms, only where needed
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    if len(template.encode("utf-8", "replace")) > TEMPLATE_MAX:
        raise TemplateFaultError(f"template {name} is too large", wanted=f"at most {TEMPLATE_MAX} bytes")
    environment = ImmutableSandboxedEnvironment(
        autoescape=False,  # a shell script; every value is quoted or on an allow-list
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.from_string(template).render(values)
    except TemplateSyntaxError as error:
        raise _broken(name, error.message or "syntax error", error.lineno) from error
    except (TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == "<template>"]
        raise _broken(name, f"{type(error).__name__}: {error}", frames[-1].lineno if frames else None) from error


def _broken(name: str, message: str, line: int | None) -> TemplateFaultError:
    return TemplateFaultError(f"template {name} cannot be used", problems=(Problem("", message[:500], line),))


def _check(script: str, name: str, options: Sequence[Directive], last: str) -> None:
    """Refuse a script that a site's template broke."""
    head = list(takewhile(lambda line: not line.strip() or line.lstrip().startswith("#"), script.split("\n")))
    missing = [str(one) for one in options if f"#SBATCH {one}" not in head]  # after a command Slurm reads none
    problems = []
    if not script.startswith("#!"):
        problems.append(Problem("", "the script does not begin with #!", 1))
    if missing:
        problems.append(Problem("", f"the script lacks the directives {' '.join(missing)[:500]}"))
    if script.rstrip("\n").rpartition("\n")[2] != last:
        problems.append(Problem("", "the last line of the script is not `exec {{ runner }}`"))
    if "\0" in script or "\r" in script or len(script) > SCRIPT_MAX:
        problems.append(Problem("", f"the script holds NUL or CR, or is longer than {SCRIPT_MAX} characters"))
    if problems:
        raise TemplateFaultError(f"template {name} cannot be used", problems=tuple(problems))

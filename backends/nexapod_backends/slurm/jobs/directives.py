r"""The options of one sbatch call: only what was asked for, each value on an allow-list of its own.

Slurm's lexer is no shell: `\` escapes even inside single quotes, an unquoted `#` ends the line, a newline cannot be
written, and up to 20.11 the words `hetjob` and `packjob` are cut out wherever they stand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch import interpreter
from nexapod_batch.errors import ConfigError
from nexapod_batch.model.words import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexapod_backends.slurm.jobs.pack import Geometry
    from nexapod_batch.model.site import Scheduler, Site

__all__ = ["Directive", "SbatchRequest", "SchedulerOptions", "constraints", "directives"]

#: Seconds between USR2 and the end, so that the runner can report; less for short jobs.
SIGNAL_S = 60


class SchedulerOptions(Struct, frozen=True, kw_only=True):
    """What the scheduler is told beside numbers: the job's words, else the site's; "" is not said."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    exclude: tuple[str, ...] = ()  # hosts, or host lists
    nodelist: tuple[str, ...] = ()  # likewise


class SbatchRequest(Struct, frozen=True, kw_only=True):
    """One call of sbatch."""

    group: str  # id by which it is found again
    log: str  # absolute path of what the batch script prints; may hold %A, %a and %j
    runner: tuple[str, ...]  # argv that the batch shell becomes
    geometry: Geometry
    options: SchedulerOptions = field(default_factory=SchedulerOptions)
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


def directives(site: Site, request: SbatchRequest) -> tuple[Directive, ...]:
    """Return the options of one sbatch call, in order; ConfigError for a value that its allow-list does not admit."""
    scheduler = site.scheduler
    extra = dict(_extra(scheduler))
    found: dict[str, str | None] = {}
    asked = (
        *_about(request), *_words(scheduler, request.options), *_sizes(scheduler, request.geometry),
        _signal(site, request),
    )  # fmt: skip
    for name, value in asked:
        if name not in scheduler.skip_directives:
            found[name] = value
        elif name in _NEEDED:
            raise ConfigError(
                f"site {site.name}: --{name} cannot be left out",
                got="it is in skip_directives",
                hint="without it a job could not be found again, or could run twice",
            )
    for name, value in extra.items():
        if name not in scheduler.skip_directives:
            found[name] = _together(site, name, found[name], value) if name in found else value
    return tuple(_checked(site, name, value) for name, value in found.items())


def constraints(site: Site, constraint: str) -> tuple[str, ...]:
    """Return the constraints that hosts of a job must satisfy: the job's own, "" for none, and the site's."""
    added = dict(_extra(site.scheduler)).get("constraint") or ""
    if "constraint" in site.scheduler.skip_directives:
        return ()
    return tuple(one for one in (constraint, added) if one)


def _about(request: SbatchRequest) -> Iterator[tuple[str, str | None]]:
    yield "job-name", f"nexapod-{request.group}"
    yield "comment", f"nexapod:{request.group}"
    yield "no-requeue", None
    yield "chdir", interpreter.FOLDER
    if request.array:
        yield "array", request.array
    yield "output", request.log
    yield "error", request.log


def _words(scheduler: Scheduler, words: SchedulerOptions) -> Iterator[tuple[str, str]]:
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
    memory = _memory(scheduler.memory, asked)
    if memory is not None:
        yield memory
    if asked.gpus:
        yield _gpus(scheduler.gpu_option, asked)
    if asked.time_s is not None:
        yield "time", _clock(asked.time_s)


def _signal(site: Site, request: SbatchRequest) -> tuple[str, str]:
    """Return when the runner is warned: of a job that says no time, as if it had the longest of its partition."""
    longest = next((one.max_time_s for one in site.partitions if one.name == request.options.partition), None)
    time_s = request.geometry.time_s or longest
    before_s = SIGNAL_S
    if time_s is not None:
        before_s = max(5, min(SIGNAL_S, time_s // 10))
    return "signal", f"B:USR2@{before_s}"


def _memory(memory: str, asked: Geometry) -> tuple[str, str] | None:
    """Return the option that says how much memory the whole job needs, as the site wants it said."""
    if asked.mem_mib is None:
        return None
    if memory == "per-node":
        return "mem", f"{-(-asked.mem_mib // (asked.nodes or 1))}M"
    if memory == "per-cpu":
        cpus = (asked.ntasks or 1) * (asked.cpus_per_task or 1)
        return "mem-per-cpu", f"{-(-asked.mem_mib // cpus)}M"
    return None


def _gpus(option: str, asked: Geometry) -> tuple[str, str]:
    """Return the option that says how many GPUs each node needs; ConfigError where they do not divide."""
    nodes = asked.nodes or 1
    if asked.gpus % nodes:
        raise ConfigError("GPUs cannot be shared out evenly", got=asked.gpus, wanted=f"a multiple of {nodes} nodes")
    count = str(asked.gpus // nodes)
    if asked.gpu_type:
        count = f"{asked.gpu_type}:{count}"
    return ("gres", f"gpu:{count}") if option == "gres" else ("gpus-per-node", count)


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


def _together(site: Site, name: str, ours: str | None, added: str | None) -> str | None:
    """Return the value of an option that the job and the site both have: the job's goes first, demands are joined."""
    if not (ours and added) or ours == added:
        return ours
    if name == "constraint":
        return _both(site, ours, added)
    if name == "exclude":
        return f"{ours},{added}"
    return ours


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

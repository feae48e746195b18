"""Rules of a descriptor that concern several keys, beyond what the table of keys says.

Every function takes values that the table checked (some may be BAD) and reports to a `Report`; none raises.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.model.job import (
    Container,
    Domain,
    Isolation,
    NumericClass,
    Output,
    PolicyName,
    QuorumPolicy,
    default_max_replicas,
)
from nexapod_batch.model.placeholders import BUILT_IN, NUMBERS, names_in, padded_names
from nexapod_batch.schema.kinds import BAD, Report, Value, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nexapod_batch.model.job import Array, Container, Input, Resources

__all__ = [
    "SETTLED",
    "default_name",
    "environment",
    "nearest_line",
    "network",
    "placeholders",
    "program",
    "quorum",
    "script_hints",
    "sites",
]

#: Keys whose name in a Job says the unit.
SETTLED: Mapping[str, str] = {"mem": "mem_mib", "time": "time_s", "disk": "disk_mib", "gpu_mem": "gpu_mem_mib"}

#: What may stand for a placeholder inside a path: one plain part of a name.
_PATH_VALUE = re.compile(r"(?!\.)[^/\\*?\[\]\x00-\x1f\x7f]+")


def nearest_line(lines: dict[str, int], path: str) -> int | None:
    """Return the line of a key path, or of the nearest key around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def default_name(file_name: str) -> str:
    """Return a job name made of a file name."""
    stem = file_name.rpartition(".")[0] or file_name
    return re.sub(r"[^A-Za-z0-9_.+=@:-]", "_", stem).lstrip(".+=@:-")[:128] or "job"


def network(container: Container, resources: Resources, report: Report) -> None:
    """Refuse ranks on several hosts that could not talk to each other."""
    if container.network == "none" and (resources.nodes or 1) > 1:
        report.add(
            "container.network", f"ranks on {resources.nodes} hosts cannot reach each other", got="none", wanted="host"
        )


def program(what: dict[str, Value], report: Report) -> None:
    """Check that exactly one of command and script says what to run."""
    command, script = what["command"], what["script"]
    if command is None and script is None:
        report.add(
            "job.command", "missing", wanted='command = ["program", "argument"], or script = """#!/bin/sh ..."""'
        )
    elif command is not None and script is not None:
        report.add("job.script", "both command and script", wanted="one of them")
    if isinstance(command, list) and not command[0]:
        report.add("job.command[0]", "empty", wanted="a program")
    if isinstance(script, str):
        _first_line(script.partition("\n")[0], report)


def _first_line(first: str, report: Report) -> None:
    """Check the first line of a script."""
    if not first.startswith("#!"):
        report.add("job.script", "no interpreter", got=first, wanted='first line "#!/bin/sh" or another interpreter')
    elif first.endswith("\r"):
        got = "lines that end as on Windows (CR LF), which no interpreter's name does"
        report.add("job.script", "line ends", got=got, wanted="LF alone: dos2unix converts them")


def surroundings(what: dict[str, Value], inputs: tuple[Input, ...], report: Report, *, contained: bool) -> None:
    """Check what the command reads as stdin, and which home it has."""
    stdin, targets = what["stdin"], [job_input.target for job_input in inputs]
    if isinstance(stdin, str) and stdin not in targets:
        wanted = f"one of {', '.join(targets)}" if targets else "the target of an [[inputs]]"
        report.add("job.stdin", "no input", got=stdin, wanted=wanted)
    if contained and what["home"] == "account":
        report.add("job.home", "a container has no home of the account", got="account", wanted="work")


#: Names that programs of containers give a meaning of their own on the way: no command would find them.
_NOT_IN_CONTAINERS = frozenset({
    "PREPEND_PATH", "APPEND_PATH", "SING_USER_DEFINED_PREPEND_PATH", "SING_USER_DEFINED_APPEND_PATH",
    "SING_USER_DEFINED_PATH",
})  # fmt: skip


def environment(env: Value, report: Report, *, contained: bool = False) -> None:
    """Refuse variables that nexapod-batch sets itself, and those that cannot be given to a command in a container."""
    for name in env if isinstance(env, dict) else ():
        if name.upper().startswith("NEXAPOD_"):
            report.add(f"job.env.{name}", "name is taken", wanted="a name that does not begin with NEXAPOD_")
        elif contained and name in _NOT_IN_CONTAINERS:
            hint = "set PATH as a whole"
            report.add(f"job.env.{name}", "name is taken", wanted="one that container programs do not use", hint=hint)


def quorum(section: dict[str, Value], report: Report) -> QuorumPolicy | None:
    """Fill in what depends on `agree`, and check that the numbers can be met."""
    if any(value is BAD for value in section.values()):
        return None
    agree = section["agree"]
    replicas = agree if section["replicas"] is None else section["replicas"]
    most = section["max_replicas"]
    if most is None:
        most = default_max_replicas(agree, replicas)
    _check_replicas(agree, replicas, most, report)
    distinct = section["distinct"]
    if len(set(distinct)) != len(distinct):
        report.add("quorum.distinct", "a field stands there twice", wanted="each field once")
    return QuorumPolicy(
        agree=agree,
        replicas=replicas,
        max_replicas=most,
        max_errors=section["max_errors"],
        max_lost=section["max_lost"],
        deadline_s=section["deadline"],
        distinct=tuple(field for field in Domain if field in distinct),  # one order, so one job digest
        numeric_class=NumericClass(section["class"]),
        min_isolation=Isolation(section["min_isolation"]),
        policy=PolicyName(section["policy"]),
    )


def _check_replicas(agree: int, replicas: int, max_replicas: int, report: Report) -> None:
    """Report numbers of replicas with which a task can never be accepted, or that contradict each other."""
    if agree > max_replicas:
        report.add(
            "quorum.max_replicas",
            f"{max_replicas} replicas can never agree {agree} times",
            wanted=f"{agree} or more",
            hint="or a smaller agree",
        )
    elif replicas > max_replicas:
        report.add("quorum.replicas", "more than max_replicas", got=replicas, wanted=f"at most {max_replicas}")
    if replicas < agree:
        report.add("quorum.replicas", "fewer than agree", got=replicas, wanted=f"{agree} or more")


def isolation(quorum: QuorumPolicy, container: Container | None, report: Report) -> None:
    """Report a policy under which no replica of the job ever has a vote."""
    if quorum.min_isolation is not Isolation.CONTAINER:
        return
    if container is None:
        report.add(
            "quorum.min_isolation", "the job has no container", got="container", wanted="none or files",
            hint="or put it into a [container]",
        )  # fmt: skip
    elif container.isolation == "any":
        report.add(
            "quorum.min_isolation", "contradicts container.isolation = any", got="container",
            hint="leave one of the two out",
        )  # fmt: skip


def sites(section: Value) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return what each site is told, as text with settled units and sorted names."""
    found: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for name, site in sorted(section.items()) if isinstance(section, dict) else ():
        words = site["resources"] if isinstance(site["resources"], dict) else {}
        given = {SETTLED.get(key, key): str(value) for key, value in words.items() if value not in (None, BAD)}
        found.append((name, tuple(sorted(given.items()))))
    return tuple(found)


def placeholders(
    what: dict[str, Value],
    inputs: tuple[Input, ...],
    outs: tuple[Output, ...],
    array: Array | None,
    report: Report,
) -> None:
    """Check every `{name}`: that it exists, and that its values cannot lead a path astray."""
    parameters = _parameters(array)
    for path, text, is_path in _templates(what, inputs, outs):
        known = [*BUILT_IN, *parameters, *(("output",) if ".normalize[" in path else ())]
        try:
            names = names_in(text)
        except ValueError as cause:
            report.add(path, str(cause))
            continue
        for name in dict.fromkeys(names):
            if name not in known:
                hint = nearest(name, known) or "write {{ for a brace"
                report.add(path, f"no placeholder {{{name}}}", wanted=f"one of {', '.join(known)}", hint=hint)
            elif is_path and name in parameters:
                _path_values(name, parameters[name], path, report)
        for name in sorted(padded_names(text) & set(known) - NUMBERS):
            _whole_numbers(name, parameters.get(name, ["a text"]), path, report)


def _whole_numbers(name: str, values: Iterable[str], path: str, report: Report) -> None:
    for value in values:
        if not re.fullmatch(r"[+-]?[0-9]+", value, re.ASCII):
            report.add(path, f"{{{name}}} cannot be padded", got=value, wanted=f"whole numbers, or {{{name}}} alone")
            return


def _path_values(name: str, values: Iterable[str], path: str, report: Report) -> None:
    for value in values:
        if not _PATH_VALUE.fullmatch(value):
            wanted = "values without / \\ * ? [ ] that do not begin with a dot"
            report.add(path, f"{{{name}}} cannot stand in a path", got=value, wanted=wanted)
            return


def _parameters(array: Array | None) -> dict[str, list[str]]:
    """Return the values that each parameter takes."""
    if array is None:
        return {}
    if array.matrix:
        return {name: list(values) for name, values in array.matrix}
    found: dict[str, list[str]] = {}
    for row in array.values:
        for name, value in row:
            found.setdefault(name, []).append(value)
    return found


def _templates(
    what: dict[str, Value], inputs: tuple[Input, ...], outs: tuple[Output, ...]
) -> Iterator[tuple[str, str, bool]]:
    """Yield key path, text, and whether it is a path, of everything in which placeholders are expanded."""
    for number, text in enumerate(what["command"] if isinstance(what["command"], list) else ()):
        yield f"job.command[{number}]", text, False
    for name, text in what["env"].items() if isinstance(what["env"], dict) else ():
        yield f"job.env.{name}", text, False
    for number, job_input in enumerate(inputs):
        if job_input.sha256:
            yield f"inputs[{number}].target", job_input.target, True
        else:  # files of its tasks, whose names are looked at one by one
            yield f"inputs[{number}].source", job_input.source, False
            yield f"inputs[{number}].target", job_input.target, False
    for number, out in enumerate(outs):
        yield f"outputs[{number}].path", out.path, True
        for at, word in enumerate(out.rule.normalize):
            yield f"outputs[{number}].normalize[{at}]", word, False


def script_hints(what: dict[str, Value], array: Array | None, report: Report) -> None:
    """Warn about a script that seems to expect expansion."""
    script = what["script"]
    if not isinstance(script, str):
        return
    for name in (*_parameters(array), *BUILT_IN):
        if re.search(rf"(?<![${{]){{{name}}}(?!}})", script, re.ASCII):
            report.warnings.append(f"job.script: {{{name}}} is not expanded in a script: read $NEXAPOD_{name.upper()}")

"""Rules of a descriptor that concern several keys, beyond what the table of keys says.

Every function takes values that the table checked (some may be BAD) and reports to a `Report`; none raises.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.model.job import (
    Agreement,
    Comparator,
    CompareRule,
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
    "outputs",
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
    if isinstance(script, str) and not script.startswith("#!"):
        first = script.partition("\n")[0]
        report.add("job.script", "no interpreter", got=first, wanted='first line "#!/bin/sh" or another interpreter')
    elif isinstance(script, str) and script.partition("\n")[0].endswith("\r"):
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


def outputs(section: Value, report: Report) -> tuple[Output, ...]:
    """Return the outputs whose rules are complete; report those that are not."""
    found = []
    seen: set[str] = set()
    for number, one in enumerate(section if isinstance(section, list) else ()):
        where = f"outputs[{number}]"
        if any(value is BAD for value in one.values()):
            continue
        if one["path"] in seen:
            report.add(f"{where}.path", "stands there twice", got=one["path"], wanted="each output once")
        seen.add(one["path"])
        if rule := _rule(one, where, report):
            found.append(Output(path=one["path"], rule=rule, optional=one["optional"]))
            _warn_of_format(found[-1], where, report)
    if found and not any(_must_vote(output) for output in found) and not report.problems:
        report.add(
            "outputs", "none of them has to agree: nothing would be compared",
            wanted="one at least that has another compare than none, and is not optional",
        )  # fmt: skip
    return tuple(found)


def _warn_of_format(output: Output, where: str, report: Report) -> None:
    """Warn of what the suffix of an output tells: bytes that never agree, a reader that is missing here."""
    suffix = output.path.rpartition(".")[2].lower()
    if suffix not in _READERS or output.rule.agreement is Agreement.NOTHING:
        return
    if output.rule.agreement is Agreement.BYTES:
        report.warnings.append(
            f'{where}: .{suffix} files of two runs seldom have the same bytes: compare = "content" looks into them'
        )
        return
    from nexapod_batch.requirements import absent, install_command  # noqa: PLC0415 - seldom

    missing = absent(_READERS[suffix])
    if missing:
        report.warnings.append(
            f"{where}: .{suffix} files are read by {missing[0]}, which nodes need and which is missing here: "
            f"{install_command(missing)}"
        )


def _must_vote(output: Output) -> bool:
    """Say whether an output is there in every answer, and counts."""
    return not output.optional and output.rule.agreement is not Agreement.NOTHING


#: Suffixes of files that hold dates or are packed -> what reads them.
_READERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("h5", "hdf5", "he5", "nc", "nc4"), ("h5py",)),
    **dict.fromkeys(("png", "tif", "tiff"), ("PIL",)),
    "parquet": ("pyarrow",), "zst": ("zstandard",), "fits": (), "npz": (), "gz": (), "bz2": (), "xz": (),
}  # fmt: skip

#: Parameters of comparators -> what is wanted where one is missing.
_EXAMPLES = {"digits": "how many digits {} keeps, as in digits = 8", "rtol": "rtol or atol, as in rtol = 1e-6"}


def _rule(output: dict[str, Value], where: str, report: Report) -> CompareRule | None:
    comparator = Comparator(output["compare"])
    given = {name: output[name] for name in ("digits", "rtol", "atol") if output[name] is not None}
    before = len(report.problems)
    if comparator.parameters and not given.keys() & set(comparator.parameters):
        first = comparator.parameters[0]
        report.add(f"{where}.{first}", "missing", wanted=_EXAMPLES[first].format(comparator))
    for name, value in given.items():
        _check_parameter(comparator, name, value, where, report)
    if output["integers"] != "exact" and not comparator.parameters:  # round, significant, allclose
        report.add(f"{where}.integers", f"not used by {comparator}", wanted="another compare, or no integers")
    _check_ignored(comparator, output, where, report)
    if output["unordered"] or output["delimiter"] is not None or output["decimal"] != ".":
        _check_table(comparator, output, where, report)
    if len(report.problems) > before:
        return None
    missing = dict.fromkeys({"rtol", "atol"} & set(comparator.parameters), 0.0)
    ignore = tuple(output["ignore"])
    return CompareRule(
        comparator=comparator, integers=output["integers"], ignore=ignore, unordered=output["unordered"],
        delimiter="\t" if output["delimiter"] == "tab" else output["delimiter"] or "",
        decimal="" if output["decimal"] == "." else output["decimal"], **(missing | given),
    )  # fmt: skip


def _check_table(comparator: Comparator, output: dict[str, Value], where: str, report: Report) -> None:
    """Report how lines and cells are read where the comparator, or the file, has none."""
    if output["unordered"] and comparator not in {Comparator.ROUND, Comparator.SIGNIFICANT, Comparator.CONTENT}:
        wanted = "compare = content, significant or round"
        report.add(f"{where}.unordered", f"not used by {comparator}", wanted=wanted)
    from nexapod_batch.compare.formats.reading import suffix_of  # noqa: PLC0415 - seldom

    for key, usual in (("delimiter", None), ("decimal", ".")):
        if output[key] != usual and suffix_of(output["path"]) not in {"csv", "tsv"}:
            report.add(f"{where}.{key}", "only for CSV", got=output["path"], wanted="a file .csv or .tsv")
    if output["decimal"] == "," == output["delimiter"]:
        report.add(f"{where}.delimiter", "is the decimal mark too", got=",", wanted='another one, as delimiter = ";"')


def _check_ignored(comparator: Comparator, output: dict[str, Value], where: str, report: Report) -> None:
    """Report what cannot be ignored: no entry of `ignore` may turn out to be wrong on a node."""
    if not output["ignore"]:
        return
    if comparator.agreement is Agreement.NOTHING:
        report.add(f"{where}.ignore", "not used by none", wanted="another compare, or no ignore")
    from nexapod_batch.compare.formats.reading import suffix_of  # noqa: PLC0415 - seldom
    from nexapod_batch.compare.ignoring import fault_of  # noqa: PLC0415

    for number, entry in enumerate(output["ignore"]):
        fault = None if entry is BAD else fault_of(entry, suffix_of(output["path"]))
        if fault is not None:
            wanted = "a /regular expression/ of RE2, a .path in JSON, or a name"
            report.add(f"{where}.ignore[{number}]", fault, got=entry, wanted=wanted)


def _check_parameter(comparator: Comparator, name: str, value: Value, where: str, report: Report) -> None:
    """Report a parameter that the comparator does not use, or a value that it cannot use."""
    if name not in comparator.parameters:
        others = " or ".join([other for other in Comparator if name in other.parameters])
        wanted = f"compare = {others}, or no {name}"
        report.add(f"{where}.{name}", f"not used by {comparator}", wanted=wanted)
    elif name == "digits" and value < comparator.min_digits:
        wanted = f"a whole number from {comparator.min_digits} to 17"
        report.add(f"{where}.digits", "out of range", got=value, wanted=wanted)


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
    known = [*BUILT_IN, *parameters]
    for path, text, is_path in _templates(what, inputs, outs):
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


def script_hints(what: dict[str, Value], array: Array | None, report: Report) -> None:
    """Warn about a script that seems to expect expansion."""
    script = what["script"]
    if not isinstance(script, str):
        return
    for name in (*_parameters(array), *BUILT_IN):
        if re.search(rf"(?<![${{]){{{name}}}(?!}})", script, re.ASCII):
            report.warnings.append(f"job.script: {{{name}}} is not expanded in a script: read $NEXAPOD_{name.upper()}")

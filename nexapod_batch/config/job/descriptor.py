"""A job descriptor (TOML text) turned into a `Job`.

Guarantees: any text gives either `Parsed` or DescriptorError with every fault found, never another exception; a
`Job` that comes back is complete (defaults filled in, units settled, local inputs pinned by SHA-256) and every string
in it is UTF-8 without NUL. Only files that the descriptor names are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.config import output_rules, rules
from nexapod_batch.config.job import inputs as input_files
from nexapod_batch.config.job import job_sources, paths
from nexapod_batch.config.job.arrays import read_array
from nexapod_batch.config.job.checkpoint import read_checkpoint
from nexapod_batch.config.job.job_schema import JOB
from nexapod_batch.config.job.overrides import apply_sets, merge_defaults, put
from nexapod_batch.config.job.pins import Pins
from nexapod_batch.config.job.publication import read_publication
from nexapod_batch.config.job.reproducible import pinned_environment
from nexapod_batch.config.toml import decode, key_lines, read_owned
from nexapod_batch.errors import DescriptorError
from nexapod_batch.model.job import Container, Dependency, Job, Resources, Schedule, Tier
from nexapod_batch.schema.kinds import BAD, Report, Schema, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from nexapod_batch.files.known_digests import KnownDigests
    from nexapod_batch.model.job import Array, Checkpoint, Input, Output, QuorumPolicy
    from nexapod_batch.model.publication import Publication

__all__ = ["Parsed", "json_schema", "load", "parse", "parse_document"]


class Parsed(Struct, frozen=True, kw_only=True):
    """A job, and what its author should hear although it can run."""

    job: Job
    warnings: tuple[str, ...] = ()
    owner: int = 0  # uid of whoever owns the file; root's for a text that comes from none
    known: KnownDigests | None = None  # digests of its files, to be saved once the job is stored


class _Sections(Struct, frozen=True, kw_only=True):
    """The sections beside [job], each read by itself; None for one that is not there or cannot be used."""

    array: Array | None
    quorum: QuorumPolicy | None
    container: Container | None
    resources: Resources | None
    schedule: Schedule | None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    sites: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    publication: Publication | None
    checkpoint: Checkpoint | None


def load(
    path: Path,
    *,
    sets: Sequence[str] = (),
    overrides: Mapping[str, Value] | None = None,
    defaults: Mapping[str, Value] | None = None,
    outside: bool = False,
) -> Parsed:
    """Return the job of a descriptor file; paths in it are relative to its folder. See `parse` for the rest."""
    text, owner = read_owned(path)
    parsed = parse(
        text, path.parent, name=path.name, sets=sets, overrides=overrides, defaults=defaults,
        outside=outside,
    )
    return replace(parsed, owner=owner)


def _lines_of(text: str, changed: Collection[str]) -> Callable[[str], int | None]:
    """Return what says in which line of a text a key stands; None for one that was `changed` from elsewhere."""
    lines: dict[str, int] = {}

    def line_of(path: str) -> int | None:
        if any(path == key or path.startswith((f"{key}.", f"{key}[")) for key in changed):
            return None  # came from the command line or from settings
        if not lines:
            lines.update(key_lines(text))
        return rules.nearest_line(lines, path)

    return line_of


def parse(
    text: str,
    folder: Path,
    *,
    name: str = "job.toml",
    sets: Sequence[str] = (),
    overrides: Mapping[str, Value] | None = None,
    defaults: Mapping[str, Value] | None = None,
    outside: bool = False,
    jobs: Mapping[str, int] | None = None,
    known: KnownDigests | None = None,
) -> Parsed:
    """Return the job of a descriptor text.

    `sets` are the `key=value` of `--set`; `overrides` maps key paths (`quorum.agree`) to values of other options and
    wins over them; `defaults` maps key paths to values for keys that the descriptor leaves out. `name` is the file
    name for messages and, without its ending, the default name of the job. With `outside` files that it names may lie
    outside the folder, and warnings say which do. `jobs` are the numbers of jobs that it may call by their names. Files
    whose digests are `known`, and that are what they were, are not read.

    Raises:
        DescriptorError: With every fault that was found.

    """
    document, changed = decode(text, name), set[str]()
    report = Report(_lines_of(text, changed))
    return _parsed(
        document, changed, report, folder, name=name, sets=sets, overrides=overrides, defaults=defaults,
        outside=outside, jobs=jobs, known=known,
    )  # fmt: skip


def parse_document(
    document: dict[str, Value], folder: Path, *, name: str = "job", defaults: Mapping[str, Value] | None = None
) -> Parsed:
    """Return the job of a descriptor that came as data (JSON) and not as TOML text; see `parse`.

    Raises:
        DescriptorError: With every fault that was found.

    """
    return _parsed(document, set(), Report(lambda _: None), folder, name=name, defaults=defaults)


def _parsed(
    document: dict[str, Value],
    changed: set[str],
    report: Report,
    folder: Path,
    *,
    name: str,
    sets: Sequence[str] = (),
    overrides: Mapping[str, Value] | None = None,
    defaults: Mapping[str, Value] | None = None,
    outside: bool = False,
    jobs: Mapping[str, int] | None = None,
    known: KnownDigests | None = None,
) -> Parsed:
    changed |= merge_defaults(document, defaults or {})
    changed |= apply_sets(document, sets, report)
    for path, value in (overrides or {}).items():
        put(document, path, value, report)
        changed.add(path)
    checked = JOB.check(document, "", report)
    with Pins(Path(folder).absolute(), outside=outside, known=known) as pins:
        job = _job(checked, pins, name, report, jobs=jobs or {})
    if report.problems or job is None:
        count = len(report.problems)
        shown = name.encode("utf-8", "backslashreplace").decode()
        counted = "1 problem" if count == 1 else f"{count} problems"
        raise DescriptorError(f"{shown} cannot be used: {counted}", problems=tuple(report.problems))
    return Parsed(job=job, warnings=tuple(report.warnings), known=known)


def json_schema() -> Schema:
    """Return the JSON Schema (2020-12) of a descriptor, for editors."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:nexapod-batch:schema:job:1",
        "title": "nexapod-batch job descriptor",
        "description": JOB.text,
    }
    return head | JOB.schema()


def _job(
    checked: dict[str, Value], pins: Pins, name: str, report: Report, *, jobs: Mapping[str, int]
) -> Job | None:
    """Return the job of a checked document, after the rules that concern several keys."""
    sections = _sections(checked, pins, report, jobs=jobs)
    what = checked["job"]
    if not isinstance(what, dict):
        return None
    _check_across(checked, sections, pins.folder, report)
    quorum, resources, schedule = sections.quorum, sections.resources, sections.schedule
    if report.problems or quorum is None or resources is None or schedule is None:
        return None
    env = what["env"]
    if what["reproducible"]:
        env = pinned_environment(env, resources.cpus_per_task, report)
    job = Job(
        name=what["name"] or rules.default_name(name),
        command=tuple(what["command"] or ()),
        script=what["script"] or "",
        workdir=what["workdir"],
        stdin=what["stdin"] or "",
        left_over=what["left_over"],
        home=what["home"],
        env=tuple(sorted(env.items())),
        labels=tuple(sorted(what["labels"].items())),
        resources=resources,
        container=sections.container,
        array=sections.array,
        quorum=quorum,
        inputs=sections.inputs,
        outputs=sections.outputs,
        schedule=schedule,
        sites=sections.sites,
        publication=sections.publication,
        results_to=_results_to(checked["results"]),
        checkpoint=sections.checkpoint,
    )
    return input_files.with_task_inputs(job, pins, report)


def _sections(checked: dict[str, Value], pins: Pins, report: Report, *, jobs: Mapping[str, int]) -> _Sections:
    """Return what each section says by itself; [quorum] is read before [container], which asks for it."""
    folder, outside = pins.folder, pins.outside
    array = quorum = None
    if isinstance(checked["array"], dict):
        array = read_array(checked["array"], folder, report, outside=outside)
    if isinstance(checked["quorum"], dict):
        quorum = rules.quorum(checked["quorum"], report)
    container = _container(checked["container"], quorum, folder, report, outside=outside)
    inputs = input_files.inputs(checked["inputs"], pins, report, jobs=jobs)
    outputs = output_rules.outputs(checked["outputs"], report)
    paths.outputs(outputs, report)
    resources = _resources(checked["resources"])
    return _Sections(
        array=array,
        quorum=quorum,
        container=container,
        resources=resources,
        schedule=_schedule(checked["schedule"], inputs, jobs, report),
        inputs=inputs,
        outputs=outputs,
        sites=rules.sites(checked["site"]),
        publication=_publication(checked["publication"], report),
        checkpoint=read_checkpoint(checked["checkpoint"], resources, report),
    )


def _check_across(checked: dict[str, Value], sections: _Sections, folder: Path, report: Report) -> None:
    """Report what contradicts itself across sections."""
    what, array, inputs = checked["job"], sections.array, sections.inputs
    quorum, container = sections.quorum, sections.container
    rules.program(what, report)
    paths.workdir(what["workdir"], report)
    rules.surroundings(what, inputs, report, contained=isinstance(checked["container"], dict))
    rules.environment(what["env"], report, contained=isinstance(checked["container"], dict))
    if array is not None or checked["array"] is None:  # else every parameter would be reported as unknown
        rules.placeholders(what, inputs, sections.outputs, array, report)
    paths.program_files(what, inputs, folder, report)
    rules.script_hints(what, array, report)
    if quorum is not None and (container is not None or checked["container"] is None):
        rules.isolation(quorum, container, report)
    if container is not None and sections.resources is not None:
        rules.network(container, sections.resources, report)


def _resources(section: Value) -> Resources | None:
    if not isinstance(section, dict) or any(value is BAD for value in section.values()):
        return None
    found: dict[str, Value] = {rules.SETTLED.get(name, name): value for name, value in section.items()}
    found["tier"] = Tier(section["tier"])
    return Resources(**found)


def _container(
    section: Value, quorum: QuorumPolicy | None, folder: Path, report: Report, *, outside: bool
) -> Container | None:
    if not isinstance(section, dict):
        return None
    from nexapod_batch import plugins  # noqa: PLC0415 - entry points cost 30 ms

    if "apptainer" not in plugins.names("runtime"):
        known = ", ".join(plugins.names("runtime")) or "none"
        report.add(
            "container",
            f"no container runtime is installed (there is: {known})",
            wanted="apptainer",
            hint="this version has no container runtime: leave [container] out",
        )
    pinned, compared = section["sha256"], quorum is not None and quorum.agree > 1
    image = paths.image(section["image"], pinned, folder, report, compared=compared, outside=outside)
    if image is None or BAD in section.values() or BAD in section["bind"]:
        return None
    return Container(
        image=image,
        sha256=(pinned or "").lower(),
        network=section["network"],
        isolation=section["isolation"],
        bind=tuple(section["bind"]),
    )


def _results_to(section: Value) -> str:
    if isinstance(section, dict) and isinstance(section["to"], str):
        return section["to"]
    return ""


def _publication(section: Value, report: Report) -> Publication | None:
    if section is None:
        return None
    return read_publication(section, report)


def _schedule(
    section: Value, inputs: Sequence[Input], jobs: Mapping[str, int], report: Report
) -> Schedule | None:
    if not isinstance(section, dict) or any(value is BAD for value in section.values()):
        return None
    before: dict[int, Dependency] = {}
    for number, one in enumerate(section["depends_on"]):
        if one["job"] is BAD or one["when"] is BAD:
            continue
        where = f"schedule.depends_on[{number}]"
        job = job_sources.number_of(one["job"], jobs)
        if job is None:
            job_sources.report_unknown(where, one["job"], jobs, report)
            continue
        if job in before:
            report.add(where, f"job {one['job']} stands there twice", wanted="each job once")
        before[job] = Dependency(job=job, when=one["when"])
    return Schedule(
        priority=section["priority"],
        hold=section["hold"],
        depends_on=job_sources.with_sources(tuple(before.values()), inputs, report),
        sites=tuple(dict.fromkeys(section["sites"])),
    )

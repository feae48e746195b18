"""Descriptors as the NexaPod documents have them, and flat ones, made into ours. Pure: data in, data out.

A flat descriptor has the keys of `[job]` (`command`, `script`, `name`, `env`, ...) beside the sections, and may say
`docker_image` or `image`, `requirements`, `validation`, `id`. One with a `job` section is ours already. What cannot be
kept is refused by name, or told in a note where nothing depends on it.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import DescriptorError, Problem
from nexapod_batch.schema.problems import MAX_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Translated", "translate"]

Document = dict[str, Any]
Translated = tuple[Document, str, list[str]]

_JOB_KEYS = frozenset(
    {"name", "command", "script", "workdir", "stdin", "left_over", "home", "reproducible", "env", "labels"}
)
_SECTIONS = frozenset({"schema", "array", "container", "quorum", "inputs", "outputs", "schedule", "site"})
#: What says nothing about how the job is run.
_TALK = frozenset({"description", "compute_estimate", "credits", "metadata", "output_path"})
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII)
#: What else a flat descriptor may say.
_OTHERS = ("resources", "docker_image", "image", "requirements", "validation", "id")
#: Runs what the image itself says should run.
_RUNSCRIPT = ["/.singularity.d/runscript"]
_TIERS = {"cpu": "cpu", "consumer_gpu": "consumer-gpu", "consumer-gpu": "consumer-gpu", "hpc": "hpc", "any": "any"}
_RESOURCES = frozenset({"nodes", "ntasks", "cpus_per_task", "mem", "gpus", "gpu_type", "gpu_mem", "time", "disk"})


def translate(document: Document) -> Translated:
    """Return a descriptor of ours, the id that its submitter chose ("" for none), and notes.

    Raises:
        DescriptorError: With every key that cannot be kept.

    """
    rest = {key: value for key, value in document.items() if value is not None}
    own_id = _own_id(rest)
    rest.setdefault("schema", 1)
    if "job" in rest:
        return rest, own_id, []
    notes: list[str] = []
    problems: list[Problem] = []
    made: Document = {key: rest.pop(key) for key in list(rest) if key in _SECTIONS}
    job: Document = {key: rest.pop(key) for key in list(rest) if key in _JOB_KEYS}
    if own_id:
        job.setdefault("name", own_id)
    if "title" in rest:
        job["labels"] = {"title": rest.pop("title"), **_table(job.get("labels", {}))}
    _container(made, rest, problems)
    _program(job, problems, has_image="container" in made)
    _quorum(made)
    resources = {**_table(rest.pop("resources", {})), **_requirements(rest.pop("requirements", None), problems)}
    if resources:
        made["resources"] = resources
    _outputs(made)
    _validation(made, rest.pop("validation", None), notes, problems)
    ignored = sorted(_TALK & rest.keys())
    if ignored:
        notes.append(f"not used: {', '.join(ignored)}")
    unknown = sorted(rest.keys() - _TALK)
    problems += [_unknown(key) for key in unknown[:MAX_UNKNOWN]]
    if len(unknown) > MAX_UNKNOWN:
        problems.append(Problem("the rest", f"{len(unknown) - MAX_UNKNOWN} more unknown keys"))
    if problems:
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        raise DescriptorError(f"the descriptor cannot be used: {count}", problems=tuple(problems))
    return {"job": job, **made}, own_id, notes


def _unknown(key: str) -> Problem:
    if "input" in key:
        return Problem(key, "input_uri and input_files are not fetched: send `inputs` with `files`")
    if key in _REQUIREMENTS:
        return Problem(key, "belongs in requirements")
    near = get_close_matches(key.lower(), [*_JOB_KEYS, *_SECTIONS, *_OTHERS, *_REQUIREMENTS], n=1)
    if not near:
        return Problem(key, "is no key of a descriptor")
    meant = f"requirements.{near[0]}" if near[0] in _REQUIREMENTS else near[0]
    return Problem(key, f"is no key of a descriptor (did you mean {meant!r}?)")


def _own_id(rest: Document) -> str:
    """Take out the id that a submitter chose; DescriptorError for one that is none, or two that differ."""
    from nexapod_batch.coordinator.people.jobs import OWN_ID  # noqa: PLC0415

    found = [rest.pop(key) for key in ("id", "job_id") if key in rest]
    for given in found:
        if not (isinstance(given, str) and OWN_ID.fullmatch(given)) or given != found[0]:
            wanted = "one text of at most 128 letters, digits and . _ + = @ : -, not of digits alone"
            raise DescriptorError("this is no id for a job", got=repr(given)[:100], wanted=wanted)
    return found[0] if found else ""


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {"": value}


def _container(made: Document, rest: Document, problems: list[Problem]) -> None:
    images = {key: rest.pop(key) for key in ("docker_image", "image") if key in rest}
    if len(images) > 1 or (images and "container" in made):
        problems.append(Problem("docker_image", "an image stands there twice: once is enough"))
        return
    for key, image in images.items():
        if not isinstance(image, str):
            problems.append(Problem(key, "must be a text"))
        else:
            plain = "://" not in image and not image.startswith(("/", "./")) and not image.endswith(".sif")
            made["container"] = {"image": f"docker://{image}" if plain else image}


def _program(job: Document, problems: list[Problem], *, has_image: bool) -> None:
    command, script = job.get("command"), job.get("script")
    for key, text in (("command", command), ("script", script)):
        if isinstance(text, str) and not text.strip():
            problems.append(Problem(key, "is empty: wanted what is to run"))
    if isinstance(command, str):
        job["command"] = ["/bin/sh", "-c", command]
    if isinstance(script, str) and not script.startswith("#!"):
        job["script"] = "#!/bin/sh\n" + script
    if command is None and script is None and has_image:
        job["command"] = list(_RUNSCRIPT)


def _quorum(made: Document) -> None:
    """Take a whole number for how many replicas must agree."""
    quorum = made.get("quorum")
    if isinstance(quorum, int) and not isinstance(quorum, bool):
        made["quorum"] = {"agree": quorum}


def _number(value: object) -> object:
    """Return the number that a text spells: its unit is that of the key, and not what it would be in a descriptor."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


def _gibibytes(value: object) -> object:
    value = _number(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 << 30:
        return f"{max(1, round(value * 1024))}MiB"
    return value  # refused with everything else that is wrong


def _seconds(value: object) -> object:
    value = _number(value)
    return f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else value


def _tier(value: object) -> object:
    return _TIERS.get(value.lower(), value) if isinstance(value, str) else value


def _one_gpu(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


def _same(value: object) -> object:
    return value


#: Words of the NexaPod documents -> ours, and what becomes of their values.
_WORDS: dict[str, tuple[str, Callable[[object], object]]] = {
    "min_memory_gb": ("mem", _gibibytes),
    "memory_gb": ("mem", _gibibytes),
    "ram_gb": ("mem", _gibibytes),
    "min_storage_gb": ("disk", _gibibytes),
    "storage_gb": ("disk", _gibibytes),
    "min_gpu_memory_gb": ("gpu_mem", _gibibytes),
    "gpu_memory_gb": ("gpu_mem", _gibibytes),
    "gpu_required": ("gpus", _one_gpu),
    "gpu": ("gpus", _one_gpu),
    "gpu_count": ("gpus", _same),
    "cores": ("cpus_per_task", _same),
    "min_cores": ("cpus_per_task", _same),
    "cpus": ("cpus_per_task", _same),
    "cpu_cores": ("cpus_per_task", _same),
    "timeout_seconds": ("time", _seconds),
    "min_tier": ("tier", _tier),
    "tier": ("tier", _tier),
}


_REQUIREMENTS = sorted({*_WORDS, *_RESOURCES})


def _requirements(value: object, problems: list[Problem]) -> Document:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(Problem("requirements", "must be a table"))
        return {}
    if len(value) > len(_REQUIREMENTS) + MAX_UNKNOWN:
        problems.append(Problem("requirements", f"has {len(value)} keys: wanted {', '.join(_REQUIREMENTS)}"))
        return {}
    made: Document = {}
    names: dict[str, str] = {}
    for key, given in value.items():
        if given is None:
            continue
        name, change = _WORDS.get(key, (key if key in _RESOURCES else "", _same))
        if not name:
            problems.append(Problem(f"requirements.{key[:80]}", _unknown_requirement(key)))
        elif name in made:
            problems.append(Problem(f"requirements.{key}", f"says {name} a second time, after {names[name]}"))
        else:
            made[name], names[name] = change(given), key
    return made


def _unknown_requirement(key: str) -> str:
    near = get_close_matches(key, _REQUIREMENTS, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(_REQUIREMENTS)}"
    return f"is no requirement that is known here: {meant}"


def _outputs(made: Document) -> None:
    outputs = made.get("outputs")
    if isinstance(outputs, list):
        made["outputs"] = [{"path": one} if isinstance(one, str) else one for one in outputs]


def _validation(made: Document, value: object, notes: list[str], problems: list[Problem]) -> None:
    """Make of `redundancy_factor` how many replicas there are, of which more than half must agree."""
    if value is None:
        return
    if not isinstance(value, dict) or not value.keys() <= {"redundancy_factor", "tolerance"}:
        problems.append(Problem("validation", "takes redundancy_factor and tolerance alone"))
        return
    factor, tolerance = value.get("redundancy_factor"), value.get("tolerance")
    if isinstance(factor, int) and not isinstance(factor, bool) and factor > 0:
        made["quorum"] = {"replicas": factor, "agree": factor // 2 + 1, **_table(made.get("quorum", {}))}
    elif factor is not None:
        problems.append(Problem("validation.redundancy_factor", "must be a whole number from 1"))
    if tolerance:
        _tolerate(made.get("outputs"), tolerance, notes)


def _tolerate(outputs: object, tolerance: object, notes: list[str]) -> None:
    """Compare outputs of which nothing else is said within a relative tolerance."""
    compared = [one for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
    for output in compared:
        if "compare" not in output:
            output.update(compare="allclose", rtol=tolerance)
    if not compared:
        notes.append("validation.tolerance needs outputs: what the command prints is compared exactly")

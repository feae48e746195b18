"""`{placeholders}` in a descriptor: array values and the job's own numbers, expanded per task.

Expansion is plain substitution into argv elements, environment values and paths; it never meets a shell. A script is
not expanded: it reads the same values as `NEXAPOD_*` environment variables. `{task:03d}` pads a whole number with
zeros, as in Python and C.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nexapod_batch.model.job import Job

__all__ = [
    "BUILT_IN", "NUMBERS", "THREADS", "expand", "literal", "names_in", "padded_names", "task_environment",
    "task_values", "template", "values_of_tasks",
]  # fmt: skip

#: Placeholders that every task has, beside the names of its array.
BUILT_IN = ("name", "task", "nodes", "ntasks", "cpus_per_task", "mem_mib", "gpus")

#: Those of them that are whole numbers.
NUMBERS = frozenset(BUILT_IN) - {"name"}

#: Variables by which programs and libraries are told how many threads to start.
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "JULIA_NUM_THREADS",
)  # fmt: skip

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)(?::0([1-9][0-9]?)d)?\}|[{}]")


def names_in(text: str) -> list[str]:
    """Return the placeholder names in `text`; ValueError for a lone brace (write `{{` or `}}`)."""
    names = []
    for token in _TOKEN.finditer(text):
        if token[1]:
            names.append(token[1])
        elif token[0] in "{}":
            msg = (
                f"lone {token[0]!r} at character {token.start() + 1}: write {token[0] * 2!r} for a literal brace, "
                f"{{name}} or {{name:03d}} for a value"
            )
            raise ValueError(msg)
    return names


def literal(text: str) -> str:
    """Return a text in which every brace means itself."""
    return text.replace("{", "{{").replace("}", "}}")


def padded_names(text: str) -> set[str]:
    """Return the names that are to be padded, whose values must be whole numbers."""
    return {token[1] for token in _TOKEN.finditer(text) if token[2]}


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace every `{name}`; KeyError for a name without value. Values are never expanded again."""

    def replace(token: re.Match[str]) -> str:
        if not token[1]:
            return token[0][0]
        value = values[token[1]]
        if token[2]:
            return value.zfill(int(token[2]))
        return value

    if "{" in text or "}" in text:
        return _TOKEN.sub(replace, text)
    return text


def template(text: str) -> Callable[[Mapping[str, str]], str]:
    """Return what does `expand` of one text for thousands of tasks: it is taken apart once."""
    parts: list[tuple[str, str, int]] = []  # what stands before a placeholder, its name, and its width
    before, end = "", 0
    for token in _TOKEN.finditer(text):
        before += text[end : token.start()]
        end = token.end()
        if token[1]:
            parts.append((before, token[1], int(token[2] or 0)))
            before = ""
        else:
            before += token[0][0]
    rest = before + text[end:]

    def filled(values: Mapping[str, str]) -> str:
        whole = ""
        for literally, name, width in parts:
            value = values[name]
            whole += literally + (value.zfill(width) if width else value)
        return whole + rest

    return filled


def values_of_tasks(job: Job) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each task index, and what `task_values` says of it."""
    alike = task_values(job, 0, {})
    has_names = job.array is not None and not job.array.ranges
    for index in job.task_indexes():
        values = {**alike, "task": str(index)}
        yield index, {**values, **job.parameters(index)} if has_names else values


def task_values(job: Job, index: int, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return what each placeholder stands for in task `index`."""
    resources = job.resources
    return {
        "name": job.name,
        "task": str(index),
        "nodes": str(resources.nodes or 1),
        "ntasks": str(resources.ntasks or 1),
        "cpus_per_task": str(resources.cpus_per_task or 1),
        "mem_mib": str(resources.mem_mib or 0),
        "gpus": str(resources.gpus),
        **parameters,
    }


def task_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the `NEXAPOD_*` variables of a task: one for each placeholder, name in upper case."""
    return {f"NEXAPOD_{name.upper()}": value for name, value in values.items()}

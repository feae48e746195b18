"""`#SBATCH` lines of a script as keys of a descriptor. Pure: text in, data out.

Every directive is accounted for: translated, left out with the reason, or, where leaving it out would change what the
job does, refused. Slurm reads directives up to the first command, and so does this; source: sbatch(1).
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch.cli.drafts.sbatch_options import (
    LEFT_OUT,
    LONG_NAMES,
    REFUSED,
    SCHEDULER,
    WITHOUT_VALUE,
    Sums,
    translated,
)
from nexapod_batch.errors import DescriptorError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Translation", "directives", "translate"]

#: Variables of Slurm that a script may read, and what stands for them.
_VARIABLES = {
    "SLURM_ARRAY_TASK_ID": "{task}",
    "SLURM_CPUS_PER_TASK": "{cpus_per_task}",
    "SLURM_JOB_CPUS_PER_NODE": "{cpus_per_task}",
    "SLURM_JOB_NAME": "{name}",
    "SLURM_NTASKS": "{ntasks}",
    "SLURM_NPROCS": "{ntasks}",
    "SLURM_NNODES": "{nodes}",
    "SLURM_JOB_NUM_NODES": "{nodes}",
    "SLURM_MEM_PER_NODE": "{mem_mib}",
    "SLURM_GPUS": "{gpus}",
}
_LAUNCHERS = r"^[ \t]*(srun|mpirun|mpiexec|mpiexec\.hydra|prun)\b"


class Translation(Struct, frozen=True, kw_only=True):
    """What the directives of a script say, in the words of a descriptor."""

    job: dict[str, Any]  # name, env, stdin
    tables: dict[str, Any]  # resources, array, schedule, site
    files: tuple[str, ...]  # that directives name
    notes: tuple[str, ...]  # a line for each directive: what became of it
    refused: tuple[str, ...]  # directives and lines without which the job would be another


def directives(script: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield line number, long option and value of each directive; DescriptorError for one that Slurm would refuse."""
    for number, line in enumerate(script.splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            return
        if not line.startswith("#SBATCH"):
            continue
        try:
            words = shlex.split(line.removeprefix("#SBATCH"), comments=True)
        except ValueError as error:
            raise DescriptorError(f"line {number}: not a directive", got=line.strip(), wanted=str(error)) from error
        yield from ((number, name, value) for name, value in _options(words, number))


def _options(arguments: list[str], number: int) -> Iterator[tuple[str, str | None]]:
    """Yield the options of one directive: `--time=5`, `--time 5`, `-t5`, `-t 5`."""
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        name, value = _split(word)
        if not name:
            raise DescriptorError(f"line {number}: not an option of sbatch", got=word, wanted="--option=value")
        if value is None and name not in WITHOUT_VALUE and position < len(arguments):
            value = arguments[position]
            position += 1
        yield name, value


def _split(word: str) -> tuple[str, str | None]:
    """Return the long name and the value of a word; an empty name where it is no option."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, value if equals else None
    if word.startswith("-") and word[1:2] in LONG_NAMES:
        return LONG_NAMES[word[1]], word[2:].removeprefix("=") or None
    return "", None


def translate(script: str, site: str | None) -> Translation:
    """Return what the directives of a script become; `site` is where words for a scheduler go."""
    sums = Sums()
    notes: list[str] = []
    refused: list[str] = []
    for number, name, value in directives(script):
        shown = f"line {number}: --{name}" + (f"={value}" if value else "")
        became, problem = _became(sums, name, value or "", site)
        if problem:
            refused.append(f"{shown}: {problem}")
        else:
            notes.append(f"{shown}: {became}")
    resources, more = sums.resources(launches=bool(re.search(_LAUNCHERS, script, re.MULTILINE)))
    notes += more.notes
    refused += more.refused
    variables, others = _variables(script, array=bool(sums.array))
    notes += _about_body(script) + others
    tables = {"resources": resources, "array": sums.array, "schedule": sums.schedule}
    if site is not None and sums.scheduler:
        tables["site"] = {site: {"resources": sums.scheduler}}
    job = {**sums.job, "env": {**variables, **sums.env}}
    kept = {name: table for name, table in tables.items() if table}
    return Translation(
        job=job, tables=kept, files=tuple(sums.files), notes=tuple(notes), refused=(*refused, *_launched(script))
    )


def _became(sums: Sums, name: str, value: str, site: str | None) -> tuple[str, str]:
    """Return what becomes of a directive, and a problem where it can neither be translated nor left out."""
    if name in REFUSED:
        return "", REFUSED[name]
    if name in LEFT_OUT:
        return f"left out, {LEFT_OUT[name]}", ""
    if name in SCHEDULER:
        return _for_scheduler(sums, SCHEDULER[name], value, site), ""
    return translated(sums, name, value)


def _for_scheduler(sums: Sums, key: str, value: str, site: str | None) -> str:
    if site is None:
        return "left out, a site's own word: name the site with --site NAME"
    sums.scheduler[key] = value
    return f'site.{site}.resources.{key} = "{value}"'


def _variables(script: str, *, array: bool) -> tuple[dict[str, str], list[str]]:
    """Return the variables of Slurm that the script reads and that can be set, and a note for the others."""
    names = dict.fromkeys(re.findall(r"\$\{?(SLURM_[A-Z_]+)", script))
    known = {name: _VARIABLES[name] for name in names if name in _VARIABLES}
    if not array:
        known.pop("SLURM_ARRAY_TASK_ID", None)
    others = [name for name in names if name not in known]
    if not others:
        return known, []
    return known, [f"not set here: {', '.join(others)} (a command can read NEXAPOD_TASK, NEXAPOD_NAME and the like)"]


def _about_body(script: str) -> list[str]:
    if re.search(r"^[ \t]*(module|ml)[ \t]+(load[ \t]|add[ \t]|[a-zA-Z])", script, re.MULTILINE):
        return ["module load: works where the site file says `[environment] modules`; name the modules there"]
    return []


def _launched(script: str) -> list[str]:
    """Refuse lines that start ranks: with ntasks above 1 the site's launcher does so."""
    found = []
    for number, line in enumerate(script.splitlines(), 1):
        if match := re.match(_LAUNCHERS, line):
            how = "nexapod-batch submit --ntasks N -- PROGRAM starts PROGRAM once for each rank"
            found.append(f"line {number}: {match[1]} starts ranks by itself; {how}")
    return found

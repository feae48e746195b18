"""In which programs, and by which PATH, the replicas of a task and its submit differ, by what was signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.errors import NexapodError
from nexapod_batch.lifecycle import Execution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job, Program
    from nexapod_batch.store.repositories.replicas import ReplicaRow

__all__ = ["differences", "programs_of"]

_SUBMIT = "at submit"
_DIGITS = 12  # of a digest, for people


def programs_of(c: Coordinator, job: Job, replicas: Sequence[ReplicaRow]) -> dict[str, Program]:
    """Return which program a command was at submit, and in each replica that said so, by what people call these."""
    found = {} if job.program is None else {_SUBMIT: job.program}
    for row in replicas:
        if row.execution not in {Execution.REPORTED, Execution.ERRORED}:
            continue
        try:
            program = statement_of(c, row.id).program
        except NexapodError:  # a damaged statement is for `verify` to tell, and some errors nobody signed
            continue
        if program is not None:
            found[f"replica {row.number}"] = program
    return found


def differences(programs: dict[str, Program]) -> list[str]:
    """Return, for people, in which file, content or PATH programs differ; nothing where all are the same. Pure."""
    lines = []
    files = {who: _shown(program) for who, program in programs.items()}
    if len(set(files.values())) > 1:
        lines.append(f"the program is not the same everywhere: {_grouped(files)}")
    paths = {who: program.path or "that of the image" for who, program in programs.items()}
    if len(set(paths.values())) > 1:
        lines.append(f"PATH is not the same everywhere: {_grouped(paths)}")
    return lines


def _shown(program: Program) -> str:
    return f"{program.file} (SHA-256 {program.sha256[:_DIGITS] or 'unknown'})"


def _grouped(values: dict[str, str]) -> str:
    """Return each value once, with all who have it."""
    who_has: dict[str, list[str]] = {}
    for who, value in values.items():
        who_has.setdefault(value, []).append(who)
    return "; ".join(f"{', '.join(who)}: {value}" for value, who in who_has.items())

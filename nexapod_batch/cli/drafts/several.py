"""Descriptors that are submitted together, and may name each other's jobs: read, and put in the order of the work."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.cli.drafts.source import Source
    from nexapod_batch.config.job.descriptor import Parsed

__all__ = ["are_descriptors", "in_order", "provisional_numbers"]


def are_descriptors(arguments: Sequence[str]) -> bool:
    """Say whether words of a command line are several descriptors, by their endings."""
    return len(arguments) > 1 and all(Path(word).suffix == ".toml" for word in arguments)


def provisional_numbers(sources: Sequence[Source]) -> dict[str, int]:
    """Return a number below 0 for the job of each descriptor, by its name: the real ones come when they are stored.

    UsageError for two jobs of one name.
    """
    from nexapod_batch.config import rules
    from nexapod_batch.config.toml import decode

    numbers: dict[str, int] = {}
    for position, source in enumerate(sources, 1):
        table = decode(source.text, source.name).get("job")
        given = table.get("name") if isinstance(table, dict) else None
        name = given if isinstance(given, str) else rules.default_name(source.name)
        if name in numbers:
            hint = "give each its own: [job] name"
            raise UsageError("two jobs of one name, which would not know whom they follow", got=repr(name), hint=hint)
        numbers[name] = -position
    return numbers


def in_order(jobs: Mapping[str, Parsed], numbers: Mapping[str, int]) -> list[str]:
    """Return the names of jobs, each behind those that it follows; UsageError where some follow each other."""
    names = {number: name for name, number in numbers.items()}
    before = {
        name: [names[one.job] for one in parsed.job.schedule.depends_on if one.job in names]
        for name, parsed in jobs.items()
    }
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise UsageError("jobs follow each other in a circle", got=circle, hint="one of them has to begin") from error

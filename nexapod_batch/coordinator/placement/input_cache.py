"""Inputs kept by digest, here and beside the nodes: each place has a limit, and what was used longest ago goes first.

Here the jobs themselves say what was used when: an input was used last by the job that ended last of those that name
it. What a job that is open needs, or a replica that is still out, never goes. All of it is done by whoever writes the
database, so that two hosts never do it at once; a process that is killed leaves what the next one removes. Whoever
finds what it needs already kept, and stores a job only then, compares `removals` before and after.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct, json
from msgspec.structs import replace

from nexapod_batch.coordinator.placement.kept_inputs import note_removal
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.least_used import Kept, drop, listed, over
from nexapod_batch.model.reason import Code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node

__all__ = ["drop_stale", "keep_within_limits", "stale_inputs", "unstage"]

#: How often a pass sees to the limits, in seconds; and the file of the home whose time says when one did.
_EVERY_S, _CHECKED = 3_600, "inputs.checked"
_NO_LIMIT = 1 << 62


class _File(Struct):
    sha256: str


class _Document(Struct):
    """What of a job's document tells which files it needs."""

    inputs: list[_File]
    container: _File | None = None


def stale_inputs(c: Coordinator, *, whatever_else: bool = False) -> list[str]:
    """Return the names of kept inputs that may go, those that were used longest ago first, and of parts of such.

    That is what no job needs which is open or ended within the time of retention, and what is too much; `whatever_else`
    are all that no job needs now.
    """
    from nexapod_batch.config.settings import settings  # noqa: PLC0415 - few passes ask

    if not c.paths.inputs.is_dir():
        return []
    limits = settings(c.paths)
    needed, used = _needed(c), dict[str, int]()
    since = _NO_LIMIT if whatever_else else c.now() - limits.keep_inputs_s * 1000
    for row in c.store.jobs.ended_documents(since):
        used.update((one.sha256, row.job_id) for one in json.decode(row.body, type=_Document).inputs)
    parts: list[Kept] = []
    files: list[Kept] = []
    for file in listed(c.paths.inputs):
        (parts if file.name.startswith(".") else files).append(file)
    old = [file.name for file in files if file.name not in needed and file.name not in used]
    kept = [file._replace(used=used.get(file.name, 0)) for file in files if file.name in needed or file.name in used]
    limit = limits.inputs_mib << 20 or _NO_LIMIT
    too_much = over(kept, needed, limit, 0)
    return [*old, *too_much, *over(parts, (), 0, c.now() / 1000)]


def drop_stale(c: Coordinator, *, whatever_else: bool = False) -> int:
    """Remove kept inputs that may go; return how many. Who asks writes the database."""
    stale = stale_inputs(c, whatever_else=whatever_else)
    if stale:
        note_removal(c)
    return drop(c.paths.inputs, stale)


def unstage(c: Coordinator, nodes: Sequence[Node], faults: Faults, *, whatever_else: bool = False) -> int:
    """Let backends remove copies of inputs and images that are too much beside their nodes; return how many.

    With `whatever_else` all that no job needs is too much.
    """
    needed = _needed(c)
    removed = 0
    for node in nodes:
        try:
            context = c.context(node)
            spare = 0 if whatever_else or context.site is None else context.site.fetch_cache_mib
            removed += c.backend(node).unstage(replace(context, spare_mib=spare), needed)
        except (NexapodError, OSError) as error:
            faults.of_node(Code.UNSTAGE_FAULT, node, error)
    return removed


def keep_within_limits(c: Coordinator, nodes: Sequence[Node], faults: Faults) -> None:
    """See to it, once in a while, that there is not too much here or beside a node."""
    mark = c.paths.home / _CHECKED
    try:
        is_due = abs(time.time() - mark.stat().st_mtime) >= _EVERY_S
    except FileNotFoundError:
        is_due = False  # the first pass of all: nothing is old yet
    else:
        if not is_due:
            return
    mark.touch(mode=0o600)
    if is_due:
        drop_stale(c)
        unstage(c, nodes, faults)


def _needed(c: Coordinator) -> set[str]:
    """Return the digests of inputs and images that open jobs need, or replicas that are still out."""
    needed = set(c.store.continuations.digests_out())
    for row in c.store.jobs.running_documents():
        document = json.decode(row.body, type=_Document)
        needed.update(one.sha256 for one in document.inputs)
        if document.container is not None:
            needed.add(document.container.sha256)
    return needed

"""Inputs that nodes fetch by themselves, where their site says so, and those that must be fetched here after all.

A node fetches what is pinned and has a URL. One that could not fetch something of a job gets all inputs of that job
brought: its network is at fault, or the source wants a login that only we have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.fetching_nodes import fetch_folder
from nexapod_batch.coordinator.placement.images import Silent
from nexapod_batch.coordinator.placement.remote_inputs import fetch_input
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.job import TaskInputs
from nexapod_batch.model.job_source import has_remote, is_remote
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.model.node import Node

__all__ = ["ask_for", "fetch_wanted", "fetched_by", "left_to_nodes"]

#: How long after a failure it is tried again here, in milliseconds.
_REST_MS = 30_000


def left_to_nodes(c: Coordinator, inputs: Sequence[Input], nodes: Collection[Node]) -> frozenset[str]:
    """Return the digests of inputs that nobody fetches here: they are pinned, and all `nodes` fetch by themselves."""
    if not has_remote(inputs):
        return frozenset()
    pinned = [job_input for job_input in inputs if job_input.sha256 and is_remote(job_input.source)]
    if not pinned or not nodes or not all(fetch_folder(c, node) for node in nodes):
        return frozenset()
    return frozenset(job_input.sha256 for job_input in pinned)


def fetched_by(c: Coordinator, node: Node, job_id: int, job: Job, tasks: Iterable[int]) -> dict[str, str]:
    """Return, of the inputs of some tasks, those that a node fetches by itself: digest -> where it keeps them."""
    if not has_remote(job.inputs):
        return {}
    by_task, folder = TaskInputs(job.inputs), fetch_folder(c, node)
    if not folder or c.store.replicas.could_not_fetch(job_id, node.id):
        return {}
    wanted = [job_input for task in set(tasks) for job_input in by_task.of(task)]
    return {one.sha256: f"{folder}/{one.sha256}" for one in wanted if is_remote(one.source)}


def ask_for(c: Coordinator, node: Node, inputs: Sequence[Input]) -> bool:
    """Have inputs that a node lacks fetched here, once the pass has ended; return whether they may come.

    Raises:
        NexapodError: One of them could not be fetched a moment ago.

    """
    if not all(is_remote(job_input.source) for job_input in inputs):
        return False
    for job_input in inputs:
        failed = c.unfetched.get(job_input.sha256)
        if failed is not None and 0 <= c.now() - failed[0] < _REST_MS:
            raise failed[1]
        c.wanted_inputs[job_input.sha256] = node, job_input
    return True


def fetch_wanted(c: Coordinator) -> list[Reason]:
    """Fetch what was asked for; return why something did not come. Nothing is locked meanwhile but the URLs."""
    wanted = dict(c.wanted_inputs)
    c.wanted_inputs.clear()
    faults = []
    for sha256, (node, job_input) in wanted.items():
        c.unfetched.pop(sha256, None)
        try:
            fetch_input(c, job_input, Silent())
        except NexapodError as error:
            c.unfetched[sha256] = c.now(), error
            about = {"node": node.name, "error": Reason.of_error(error)}
            faults.append(Reason(code=Code.STAGE_FAULT, parameters=about))
    return faults

"""Sentences about jobs, tasks, replicas and their launches, where no verdict is concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason_codes import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.wording.sentences import Parameters, Template

__all__ = ["TEMPLATES"]


def _waits_for(p: Parameters) -> str:
    verb = "ended otherwise" if p["ended"] else "is still open"
    return f"waits for job {p['job']} to be {p['condition']}; it {verb}"


def _queue_place(p: Parameters) -> str:
    ahead, fit = p["ahead"], p["nodes_fit"]
    jobs = "1 job" if ahead == 1 else f"{ahead} jobs"
    nodes = "1 node fits" if fit == 1 else f"{fit} nodes fit"
    return f"{jobs} ahead, {nodes}"


TEMPLATES: Mapping[str, Template] = {
    Code.JOB_HELD: "it is held: nothing is dispatched before `nexapod-batch release {job}`",
    Code.JOB_IS_NEW: "the next pass places it",
    Code.QUEUE_PLACE: _queue_place,
    Code.WAITS_FOR_JOB: _waits_for,
    Code.OUTPUTS_DOUBTED: "{task} is no longer met by a quorum: nexapod-batch retry {task}",
    Code.OUTPUTS_UNPUBLISHED: "waits for the outputs of {task} to be published",
    Code.OUTPUTS_UNREADABLE: "outputs of the job before cannot be used: {error}",
    Code.OUTPUTS_UNKNOWN: "which outputs {task} has is not known any more: nexapod-batch verify {task} says why",
    Code.NO_SUCH_OUTPUT: "{task} has no output {path}: cancel this job, and correct [[inputs]]",
    Code.NO_SUCH_TASK: "there is no task {task}: cancel this job, and correct [[inputs]]",
    Code.TOO_MANY_INPUTS: "what it needs are more than {limit} files: cancel it, and let the job before pack them",
    Code.CANCELLED: "cancelled by its submitter",
    Code.RETRIED: "retry",
    Code.SIGNED: "{text}",
    Code.TWO_STATEMENTS: "two different signed statements",
    Code.KEY_REVOKED: "it rests on a key that was revoked since entry {entry} of the ledger, and does not count",
    Code.NOT_POSSESSED: "its node signed digests of outputs that it never had: no vote",
    Code.OVERRULED: "reported as well, which does not count: {text}",
    Code.OVERDUE: "deadline passed",
    Code.NOT_NEEDED: "no longer needed",
    Code.REPLICA_CANCELLED: "cancelled by its submitter",
    Code.TAKEN_BACK: "taken back before it began: {node} {text}",
    Code.BACKEND: "{text}",
    Code.NO_REPORT: "the runner ended without a report ({native})",
    Code.NOT_HANDED: "{text}",
    Code.RESTORED: "the database was put back from a backup",
    Code.SITE_REMOVED: "its site was removed",
    Code.NODE_REMOVED: "its node was removed",
    Code.TASK_SALVAGED: "decided anew: the database was damaged",
    Code.REPLICA_SALVAGED: "its report was lost with a part of the database",
}

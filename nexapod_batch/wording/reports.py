"""Sentences about lines of report segments that count for nothing, and what contradicts a job or a delegation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.reason_codes import Code
from nexapod_batch.trust.delegation import NOT_COVERED
from nexapod_batch.wording.sentences import Parameters, Template, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATES"]


def _elsewhere(p: Parameters) -> str:
    where = f"in {p['native_id']}" if p["native_id"] else "outside the scheduler"
    return f"replica {p['replica']} ran {where}, and its launch is {p['launch']}: no vote"


def _contradicts(p: Parameters) -> str:
    return f"replica {p['replica']}: {sentence(p['contradiction'])}: got a statement signed by {p['node']}"


TEMPLATES: Mapping[str, Template] = {
    **NOT_COVERED,
    Code.REPORT_TOO_LONG: "a line of more than {max_bytes} bytes",
    Code.REPORT_REFUSED: lambda p: sentence(p["error"]),
    Code.REPORT_UNREADABLE: "it cannot be read: {kind}",
    Code.REPORT_NOT_TAKEN_IN: "it cannot be taken in: {kind}",
    Code.REPORT_OF_NO_REPLICA: "no replica {replica} was ever made: got a report of {node}",
    Code.REPORT_OF_OTHER_NODE: "replica {replica} was given to another node: got a report of {node}",
    Code.REPORT_BY_REVOKED_KEY: "replica {replica}: it rests on a key of node {node} that is revoked",
    Code.REPORT_BY_OTHER_KEY: "replica {replica}: not signed by the key of its launch: got a report of {node}",
    Code.REPORT_FROM_ELSEWHERE: _elsewhere,
    Code.REPORT_CONTRADICTS: _contradicts,
    Code.REPORT_UNCOMMITTED: "replica {replica}: {node} had not committed itself to this report: no vote",
    Code.REPORT_OTHER_THAN_COMMITTED: "replica {replica}: {node} had committed itself to another report",
    Code.REPORT_WITHOUT_POSSESSION: "replica {replica}: no possession tag: no vote: got a report of {node}",
    Code.NOTE_FORGED: "note {number} of the logs of {replica} is not by its runner",
    Code.NOTE_OUT_OF_CHAIN: "the logs of {replica}: note {number} does not follow the ones before: some were left out",
    Code.OTHER_NONCE: "the nonce is not its own",
    Code.OTHER_POSSESSION: "its possession tag is not that of its outputs",
    Code.OTHER_JOB: "the job is not its own",
    Code.OTHER_POLICY: "it was told another quorum policy",
    Code.OTHER_INPUTS: "its inputs are not those of the job",
    Code.OTHER_CONTINUATION: "it goes on from another state than it was given",
    Code.STATE_UNASKED: "it saved files that [checkpoint] of the job does not name, or was not stopped",
    Code.OTHER_BACKEND: "the backend is not its own",
    Code.OTHER_HOST: "the host is not that of its node",
    Code.VARIABLES_OF_NO_SITE: "it had variables of a site, and its node belongs to none",
    Code.OUTCOME_WITH_EXIT_CODE: "outcome ok with exit code {exit_code}",
    Code.ISOLATION_WITHOUT_CONTAINER: "isolation and container contradict each other",
    Code.CONTAINER_UNASKED: "the container is not its own: the job has none",
    Code.CONTAINER_UNUSED: "the container is not its own: it ran in none",
    Code.OTHER_IMAGE: "the container is not its own: it is another image",
    Code.OTHER_NETWORK: "its network was {network}, the job's is {wanted}",
    Code.GPUS_UNASKED: "it had GPUs that the job did not ask for",
    Code.OTHER_PROGRAM: "its program is not the one that the job brought",
    Code.ONLY_STDOUT: "its only output is stdout",
    Code.STDOUT_DIGESTS_DIFFER: "its two digests of stdout differ",
    Code.OUTPUTS_UNLISTED: "so few outputs are listed one by one",
    Code.OUTPUT_UNDECLARED: "the job declares no output {output!r}",
    Code.OTHER_NORMALIZERS: "its outputs were not normalised by the commands and the image of the job",
    Code.OUTPUT_DIGESTS: "output {output!r} has not the digests that its comparator takes",
    Code.OUTPUT_MISSING: "no output for {pattern!r}",
    Code.OUTPUTS_TOO_LARGE: "its outputs are larger than the job may have",
    Code.OUTPUTS_UNWRITTEN: "its outputs are larger than all that it wrote",
    Code.IMPOSSIBLE_USAGE: "it used more than any machine has",
    Code.FINISHED_BEFORE_START: "it finished before it started",
    Code.STARTED_BEFORE_LAUNCH: "it started before it was launched",
    Code.FINISHED_AFTER_REPORT: "it finished after its report came",
    Code.RAN_TOO_LONG: "it ran for longer than from start to finish",
}

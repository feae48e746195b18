"""What kept outputs of a task came to by other rules than the job's own, as JSON types and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.evidence.judged_again import folder_of, output_documents, written_again
from nexapod_batch.wording.rules import rule_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["judgement_lines", "judgements"]


def judgements(c: Coordinator, job_id: int, task: int) -> list[dict[str, Any]]:
    """Return each judgement on a task under other rules, the latest last.

    CorruptStoreError or VerificationError where one cannot be read.
    """
    documents, own = [], output_documents(c.job(job_id))
    published = c.store.tasks.get(job_id, task)
    for entry, verdict in written_again(c, job_id, task):
        again = verdict.again
        if again is None:
            continue
        folder = None
        if again.replica is not None:
            folder = folder_of(c.paths.results, job_id, task, again.number)
            if published.published and again.replica == published.published_from:
                folder = c.paths.results / str(job_id) / str(task)
        documents.append({
            "number": again.number, "entry": entry, "state": verdict.state, "agree": verdict.agree,
            "policy": verdict.policy_sha256, "outputs": list(again.outputs),
            "changed": [output for output in again.outputs if output not in own],
            "statements": len(verdict.statements), "replica": again.replica,
            "folder": None if folder is None else str(folder),
        })  # fmt: skip
    return documents


def judgement_lines(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what judgements came to, for people."""
    for document in documents:
        rules = "; ".join(f"{output['path']}: {rule_words(output)}" for output in document["changed"])
        entry = f"entry {document['entry']} of the ledger"
        yield f"  judged again, under other rules: {document['state']} ({rules or 'the same rules'}); signed, {entry}"
        if document["folder"]:
            yield f"    files of replica {document['replica']}: {document['folder']}"

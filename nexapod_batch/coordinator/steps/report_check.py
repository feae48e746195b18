"""What a report may say of the replica that it names, by what is stored: whose it is, and what its key may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.stored_statements import dictionary_for
from nexapod_batch.coordinator.nodes.joined_keys import signature_of
from nexapod_batch.coordinator.nodes.keys import keys_of
from nexapod_batch.coordinator.steps.joined_reports import not_taken
from nexapod_batch.lifecycle import OUT
from nexapod_batch.model.document import form_of
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum.expected import MAX_SKEW_MS, Expected, Place
from nexapod_batch.trust.delegation import DELEGATION_TYPE, not_covered, open_delegation
from nexapod_batch.trust.dsse import envelope

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.ready_reports import KnownJob, ReadyReport
    from nexapod_batch.coordinator.evidence.report_reader import Report
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import ReportedReplica
    from nexapod_batch.trust.delegation import Delegation
    from nexapod_batch.trust.statement import Statement

__all__ = ["Known", "RefusedReport", "check", "fitting_row", "oldest_key"]


class RefusedReport(Exception):  # noqa: N818 - it is caught where it is raised
    """A report is about something else than its replica; it says why."""

    def __init__(self, code: str, **parameters: object) -> None:
        """Keep the reason."""
        super().__init__(code)
        self.reason = Reason(code=code, parameters=parameters)


def oldest_key(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the key that signed the statements of launches without a delegation: the node's first."""
    return dict([next(iter(keys_of(c, node).items()))])


class _Given(Struct, frozen=True):
    """What a node let the key of a launch say."""

    delegation: Delegation
    nonces: frozenset[str]  # the same as the delegation has


class Known(Struct):
    """What is stored of the replicas at hand and, for a whole pass, what their launches' keys may say."""

    rows: dict[tuple[int, int, int], ReportedReplica] = field(default_factory=dict)  # of the reports at hand
    committed: dict[int, bytes] = field(default_factory=dict)  # by row id, of those on nodes that joined
    given: dict[int, _Given | None] = field(default_factory=dict)  # by launch, as far as it was looked up
    revoked: set[int] = field(default_factory=set)  # launches that rest on a key that is revoked
    jobs: dict[int, KnownJob] = field(default_factory=dict)  # of which reports are made ready, by id
    settled: set[int] = field(default_factory=set)  # jobs whose ready reports are deflated as those that are stored
    expected: dict[int, Expected] = field(default_factory=dict)  # by job, likewise

    def given_to(self, c: Coordinator, node: Node, launch: int) -> _Given | None:
        """Return what the key of a launch may say, verified once; None for a launch of a time without."""
        if launch not in self.given:
            row = c.store.launches.delegation(launch)
            if row is not None and node.joined:
                row = signature_of(c, node, launch, row)
            self.given[launch] = None
            if row is not None:
                sealed = envelope(DELEGATION_TYPE, row.payload, row.key_id, row.signature)
                delegation = open_delegation(sealed, {row.key_id: row.public_key})
                self.given[launch] = _Given(delegation, frozenset(delegation.nonces))
                if row.revoked is not None:
                    self.revoked.add(launch)
        return self.given[launch]

    def settle_dictionaries(self, c: Coordinator) -> None:
        """Store with what the statements of jobs with rows at hand are deflated; call it inside the transaction.

        Where another one is stored by now, reports that were made ready take the general way.
        """
        for job in {name[0] for name in self.rows}.intersection(self.jobs).difference(self.settled):
            dictionary = self.jobs[job].dictionary
            if dictionary_for(c, job, dictionary) == dictionary:
                self.settled.add(job)

    def whole(self, report: ReadyReport) -> Report:
        """Return a report that was made ready as it was read."""
        return report.whole(self.jobs[report.replica[0]].dictionary)


def fitting_row(c: Coordinator, node: Node, report: ReadyReport, known: Known) -> ReportedReplica | None:
    """Return the row of a replica that has no report yet when a ready one is as it must be; None says nothing.

    It is all that `check` looks at and that was not looked at when the report was made ready; what is wrong, `check`
    says.
    """
    row = known.rows.get(report.replica)
    if row is None or row.node_id != node.id or row.execution not in OUT:
        return None
    given = known.given_to(c, node, row.launch_id)
    if given is None or row.launch_id in known.revoked:
        return None
    if row.native_id not in {"", report.native_id} and c.backend(node).signs_native:
        return None
    if (report.nonce, report.job_uuid, report.job_digest) != (row.nonce, row.job_uuid, row.job_digest):
        return None
    allowed = (given.delegation.subkey, given.delegation.job, given.delegation.node)
    if (report.key, report.job_digest, report.builder) != allowed or report.nonce not in given.nonces:
        return None
    may_start = row.created_at - MAX_SKEW_MS <= report.started_ms <= given.delegation.not_after * 1000
    if not may_start or report.finished_ms > c.now() + MAX_SKEW_MS:
        return None
    return row


def check(c: Coordinator, node: Node, report: Report, known: Known) -> ReportedReplica:
    """Return the replica's row; RefusedReport unless its own launch's key says what it may say of it.

    The node is blamed for what a key of its own signed that no honest runner signs, not for what others put there.
    """
    said = report.statement
    replica = said.replica
    row = known.rows.get((replica.job, replica.task, replica.number))
    if row is None:
        raise RefusedReport(Code.REPORT_OF_NO_REPLICA, replica=str(replica), node=node.name)
    if row.node_id != node.id:
        raise RefusedReport(Code.REPORT_OF_OTHER_NODE, replica=str(replica), node=node.name)
    given = known.given_to(c, node, row.launch_id)
    if report.key != (given.delegation.subkey if given else next(iter(oldest_key(c, node).values()))):
        raise RefusedReport(Code.REPORT_BY_OTHER_KEY, replica=str(replica), node=node.name)
    if row.launch_id in known.revoked:
        raise RefusedReport(Code.REPORT_BY_REVOKED_KEY, replica=str(replica), node=node.name)
    if row.native_id and said.native_id != row.native_id and c.backend(node).signs_native:
        # Nobody's lie: a scheduler may have taken one launch twice, or a shell started the runner where it should not.
        raise RefusedReport(
            Code.REPORT_FROM_ELSEWHERE, replica=str(replica), native_id=said.native_id, launch=row.native_id
        )
    refusal = not_taken(node, row, report, known.committed.get(row.id)) if node.joined else None
    if refusal is not None:
        if refusal.blamed:
            c.store.nodes.blame(node.id)
        raise RefusedReport(refusal.reason.code, **refusal.reason.parameters)
    if why := _wrong(c, node, said, row, given, known):
        c.store.nodes.blame(node.id)
        raise RefusedReport(Code.REPORT_CONTRADICTS, replica=str(replica), node=node.name, contradiction=why)
    return row


def _wrong(
    c: Coordinator, node: Node, said: Statement, row: ReportedReplica, given: _Given | None, known: Known
) -> Reason | None:
    """Return why no honest runner signs this for the replica of a row; None where one may."""
    if said.nonce != row.nonce:
        return Reason(code=Code.OTHER_NONCE)
    known_as = form_of(said.job_digest, row.job_digest, c.job(said.replica.job))
    if (said.job_uuid, said.job_digest) != (row.job_uuid, known_as):
        return Reason(code=Code.OTHER_JOB)
    if given is not None and (code := not_covered(given.delegation, said, given.nonces)):
        return Reason(code=code)
    job = said.replica.job
    if job not in known.expected:
        known.expected[job] = Expected(c.job(job))
    host = node.host if node.site == LOCAL else None
    place = Place(backend=node.backend, host=host, given_ms=row.created_at, received_ms=c.now())
    if c.job(job).checkpoint is not None and said.continues != c.store.continuations.of(row.id):
        return Reason(code=Code.OTHER_CONTINUATION)
    return known.expected[job].contradiction(said, place)

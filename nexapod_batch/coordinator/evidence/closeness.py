"""Comparing outputs within tolerances: which replicas of one task are close, and which cannot be compared at all.

- Equal signed digests agree, and nothing is read.
- What is compared is what was signed: the bytes are digested while they are read.
- A fault is never a difference. One that may pass (a disk that is away) is raised, for a later pass; a file that is
  not what was signed leaves its replica without a vote, and says why; with one that is no table it has failed, unless
  another replica wrote the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from msgspec.structs import replace

from nexapod_batch.compare.budget import Budget, within
from nexapod_batch.compare.stores import stores
from nexapod_batch.coordinator.evidence.possession import had_none
from nexapod_batch.coordinator.evidence.replica_outputs import (
    opened_store,
    outputs_of,
    read_signed,
    rule_for,
    statement_of,
)
from nexapod_batch.errors import CompareError, TryAgainError, UnsafeOutputError
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.job import Agreement
from nexapod_batch.model.reason import Reason
from nexapod_batch.quorum import failure_kind
from nexapod_batch.trust.statement import Outcome, vote_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_batch.compare.stores import Store
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.replica_outputs import OpenFiles
    from nexapod_batch.model.job import CompareRule, Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.quorum import Closeness, Decision, Vote
    from nexapod_batch.store.repositories.replicas import VotingReplica

__all__ = ["Digesting", "Measuring", "tolerant", "without_unusable"]

#: What will not pass by itself: the file is gone, or is something else.
_LASTING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR})
_CHUNK = 1 << 20
#: Seconds of processor time for two files, before what their sizes allow: a pass waits for it.
_SECONDS = 5.0


def tolerant(job: Job) -> bool:
    """Say whether outputs of a job are compared within tolerances, which no digest can do."""
    return any(output.rule.agreement is Agreement.TOLERANCE for output in job.outputs)


class _CannotCompareError(Exception):
    """The outputs of one replica cannot be compared, and never will be; `unread`: its command wrote such ones."""

    def __init__(self, number: int, why: str, *, unread: bool = False) -> None:
        """Keep the number of the replica, and the reason."""
        super().__init__(why)
        self.number, self.why, self.unread = number, why, unread


def _incomparable(number: int, fault: CompareError) -> _CannotCompareError:
    """Return the error for a replica whose outputs can be read, and not be compared with those of one before it."""
    why = f"its outputs cannot be compared with others: {fault.what}: got {fault.got}"
    return _CannotCompareError(number, why)


def without_unusable(vote: Vote, apart: Mapping[int, str], unread: Mapping[int, str]) -> Vote:
    """Return a vote, which is none where its outputs cannot be compared; where they are what it wrote, it failed."""
    number = vote.number
    if vote.no_vote is not None:
        return vote
    if number in unread:
        failure = failure_kind(Outcome.OUTPUT, None)
        return replace(vote, answer=None, failure=failure, detail=Reason.text(unread[number]))
    if number in apart:
        return replace(vote, no_vote=Reason.text(apart[number]))
    return vote


def _by_number(reasons: Mapping[int, str]) -> dict[str, str]:
    return {str(number): why for number, why in sorted(reasons.items())}


class Digesting:
    """A stream that digests what is read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        """Begin at the start of a stream."""
        self.source, self._digest = stream, hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self.source.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        """Read the rest; return the digest of everything."""
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()


class Measuring:
    """The replicas of one task, compared pair by pair; no pair is compared twice."""

    def __init__(
        self,
        c: Coordinator,
        job: Job,
        replicas: Sequence[VotingReplica],
        nodes: Mapping[int, Node],
        kept: Mapping[int, OpenFiles] | None = None,
    ) -> None:
        """Compare nothing yet. `kept` are outputs by number that somebody found already."""
        self._c, self._job, self._nodes = c, job, nodes
        self._rows = {r.number: r for r in replicas}
        self._outputs: dict[int, OpenFiles] = dict(kept or {})
        self.pairs: dict[tuple[int, int], bool] = {}
        self.apart: dict[int, str] = {}  # number -> why it cannot be compared
        self.unread: dict[int, str] = {}  # the same, of those whose command wrote what cannot be: they have failed
        self.never_had: list[int] = []  # numbers of those that never had their outputs

    def decide(self, votes: Sequence[Vote], ask: Callable[[Sequence[Vote], Closeness], Decision]) -> Decision:
        """Return what `ask` decides on the votes, which know their raw digests and whether they can be compared.

        TryAgainError, SchedulerError or ConfigError where outputs cannot be read now.
        """
        known = [
            replace(vote, raw=self._raw(vote.number)) if vote.execution is Execution.REPORTED else vote
            for vote in votes
        ]
        while True:
            try:
                return ask([self._with_vote(vote) for vote in known], self.close)
            except _CannotCompareError as fault:
                if not fault.unread:
                    self.apart[fault.number] = fault.why
                else:
                    self._unread(fault, known)

    def _unread(self, fault: _CannotCompareError, known: Sequence[Vote]) -> None:
        """Note outputs that cannot be read: they are close to equal bytes, and have failed where nobody has these."""
        number = fault.number
        others = [vote.number for vote in known if vote.execution is Execution.REPORTED and vote.number != number]
        for other in others:
            self.pairs[min(number, other), max(number, other)] = self._raw(number) == self._raw(other)
        if not any(self.pairs[min(number, other), max(number, other)] for other in others):
            self.unread[number] = fault.why

    def _with_vote(self, vote: Vote) -> Vote:
        """Return a vote, which is none where its outputs cannot be compared."""
        return without_unusable(vote, self.apart, self.unread)

    def record(self, centre: int | None) -> dict[str, object]:
        """Return what was found, as it is kept with the verdict."""
        near = sorted(list(pair) for pair, close in self.pairs.items() if close)
        record: dict[str, object] = {"apart": _by_number(self.apart), "centre": centre, "close": near}
        if self.unread:
            record["unread"] = _by_number(self.unread)
        return record

    def close(self, left: int, right: int) -> bool:
        """Say whether two replicas are close in everything that is compared within tolerances."""
        pair = (min(left, right), max(left, right))
        if pair not in self.pairs:
            self.pairs[pair] = self._compare(*pair)
        return self.pairs[pair]

    def _compare(self, left: int, right: int) -> bool:
        if self._rows[left].vote != self._rows[right].vote:
            return False
        if self._raw(left) == self._raw(right):
            return True
        a, b = self._of(left), self._of(right)
        task = self._rows[left].task
        rules = {name: rule_for(self._job, task, name) for name in {**a.files, **b.files}}
        compared = {name: rule for name, rule in rules.items() if rule.agreement is Agreement.TOLERANCE}
        ours, theirs = (_stores(files.files, compared) for files in (a, b))
        of_stores = {name for store in (*ours.values(), *theirs.values()) for name in store.members}
        alone = [name for name in compared if name not in of_stores]
        if any((name in a.files) != (name in b.files) for name in alone) or ours.keys() != theirs.keys():
            return False  # what is there in others is in the vote
        return all(
            self._close_files(name, compared[name], left, right) for name in alone if a.files[name] != b.files[name]
        ) and all(self._close_stores({left: store, right: theirs[head]}) for head, store in ours.items())

    def _close_files(self, name: str, rule: CompareRule, left: int, right: int) -> bool:
        from nexapod_batch.compare.registry import first_difference  # noqa: PLC0415 - knows many formats

        with self._open(left, name) as one, self._open(right, name) as two:
            a, b = Digesting(one), Digesting(two)
            fault: CompareError | None = None
            difference = None
            try:
                with within(Budget(_SECONDS)):
                    difference = first_difference(cast("BinaryIO", a), cast("BinaryIO", b), name, rule)
            except CompareError as error:
                fault = error
            except OSError as error:
                raise _away(name, error) from error
            for number, stream in ((left, a), (right, b)):
                self._is_signed(number, name, stream)
        if fault is not None:
            self._who_is_no_table(name, rule, {number: partial(self._open, number, name) for number in (left, right)})
            raise _incomparable(max(left, right), fault) from fault
        return difference is None

    def _close_stores(self, sides: Mapping[int, Store]) -> bool:
        """Say whether two stores, by the numbers of their replicas, are close."""
        from nexapod_batch.compare.registry import first_difference  # noqa: PLC0415

        opened = {number: partial(self._open_store, number, store) for number, store in sides.items()}
        one, other = opened.values()
        store = next(iter(sides.values()))
        try:
            with within(Budget(_SECONDS)):
                return first_difference(one(), other(), store.name, store.rule) is None
        except CompareError as fault:
            self._who_is_no_table(store.name, store.rule, opened)
            raise _incomparable(max(opened), fault) from fault

    def _open_store(self, number: int, store: Store) -> BinaryIO:
        try:
            files = opened_store(store, self._of(number), partial(self._read, number))
        except UnsafeOutputError as error:
            raise self._fault(number, error) from error
        return cast("BinaryIO", files)

    def _read(self, number: int, outputs: OpenFiles, name: str) -> bytes:
        try:
            return read_signed(outputs, name)
        except UnsafeOutputError as error:
            raise self._fault(number, error) from error
        except OSError as error:
            raise _away(name, error) from error

    def _is_signed(self, number: int, name: str, stream: Digesting) -> None:
        try:
            found = stream.hexdigest()
        except OSError as error:
            raise _away(name, error) from error
        if found != self._of(number).files[name]:
            raise _CannotCompareError(number, f"its output {name} changed after it was signed")

    def _who_is_no_table(self, name: str, rule: CompareRule, opened: Mapping[int, Callable[[], BinaryIO]]) -> None:
        """Raise for the replica whose file cannot be read as what it is called: compared with itself."""
        from nexapod_batch.compare.registry import first_difference  # noqa: PLC0415

        for number, opens in opened.items():
            try:
                with opens() as one, opens() as two, within(Budget(_SECONDS)):
                    first_difference(one, two, name, rule)
            except CompareError as error:
                why = f"its outputs cannot be compared: {error.what}: got {error.got}"
                raise _CannotCompareError(number, why, unread=True) from error
            except OSError as error:
                raise _away(name, error) from error

    def _open(self, number: int, name: str) -> BinaryIO:
        try:
            return self._of(number).open(name)
        except UnsafeOutputError as error:
            raise self._fault(number, error) from error

    def _of(self, number: int) -> OpenFiles:
        if number not in self._outputs:
            row = self._rows[number]
            try:
                self._outputs[number] = outputs = outputs_of(self._c, self._nodes[row.node_id], row)
                if had_none({number: outputs.statement}, outputs.files, outputs.open):
                    self.never_had.append(number)
                    raise UnsafeOutputError("its node never had the outputs that it signed")
            except UnsafeOutputError as error:
                raise self._fault(number, error) from error
            except OSError as error:
                raise _away(f"of replica {number}", error) from error
        return self._outputs[number]

    def _fault(self, number: int, error: UnsafeOutputError) -> Exception:
        """Return what an output that cannot be used means: for ever, or for now."""
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in _LASTING:
            return _away(error.what, cause)
        row = self._rows[number]
        if not self._c.context(self._nodes[row.node_id]).work.is_dir():
            return TryAgainError(f"the work folders of replica {number} are away", hint="mount them again")
        return _CannotCompareError(number, f"its outputs cannot be compared: {error.what}")

    def _raw(self, number: int) -> bytes:
        """Return one digest of all that a replica signed, as it is."""
        said = statement_of(self._c, self._rows[number].id)
        return bytes.fromhex(vote_of((subject.name, subject.sha256) for subject in said.subjects))


def _stores(files: Mapping[str, str], rules: Mapping[str, CompareRule]) -> dict[str, Store]:
    """Return the stores among files, by the file that stands for each."""
    return {store.head: store for store in stores({name: rules[name] for name in files if name in rules})}


def _away(what: str, error: OSError) -> TryAgainError:
    return TryAgainError(f"outputs cannot be read now: {what}", got=error.strerror)

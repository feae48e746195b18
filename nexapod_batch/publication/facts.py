"""What a published page says, as data: what was computed, by whom, what agreed, and what a check of it found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Facts", "KeyFacts", "OutputFacts", "ReplicaFacts", "ReproductionFacts", "Standing", "TaskFacts"]


class Standing(StrEnum):
    """What one execution says of the result."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "undecided"  # it gave an answer, and no answer won
    NONE = "no vote"


class ReplicaFacts(NamedTuple):
    """One execution of a task."""

    number: int
    node: str
    site: str
    owner: str
    standing: Standing
    answer: str = ""  # the first digits of what it came to; "" where it has no vote
    remark: str = ""  # how it ended, or why it does not count
    host: str = ""  # the node's own word
    machine: str = ""  # what kind: architecture and the like
    isolation: str = ""
    started_ms: int | None = None  # milliseconds since 1970; None: it signed nothing
    finished_ms: int | None = None
    wall_ms: int | None = None
    cpu_ms: int | None = None
    max_rss_kib: int | None = None
    gpu_energy_mj: int | None = None  # millijoules of its GPUs; None: not measured


class OutputFacts(NamedTuple):
    """One file that was agreed on."""

    name: str
    sha256: str
    size: int | None


class TaskFacts(NamedTuple):
    """One task and the decision on it."""

    number: int  # of the task in its job
    accepted: bool
    state: str
    verdict: str  # the whole sentence
    agreed: int  # replicas that agree; 0 where nothing was accepted
    votes: int  # that they are out of
    independence: str  # in a few words: `2 sites`; "" where nothing was accepted
    independent: bool  # on more than one machine
    parameters: tuple[tuple[str, str], ...] = ()
    replicas: tuple[ReplicaFacts, ...] = ()
    outputs: tuple[OutputFacts, ...] = ()
    differences: tuple[str, ...] = ()  # lines of the difference report


class KeyFacts(NamedTuple):
    """A key that signed, and how far anybody vouches for whose it is."""

    key: str
    name: str
    site: str
    owner: str
    origin: str


class ReproductionFacts(NamedTuple):
    """What somebody who ran it again later says."""

    who: str  # as they call themselves
    where: str  # sites and nodes, as they call them
    when_ms: int
    agreed: bool
    how: str  # what differed; "" where nothing did
    key: str  # that signed it
    known: bool  # whose key that is, whoever publishes it knows


class Facts(NamedTuple):
    """Everything that a page says of one job."""

    job: int | None  # None: the archive is not as it was signed, and nothing but that is known
    name: str
    uuid: str
    digest: str  # SHA-256 of the job document
    program: str  # the command as typed, or the script
    image: str  # container image with its digest; "" where none was used
    inputs: tuple[tuple[str, str, str], ...]  # (target, source, SHA-256)
    compared: tuple[tuple[str, str], ...]  # (path or glob, how two versions of it are compared)
    policy: str  # when a task is accepted, in words
    tasks: tuple[TaskFacts, ...]
    keys: tuple[KeyFacts, ...] = ()
    reproductions: tuple[ReproductionFacts, ...] = ()
    checkpoint: str = ""  # the head of the ledger, a signed note
    problems: tuple[str, ...] = ()  # what a check found wrong; empty: everything holds
    statements: int = 0  # that were checked
    archive: str = ""  # name of the archive's file
    archive_sha256: str = ""

    @property
    def verified(self) -> bool:
        """Whether everything held when it was checked."""
        return not self.problems

    @property
    def accepted(self) -> int:
        """How many tasks have an accepted result."""
        return sum(task.accepted for task in self.tasks)

    def reproduced(self, *, known: bool) -> int:
        """Return by how many keys it was found to agree, and by none of them to differ.

        Either of keys that are known or of others: those are free to make.
        """
        keys = {one.key for one in self.reproductions if one.agreed and one.known is known}
        return len(keys - {one.key for one in self.reproductions if not one.agreed})

    @property
    def differed(self) -> int:
        """By how many keys it was found to differ."""
        return len({one.key for one in self.reproductions if not one.agreed})

    @property
    def period_ms(self) -> tuple[int, int] | None:
        """When the first replica started and the last one ended; None where nothing was signed."""
        replicas = [replica for task in self.tasks for replica in task.replicas]
        starts = [replica.started_ms for replica in replicas if replica.started_ms is not None]
        ends = [replica.finished_ms for replica in replicas if replica.finished_ms is not None]
        if not starts or not ends:
            return None
        return min(starts), max(ends)

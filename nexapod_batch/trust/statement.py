"""What a node says of one replica: an in-toto Statement v1 with SLSA provenance v1, as a noun."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations of what it decodes
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.model.job import Program  # noqa: TC001 - likewise
from nexapod_batch.model.replica import Continuation, ReplicaName  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.model.job import Job

__all__ = [
    "BUILD_TYPE",
    "NO_DIGEST",
    "NO_VOTE",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "ContainerUse",
    "GpuUse",
    "Machine",
    "Normalizer",
    "Outcome",
    "SavedFile",
    "Statement",
    "Subject",
    "is_unread",
    "normalizers_of",
    "sizes_of",
    "unread_digest",
    "vote_of",
    "vote_of_subjects",
]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:nexapod-batch:replica:1"

#: Normalised digest of an output that is compared by value (allclose): present, but no part of the equality.
NO_DIGEST = "0" * 64

#: Normalised digest of an output that has no vote: neither what is in it counts, nor that it is there.
NO_VOTE = "f" * 64

MANIFEST_MEDIA = "text/vnd.nexapod.manifest"  # tells it from an output that happens to be called `manifest`
NORMALIZED = "nexapod-normalized"
SIZE = "nexapod-size"
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: everything here is UTC, and the Z is written by hand


class Outcome(StrEnum):
    """How a replica ended, in the runner's words. Only `ok` is a vote."""

    OK = "ok"
    FAILED = "failed"  # the command's exit code is not 0
    TIME = "time"  # over its own limit
    MEMORY = "memory"
    DISK = "disk"
    OUTPUT = "output"  # a declared output is missing or unsafe
    INPUT = "input"  # an input is missing or has another digest
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"  # the infrastructure took the node away
    NODE = "node"  # the node could not run it: no fault of the task


class Subject(NamedTuple):
    """One output."""

    name: str  # relative path, or `manifest`
    sha256: str  # of the raw bytes, lower-case hex
    normalized: str | None = None  # digest after its comparator's rounding; NO_DIGEST for allclose, NO_VOTE for none
    size: int | None = None  # bytes


class ContainerUse(NamedTuple):
    """The container that a command ran in."""

    image: str  # as the descriptor names it
    sha256: str  # of the image file
    runtime: str  # program: apptainer | singularity
    version: str  # as the program says it
    mode: str  # which of its ways: setuid | userns | root, and what else is worth knowing after a +
    network: str  # none | host


class GpuUse(NamedTuple):
    """What a replica used one GPU for; None: nobody can tell."""

    uuid: str  # as its driver spells it; an index where no driver tells
    model: str  # as its driver calls it; "" where none tells
    time_ms: int | None = None  # in which programs of the replica ran on it
    peak_mib: int | None = None  # of its memory
    energy_mj: int | None = None  # of the whole GPU meanwhile


class Normalizer(NamedTuple):
    """A command that printed what was compared in the place of outputs, as the job has it."""

    output: str  # path or glob of these outputs
    command: tuple[str, ...]
    image: str  # SHA-256 of the container image that it ran in, in hex; "" for none


class Machine(NamedTuple):
    """The machine that a runner ran on, by its kernel and its system: hashes, which tell nothing to who reads them.

    They are made for one job: the same machine has others in another job.
    """

    boot: str  # of the kernel's id of this boot, which containers on one machine share; 32 hex digits
    booted_ms: int  # when that was
    id: str  # of /etc/machine-id, which outlasts boots, and which copies of one system image share; "" for none


class LogTrail(NamedTuple):
    """What was noted of the logs while it ran (`trust.trail`): how many notes, and where their chain ends."""

    notes: int
    head: str  # HMAC of the last note, in hex: says something to the coordinator alone


class SavedFile(NamedTuple):
    """A file that a stopped replica left, from which a later one goes on."""

    name: str  # relative path
    sha256: str  # lower-case hex
    size: int  # bytes


class Statement(NamedTuple):
    """Everything a node signs about one replica. Digests are lower-case hex, times milliseconds since 1970.

    Name every field when making one.
    """

    job_uuid: str
    job_digest: str  # SHA-256 of the canonical job document
    replica: ReplicaName
    nonce: str  # 32 hex digits, from the bundle
    agree: int  # the quorum policy that the node was told
    distinct: tuple[str, ...]
    backend: str
    native_id: str  # what the scheduler calls the launch; may be empty
    host: str  # the node's own word
    isolation: str  # none | files | container
    classes: Mapping[str, str]  # numeric class -> value
    outcome: Outcome
    detail: str  # for people; may be empty
    exit_code: int | None  # None when the command did not exit by itself
    wall_ms: int
    cpu_ms: int | None  # None: nobody measured it, as of ranks that a launcher started
    max_rss_kib: int | None
    output_bytes: int
    started_ms: int
    finished_ms: int
    builder: str  # key id of the node
    subjects: tuple[Subject, ...]
    manifest: bool  # the one subject is the manifest of more than MAX_SUBJECTS outputs
    inputs: tuple[tuple[str, str], ...]  # (target, sha256)
    stdout_sha256: str
    stderr_sha256: str
    vote: str  # what is compared: see vote_of
    container: ContainerUse | None = None  # None: the command ran as it is
    gpus: tuple[GpuUse, ...] = ()  # that it had
    machine: Machine | None = None  # None: nobody could tell
    passed: tuple[tuple[str, str], ...] = ()  # variables that it had of its site's: name and SHA-256, sorted
    program: Program | None = None  # what was started; None: nothing was, or a runner of before did not say
    trail: LogTrail | None = None  # None: it was too short for one
    continues: Continuation | None = None  # None: it began at the beginning
    saved: tuple[SavedFile, ...] = ()  # what it left to go on from, sorted by name; only of what was stopped
    possession: str = ""  # of its outputs (`trust.possession`), in hex; "" from nodes that are not asked for it
    normalizers: tuple[Normalizer, ...] = ()  # of its outputs


def normalizers_of(job: Job) -> tuple[Normalizer, ...]:
    """Return the commands by which outputs of a job are normalised, in the order of its outputs."""
    image = "" if job.container is None else job.container.sha256
    return tuple([
        Normalizer(output=output.path, command=output.rule.normalize, image=image)
        for output in job.outputs
        if output.rule.normalize
    ])


def unread_digest(sha256: str) -> str:
    """Return the normalised digest of an output that its comparator cannot read: it agrees with the same bytes alone.

    `sha256` is that of its bytes. Whoever has both sees what it says.
    """
    return hashlib.sha256(f"nexapod-unread {sha256}".encode()).hexdigest()


def is_unread(subjects: Sequence[Subject]) -> bool:
    """Say whether an output is among these that its comparator could not read; of a manifest that is not known."""
    return any(
        subject.normalized is not None and subject.normalized == unread_digest(subject.sha256) for subject in subjects
    )


def vote_of(entries: Iterable[tuple[str, str]]) -> str:
    """Return the hex SHA-256 of `<hex>  <name>` lines in bytewise order of the names.

    `entries` are (name, digest): the normalised digest where there is one, else the raw one, NO_DIGEST for allclose.
    Those with NO_VOTE are left out. With raw digests only it equals the digest of the manifest.
    """
    voting = sorted((name.encode(), digest) for name, digest in entries if digest != NO_VOTE)
    lines = [b"%b  %b\n" % (digest.encode(), name) for name, digest in voting]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def sizes_of(statement: Statement) -> dict[str, int | None]:
    """Return the size of each file that a statement lists, by name; None where it says none."""
    sizes: dict[str, int | None] = {file.name: file.size for file in statement.saved}
    if not statement.manifest:
        sizes.update((subject.name, subject.size) for subject in statement.subjects)
    return sizes


def vote_of_subjects(subjects: Sequence[Subject]) -> str:
    """Return the vote that a list of outputs (not a manifest) stands for."""
    if len(subjects) == 1 and subjects[0].normalized != NO_VOTE:  # most statements: nothing to sort
        (one,) = subjects
        return hashlib.sha256(f"{one.normalized or one.sha256}  {one.name}\n".encode()).hexdigest()
    return vote_of((subject.name, subject.normalized or subject.sha256) for subject in subjects)


def vote_stated(subjects: tuple[Subject, ...], *, manifest: bool, vote: str) -> str:
    """Return the vote of checked subjects; of a manifest it is its normalised digest, or else `vote`."""
    if manifest:
        return subjects[0].normalized or vote
    return vote_of_subjects(subjects)

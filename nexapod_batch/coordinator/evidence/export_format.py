"""What lies in a folder that `attestations` wrote, and in which form: for those who write one and those who check one.

Every file is in the folder's manifest, which the coordinator signs, and in no form but the one that is named here.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from nexapod_batch.trust.keys import key_id

__all__ = [
    "CHECKPOINT", "COORDINATOR", "JOB", "LEDGER_KEY", "MANIFEST", "MAX_FILE", "PROOF", "ROTATION", "SIGNATURE",
    "VERDICT", "ExportedReplica", "ExportedTask", "ExportedVerdict", "job_proof", "judged_file", "judged_folder",
    "judged_proof",
    "key_stem", "publication_proof", "statement_proof", "verdict_proof",
]  # fmt: skip

JOB, VERDICT, COORDINATOR = "job.json", "verdict.json", "coordinator.spki"
#: What the names of the coordinator's rotations begin and end with; between them is a number, from 1.
ROTATION = ("coordinator.", ".rotation.json")
#: The manifest of the folder, as `sha256sum` writes it, and the 64 bytes of the coordinator's signature of it.
MANIFEST, SIGNATURE = "manifest-sha256.txt", "manifest-sha256.sig"
#: The head of the ledger that every proof is against, and the key that signed it, as NAME+ID+KEY.
CHECKPOINT, LEDGER_KEY = "checkpoint", "ledger.vkey"
#: How the names of proofs end: C2SP tlog-proof.
PROOF = ".tlog-proof"
#: No file of an export is larger, in bytes.
MAX_FILE = 1 << 28


def key_stem(public: bytes) -> str:
    """Return what a key's files are called: its fingerprint without `SHA256:`, `/` as `_` and `+` as `-`."""
    return key_id(public).removeprefix("SHA256:").replace("/", "_").replace("+", "-")


def job_proof() -> str:
    """Return the name of the proof that the job was submitted."""
    return f"job{PROOF}"


def statement_proof(job: int, task: int, replica: int, statement: int = 1) -> str:
    """Return the name of the proof that a replica reported; of a second statement of it, where it made two."""
    extra = f".{statement}" if statement > 1 else ""
    return f"{job}_{task}.{replica}{extra}{PROOF}"


def verdict_proof(job: int, task: int) -> str:
    """Return the name of the proof of the latest verdict on a task."""
    return f"{job}_{task}.verdict{PROOF}"


def judged_file(job: int, task: int, number: int) -> str:
    """Return the name of a verdict on a task under other rules than the job's own."""
    return f"{job}_{task}.judged-{number}.vsa.json"


def judged_folder(task: int, number: int) -> str:
    """Return the name of the folder with the result of a verdict under other rules, beside those of the tasks."""
    return f"{task}.judged-{number}"


def judged_proof(job: int, task: int, number: int) -> str:
    """Return the name of the proof of a verdict on a task under other rules."""
    return f"{job}_{task}.judged-{number}{PROOF}"


def publication_proof(job: int, task: int) -> str:
    """Return the name of the proof that the files of a task were published."""
    return f"{job}_{task}.published{PROOF}"


class ExportedReplica(Struct, kw_only=True):
    """The coordinator's word on a replica."""

    number: int
    node: str
    site: str
    owner: str
    key: str  # that its node has now
    keys: list[str]  # that its node has and had
    execution: str
    validation: str
    reason: str  # for people
    why: dict[str, Any] | None  # the same as data
    statements: int  # that have come in
    domain: dict[str, str]  # where it counts, by field
    account: str  # see `Vote`
    beside: bool
    run_by: str  # a digest that only this job has; "" where nobody noted it
    no_vote: dict[str, Any] | None  # why it does not count, whatever it says


class ExportedTask(Struct, kw_only=True):
    """The coordinator's word on a task."""

    task: int
    state: str
    reason: str
    why: dict[str, Any] | None
    agree: int
    published_from: int | None
    doubt: str
    doubt_why: dict[str, Any] | None
    extra: int  # replicas beyond `max_replicas` that retries allowed
    basis: str | None  # how the replicas stood when it ended, a letter for each
    measured: dict[str, Any] | None  # what was compared within tolerances
    numeric_class: str | None
    replicas: list[ExportedReplica] = field(default_factory=list)
    judged: int = 0  # verdicts under other rules


class ExportedVerdict(Struct, kw_only=True):
    """`verdict.json`."""

    schema: int = 1
    job: int
    uuid: str
    digest: str  # SHA-256 of job.json
    tasks: list[ExportedTask]

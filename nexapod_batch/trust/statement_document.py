"""The JSON of a statement, field by field, as msgspec reads and writes it.

Fields stand in the order of their keys, so that what is written has the one byte form of `statement_encoder`. Every
object refuses fields that it does not have. What values may be beyond their types is `statement_rules`' question.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from nexapod_batch.trust.statement import (
    BUILD_TYPE,
    MANIFEST_MEDIA,
    NORMALIZED,
    PREDICATE_TYPE,
    SIZE,
    STATEMENT_TYPE,
    Outcome,
)

__all__ = [
    "Dependency", "Document", "Gpu", "LogTrailObject", "MachineObject", "NormalizerObject", "Output",
    "ProgramObject", "RuntimeObject", "read", "write",
]  # fmt: skip


class _Object(Struct, forbid_unknown_fields=True, rename="camel"):
    """One JSON object."""


class Digest(_Object):
    """The digest of a file, or of the job."""

    sha256: str


class OutputDigest(Struct, forbid_unknown_fields=True):
    """The digests of an output."""

    normalized: str | UnsetType = field(default=UNSET, name=NORMALIZED)
    sha256: str = ""


class Annotations(Struct, forbid_unknown_fields=True):
    """What else is said of an output."""

    size: int = field(name=SIZE)


class Output(_Object, kw_only=True):
    """One output, or the manifest of many."""

    annotations: Annotations | UnsetType = UNSET
    digest: OutputDigest
    media_type: Literal[MANIFEST_MEDIA] | UnsetType = UNSET  # type: ignore[valid-type] # a constant
    name: str


class Dependency(_Object, kw_only=True):
    """An input, which has a name, or the image of the container, which has a URI."""

    digest: Digest
    name: str | UnsetType = UNSET
    uri: str | UnsetType = UNSET


class Quorum(_Object):
    """The policy that the node was told."""

    agree: int
    distinct: list[str]


class SavedFileObject(_Object):
    """A file that a later attempt goes on from."""

    name: str
    sha256: str
    size: int


class ContinuationObject(_Object):
    """From which files of which earlier replica of its task it went on."""

    files: dict[str, str]
    replica: int


class ExternalParameters(_Object, kw_only=True):
    """Which replica of which job."""

    continues: ContinuationObject | UnsetType = UNSET
    job: str
    job_digest: Digest
    job_id: int
    nonce: str
    quorum: Quorum
    replica: int
    task: int


class Gpu(_Object):
    """What a replica used one GPU for."""

    energy_mj: int | None
    model: str
    peak_memory_mib: int | None = field(name="peakMemoryMiB")
    time_ms: int | None
    uuid: str


class MachineObject(_Object):
    """The machine that it ran on."""

    boot: str
    booted_on: str
    id: str


class ProgramObject(_Object):
    """What was started, and by which PATH it was found."""

    file: str
    path: str
    sha256: str


class LogTrailObject(_Object):
    """What was noted of its logs while it ran."""

    head: str
    notes: int


class NormalizerObject(_Object):
    """What printed what was compared in the place of outputs."""

    command: list[str]
    image: str
    output: str


class Resources(_Object):
    """What it used."""

    cpu_ms: int | None
    max_rss_kib: int | None = field(name="maxRssKiB")
    output_bytes: int
    wall_ms: int


class RuntimeObject(_Object):
    """What ran the container."""

    mode: str
    name: str
    network: str
    version: str


class InternalParameters(_Object, kw_only=True):
    """Where and how it ran, and how it ended."""

    backend: str
    classes: dict[str, str] = field(name="class")
    detail: str
    environment: dict[str, str] | UnsetType = UNSET
    exit_code: int | None
    gpus: list[Gpu] | UnsetType = UNSET
    host: str
    isolation: str
    log_trail: LogTrailObject | UnsetType = UNSET
    machine: MachineObject | UnsetType = UNSET
    native_id: str
    normalizers: list[NormalizerObject] | UnsetType = UNSET
    outcome: Outcome
    possession: str | UnsetType = UNSET
    program: ProgramObject | UnsetType = UNSET
    resources: Resources
    runtime: RuntimeObject | UnsetType = UNSET
    saved: list[SavedFileObject] | UnsetType = UNSET


class Definition(_Object):
    """What was to run."""

    build_type: Literal[BUILD_TYPE]  # type: ignore[valid-type] # a constant
    external_parameters: ExternalParameters
    internal_parameters: InternalParameters
    resolved_dependencies: list[Dependency]  # the image of the container if there is one, then the inputs


class Builder(_Object):
    """The node."""

    id: str


class Stdout(_Object):
    """The digest of its stdout."""

    digest: Digest
    name: Literal["stdout"]


class Stderr(_Object):
    """The digest of its stderr."""

    digest: Digest
    name: Literal["stderr"]


class Metadata(_Object):
    """When it ran."""

    finished_on: str
    invocation_id: str
    started_on: str


class RunDetails(_Object):
    """Who ran it and when."""

    builder: Builder
    byproducts: tuple[Stdout, Stderr]
    metadata: Metadata


class Predicate(_Object):
    """SLSA provenance."""

    build_definition: Definition
    run_details: RunDetails


class Document(_Object):
    """An in-toto Statement."""

    type: Literal[STATEMENT_TYPE] = field(name="_type")  # type: ignore[valid-type] # a constant
    predicate: Predicate
    predicate_type: Literal[PREDICATE_TYPE]  # type: ignore[valid-type] # a constant
    subject: list[Output]


_DECODER = msgspec.json.Decoder(Document)
_ENCODER = msgspec.json.Encoder(order="deterministic")  # sorts keys that are data: classes, variables


def read(payload: bytes) -> Document:
    """Return what a payload says; msgspec.ValidationError unless every field is there, known, and of its type."""
    return _DECODER.decode(payload)


def write(document: Document) -> bytes:
    """Return the one byte form of a document."""
    return _ENCODER.encode(document)

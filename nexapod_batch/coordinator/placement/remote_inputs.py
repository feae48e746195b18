"""Inputs that lie elsewhere: fetched once, where the job is submitted, and kept by digest as files here are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.errors import DescriptorError
from nexapod_batch.files.input_names import MAX_FILES, name_in_folder, parents
from nexapod_batch.files.own import own_folder
from nexapod_batch.model.job_source import has_remote, is_listing, is_remote, scheme_of
from nexapod_batch.model.placeholders import literal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.sources import SourceSettings
    from nexapod_batch.sources.fetching import Hears

__all__ = ["fetch_input", "outlook", "with_remote_inputs"]


def with_remote_inputs(
    c: Coordinator, job: Job, hears: Hears, elsewhere: Collection[str] = ()
) -> tuple[Job, list[str]]:
    """Return a job with the digest of every input, and what its author can write to pin those that had none.

    What is here already under its digest is not fetched again; what has a digest of `elsewhere` nodes fetch.
    """
    if not has_remote(job.inputs):
        return job, []
    inputs, notes = [], []
    for number, job_input in enumerate(job.inputs):
        if not is_remote(job_input.source):
            inputs.append(job_input)
            continue
        if is_listing(job_input.source):
            files = _listed(c, job_input)
            inputs += [file._replace(sha256=fetch_input(c, file, hears)) for file in files]
            notes.append(f"inputs[{number}] is {len(files)} files, as they are today")
            continue
        if job_input.sha256 in elsewhere:
            inputs.append(job_input)
            notes.append(f"inputs[{number}] is fetched by the nodes")
            continue
        digest = fetch_input(c, job_input, hears)
        if not job_input.sha256:
            notes.append(f'inputs[{number}] is what it is today; to pin it: sha256 = "{digest}"')
        inputs.append(job_input._replace(sha256=digest))
    if any(is_listing(job_input.source) for job_input in job.inputs):
        _check_files(inputs)
    return replace(job, inputs=tuple(inputs)), notes


def _check_files(inputs: Sequence[Input]) -> None:
    """Refuse too many files, and two for one place, once it is known what patterns take."""
    if len(inputs) > MAX_FILES:
        raise DescriptorError(
            "too many input files", got=len(inputs), wanted=f"at most {MAX_FILES}", hint="pack them into one"
        )
    taken: set[tuple[str, int | None]] = set()
    for job_input in inputs:
        place = (job_input.target, job_input.only)
        if place in taken:
            raise DescriptorError("two inputs are put at one place", got=job_input.target, hint="give them targets")
        taken.add(place)
    for target, only in taken:
        for folder in parents(target):
            if not taken.isdisjoint({(folder, only), (folder, None)}):
                hint = "give them targets, or leave one out"
                raise DescriptorError(f"one input is put at {folder}, and another one below it", got=target, hint=hint)


def _listed(c: Coordinator, job_input: Input) -> list[Input]:
    """Return the files that a pattern takes, in the folder that is their target."""
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - few jobs have remote inputs

    from nexapod_batch.entry_points import load  # noqa: PLC0415

    pattern = unquote(urlsplit(job_input.source).path.lstrip("/"))
    found = load("source", scheme_of(job_input.source)).listed(job_input.source, MAX_FILES, _settings(c))
    return [
        job_input._replace(source=url, target=name_in_folder(literal(name), pattern, job_input.target))
        for url, name in found
    ]


def _settings(c: Coordinator) -> SourceSettings:
    """Return what the account lets sources do."""
    from nexapod_batch.config.settings import settings  # noqa: PLC0415 - few jobs have remote inputs
    from nexapod_batch.sources import SourceSettings  # noqa: PLC0415

    chosen = settings(c.paths).sources
    return SourceSettings(
        max_bytes=chosen.max_mib << 20, private_hosts=chosen.private_hosts, gateways=chosen.gateways,
        environ=dict(os.environ), scratch=c.paths.inputs,
    )  # fmt: skip


def fetch_input(c: Coordinator, job_input: Input, hears: Hears) -> str:
    """Bring one remote input among those that are kept; return its digest."""
    from nexapod_batch.entry_points import load  # noqa: PLC0415 - few jobs have remote inputs
    from nexapod_batch.sources.fetching import fetch  # noqa: PLC0415

    own_folder(c.paths.inputs, below=c.paths.home)
    source = load("source", scheme_of(job_input.source))
    return fetch(source, job_input.source, c.paths.inputs, _settings(c), hears, sha256=job_input.sha256)


def outlook(c: Coordinator, job: Job, elsewhere: Collection[str]) -> list[str]:
    """Return what a submit would fetch, for people, and what it would leave to nodes: digests of `elsewhere`."""
    lines = []
    for job_input in job.inputs:
        if not is_remote(job_input.source):
            continue
        if job_input.sha256 in elsewhere:
            lines.append(f"# {job_input.source} is fetched by the nodes")
        elif not (job_input.sha256 and (c.paths.inputs / job_input.sha256).exists()):
            lines.append(f"# {job_input.source} is fetched at submit")
    return lines

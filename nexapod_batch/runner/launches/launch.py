"""A launch as a runner understood it: the bundle whose signature, audience and expiry were checked, and its job."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import orjson

from nexapod_batch.entry_points import load as load_plugin
from nexapod_batch.errors import NexapodError, PluginError, VerificationError
from nexapod_batch.model.document import digest, from_document
from nexapod_batch.model.job import TaskInputs
from nexapod_batch.model.replica import Assignment, Bundle, ReplicaName
from nexapod_batch.trust.bundle import BUNDLE_TYPE, MAX_BUNDLE, decode_bundle
from nexapod_batch.trust.dsse import Signer, open_envelope
from nexapod_batch.trust.keys import KEY_BYTES
from nexapod_batch.trust.statement_rules import safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Input, Job
    from nexapod_batch.runtimes import Execution, Runtime, RuntimeSettings, Wrapped
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["OpenedLaunch", "open_launch"]

_UNDERSTOOD = 4  # documents that are kept: one with the inputs of 1,000 tasks takes 5 ms to read


class OpenedLaunch(NamedTuple):
    """A launch that this node may run."""

    bundle: Bundle
    job: Job
    job_digest: str
    signer: Signer  # of the statements of this launch, and of no other
    runtimes: tuple[Runtime, ...]  # the first that works here wraps the command
    script: Path | None  # where the script of a job is written; None for a command
    task_inputs: TaskInputs

    def name(self, index: int) -> ReplicaName:
        """Return the name of the replica at a position of the bundle."""
        one: Assignment = self.bundle.replicas[index]
        return ReplicaName(self.bundle.job_id, one.task, one.number)

    def task(self, index: int) -> str:
        """Return what identifies the task of a replica, on every coordinator."""
        return f"{self.bundle.job_uuid}/{self.bundle.replicas[index].task}"

    def inputs(self, index: int) -> tuple[Input, ...]:
        """Return the inputs of the replica at a position of the bundle."""
        return self.task_inputs.of(self.bundle.replicas[index].task)

    def wrap(self, execution: Execution) -> tuple[Runtime, Wrapped]:
        """Return the first runtime that works here, and what it starts; PluginError of the last when none does."""
        for runtime in self.runtimes[:-1]:
            with suppress(PluginError):
                return runtime, runtime.wrap(execution)
        return self.runtimes[-1], self.runtimes[-1].wrap(execution)


def open_launch(key: str, envelope: bytes, seed: bytes, node: NodeConfig, now: float) -> OpenedLaunch:
    """Verify a bundle and understand its job; NexapodError says why this node does not run it.

    `key` is the launch key that the file's name spells, `seed` that of its subkey, `now` in seconds since 1970.

    Raises:
        VerificationError: It is not signed by this node's coordinator, for this node, and for now.

    """
    opened = open_envelope(envelope, BUNDLE_TYPE, node.coordinators, limit=MAX_BUNDLE)
    bundle = decode_bundle(opened.payload)
    if bundle.launch != key:
        raise VerificationError("the bundle belongs to another launch", got=bundle.launch, wanted=key)
    if bundle.audience not in node.keys:
        raise VerificationError("the bundle is for another node", got=bundle.audience, wanted=min(node.keys))
    if bundle.not_after < now:
        late = f"{now - bundle.not_after:.0f} s after its end"
        raise VerificationError("the bundle has expired", got=late, hint="check the clocks of both machines")
    signer = _signer(seed, bundle)
    job, job_digest, task_inputs = _understood(bundle.document)
    _check_fits(job, node)
    _check_paths(job, bundle, task_inputs)
    _check_states(bundle)
    names = [] if job.container is None else ["apptainer"]
    if job.container is None or job.container.isolation == "any":
        names.append("bare")
    known = tuple(node.runtimes.items())
    runtimes = tuple(_runtime(name, known, node.container) for name in names)
    script = node.work / f"{key}.script" if job.script else None
    return OpenedLaunch(
        bundle=bundle, job=job, job_digest=job_digest, signer=signer, runtimes=runtimes, script=script,
        task_inputs=task_inputs,
    )  # fmt: skip


def _signer(seed: bytes, bundle: Bundle) -> Signer:
    """Return the subkey of a launch; VerificationError where the seed is not its own."""
    if len(seed) != KEY_BYTES:
        raise VerificationError(
            "the key of the launch is not there", wanted="its file beside the bundle",
            hint="a launch is run once: its key was taken before, or was never handed over",
        )  # fmt: skip
    signer = Signer.from_seed(seed)
    if signer.key_id != bundle.subkey:
        raise VerificationError("the key beside the bundle is another one", got=signer.key_id, wanted=bundle.subkey)
    return signer


@cache
def _runtime(name: str, known: tuple[tuple[str, str], ...], settings: RuntimeSettings) -> Runtime:
    """Load a runtime once: looking through the entry points costs as much as a dozen small replicas."""
    runtime: Runtime = load_plugin("runtime", name, dict(known))
    runtime.settle(settings)
    return runtime


@lru_cache(maxsize=_UNDERSTOOD)
def _understood(document: bytes) -> tuple[Job, str, TaskInputs]:
    """Return the job of a document, its digest, and which task gets which inputs; most launches have the last one's."""
    try:
        job = from_document(orjson.loads(document))
        return job, digest(document), TaskInputs(job.inputs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(
            "the job in the bundle cannot be read",
            got=f"{type(error).__name__}: {error}",
            hint="coordinator and runner may be of different versions",
        ) from error


def _check_fits(job: Job, node: NodeConfig) -> None:
    """Refuse what this node can never run."""
    need = job.resources
    if need.cpus > node.cpus:
        raise NexapodError("the job needs more CPUs than this node has", got=need.cpus, wanted=f"at most {node.cpus}")
    if (need.mem_mib or 0) > node.mem_mib:
        got, most = f"{need.mem_mib} MiB", f"at most {node.mem_mib} MiB"
        raise NexapodError("the job needs more memory than this node has", got=got, wanted=most)


def _check_paths(job: Job, bundle: Bundle, task_inputs: TaskInputs) -> None:
    """Refuse what leaves the work folder, and files of which the bundle does not say where they are."""
    if bool(job.command) == bool(job.script):
        raise VerificationError("a job has either a command or a script")
    if job.workdir != "." and not safe_name(job.workdir):
        raise VerificationError("workdir leaves the work folder", got=repr(job.workdir))
    _check_stdin(job.stdin)
    if job.container is not None and job.container.sha256 not in bundle.input_paths:
        raise VerificationError("the bundle does not say where the container image lies", got=job.container.image)
    for task in {replica.task for replica in bundle.replicas}:
        _check_inputs(task_inputs.of(task), bundle.input_paths)
        if task_inputs.alike:
            return


def _check_stdin(stdin: str) -> None:
    if stdin and not safe_name(stdin.replace("{", "").replace("}", "")):
        raise VerificationError("stdin leaves the work folder", got=repr(stdin))


def _check_inputs(inputs: Sequence[Input], paths: Mapping[str, str]) -> None:
    for job_input in inputs:
        if not safe_name(job_input.target):
            raise VerificationError("an input's target leaves the work folder", got=repr(job_input.target))
        if job_input.sha256 not in paths:
            raise VerificationError("the bundle does not say where an input lies", got=job_input.target)


def _check_states(bundle: Bundle) -> None:
    """Refuse saved states of which the bundle does not say where they are."""
    for replica in bundle.replicas:
        if replica.continues is None:
            continue
        for name, sha256 in replica.continues.files:
            if sha256 not in bundle.input_paths:
                raise VerificationError("the bundle does not say where a saved state lies", got=name)

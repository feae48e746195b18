"""Inputs that the node fetches by itself: kept by digest, and brought by a process of its own.

A bundle that gives an input a path in the folder of `node_config.Fetching` asks for that. What lies there is digested
while it is copied into a work folder, as every input is: what was edited, or is gone, is fetched once more.

The process gets the environment of the runner as far as networks are concerned, and what the site sets; for somebody
else's job nothing of it that is a login.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from nexapod_batch import birth, interpreter
from nexapod_batch.files.least_used import note_use, remove
from nexapod_batch.model.placeholders import expand
from nexapod_batch.model.replica import NOT_FETCHED
from nexapod_batch.runner.execution.stage import FetchError, KeptCopyError, StoppedError, stage_file, stage_inputs
from nexapod_batch.runner.processes.process_tree import Attempt, Limits
from nexapod_batch.runtimes import FEED
from nexapod_batch.sources import NETWORK_VARIABLES
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.job import Input
    from nexapod_batch.runner.execution.replica import Replica
    from nexapod_batch.runner.processes.process_tree import Supervisor
    from nexapod_batch.spool.node_config import Fetching

__all__ = ["stage_with_fetched"]

PROGRAM = "nexapod_batch.runner.execution.fetch_program"
#: What one fetch may take: seconds, and MiB of memory.
_TIME_S, _MEMORY_MIB = 86_400, 512
_SPARE = 64 << 20  # bytes that may be written beside the file
_ANSWER = 64 << 10
#: Ends of a fetch that are no fault of the network.
_ENDS = frozenset({Outcome.CANCELLED, Outcome.PREEMPTED})
#: After how long a replica was announced as one that takes its time; how often the supervisor is asked at most.
_ANNOUNCED_S, _TICK_S = 0.1, 0.05
_LINES = 3  # of what it says
#: Variables that are logins.
_LOGINS = ("AWS_", "NETRC", "HOME")


def stage_with_fetched(replica: Replica, fetching: Fetching, supervisor: Supervisor) -> str:
    """Put the inputs of a replica into its work folder, and fetch those that the node is to fetch.

    Return how many the node fetched, now or for an earlier replica, in words; "" for none.

    Raises:
        FetchError: One of them cannot be fetched here.
        StoppedError: The runner was told to stop meanwhile.
        KeptCopyError: The copy of another one is not what was pinned.
        InputError: Something is in the place of one.

    """
    bundle = replica.launch.bundle
    brought, fetched = [], 0
    for job_input in replica.inputs:
        if os.path.dirname(bundle.input_paths[job_input.sha256]) != fetching.folder:
            brought.append(job_input)
            continue
        placed = job_input._replace(target=expand(job_input.target, replica.values))
        _stage(placed, Path(replica.root, placed.target), fetching, supervisor, foreign=bundle.foreign)
        fetched += 1
    stage_inputs(tuple(brought), replica.values, bundle.input_paths, replica.root)
    return f"{fetched} of {len(replica.inputs)} inputs" if fetched else ""


def _stage(job_input: Input, target: Path, fetching: Fetching, supervisor: Supervisor, *, foreign: bool) -> None:
    """Put an input, with a URL as its source, into a work folder; fetch it where it is not kept as it should be."""
    what, kept = f"input {job_input.target!r}", Path(fetching.folder, job_input.sha256)
    note_use(kept)
    try:
        stage_file(what, str(kept), target, job_input.sha256, executable=job_input.executable)
    except KeptCopyError:
        remove(kept)
        target.unlink(missing_ok=True)
        _fetch(job_input, fetching, supervisor, foreign=foreign)
        try:
            stage_file(what, str(kept), target, job_input.sha256, executable=job_input.executable)
        except KeptCopyError as error:
            raise FetchError(f"{what} {NOT_FETCHED}, for it goes at once: {error}") from error


def _fetch(job_input: Input, fetching: Fetching, supervisor: Supervisor, *, foreign: bool) -> None:
    """Let a process bring an input among those that are kept."""
    os.makedirs(fetching.folder, 0o700, exist_ok=True)
    request = orjson.dumps({
        "url": job_input.source, "sha256": job_input.sha256, "folder": fetching.folder,
        "cache": fetching.cache_mib << 20, "limit": fetching.max_mib << 20,
        "private_hosts": list(fetching.private_hosts), "gateways": list(fetching.gateways),
        "sources": dict(fetching.sources),
    })  # fmt: skip
    argv = interpreter.module(PROGRAM, str(FEED))
    limits = Limits(
        time_s=_TIME_S, mem_mib=_MEMORY_MIB, disk_bytes=(fetching.max_mib << 20) + _SPARE, kills=True
    )
    answer = os.memfd_create("fetched", os.MFD_CLOEXEC)
    try:
        os.chdir(interpreter.FOLDER)
        environment = _environment(fetching, foreign=foreign)
        result = Attempt(_Waiting(supervisor)).run(argv[0], argv, environment, (answer, answer), limits, (), (request,))
        text = os.pread(answer, _ANSWER, 0).decode("utf-8", "replace")
    finally:
        os.close(answer)
    if result.stopped is not None and result.stopped[0] in _ENDS:
        raise StoppedError(*result.stopped)
    if result.stopped is not None:
        text = result.stopped[1]
    elif not result.status:
        return
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    why = ". ".join(lines[-_LINES:]) or f"exit code {result.status}"
    raise FetchError(f"input {job_input.target!r} {NOT_FETCHED}: {why}")


class _Waiting:
    """Waits for a fetch as for a command, but that its time is none of the command's."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def paused(self) -> bool:
        return self._supervisor.paused

    @property
    def alarmed(self) -> bool:
        return self._supervisor.alarmed

    @alarmed.setter
    def alarmed(self, value: bool) -> None:
        self._supervisor.alarmed = value

    def tick(self, elapsed: float) -> float | None:
        asked = self._supervisor.tick(min(elapsed, _ANNOUNCED_S))
        return _TICK_S if asked is None else max(_TICK_S, asked)

    def interrupted(self, sign: int) -> tuple[Outcome, str] | None:
        return self._supervisor.interrupted(sign)

    def ends_by(self, when: float) -> None:
        """Tell nobody: the time of the command has not begun."""


def _environment(fetching: Fetching, *, foreign: bool) -> dict[str, str]:
    """Return the environment of the process that fetches."""
    given: Mapping[str, str] = {**(birth.given or os.environ), **fetching.env}
    found = interpreter.environment(given)
    for name, value in given.items():
        if name.lower() in NETWORK_VARIABLES or name.startswith(_LOGINS):
            found[name] = value
    if fetching.proxy:
        for name in ("no_proxy", "NO_PROXY"):
            found.pop(name, None)
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
            found[name] = fetching.proxy
    if foreign or not fetching.logins:
        found = {name: value for name, value in found.items() if not name.startswith(_LOGINS)}
        found |= {"AWS_SKIP_SIGNATURE": "true", "HOME": interpreter.FOLDER, "NETRC": os.devnull}
    return found

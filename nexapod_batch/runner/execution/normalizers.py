"""Commands that normalise an output: run on a copy, in the job's own container or confined, without network.

The digest of what one prints is what is compared. It shares the time of the job's command, has its memory, and prints
at most `MAX_PRINTED` bytes. The copy is its stdin, and the one file in its folder.
"""

from __future__ import annotations

import hashlib
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from nexapod_batch.errors import PluginError
from nexapod_batch.files import careful
from nexapod_batch.model.placeholders import expand
from nexapod_batch.runner.execution.folders.work_dirs import remove_tree
from nexapod_batch.runner.execution.stage import (
    NormalizeError,
    command_path,
    device_environment,
    environment,
    passed_on,
)
from nexapod_batch.runner.processes.process_tree import Limits
from nexapod_batch.runtimes import Execution
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from nexapod_batch.model.job import CompareRule, Job
    from nexapod_batch.runner.execution.image_file import Images
    from nexapod_batch.runner.execution.replica import Replica
    from nexapod_batch.runner.processes.process_tree import Attempt, Result
    from nexapod_batch.runtimes import Runtime, Wrapped
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["MAX_PRINTED", "Normalizers"]

#: Bytes that a command may print.
MAX_PRINTED = 4 << 30
#: Seconds that it has where the job has no time limit.
_TIME_S = 3600
_BLOCK = 1 << 20
_LAST_LINE = 240  # characters
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Normalizers:
    """Runs the commands that normalise outputs, one after the other."""

    def __init__(self, node: NodeConfig, attempt: Attempt, images: Images, scratch: str) -> None:
        """Remember by what it runs; `scratch` is the name of a folder that no other executor uses."""
        self._node, self._attempt, self._images, self._scratch = node, attempt, images, scratch

    def check(self, replica: Replica) -> None:
        """Look, before anything runs, whether the commands of a job could be run here.

        Raises:
            PluginError: They cannot.

        """
        for output in replica.launch.job.outputs:
            if output.rule.normalize:
                self._wrapped(replica, [output.rule.normalize[0]])
                return

    def digest(self, replica: Replica, name: str, sha256: str, rule: CompareRule) -> str:
        """Return the normalised digest of an output: of what the command of its rule prints.

        Raises:
            NormalizeError: The command cannot be started, fails, or is over a limit; also OSError.
            CompareError: Its comparator cannot read what was printed.

        """
        os.mkdir(self._scratch, 0o700)
        try:
            copy = os.path.join(self._scratch, os.path.basename(name))
            size = _copy(Path(replica.root, name), copy, sha256)
            with _unlinked(f"{self._scratch}.out") as out, _unlinked(f"{self._scratch}.err") as err:
                self._run(replica, name, rule, size, (out.fileno(), err.fileno()))
                return _digest(out, name, rule)
        except PluginError as error:
            why = f"output {name!r} cannot be normalised here: {error}".replace("\n  -> ", ". ")
            raise NormalizeError(Outcome.NODE, why) from error
        finally:
            remove_tree(self._scratch)

    def _run(self, replica: Replica, name: str, rule: CompareRule, size: int, files: tuple[int, int]) -> None:
        """Run the command on the copy, of this size, with its stdout and stderr in two files."""
        copy = os.path.basename(name)
        command = [expand(word, {**replica.values, "output": copy}) for word in rule.normalize]
        runtime, wrapped = self._wrapped(replica, command)
        resources = replica.launch.job.resources
        printed = min(MAX_PRINTED, resources.disk_mib * 2**20)
        limits = Limits(
            time_s=_time_left(replica), mem_mib=resources.mem_mib, disk_bytes=size + printed,
            contained=True, kills=True,
        )  # fmt: skip
        os.chdir("/")
        try:
            result = self._attempt.run(
                wrapped.argv[0], wrapped.argv, wrapped.env, files, limits, (self._scratch,), wrapped.feeds,
                f"{self._scratch}/{copy}",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise PluginError(f"{wrapped.argv[0]} cannot be started: {error}") from error
        replica.normalized_ms += result.wall_ms
        what = f"normalize of output {name!r}, by {rule.normalize[0]!r}"
        _check_printed(what, files, printed, result)
        _judge(what, result, runtime, _tail(files[1]))

    def _wrapped(self, replica: Replica, command: list[str]) -> tuple[Runtime, Wrapped]:
        """Return how a command is started in the scratch folder, shut off from the network."""
        launch, job = replica.launch, _alone(replica.launch.job)
        path = command_path(self._node, job)
        passed = passed_on(self._node, contained=job.container is not None)
        env = environment(launch, replica.values, self._node, path, self._scratch, self._scratch, passed)
        env["PWD"] = env["HOME"] = self._scratch
        env.update(device_environment(()))
        execution = Execution(
            job=job, command=command, root=self._scratch, folder=self._scratch, env=env, path=path,
            image=self._images.path_of(launch), foreign=launch.bundle.foreign, offline=True,
        )  # fmt: skip
        return launch.wrap(execution)


def _alone(job: Job) -> Job:
    """Return a job as one process without GPUs, whose container has no network and nothing of the host's."""
    container = job.container
    if container is not None:
        container = container._replace(network="none", bind=())
    resources = replace(job.resources, ntasks=None, nodes=None, gpus=0, gpu_type=None, gpu_mem_mib=None)
    return replace(job, container=container, resources=resources, workdir=".")


def _time_left(replica: Replica) -> int:
    """Return how many seconds of the time of a replica are left, at least one."""
    limit_s = replica.launch.job.resources.time_s
    if limit_s is None:
        return _TIME_S
    used_ms = replica.normalized_ms + (0 if replica.result is None else replica.result.wall_ms)
    return max(1, limit_s - used_ms // 1000)


def _copy(source: Path, target: str, sha256: str) -> int:
    """Copy an output; return its size. NormalizeError where it is not what was digested."""
    digest, size = hashlib.sha256(), 0
    with careful.stream(source) as reader, open(os.open(target, _NEW, 0o600), "wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            size += len(block)
            writer.write(block)
    if digest.hexdigest() != sha256:
        raise NormalizeError(Outcome.OUTPUT, f"output {source.name!r} was changed while it was digested")
    return size


def _unlinked(path: str) -> BinaryIO:
    """Return an open file without a name."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # of an executor that died
    descriptor = os.open(path, _NEW, 0o600)
    os.unlink(path)
    return os.fdopen(descriptor, "r+b")


def _tail(descriptor: int) -> bytes:
    return os.pread(descriptor, 4096, max(0, os.fstat(descriptor).st_size - 4096))


def _check_printed(what: str, files: tuple[int, int], most: int, result: Result) -> None:
    """Raise NormalizeError where a command printed more than these bytes: the rest was cut off, however it ended."""
    there = [os.fstat(descriptor) for descriptor in files]
    sizes = [file.st_size for file in there]
    _, of_node = resource.getrlimit(resource.RLIMIT_FSIZE)
    if of_node != resource.RLIM_INFINITY and max(sizes) >= of_node:
        raise NormalizeError(Outcome.NODE, f"{what}: this node lets no file be longer than {of_node} bytes (ulimit -f)")
    is_over_disk = result.stopped is not None and result.stopped[0] is Outcome.DISK
    blocks = sum(file.st_blocks for file in there) * 512  # which a file system takes before they are written
    if sum(sizes) > most or (is_over_disk and blocks > most):
        raise NormalizeError(Outcome.DISK, f"{what}: it printed more than {most / 2**20:.0f} MiB")


def _judge(what: str, result: Result, runtime: Runtime, stderr: bytes) -> None:
    """Raise NormalizeError unless the command ended well; PluginError where the machine is to blame."""
    if result.stopped is not None:
        outcome, detail = result.stopped
        raise NormalizeError(outcome, f"{what}: {detail}")
    if not result.status and not result.signal:
        return
    never = None if result.signal else runtime.judge(result.status or 0, stderr)
    if never is not None:
        raise NormalizeError(Outcome.OUTPUT, f"{what}: {never}")
    how = f"ended by signal {result.signal}" if result.signal else f"exit code {result.status}"
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    last = f"; last line of stderr: {lines[-1][:_LAST_LINE]}" if lines else ""
    raise NormalizeError(Outcome.OUTPUT, f"{what}: {how}{last}")


def _digest(printed: BinaryIO, name: str, rule: CompareRule) -> str:
    """Return the normalised digest of what was printed: of its bytes where these are compared."""
    from nexapod_batch.compare.registry import digest_of_bytes, normalized_digest  # noqa: PLC0415 - seldom

    printed.seek(0)
    normal = normalized_digest(printed, f"{name}.txt", rule)
    if normal is not None:
        return normal
    printed.seek(0)
    digest = hashlib.sha256()
    while block := printed.read(_BLOCK):
        digest.update(block)
    return digest_of_bytes(digest.hexdigest(), rule)

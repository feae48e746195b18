"""The command of a replica: prepared, wrapped by its runtime, started, waited for, and how it ended explained.

One command runs at a time, in the process that calls.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from typing import TYPE_CHECKING

from nexapod_batch import birth
from nexapod_batch.errors import DeviceError, PluginError
from nexapod_batch.model.placeholders import expand
from nexapod_batch.runner.execution.image_file import Images
from nexapod_batch.runner.execution.stage import (
    CommandError,
    command_path,
    device_environment,
    environment,
    passed_on,
    script_of,
    task_argv,
)
from nexapod_batch.runner.execution.started_program import Programs
from nexapod_batch.runner.processes.process_tree import Attempt, EarlySignal, Limits, Result, Supervisor
from nexapod_batch.runtimes import Execution
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexapod_batch.model.job import Checkpoint, CompareRule
    from nexapod_batch.runner.execution.folders.temporary import Temporary
    from nexapod_batch.runner.execution.logs import Logs
    from nexapod_batch.runner.execution.normalizers import Normalizers
    from nexapod_batch.runner.execution.replica import Replica
    from nexapod_batch.runner.execution.witness import Witness
    from nexapod_batch.runner.gpu.grant import Granted
    from nexapod_batch.runner.gpu.meter import Meter
    from nexapod_batch.runtimes import Device, Wrapped
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["Commands"]

_NOT_STARTED = frozenset({2, 126, 127})  # with which shells, env and container programs say that nothing began
#: What the system says where there are too many processes or files, or too little memory, for one more program.
_SCARCE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_MAX_LAST_LINE = 240  # characters


class Commands:
    """Runs the commands of one executor, one after the other."""

    def __init__(
        self,
        node: NodeConfig,
        supervisor: Supervisor,
        logs: Logs,
        temporary: Temporary,
        witness: Witness,
        lose: Callable[[Mapping[str, str]], None],
        scratch: str,
    ) -> None:
        """Remember whom to ask while waiting; `lose` hears which GPUs failed, and why.

        `scratch` is the name of a folder that no other executor uses.
        """
        self._scratch = scratch
        self._normalizing: Normalizers | None = None  # until a job asks for it
        self._node, self._logs, self._temporary, self._witness, self._lose = node, logs, temporary, witness, lose
        self._attempt = Attempt(supervisor)
        self._programs = Programs()
        self._images = Images()
        self._meter: Meter | None = None  # of the GPUs of what runs

    def execute(self, replica: Replica, granted: Granted) -> Result:
        """Start the command of a replica in its work folder and wait for the end of everything it started.

        CommandError when it cannot be started, PluginError when that is the node's fault, InputError for its image.
        """
        job = replica.launch.job
        folder = _made_folder(replica)
        ranks = job.resources.ranks > 1
        if ranks and not self._node.launcher:  # one process in their place would be another job
            raise PluginError("this node starts no ranks", got=f"ntasks {job.resources.ranks}", wanted="1")
        replica.launched = ranks and "SLURM_JOB_ID" in birth.given  # else its ranks are below us
        devices = granted.devices if job.resources.gpus else ()
        if any(output.rule.normalize for output in job.outputs):
            self._normalizers().check(replica)  # before hours are spent on what could not be compared
        execution = self._execution(replica, folder, devices, ranks=ranks)
        replica.program = self._programs.of(execution)
        runtime, wrapped = replica.launch.wrap(execution)
        replica.wrapped = wrapped
        at = folder if wrapped.isolation == "none" else "/"  # a wrapper looks for nothing where a command may write
        if ranks:
            result = self._run_ranks(replica, wrapped, at, granted, execution)
        else:
            result = self._run(replica, wrapped, at, granted, devices)
        if wrapped.container is not None:
            self._images.check_again(replica.launch)
        if result.stopped is None and result.status:
            never = runtime.judge(result.status, self._logs.tail()) if wrapped.isolation != "none" else None
            _check_began(replica, folder, result.status, never)
        return result

    def normalized(self, replica: Replica, name: str, sha256: str, rule: CompareRule) -> str:
        """Return the digest of what the command of a rule prints of an output.

        Raises:
            NormalizeError: It cannot be started, fails, or is over a limit.

        """
        return self._normalizers().digest(replica, name, sha256, rule)

    def _normalizers(self) -> Normalizers:
        if self._normalizing is None:
            from nexapod_batch.runner.execution.normalizers import Normalizers as Made  # noqa: PLC0415 - for few jobs

            self._normalizing = Made(self._node, self._attempt, self._images, self._scratch)
        return self._normalizing

    @property
    def gpu_failure(self) -> tuple[Outcome, str] | None:
        """What a replica is whose GPU failed while it runs; None as long as none did."""
        if self._meter is not None and self._meter.faults:
            return _gpu_failed(self._meter.faults)
        return None

    def last_line(self) -> str:
        """Return the last line that the current command wrote to stderr, as much of it as a reason holds."""
        lines = self._logs.tail().decode("utf-8", "replace").splitlines()
        line = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if len(line) <= _MAX_LAST_LINE:
            return line
        return line[: _MAX_LAST_LINE - 3] + "..."

    def _execution(self, replica: Replica, folder: str, devices: tuple[Device, ...], *, ranks: bool) -> Execution:
        """Return what is to run, as a runtime must know it."""
        launch, job = replica.launch, replica.launch.job
        tmp = self._temporary.take(shared=ranks and birth.given.get("SLURM_JOB_NUM_NODES", "1") != "1")
        replica.temporary = self._temporary.files
        passed = passed_on(self._node, contained=job.container is not None)
        path = command_path(self._node, job)
        env = environment(launch, replica.values, self._node, path, replica.root, tmp, passed)
        replica.passed = tuple([(name, _digest(value)) for name, value in sorted(passed.items()) if env[name] == value])
        if not (ranks and devices):  # a launcher tells its ranks, on whatever host they are
            env.update(device_environment(devices))
        return Execution(
            job=job,
            command=task_argv(launch, replica.values),
            root=replica.root,
            folder=folder,
            env=env,
            path=path,
            image=self._images.path_of(launch),
            script=None if launch.script is None else str(launch.script),
            devices=devices,
            foreign=launch.bundle.foreign,
            tmp=tmp,
            inputs=tuple([expand(item.target, replica.values) for item in replica.inputs]),
        )

    def _run_ranks(
        self, replica: Replica, wrapped: Wrapped, folder: str, granted: Granted, execution: Execution
    ) -> Result:
        """Let the node's launcher start the ranks of a replica."""
        from nexapod_batch.runner.execution.launcher import ranks  # noqa: PLC0415 - most replicas are one process

        job, path = replica.launch.job, execution.path
        with ranks.started_by_file(f"{replica.root}.start", wrapped, folder) as rank:
            around = ranks.launcher_environment(job, path, replica.root)
            argv = [*ranks.launcher(self._node.launcher, job, path), *rank]
            result = self._run(replica, wrapped._replace(argv=argv, env=around), "/", granted, execution.devices)
        if result.stopped is None:
            result = result._replace(stopped=ranks.said_by_launcher(result.status, self._logs.tail()))
        if replica.launched:
            return _by_accounting(replica, result, path, around)
        return result

    def _run(
        self, replica: Replica, wrapped: Wrapped, folder: str, granted: Granted, devices: tuple[Device, ...]
    ) -> Result:
        """Start what is wrapped in a folder, and wait for the end of everything that it started."""
        job, argv, env = replica.launch.job, wrapped.argv, wrapped.env
        program = self._programs.find(argv[0], env["PATH"], folder)
        limits = Limits(
            time_s=job.resources.time_s,
            mem_mib=job.resources.mem_mib,
            disk_bytes=job.resources.disk_mib * 2**20,
            contained=wrapped.isolation != "none",
            kills=job.left_over == "kill",
            early=_early_signal(job.checkpoint, behind=wrapped.isolation == "files"),
        )
        stdin = f"{replica.root}/{expand(job.stdin, replica.values)}" if job.stdin else ""
        os.chdir(folder)
        try:
            self._begin_metering(granted, devices)
            self._witness.begin(self._temporary.files)
            result = self._attempt.run(
                program, argv, env, self._logs.descriptors, limits, (replica.root, self._temporary.files),
                wrapped.feeds, stdin,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in argv or in the environment
            self._programs.forget(argv[0], env["PATH"])
            if isinstance(error, OSError) and error.errno in _SCARCE:  # no fault of the task, whatever it is
                raise PluginError("this node has no room for one more program", got=error.strerror) from error
            from nexapod_batch.files.script_form import why_not_started  # noqa: PLC0415 - most commands start

            why = why_not_started(os.path.join(folder, program), error)
            raise CommandError(f"{argv[0]!r} cannot be started: {why}", 126) from error
        finally:
            self._witness.end()
            os.chdir("/")
            faults = self._end_metering(replica)
        if faults and result.status and result.stopped is None:  # whatever it made of it, it is no fault of its own
            return result._replace(stopped=_gpu_failed(faults))
        if result.stopped is None:
            result = result._replace(stopped=self._witness.judge(result))
        return result

    def _begin_metering(self, granted: Granted, devices: tuple[Device, ...]) -> None:
        """Measure the GPUs of what starts now; PluginError when one of them cannot be used."""
        if not devices:
            return
        from nexapod_batch.runner.gpu.meter import Meter  # noqa: PLC0415 - threads and drivers, for who has a GPU

        self._meter = Meter(granted.gpus, exclusive=granted.exclusive)
        try:
            self._meter.start()
        except DeviceError as error:
            raise PluginError(str(error)) from error

    def _end_metering(self, replica: Replica) -> Mapping[str, str]:
        """Keep what was measured; return which GPUs failed, and tell the worker."""
        if self._meter is None:
            return {}
        replica.gpus, faults = self._meter.stop(), self._meter.faults
        self._meter = None
        if faults:
            self._lose(faults)
        return faults


def _made_folder(replica: Replica) -> str:
    """Return the folder in which a command starts, which is there then."""
    workdir = replica.launch.job.workdir
    if workdir == ".":
        return replica.root
    folder = f"{replica.root}/{workdir}"
    os.makedirs(folder, 0o700, exist_ok=True)
    return folder


def _early_signal(checkpoint: Checkpoint | None, *, behind: bool) -> EarlySignal | None:
    """Return the signal by which a command hears that its time is nearly over; container programs pass it on."""
    if checkpoint is None or not checkpoint.signal:
        return None
    return EarlySignal(signal.Signals[f"SIG{checkpoint.signal}"], checkpoint.ahead_s, behind)


def _by_accounting(replica: Replica, result: Result, path: str, environment: Mapping[str, str]) -> Result:
    """Note what the ranks of a replica used by the scheduler's accounting; return the result as it knows it."""
    from nexapod_batch.runner.execution.launcher import steps  # noqa: PLC0415 - most replicas are one process

    found = steps.of_allocation(path, environment)
    if found is None:
        return result
    replica.used_by_ranks = found.cpu_ms, found.max_rss_kib
    if not found.number and environment.get("SLURM_JOB_NUM_NODES", "1") == "1":  # the launcher started them below us
        replica.used_by_ranks = result.cpu_ms, result.max_rss_kib
    if result.stopped is None and found.out_of_memory:
        step = found.out_of_memory[0]
        detail = f"the kernel killed a process of one of its ranks, for memory (Slurm says so of step {step})"
        return result._replace(stopped=(Outcome.MEMORY, detail))
    return result


def _check_began(replica: Replica, folder: str, status: int, never: str | None) -> None:
    """Raise CommandError where a command that ended with a status never began; `never` is why, by its runtime."""
    if never is not None:
        raise CommandError(never, 127)
    from nexapod_batch.files import script_form  # noqa: PLC0415 - most commands end well

    words = task_argv(replica.launch, replica.values)
    script = script_of(replica.launch, replica.values, folder)
    start = script_form.beginning(script)
    if status in _NOT_STARTED and (why := script_form.ends_as_on_windows(start)):
        raise CommandError(f"{os.path.basename(script)!r} cannot be run: {why}", status)
    read = script_form.read_by_shell(words)
    if script_form.has_windows_lines(start) or b"\r\n" in script_form.beginning(os.path.join(folder, read)):
        replica.hint = f"{os.path.basename(read or script)!r}: {script_form.WINDOWS_LINES}"


def _gpu_failed(faults: Mapping[str, str]) -> tuple[Outcome, str]:
    return Outcome.NODE, f"a GPU failed while this ran: {'; '.join(faults.values())}"


def _digest(value: str) -> str:
    return hashlib.sha256(os.fsencode(value)).hexdigest()

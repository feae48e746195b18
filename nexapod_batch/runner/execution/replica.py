"""One replica on its way: staged, run by its executor, judged by its limits and its exit status."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

from nexapod_batch.errors import PluginError, UnsafeOutputError
from nexapod_batch.model.placeholders import task_values
from nexapod_batch.runner.execution.folders.disk_space import refusal
from nexapod_batch.runner.execution.folders.work_dirs import is_empty
from nexapod_batch.runner.execution.outputs import Produced, digest_outputs, stdout_only
from nexapod_batch.runner.execution.stage import (
    CommandError,
    InputError,
    KeptCopyError,
    NormalizeError,
    StoppedError,
)
from nexapod_batch.runner.processes.process_tree import disk_detail
from nexapod_batch.runner.processes.usage import longest_file, tree_bytes
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:

    from nexapod_batch.model.job import Checkpoint, CompareRule, Program
    from nexapod_batch.model.replica import Continuation, ReplicaName
    from nexapod_batch.plugins import Wrapped
    from nexapod_batch.runner.launches.launch import OpenedLaunch
    from nexapod_batch.runner.processes.process_tree import Result
    from nexapod_batch.trust.statement import GpuUse, LogTrail, SavedFile

__all__ = ["Replica", "Runs", "without_own_paths"]

_CONTAINER_KIB = 96 * 1024  # measured: 40 MiB with Apptainer 1.4


class Runs(Protocol):
    """What a replica needs of its executor."""

    def called_off(self) -> tuple[Outcome, str] | None:
        """Return why the current replica must not be started."""
        ...

    def stage(self, replica: Replica) -> str:
        """Put the inputs into the work folder; return what of them was fetched by the node, in a few words.

        InputError, or StoppedError where the runner was told to stop.
        """
        ...

    def execute(self, replica: Replica) -> Result:
        """Run the command to its end; CommandError when it cannot be started."""
        ...

    def normalized(self, replica: Replica, name: str, sha256: str, rule: CompareRule) -> str:
        """Return the digest of what the command of a rule prints of an output; NormalizeError where it gives none."""
        ...

    def last_words(self) -> str:
        """Return the last line that the command wrote to stderr; "" for none."""
        ...


class Replica:
    """One replica: what is known of it so far."""

    def __init__(
        self, executor: Runs, launch: OpenedLaunch, index: int, name: ReplicaName, root: str, started: float
    ) -> None:
        """Remember what it is; nothing was done yet."""
        self.launch, self.index, self.name, self.root, self.started = launch, index, name, root, started
        one = launch.bundle.replicas[index]
        self.values = task_values(launch.job, one.task, one.parameters)  # of the placeholders of its task
        self.inputs = launch.inputs(index)
        self.continues = one.continues
        self.saved: tuple[SavedFile, ...] = ()  # what it left to go on from
        self.outcome, self.detail = Outcome.OK, ""
        self.exit_code: int | None = None
        self.result: Result | None = None
        self.wrapped: Wrapped | None = None  # how the command was started, when it was
        self.launched = False  # its ranks are started by a scheduler, beside us: what they use we do not see
        self.used_by_ranks: tuple[int | None, int | None] = None, None  # ms and KiB, where the scheduler says so
        self.gpus: tuple[GpuUse, ...] = ()  # that it had, and what it used them for
        self.passed: tuple[tuple[str, str], ...] = ()  # what it got of its site's variables: name, SHA-256 of the value
        self.program: Program | None = None  # that its command starts
        self.normalized_ms = 0  # spent on commands that normalise outputs
        self.trail: LogTrail | None = None  # of its logs, where it took its time
        self.temporary = ""  # the folder of its temporary files, when it has one
        self.left_nothing = False  # both folders are known to be empty, and nothing lives that could change that
        self.hint = ""  # what may be wrong with its command, where that fails
        self._script = str(launch.script or "")  # its name holds the launch's
        self._executor = executor

    def run(self) -> None:
        """Stage, execute, and judge by limits and exit status."""
        late = self.started - self.launch.bundle.not_after
        off = self._executor.called_off()
        if off is not None:
            self.fail(*off)
        elif late > 0:
            self.fail(Outcome.PREEMPTED, f"not started: its launch had expired {late:.0f} s before")
        else:
            self._stage_and_execute()

    def _stage_and_execute(self) -> None:
        """Do both, and take note of what stands in the way."""
        try:
            fetched = self._executor.stage(self)
            if self.continues is not None:
                self._put_back(self.continues)
            self.result = self._executor.execute(self)
        except KeptCopyError as error:
            self.fail(Outcome.NODE, str(error))
        except StoppedError as error:
            self.fail(error.outcome, error.detail)
        except InputError as error:
            self.fail(Outcome.INPUT, str(error))
        except PluginError as error:
            self.fail(Outcome.NODE, f"the command cannot be run here: {error}".replace("\n  -> ", ". "))
        except CommandError as error:
            self.exit_code = error.exit_code
            self.fail(Outcome.FAILED, str(error))
        else:
            self._judge(self.result)
            if self.result.paused_ms:
                self._add(f"was suspended for {self.result.paused_ms / 1000:.0f} s by the owner of the machine")
            if fetched:
                self._add(f"fetched by the node: {fetched}")

    def _add(self, what: str) -> None:
        """Add to what its statement says beside the outcome, if it is anything."""
        self.detail = "; ".join(filter(None, (self.detail, what)))

    def produce(self, out: tuple[str, int]) -> Produced:
        """Return the outputs; a replica that failed, or whose outputs cannot be used, has its stdout only."""
        job = self.launch.job
        if self.outcome is Outcome.OK:
            try:
                if self._fits_disk(out[1]) and job.outputs:
                    produced = digest_outputs(job, self.values, self.root, self._normalized)
                    self._add(produced.unread)
                    return produced
            except NormalizeError as error:
                self.fail(error.outcome, error.detail)
            except UnsafeOutputError as error:
                self.fail(Outcome.OUTPUT, str(error).replace("\n  -> ", ". "))
            except OSError as error:
                self.fail(Outcome.NODE, f"the outputs cannot be read: {error}")
        produced = stdout_only(*out)
        checkpoint = self.launch.job.checkpoint
        if checkpoint is None or self.result is None:
            return produced
        return self._save(checkpoint, produced)

    def _put_back(self, continues: Continuation) -> None:
        from nexapod_batch.runner.execution.saved_state import put_back  # noqa: PLC0415 - most replicas begin anew

        put_back(continues, self.launch.bundle.input_paths, self.root)

    def _save(self, checkpoint: Checkpoint, produced: Produced) -> Produced:
        """Keep the files from which a later attempt goes on, where this one was stopped before it was done."""
        from nexapod_batch.runner.execution.saved_state import stopped  # noqa: PLC0415 - as above

        status = self.result.status if self.result else None
        end = stopped(checkpoint, self.continues, self.outcome, self.detail, status, self.root)
        self.fail(end.outcome, end.detail)
        self.saved = end.saved
        files = tuple([file.name for file in end.saved])
        return produced._replace(names=files, size=sum(file.size for file in end.saved))

    def _normalized(self, name: str, sha256: str, rule: CompareRule) -> str:
        return self._executor.normalized(self, name, sha256, rule)

    def _judge(self, result: Result) -> None:
        mem = self.launch.job.resources.mem_mib
        if result.stopped is not None:
            self.fail(*result.stopped)
        elif result.signal == signal.SIGXFSZ and (limit := self._limit_of_node()):
            self.fail(Outcome.NODE, _cut_off(limit))
        elif result.signal == signal.SIGXFSZ:
            self.fail(Outcome.DISK, f"a file grew over {self.launch.job.resources.disk_mib} MiB ([resources] disk)")
        elif mem is not None and result.max_rss_kib > max(mem * 1024, self._runtime_kib(), _own_peak_kib()):
            self.fail(
                Outcome.MEMORY, f"over its memory: got {result.max_rss_kib // 1024} MiB, wanted at most {mem} MiB"
            )
        elif result.status and (why := _refused(self.root, self.temporary)):
            self.fail(Outcome.NODE, why)
        elif result.signal:
            self._failed(f"ended by signal {result.signal} ({signal.strsignal(result.signal)})")
        elif result.status:
            self._failed(f"exit code {result.status}")

    def _failed(self, how: str) -> None:
        """Note how the command ended, and its last words: they are most often why."""
        said = self._executor.last_words()
        self.fail(Outcome.FAILED, f"{how}; last line of stderr: {said}" if said else how)
        self._add(self.hint)

    def _runtime_kib(self) -> int:
        """Return the memory that the container program itself may have had at its peak."""
        if self.wrapped is not None and self.wrapped.isolation != "none":
            return _CONTAINER_KIB
        return 0

    def _fits_disk(self, logs: int) -> bool:
        """Look at the disk once more, unless the folders are as empty as they were made."""
        most = self.launch.job.resources.disk_mib * 2**20
        folders = [one for one in (self.root, self.temporary) if one and not is_empty(one)]
        self.left_nothing = not folders and not self.launched
        used = logs + tree_bytes(*folders)
        if used > most:
            self.fail(Outcome.DISK, disk_detail(used, most))
            return False
        limit = self._limit_of_node()
        if limit and max(logs, longest_file(*folders)) >= limit:
            self.fail(Outcome.NODE, _cut_off(limit))
            return False
        if (folders or logs) and (why := _refused(self.root, self.temporary)):
            self.fail(Outcome.NODE, why)
            return False
        return True

    def _limit_of_node(self) -> int | None:
        """Return how long the node lets a file be, where that is less than the job may write; else None."""
        import resource  # noqa: PLC0415 - as below

        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        if most == resource.RLIM_INFINITY or most > self.launch.job.resources.disk_mib * 2**20:
            return None
        return most

    def fail(self, outcome: Outcome, detail: str) -> None:
        """Note why this replica is no vote, in words that do not differ from replica to replica."""
        self.outcome, self.detail = outcome, without_own_paths(detail, self.root, self._script)


def without_own_paths(text: str, root: str, script: str) -> str:
    """Return the text without the paths that belong to one replica: its work folder and, if any, its script."""
    text = text.replace(f"{root}/", "").replace(root, "the work folder")
    if script:
        return text.replace(script, "script")
    return text


def _cut_off(limit: int) -> str:
    return f"this node lets no file be longer than {limit} bytes (ulimit -f): what was written may be incomplete"


def _refused(*folders: str) -> str:
    """Return that the disk of one of these folders takes nothing more, as a sentence; "" where all do."""
    for folder in folders:
        why = refusal(folder) if folder else ""
        if why:
            return f"nothing more could be written when this ended ({why}): what it wrote may be incomplete"
    return ""


def _own_peak_kib() -> int:
    """Return the peak memory of this process, which the kernel counts for what it spawns as well."""
    import resource  # noqa: PLC0415 - only with a memory limit

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

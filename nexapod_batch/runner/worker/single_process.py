"""One replica that has a scheduler's job to itself, run by a runner without a worker.

Where each task is a job of the scheduler, an executor beside the worker costs more than the task. Everything else is as
it always is: the launch is verified and claimed first; limits, signals, logs and the report are the executor's. What
the worker does for its executors is done here: it looks for cancellations. Watching over it is left to the process
from which it is forked (`watcher.py`).
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.runner.execution.executor import Executor
from nexapod_batch.runner.launches.allocation import TIME_OVER, is_over
from nexapod_batch.runner.launches.launch import open_launch
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.usage import Alarm
from nexapod_batch.runner.worker.executor_deaths import Deaths
from nexapod_batch.runner.worker.watcher import PASSED_ON, divide
from nexapod_batch.spool import layout
from nexapod_batch.spool.news import News
from nexapod_batch.spool.runner_spool import Spool
from nexapod_batch.trust.bundle import MAX_BUNDLE
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from nexapod_batch.runner.launches.allocation import Allocation
    from nexapod_batch.runner.launches.launch import OpenedLaunch
    from nexapod_batch.runner.worker.watcher import Share
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["run"]

LOOK_S = 0.1  # between two looks for a cancellation


def run(node: NodeConfig, incarnation: str, mine: Allocation) -> bool:
    """Run the one replica of an allocation; False, with nothing claimed, where that is for a worker to do."""
    if len(mine.launches) != 1:
        return False
    (key,) = mine.launches
    spool = Spool(node.spool, incarnation, node.host, mine.native_id, mine.launches)
    try:
        launch = open_launch(key, careful.read(spool.inbox_file(key), MAX_BUNDLE), spool.seed(key), node, time.time())
    except Exception:  # noqa: BLE001 - withdrawn, or to be refused with the reason, whatever it does
        return False
    if len(launch.bundle.replicas) != 1 or launch.job.resources.gpus:
        return False
    if spool.claim(key):
        own_folder(node.work)
        known = Deaths(node.spool / layout.EXECUTOR_DEATHS).verdict(launch.task(0))
        share = divide(lambda overdue: _accuse(node, launch, overdue))
        _Solo(node, spool, launch, mine.lasts_s, share, known).run()
    return True


def _accuse(node: NodeConfig, launch: OpenedLaunch, overdue: bool) -> tuple[Outcome, str] | None:
    """Return what the replica must be called that ran when its runner was killed; None when it may be bad luck."""
    if overdue:
        most = launch.job.resources.time_s
        return Outcome.TIME, f"over its time limit of {most} s, and its runner was kept from ending it"
    return _one_more(node, launch)


def _one_more(node: NodeConfig, launch: OpenedLaunch) -> tuple[Outcome, str] | None:
    """Count one more death during the task of a launch; return what that makes of it."""
    deaths = Deaths(node.spool / layout.EXECUTOR_DEATHS)
    deaths.add(launch.task(0))
    return deaths.verdict(launch.task(0))


class _Solo(Executor):
    """An executor that is its own worker, and hears from itself what to do."""

    def __init__(
        self,
        node: NodeConfig,
        spool: Spool,
        launch: OpenedLaunch,
        lasts_s: int,
        share: Share,
        known: tuple[Outcome, str] | None,
    ) -> None:
        """Prepare for the one replica of a launch, which is claimed; the allocation lasts `lasts_s`.

        What is `known` against its task is reported, and nothing run; so is the verdict of the watcher.
        """
        self._watcher = share.watcher
        self._key, self._only, self._lasts_s = launch.bundle.launch, launch, lasts_s
        self._asked = {self._key, str(launch.name(0))}  # names by which it can be cancelled
        self._messages: list[dict[str, object]] = [{"run": [self._key, [0], ""]}]
        self._reported = False  # or given up
        self._news = News()  # of the spool
        self._alarm = Alarm()
        super().__init__(
            node, spool, None, share.number, self._asked & spool.cancelled(), {self._key: launch}, share.seat
        )
        why = share.verdict or known
        if why is not None:
            self._orders.verdicts[str(launch.name(0))] = why
        for sign in PASSED_ON - {signal.SIGTERM}:  # which it waits for
            signal.signal(sign, self._on_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON - {signal.SIGTERM})

    def _on_stop(self, sign: int, _: object) -> None:
        """Stop as TERM says; nothing ran before, so that all the time of the allocation was for what runs."""
        if sign == TIME_OVER and is_over(self._lasts_s):
            self._messages.append({"over": True})
        os.kill(os.getpid(), signal.SIGTERM)

    def run(self) -> None:
        """Run it, report it, and close the launch."""
        script = self._only.script
        if script is not None:
            atomic.write(script, self._only.job.script.encode(), mode=0o700, durable=False)
        self.serve()
        if script is not None:
            script.unlink(missing_ok=True)
        if self._reported:
            self._spool.finish(self._key)
            self._spool.drop_cancels(self._asked & self._orders.cancelled)
        self._let_watcher_go_on()

    def _let_watcher_go_on(self) -> None:
        """Undo what a command may have done to who watches over us."""
        if os.getppid() == self._watcher:
            descendants.signal_all([self._watcher], signal.SIGCONT)

    def interrupted(self, sign: int) -> tuple[Outcome, str] | None:
        """Hear of the watcher's death as well: like one of ours it is bad luck, or the task's own error."""
        if sign == signal.SIGTERM and not self._stopping and os.getppid() != self._watcher:
            why = _one_more(self._node, self._only)
            if why is not None:
                self._stopping = True
                return why
        return super().interrupted(sign)

    def tick(self, elapsed: float) -> float:
        """Look for a cancellation as well, and hear of it as of a worker's; look at the disk, and at the watcher."""
        due = super().tick(elapsed)
        self._let_watcher_go_on()
        self.alarmed = self.alarmed or self._alarm.rings(time.monotonic())
        news = self._news.there(self._spool.version())
        if news and (new := self._asked & self._spool.cancelled() - self._orders.cancelled):
            self._messages.append({"cancel": sorted(new)})
            os.kill(os.getpid(), signal.SIGUSR1)
        due = LOOK_S if due is None else min(due, LOOK_S)
        return min(due, self._witness.look())

    def _receive(self, *, wait: bool) -> tuple[bytes, list[int]]:
        """Return what is to be done next; at the end nothing, or BlockingIOError for who does not wait."""
        if not self._messages and not wait:
            raise BlockingIOError
        return orjson.dumps(self._messages.pop(0)) if self._messages else b"", []

    def _send(self, message: dict[str, object]) -> None:
        """Hear what is done."""
        self._reported = self._reported or "done" in message

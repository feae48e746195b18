"""One replica that has a scheduler's job to itself, run by the runner's only process.

Where each task is a job of the scheduler, an executor beside the worker costs more than the task. Everything else is as
it always is: the launch is verified and claimed first; limits, signals, logs and the report are the executor's. What
the worker does for its executors is done here: it looks for cancellations, and passes on the signals that end a job.

A runner that is killed cannot end what it started. With a worker one of the two processes does; here the scheduler
does, since its job has ended.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.runner.allocation import TIME_OVER, is_over
from nexapod_batch.runner.claims import News, Spool
from nexapod_batch.runner.executor import Executor
from nexapod_batch.runner.launch import open_launch
from nexapod_batch.runner.usage import Alarm
from nexapod_batch.trust.bundle import MAX_BUNDLE

if TYPE_CHECKING:
    from nexapod_batch.runner.allocation import Allocation
    from nexapod_batch.runner.launch import OpenedLaunch
    from nexapod_batch.runner.node import NodeConfig

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
        _Solo(node, spool, launch, mine.lasts_s).run()
    return True


class _Solo(Executor):
    """An executor that is its own worker, and hears from itself what to do."""

    def __init__(self, node: NodeConfig, spool: Spool, launch: OpenedLaunch, lasts_s: int) -> None:
        """Prepare for the one replica of a launch, which is claimed; the allocation lasts `lasts_s`."""
        self._key, self._only, self._lasts_s = launch.bundle.launch, launch, lasts_s
        self._asked = {self._key, str(launch.name(0))}  # names by which it can be cancelled
        self._messages: list[dict[str, object]] = [{"run": [self._key, [0], ""]}]
        self._reported = False  # or given up
        self._news = News()  # of the spool
        self._alarm = Alarm()
        super().__init__(node, spool, None, 0, self._asked & spool.cancelled(), {self._key: launch})
        for sign in (signal.SIGINT, signal.SIGHUP, TIME_OVER):
            signal.signal(sign, self._on_stop)

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
            self._spool.drop_cancels(self._asked & self._cancelled)

    def tick(self, elapsed: float) -> float:
        """Look for a cancellation as well, and hear of it as of a worker's; look at the disk."""
        due = super().tick(elapsed)
        self.alarmed = self.alarmed or self._alarm.rings(time.monotonic())
        news = self._news.there(self._spool.version())
        if news and (new := self._asked & self._spool.cancelled() - self._cancelled):
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

"""Passes of reconcile beside the server: in a process of their own, so that no answer waits for one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch import interpreter, log
from nexapod_batch.files import open_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.config.settings import Paths

__all__ = ["LastPass", "Passes"]

#: Seconds until a process that ended is started again, and for how long one may go on when it is to end.
_AGAIN_S, _END_S = 1.0, 30.0
_LINE = 1 << 20


class LastPass(Struct, frozen=True, kw_only=True):
    """What is known of the passes."""

    at: float = 0.0  # when the last one ended, seconds since 1970; 0: there was none
    failed: str = ""  # why the last try did not end well
    open_jobs: int = 0
    launched: int = 0


class Passes:
    """The process that makes passes, and what it tells."""

    def __init__(self, paths: Paths) -> None:
        """Start nothing yet."""
        self._paths = paths
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._news = asyncio.Event()
        self.last = LastPass()
        self.totals: dict[str, int] = {}
        self.on_pass: list[Callable[[dict[str, Any]], None]] = []  # called in the event loop after each pass

    def start(self) -> None:
        """Begin to make passes."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Have a pass made soon: something changed."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, RuntimeError):
                if self._process.stdin.transport.get_write_buffer_size() == 0:  # it has not heard the last one yet
                    self._process.stdin.write(b"\n")

    def news(self) -> asyncio.Event:
        """Return an event that is set when the next pass that did something ends."""
        return self._news

    async def stop(self) -> None:
        """Let the pass that is under way end."""
        self._ending = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._task is not None:
            try:
                await asyncio.wait_for(self._task, _END_S)
            except TimeoutError:
                log.warning(__name__, "a pass did not end in time", seconds=_END_S)
        self._news.set()

    async def _run(self) -> None:
        while not self._ending:
            home = [str(self._paths.home), str(self._paths.results), *map(str, self._paths.config_dirs)]
            self._process = await asyncio.create_subprocess_exec(
                *interpreter.module("nexapod_batch.server.pass_worker", *home), cwd=interpreter.FOLDER,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE, env=dict(os.environ),
                start_new_session=True,
            )  # fmt: skip
            open_files.give_back_to(self._process.pid)
            await self._listen(self._process)
            code = await self._process.wait()
            if not self._ending:
                self.last = LastPass(at=self.last.at, failed=f"the process of the passes ended with {code}")
                log.warning(__name__, "the process of the passes ended", code=code)
                await asyncio.sleep(_AGAIN_S)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while line := await process.stdout.readline():
            try:
                said = json.loads(line)
            except ValueError:  # something that a plug-in printed
                continue
            if isinstance(said, dict) and "at" in said:
                self._heard(said)

    def _heard(self, said: dict[str, Any]) -> None:
        if "failed" in said:
            self.last = LastPass(at=self.last.at, failed=said["failed"], open_jobs=self.last.open_jobs)
            return
        self.last = LastPass(at=said["at"], open_jobs=said["open_jobs"], launched=said["launched"])
        counted = {name: said[name] for name in ("ingested", "decided", "launched", "published", "lost", "quarantined")}
        for name, number in counted.items():
            self.totals[name] = self.totals.get(name, 0) + number
        if any(counted.values()):
            self._news.set()
            self._news = asyncio.Event()
        for listener in self.on_pass:
            listener(said)

    @property
    def age_s(self) -> float | None:
        """Return for how many seconds there was no pass; None where there was none at all."""
        return time.time() - self.last.at if self.last.at else None

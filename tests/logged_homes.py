"""Homes whose jobs leave a log of what was executed, and what a test sees of them: rows, processes, passes."""

from __future__ import annotations

import shlex
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from clusters.daemons import lives
from homes import Done, Home
from living_folders import contents

from nexapod_batch.model.reason import Reason
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoggedHome", "until", "waiting"]

PATIENCE_S = 90.0


class LoggedHome(Home):
    """A home whose tasks write the names of their replicas into a log."""

    def __init__(self, folder: Path, name: str = "home") -> None:
        """Name the home and its log."""
        super().__init__(folder, name)
        self.log = folder / f"{name}.executions"

    def tasks(self, number: int, command: str = "", *, time_s: int | None = 60, quorum: str = "", more: str = "") -> str:
        """Return a job of so many tasks, each of which writes its replica's name into the log, then runs `command`."""
        limit = "" if time_s is None else f'time = "{time_s}s"\n'
        return (
            f'[job]\nname = "tasks"\nscript = \'\'\'#!/bin/sh\necho "${{PWD##*/}}" >> {shlex.quote(str(self.log))}\n{command}\n'
            f"echo \"$NEXAPOD_TASK\"\n'''\n[resources]\n{limit}{more}"
            f'[array]\nids = "0-{number - 1}"\n[quorum]\nagree = 1\ndistinct = "run"\n{quorum}'
        )

    def start(self, text: str) -> int:
        """Submit a descriptor given as text; return the job's id."""
        done = self.call("submit", self.descriptor(text), "--parsable")
        assert done.code == 0, done.err
        return int(done.out.split(";")[0])

    def reconcile(self) -> Done:
        """Run one pass; it ends well, or another process is running one."""
        done = self.call("reconcile")
        assert done.code in {0, 69, 75}, done.err
        return done

    def drive(self, condition: Callable[[], Any], what: str, *, timeout: float = PATIENCE_S) -> Any:
        """Run passes until a condition holds; return its value."""

        def look() -> Any:
            self.reconcile()
            return condition()

        return until(look, what, timeout=timeout, log=self.describe, pause=0.2)  # a pass costs more than its pause

    def ended(self, job: int, state: str = "accepted", *, timeout: float = PATIENCE_S) -> None:
        """Drive a job to its end, in which every task has this state (or `any`)."""
        self.drive(lambda: self.job(job)["finished_at"], f"job {job} to end", timeout=timeout)
        assert state == "any" or dict(self.job(job))[f"n_{state}"] == self.job(job)["n_tasks"], self.describe()
        # The last pass ended before its launches were dropped.
        self.drive(lambda: not self.rows("SELECT 1 FROM launch WHERE state <> 'forgotten'"), "all launches to be dropped")

    def job(self, job: int) -> sqlite3.Row:
        """Return the row of a job."""
        return self.rows("SELECT * FROM job WHERE id = ?", job)[0]

    def replicas(self, job: int, columns: str = "execution") -> list[Any]:
        """Return a column of every replica of a job, or several as a tuple, by task and number."""
        found = self.rows(f"SELECT {columns} FROM replica WHERE job_id = ? ORDER BY task, number", job)  # noqa: S608
        return [tuple(row) if len(row) > 1 else row[0] for row in found]

    def reasons(self, job: int) -> list[str]:
        """Return why every replica of a job is as it is, as a sentence, by task and number."""
        return [sentence(Reason.parse(text)) for text in self.replicas(job, "reason")]

    def out(self) -> list[sqlite3.Row]:
        """Return the replicas that are under way; a task that lost many waits before it has another."""
        return self.rows("SELECT 1 FROM replica WHERE execution IN ('created', 'submitted', 'queued', 'running')")

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Look into the database."""
        with closing(sqlite3.connect(f"file:{self.path}/state.db?mode=ro", uri=True, timeout=120)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()

    def executed(self) -> Counter[str]:
        """Return how often each replica was executed."""
        return Counter(self.log.read_text().split() if self.log.exists() else ())

    def ran(self, number: int) -> list[str]:
        """Wait until so many replicas started; return their names."""
        until(lambda: len(self.executed()) >= number, f"{number} replicas to start", log=self.describe)
        return list(self.executed())

    def explain(self, what: object = "last") -> str:
        """Return what `explain` says."""
        return self.call("explain", what).out

    def claims(self) -> set[str]:
        """Return the launches that were claimed and are kept."""
        return {file.name for file in self.path.glob("spool/*/claims/*")}

    def runners(self) -> list[psutil.Process]:
        """Return the runners of this home, executors among them."""
        return [one for one in self._processes() if any("nexapod_batch/runner" in word or "nexapod_batch.runner" in word for word in _words(one))]

    def kill_runners(self) -> int:
        """Kill the runners of this home so that none can report it; return how many they were."""
        found = self.runners()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for one in found:
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(number)
        return len(found)

    def describe(self) -> str:
        """Return what can be told of the last job, for a message."""
        faults = self.call("reconcile").err
        logs = contents(self.path.glob("spool/*/logs/*"))
        ends = [f"{log.name}: {content.decode(errors='replace')[-500:]}" for log, content in logs.items()]
        return "\n".join([self.explain(), faults, *ends[:5]])

    def end(self) -> None:
        """Kill every process that names this home."""

        def none_left() -> bool:
            left = self._processes()
            for one in left:
                _kill(one)
            return not left

        until(none_left, "no process of the home to be left")

    def _processes(self) -> list[psutil.Process]:
        mine = f"{self.path}/"
        return [one for one in psutil.process_iter() if lives(one) and any(mine in word for word in _words(one))]


def until(
    condition: Callable[[], Any], what: str, *, timeout: float = PATIENCE_S, log: Callable[[], str] = str, pause: float = 0.05
) -> Any:
    """Poll until `condition()` is true and return its value."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout:.0f} s for {what}\n{log()}"
        time.sleep(pause)
    return value


def waiting(gate: Path) -> str:
    """Return a command that waits for a file."""
    return f"while [ ! -e '{gate}' ]; do sleep 0.1; done"


def _words(process: psutil.Process) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    return []


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()

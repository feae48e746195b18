"""Storms: faults at random while jobs run, each really done and counted; afterwards nothing is lost and nothing ran twice.

The seed is printed, and can be given again as NEXAPOD_CRASH_SEED; NEXAPOD_CRASH_FAULTS says how many faults are wanted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import time
from collections import Counter
from contextlib import suppress
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import psutil
from homes import PROGRAM
from living_folders import contents
from logged_homes import until

from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from logged_homes import LoggedHome

__all__ = ["Storm"]


class Storm:
    """What every storm has: somebody who drives the jobs, and is killed; runners that are killed; a count."""

    #: Seconds for which faults may come, and in which calm must come after them.
    longest_s = 400
    #: Seconds until a process that a runner started is surely another program, and no runner any more.
    settled_s = 0.0
    #: Bounds of the seconds between two faults.
    pause_s = (0.05, 0.35)

    def __init__(self, home: LoggedHome, seed: int, wanted: int) -> None:
        """Begin with everything up; `seed` and the faults `wanted` hold unless the environment has others."""
        self.home = home
        self.wanted = int(os.environ.get("NEXAPOD_CRASH_FAULTS", wanted))
        seed = int(os.environ.get("NEXAPOD_CRASH_SEED", seed))
        print(f"seed {seed}")
        self.chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.counts: Counter[str] = Counter()
        self.passes: subprocess.Popen[bytes] | None = None

    def kinds(self) -> list[Callable[[], bool]]:
        """Return what can happen, as often as it should; each says whether it was done."""
        return [self.coordinator, self.runner, self.runner]

    def rage(self, text: str, busy: int) -> int:
        """Keep more than `busy` replicas under way by submitting `text`, and strike; return how many jobs there were."""
        jobs, began = 0, time.monotonic()
        while self.counts.total() < self.wanted:
            assert time.monotonic() - began < self.longest_s, f"{self.counts} only\n{self.home.describe()}"
            self.mend()
            if not jobs or len(self.home.out()) < busy:
                done = self.home.call("submit", self.home.descriptor(text))
                jobs += done.code == 0  # 75: a pass is under way; it is submitted all the same or not
            time.sleep(self.chance.uniform(*self.pause_s))
            self.strike()
        print(f"{self.counts.total()} faults over {jobs} jobs in {time.monotonic() - began:.0f} s: {dict(self.counts)}")
        return jobs

    def strike(self) -> None:
        """Do one thing."""
        kind = self.chance.choice(self.kinds())
        if kind():
            self.counts[kind.__name__] += 1

    def mend(self) -> None:
        """Start what is down: a coordinator at work."""
        if self.passes is None or self.passes.poll() is not None:
            self.passes = subprocess.Popen([PROGRAM, "wait", "all"], env=self.home.env, stdout=DEVNULL, stderr=DEVNULL)

    def calm(self) -> None:
        """Let everything that was submitted come to its end."""

        def ended() -> bool:
            if not self.home.rows("SELECT 1 FROM job WHERE finished_at IS NULL"):
                return True
            self.mend()
            return False

        until(ended, "all jobs to end", timeout=self.longest_s, log=self.home.describe)
        if self.passes is not None:
            self.passes.wait()

    def end(self) -> None:
        """Leave nothing behind."""
        if self.passes is not None:
            self.passes.kill()
            self.passes.wait()
        self.home.end()

    def coordinator(self) -> bool:
        """Kill -9 what drives the jobs."""
        if self.passes is None or self.passes.poll() is not None:
            return False
        self.passes.kill()
        self.passes.wait()
        return True

    def runner(self) -> bool:
        """Kill -9 a runner or one of its executors; not a command that is about to be executed by one.

        What is held against a task whose executor dies again and again is forgotten: a storm may hit one three times.
        """
        for folder in ("spool/*", "far/*/*"):
            for deaths in self.home.path.glob(f"{folder}/{layout.EXECUTOR_DEATHS}"):
                deaths.unlink(missing_ok=True)
        found = {one.pid: one for one in self.home.runners()}
        for one in self.chance.sample(sorted(found), len(found)):
            with suppress(psutil.NoSuchProcess):
                above = found[one].ppid()
                old = time.time() - found[one].create_time() > self.settled_s
                if above not in found or (found[above].ppid() not in found and old):
                    found[one].kill()
                    return True
        return False

    def nothing_was_lost_or_repeated(self, jobs: int, segments: Iterable[Path]) -> None:
        """Compare what ran with what is claimed and stored; `segments` are those that are left, wherever they lie."""
        rows = self.home.rows("SELECT * FROM job")
        assert len(rows) >= jobs
        assert [row["n_accepted"] for row in rows] == [row["n_tasks"] for row in rows], self.home.describe()
        assert [name for name, times in self.home.executed().items() if times > 1] == [], "a replica was executed twice"
        assert self.home.call("db", "check").code == 0
        stored = {bytes(row[0]) for row in self.home.rows("SELECT payload_sha256 FROM report")}
        seen = 0
        for segment, content in contents({one.resolve() for one in segments}).items():
            for line in content.split(b"\n")[:-1]:
                document = json.loads(line)
                if "payload" in document:
                    seen += 1
                    digest = hashlib.sha256(base64.b64decode(document["payload"])).digest()
                    assert digest in stored, f"{segment}: lost report"
        print(f"{len(stored)} reports are stored, {seen} still lie in segments")

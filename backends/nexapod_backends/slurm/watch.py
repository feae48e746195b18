"""What Slurm says of our jobs: one squeue and at most one sacct for a whole cluster, no more often than allowed.

The answer is kept in a file beside the groups, so that a command that runs for a second and a loop that runs for a day
ask equally seldom. What ended is asked about no more. An id that neither command knows is not known yet, until it has
been so for `GRACE_S`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nexapod_backends.slurm.parse import SACCT, SQUEUE, by_element, read_sacct, read_squeue
from nexapod_backends.slurm.states import read_state
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nexapod_backends.slurm.commands import Slurm
    from nexapod_backends.slurm.groups import Group
    from nexapod_backends.slurm.parse import JobRow
    from nexapod_batch.model.site import Site

__all__ = ["GRACE_S", "Seen", "Watch"]

#: Seconds for which a job may be unknown to squeue and sacct before it is called gone.
GRACE_S = 300.0
_MAX_BACKOFF_S = 900.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One element as Slurm last told."""

    state: str  # Slurm's word
    reason: str = ""
    start_s: int | None = None  # estimated, while it is pending
    hosts: str = ""
    at: float = 0.0  # when it was told


@dataclass(slots=True)
class _Memory:
    """What is kept between two polls, and between two processes."""

    at: float = 0.0  # when the queue was last looked at, seconds since 1970
    failures: int = 0  # polls that failed in a row
    trouble: str = ""
    seen: dict[str, dict[str, Seen]] = field(default_factory=dict)  # job id -> element -> what was told


class Watch:
    """The state of one cluster's queue."""

    def __init__(self, site: Site, slurm: Slurm, file: Path) -> None:
        """Remember whom to ask and where the answers are kept."""
        self._site, self._slurm, self._file = site, slurm, file
        self._memory = _Memory()
        self._stamp = -1

    @property
    def trouble(self) -> str:
        """Return why the last look at the queue failed, or nothing."""
        return self._memory.trouble

    def look(self, groups: Iterable[Group], now: float) -> None:
        """Ask Slurm about these groups if it is time; a failure is remembered, and asked again later and later."""
        self._load()
        memory = self._memory
        pause = min(self._site.limits.poll_interval_s * 2**memory.failures, _MAX_BACKOFF_S)
        pause = max(pause, self._site.limits.poll_interval_s)
        if 0 <= now - memory.at < pause:  # a clock that was set back makes it time
            return
        wanted = {one.native: one for one in groups if one.native and not self._all_ended(one)}
        memory.at = now
        memory.seen = {job: told for job, told in memory.seen.items() if job in {g.native for g in groups}}
        if wanted:
            try:
                self._ask(wanted, now)
                memory.failures, memory.trouble = 0, ""
            except SchedulerError as error:
                memory.failures, memory.trouble = memory.failures + 1, str(error)
        self._save()

    def told(self, group: Group, element: int) -> Seen | None:
        """Return what Slurm last told of an element; None when it never told anything."""
        return self._memory.seen.get(group.native, {}).get(str(element))

    def gone(self, group: Group, element: int, now: float) -> bool:
        """Say whether Slurm was asked often enough and knows nothing of an element any more."""
        seen = self.told(group, element)
        since = max(group.submitted, seen.at if seen else 0.0)
        return not self._memory.failures and self._memory.at - since > GRACE_S and now - since > GRACE_S

    def _all_ended(self, group: Group) -> bool:
        told = self._memory.seen.get(group.native, {})
        return len(told) >= len(group.elements) and all(read_state(one.state).ended for one in told.values())

    def _ask(self, wanted: Mapping[str, Group], now: float) -> None:
        """Look into the queue, then into the accounting for what is in it no more."""
        ids = sorted(wanted, key=self._last_told)[: self._site.limits.status_batch]  # the others at the next look
        done = self._slurm.call([*SQUEUE, f"--jobs={','.join(ids)}"], check=False)
        told: dict[str, set[str]] = {}
        # squeue fails as a whole when it knows none of the ids any more: then the accounting answers
        if done.returncode and "invalid job id" not in done.stderr.lower():
            got = done.stderr.strip()[-300:] or f"exit code {done.returncode}"
            raise SchedulerError(f"site {self._site.name}: squeue failed", got=got)
        self._take(read_squeue(done.stdout).rows, wanted, told, now)
        missing = [
            job for job in ids
            if len(told.get(job, ())) < len(wanted[job].elements) and not self._all_ended(wanted[job])
        ]  # fmt: skip
        if missing and self._site.scheduler.accounting != "squeue":
            since = int(min(wanted[job].tried or now for job in missing)) - 86_400
            start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
            done = self._slurm.call([*SACCT, f"--jobs={','.join(missing)}", f"--starttime={start}"], check=False)
            if done.returncode == 0:
                self._take(read_sacct(done.stdout).rows, wanted, told, now)

    def _last_told(self, job: str) -> float:
        """Return when Slurm last told anything of a job, or of the element of it that is silent for longest."""
        told = self._memory.seen.get(job, {})
        return min((one.at for one in told.values() if not read_state(one.state).ended), default=0.0)

    def _take(self, rows: Iterable[JobRow], wanted: Mapping[str, Group], told: dict[str, set[str]], now: float) -> None:
        """Keep what rows say of our own jobs: an id may have been given to somebody else's since."""
        mine = [row for row in rows if str(row.job) in wanted and row.name == f"nexapod-{wanted[str(row.job)].id}"]
        for (job, index), row in by_element(mine).items():
            group, element = wanted[str(job)], index or 0
            if element >= len(group.elements):
                continue
            told.setdefault(group.native, set()).add(str(element))
            known = self._memory.seen.setdefault(group.native, {})
            old = known.get(str(element))
            if old is None or not read_state(old.state).ended:
                known[str(element)] = Seen(row.state, row.reason, row.start_s, row.hosts, now)

    def _load(self) -> None:
        """Read what another process was told meanwhile."""
        try:
            stamp = self._file.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            document: dict[str, Any] = json.loads(self._file.read_bytes())
            seen = {job: {index: Seen(*one) for index, one in told.items()} for job, told in document["seen"].items()}
            self._memory = _Memory(document["at"], document["failures"], document["trouble"], seen)
            self._stamp = stamp
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._memory = _Memory()  # it is only a memory: Slurm is asked again

    def _save(self) -> None:
        memory = self._memory
        seen = {
            job: {index: [one.state, one.reason, one.start_s, one.hosts, one.at] for index, one in told.items()}
            for job, told in memory.seen.items()
        }
        document = {"at": memory.at, "failures": memory.failures, "trouble": memory.trouble, "seen": seen}
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.write(self._file, json.dumps(document).encode(), mode=0o600, durable=False)
        self._stamp = os.stat(self._file).st_mtime_ns

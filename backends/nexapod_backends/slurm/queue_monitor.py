"""What Slurm says of our jobs: one squeue and at most one sacct for a whole cluster, no more often than allowed.

The answer is kept in a file beside the groups, so that a command that runs for a second and a loop that runs for a day
ask equally seldom. What ended is asked about no more. An id that neither command knows is not known yet, until it has
been so for `GRACE_S`.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import astuple, replace

from nexapod_backends.slurm.cli.parse import SACCT, SQUEUE, by_element, read_sacct, read_squeue
from nexapod_backends.slurm.cli.states import read_state
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.cli.parse import JobRow, Listing
    from nexapod_backends.slurm.cli.pyslurm_client import Bindings
    from nexapod_backends.slurm.submission_records import Group
    from nexapod_batch.model.site import Site

__all__ = ["GRACE_BESIDE_S", "GRACE_S", "Seen", "Watch"]

#: Seconds for which a job may be unknown to squeue and sacct before it is called gone.
GRACE_S = 300.0
#: The same for an element of an array whose other elements were told of at that very look.
GRACE_BESIDE_S = 60.0
_MAX_BACKOFF_S = 900.0
_STRANGE = 20  # unknown words that are told of
_DOUBLINGS = 3  # of the pause, after failures: a controller that is back is noticed soon


class Seen(Struct, frozen=True):
    """One element as Slurm last told."""

    state: str  # Slurm's word
    reason: str = ""
    start_s: int | None = None  # estimated, while it is pending
    hosts: str = ""
    at: float = 0.0  # when it was told
    exit_code: int | None = None  # of an end, where the accounting told
    exit_signal: int | None = None


class _Memory(Struct):
    """What is kept between two polls, and between two processes."""

    at: float = 0.0  # when the queue was last looked at, seconds since 1970
    failures: int = 0  # polls that failed in a row
    trouble: str = ""
    seen: dict[str, dict[str, Seen]] = field(default_factory=dict)  # group id -> element -> what was told
    #: Group id -> the first and the last of the looks, in an unbroken row, that did not find all of it anywhere.
    silent: dict[str, tuple[float, float]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)  # words for states that nobody knows; each was told of


class Watch:
    """The state of one cluster's queue."""

    def __init__(
        self,
        site: Site,
        slurm: Slurm,
        file: Path,
        bindings: Bindings | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Remember whom to ask, where the answers are kept, and who hears of what is strange."""
        self._site, self._slurm, self._file, self._bindings, self._tell = site, slurm, file, bindings, tell
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
        pause = min(self._site.limits.poll_interval_s * 2 ** min(memory.failures, _DOUBLINGS), _MAX_BACKOFF_S)
        pause = max(pause, self._site.limits.poll_interval_s)
        if 0 <= now - memory.at < pause:  # a clock that was set back makes it time
            return
        kept = {one.id: one for one in groups}
        wanted = {key: one for key, one in kept.items() if one.native and self._going_on(one)}
        memory.at = now
        memory.seen = {key: told for key, told in memory.seen.items() if key in kept}
        memory.silent = {key: looks for key, looks in memory.silent.items() if key in wanted}
        if wanted:
            try:
                self._ask(wanted, now)
                memory.failures, memory.trouble = 0, ""
            except SchedulerError as error:
                memory.failures, memory.trouble = memory.failures + 1, str(error)
        self._save()

    def told(self, group: Group, element: int) -> Seen | None:
        """Return what Slurm last told of an element; None when it never told anything."""
        return self._memory.seen.get(group.id, {}).get(str(element))

    def gone(self, group: Group, element: int, now: float) -> bool:
        """Say whether squeue and the accounting answered often enough and know nothing of an element any more."""
        if group.id not in self._memory.silent:
            return False
        seen, (first, last) = self.told(group, element), self._memory.silent[group.id]
        others = self._memory.seen.get(group.id, {})
        # What Slurm cancels while it is pending vanishes from an array of which the rest is still there.
        grace = GRACE_BESIDE_S if any(one.at == last for one in others.values()) else GRACE_S
        if group.narrow:  # we cancelled it ourselves: two looks are enough
            grace = 0.0
        return min(last, now) - max(first, seen.at if seen else 0.0) > grace

    def _going_on(self, group: Group) -> set[int]:
        """Return the elements of which no end was told."""
        told = self._memory.seen.get(group.id, {})
        return {
            index for index in range(len(group.elements))
            if str(index) not in told or not read_state(told[str(index)].state).ended
        }  # fmt: skip

    def _ask(self, wanted: Mapping[str, Group], now: float) -> None:
        """Look into the queue, then into the accounting for what is in it no more."""
        # the others at the next look
        groups = sorted(wanted.values(), key=self._last_told)[: self._site.limits.status_batch]
        by_name = {f"nexapod-{one.id}": one for one in groups}
        queued = self._queue([one.native for one in groups], now)
        self._take(queued.rows, by_name, now)
        missing = [one for one in groups if self._untold(one, now)]
        unclear = [one for one in groups if one not in missing and self._unclear(one, now)]
        if (missing or unclear) and self._site.scheduler.accounting != "squeue":
            since = int(min(one.tried or now for one in (*missing, *unclear))) - 86_400
            start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
            ids = ",".join(one.native for one in (*missing, *unclear))
            done = self._slurm.call([*SACCT, f"--jobs={ids}", f"--starttime={start}"], check=False)
            if missing and done.returncode and "disabled" not in done.stderr.lower():
                # What it would have said of them nobody knows: they are missed from the next answer on.
                got = done.stderr.strip()[-300:] or f"exit code {done.returncode}"
                raise SchedulerError(f"site {self._site.name}: sacct failed", got=got)
            # Of what goes on the queue alone knows: a controller that crashed leaves jobs pending here for ever.
            ended = [row for row in read_sacct(done.stdout).rows if read_state(row.state).ended]
            self._take(ended, by_name, now)
        if queued.unreadable and any(self._untold(one, now) for one in missing):
            raise SchedulerError(f"site {self._site.name}: squeue answered what cannot be read", got=queued.samples[0])
        for one in groups:
            if self._untold(one, now):
                self._memory.silent[one.id] = (self._memory.silent.get(one.id, (now, now))[0], now)
            else:
                self._memory.silent.pop(one.id, None)

    def _queue(self, ids: Sequence[str], now: float) -> Listing[JobRow]:
        """Return what is in the queue, of pyslurm where it is of use."""
        listing = self._bindings.ask(ids, now) if self._bindings else None
        if listing is not None:
            return listing
        done = self._slurm.call([*SQUEUE, f"--jobs={','.join(ids)}"], check=False)
        # squeue fails as a whole when it knows none of the ids any more: then the accounting answers
        if done.returncode and "invalid job id" not in done.stderr.lower():
            got = done.stderr.strip()[-300:] or f"exit code {done.returncode}"
            raise SchedulerError(f"site {self._site.name}: squeue failed", got=got)
        return read_squeue(done.stdout)

    def _untold(self, group: Group, now: float) -> bool:
        """Say whether something of a group goes on, for all we know, that this look did not find."""
        told = self._memory.seen.get(group.id, {})
        return any(str(index) not in told or told[str(index)].at != now for index in self._going_on(group))

    def _unclear(self, group: Group, now: float) -> bool:
        """Say whether this look found an element that ended badly, and not how."""
        told = self._memory.seen.get(group.id, {}).values()
        return any(one.at == now and one.exit_code is None and read_state(one.state).at_fault for one in told)

    def _last_told(self, group: Group) -> float:
        """Return when Slurm last told anything of a group, or of the element of it that is silent for longest."""
        told = self._memory.seen.get(group.id, {})
        return min((one.at for one in told.values() if not read_state(one.state).ended), default=0.0)

    def _take(self, rows: Iterable[JobRow], by_name: Mapping[str, Group], now: float) -> None:
        """Keep what rows say of our own jobs: an id may have been given to somebody else's since."""
        mine = [row for row in rows if row.name in by_name and str(row.job) == by_name[row.name].native]
        for (_, index), row in by_element(mine).items():
            group, element = by_name[row.name], index or 0
            if element >= len(group.elements):
                continue
            known = self._memory.seen.setdefault(group.id, {})
            old = known.get(str(element))
            if old is None or not read_state(old.state).ended:
                told = (row.state, row.reason, row.start_s, row.hosts, now, row.exit_code, row.exit_signal)
                known[str(element)] = Seen(*told)
                self._wonder(row)
            elif old.exit_code is None and row.exit_code is not None:  # how it ended the accounting alone tells
                known[str(element)] = replace(old, exit_code=row.exit_code, exit_signal=row.exit_signal)

    def _wonder(self, row: JobRow) -> None:
        """Tell once of a state that is in no table."""
        word, strange = read_state(row.state), self._memory.strange
        if not word.known and word.native not in strange and len(strange) < _STRANGE:
            strange.append(word.native)
            self._tell(
                f"site {self._site.name}: Slurm says {word.native} of job {row.job}, a state that nexapod-batch does "
                "not know: it is taken as still running until squeue or sacct says more"
            )

    def _load(self) -> None:
        """Read what another process was told meanwhile."""
        try:
            stamp = self._file.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            document: dict[str, Any] = careful.load(self._file)
            seen = {key: {index: Seen(*one) for index, one in told.items()} for key, told in document["seen"].items()}
            silent = {key: (float(first), float(last)) for key, (first, last) in document["silent"].items()}
            strange = [str(word) for word in document.get("strange", ())]
            self._memory = _Memory(
                float(document["at"]), int(document["failures"]), str(document["trouble"]), seen, silent, strange
            )
            self._stamp = stamp
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._memory = _Memory()  # it is only a memory: Slurm is asked again

    def _save(self) -> None:
        memory = self._memory
        seen = {
            key: {index: [*astuple(one)] for index, one in told.items()}
            for key, told in memory.seen.items()
        }
        document = {
            "at": memory.at, "failures": memory.failures, "trouble": memory.trouble, "seen": seen,
            "silent": memory.silent, "strange": memory.strange,
        }  # fmt: skip
        own_folder(self._file.parent, below=self._file.parents[1])
        atomic.write(self._file, json.dumps(document).encode(), mode=0o600, durable=False)
        self._stamp = os.stat(self._file).st_mtime_ns

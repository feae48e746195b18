"""What Slurm says of our jobs: one squeue and at most one sacct for a whole cluster, no more often than allowed.

The answer is kept in a file beside the groups, so that a command that runs for a second and a loop that runs for a day
ask equally seldom. What ended is asked about no more. An id that neither command knows is not known yet, until it has
been so for `GRACE_S`. One thing is asked out of turn, a few times for each group: where it ran, when all of it was
reported and nothing else is missing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_backends.slurm.cli.parse import SACCT, SQUEUE, by_element, read_sacct, read_squeue
from nexapod_backends.slurm.cli.states import read_state
from nexapod_backends.slurm.queue.observations import Memory, MemoryFile, Observation
from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.bindings.client import PyslurmClient
    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.cli.parse import JobRow, Listing
    from nexapod_backends.slurm.queue.submission_records import Group
    from nexapod_backends.slurm.transport import Done
    from nexapod_batch.model.site import Site

__all__ = ["GRACE_BESIDE_S", "GRACE_S", "QueueMonitor"]

#: Seconds for which a job may be unknown to squeue and sacct before it is called gone.
GRACE_S = 300.0
#: The same for an element of an array whose other elements were told of at that very look.
GRACE_BESIDE_S = 60.0
_MAX_BACKOFF_S = 900.0
#: Looks out of turn that one group may cause, and the seconds from the last look to the first, second, ... of them.
_EARLY_S = (1.0, 2.0, 4.0)
_STRANGE = 20  # unknown words that are told of
_DOUBLINGS = 3  # of the pause, after failures: a controller that is back is noticed soon
_DAY_S = 86_400


class QueueMonitor:
    """The state of one cluster's queue."""

    def __init__(
        self,
        site: Site,
        slurm: Slurm,
        file: Path,
        pyslurm: PyslurmClient | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Remember whom to ask, where the answers are kept, and who is told of what is strange."""
        self._site, self._slurm, self._pyslurm, self._tell = site, slurm, pyslurm, tell
        self._file = MemoryFile(file)
        self._memory = Memory()

    @property
    def trouble(self) -> str:
        """Return why the last look at the queue failed, or nothing."""
        return self._memory.trouble

    def look(self, groups: Iterable[Group], now: float, reported: Collection[str] = ()) -> None:
        """Ask Slurm about these groups if it is time; a failure is remembered, and asked again later and later.

        `reported` are the ids of groups of which nothing is missing but where they ran: for them it is time earlier.
        """
        self._memory = memory = self._file.read(self._memory)
        early = self._early(reported, now)
        if 0 <= now - memory.at < self._pause() and not early:  # a clock that was set back makes it time
            return
        kept = {group.id: group for group in groups}
        for key in early:
            memory.early[key] = memory.early.get(key, 0) + 1
        for key in memory.early.keys() - kept.keys():
            del memory.early[key]
        wanted = {key: group for key, group in kept.items() if group.native and self._going_on(group)}
        memory.at = now
        for key in memory.seen.keys() - kept.keys():
            del memory.seen[key]
        for key in memory.silent.keys() - wanted.keys():
            del memory.silent[key]
        if wanted:
            try:
                self._ask(wanted, now)
                memory.failures, memory.trouble = 0, ""
            except SchedulerError as error:
                memory.failures, memory.trouble = memory.failures + 1, str(error)
        self._file.write(memory)

    def _early(self, reported: Collection[str], now: float) -> list[str]:
        """Return the groups, of those that were reported, for which Slurm may be asked out of turn now."""
        if self._memory.failures:  # a controller in trouble is left alone
            return []
        since, asked = now - self._memory.at, self._memory.early
        return [
            key for key in reported
            if asked.get(key, 0) < len(_EARLY_S) and since >= _EARLY_S[asked.get(key, 0)]
        ]  # fmt: skip

    def _pause(self) -> float:
        """Return how many seconds lie between two looks."""
        interval = self._site.limits.poll_interval_s
        longer: float = interval * 2 ** min(self._memory.failures, _DOUBLINGS)
        return max(interval, min(longer, _MAX_BACKOFF_S))

    def last_seen(self, group: Group, element: int) -> Observation | None:
        """Return what Slurm last told of an element; None when it never told anything."""
        return self._memory.seen.get(group.id, {}).get(str(element))

    def gone(self, group: Group, element: int, now: float) -> bool:
        """Say whether squeue and the accounting answered often enough and know nothing of an element any more."""
        if group.id not in self._memory.silent:
            return False
        seen, (first, last) = self.last_seen(group, element), self._memory.silent[group.id]
        others = self._memory.seen.get(group.id, {})
        # What Slurm cancels while it is pending vanishes from an array of which the rest is still there.
        grace = GRACE_BESIDE_S if any(other.at == last for other in others.values()) else GRACE_S
        if group.narrow:  # we cancelled it ourselves: two looks are enough
            grace = 0.0
        return min(last, now) - max(first, seen.at if seen else 0.0) > grace

    def _going_on(self, group: Group) -> set[int]:
        """Return the elements of which no end was told."""
        observed = self._memory.seen.get(group.id, {})
        return {
            index for index in range(len(group.elements))
            if str(index) not in observed or not read_state(observed[str(index)].state).ended
        }  # fmt: skip

    def _ask(self, wanted: Mapping[str, Group], now: float) -> None:
        """Look into the queue, then into the accounting for what is in it no more."""
        oldest_first = sorted(wanted.values(), key=self._last_told)
        groups = oldest_first[: self._site.limits.status_batch]  # the others at the next look
        by_name = {f"nexapod-{group.id}": group for group in groups}
        queued = self._queue([group.native for group in groups], now)
        self._take(queued.rows, by_name, now)
        missing = [group for group in groups if self._untold(group, now)]
        self._take(self._ended(groups, missing, now), by_name, now)
        still = [group for group in missing if self._untold(group, now)]
        if queued.unreadable and still:
            raise SchedulerError(f"site {self._site.name}: squeue answered what cannot be read", got=queued.samples[0])
        self._note_silence(groups, still, now)

    def _ended(self, groups: Sequence[Group], missing: Sequence[Group], now: float) -> list[JobRow]:
        """Return the ends of what the queue does not show, and of what it shows to have ended badly."""
        unclear = [group for group in groups if group not in missing and self._unclear(group, now)]
        return self._accounting(missing, unclear, now) if missing or unclear else []

    def _note_silence(self, groups: Sequence[Group], still: Sequence[Group], now: float) -> None:
        """Remember since when Slurm tells nothing of something of a group, and that it was asked now."""
        silent = self._memory.silent
        for group in groups:
            if group in still:
                silent[group.id] = (silent.get(group.id, (now, now))[0], now)
            else:
                silent.pop(group.id, None)

    def _queue(self, ids: Sequence[str], now: float) -> Listing[JobRow]:
        """Return what is in the queue, of pyslurm where it is of use."""
        listing = self._pyslurm.queue(ids, now) if self._pyslurm else None
        if listing is not None:
            return listing
        done = self._slurm.call([*SQUEUE, f"--jobs={','.join(ids)}"], check=False)
        # squeue fails as a whole when it knows none of the ids any more: then the accounting answers
        if done.returncode and "invalid job id" not in done.stderr.lower():
            raise self._failed("squeue", done)
        return read_squeue(done.stdout)

    def _failed(self, command: str, done: Done) -> SchedulerError:
        got = done.stderr.strip()[-300:] or f"exit code {done.returncode}"
        return SchedulerError(f"site {self._site.name}: {command} failed", got=got)

    def _accounting(self, missing: Sequence[Group], unclear: Sequence[Group], now: float) -> list[JobRow]:
        """Return what of these groups has ended, as the accounting tells it.

        Of what goes on the queue alone knows: a controller that crashed leaves jobs pending there for ever.
        """
        if self._site.scheduler.accounting == "squeue":
            return []
        groups = [*missing, *unclear]
        since_s = int(min(group.tried or now for group in groups)) - _DAY_S
        ids = [group.native for group in groups]
        listing = self._pyslurm.ended(ids, since_s, now) if self._pyslurm else None
        if listing is None:
            listing = self._ask_sacct(ids, since_s, needed=bool(missing))
        return [row for row in listing.rows if read_state(row.state).ended]

    def _ask_sacct(self, ids: Sequence[str], since_s: int, *, needed: bool) -> Listing[JobRow]:
        """Return what sacct tells of jobs; SchedulerError where it fails and its answer is `needed`."""
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since_s))
        done = self._slurm.call([*SACCT, f"--jobs={','.join(ids)}", f"--starttime={start}"], check=False)
        if needed and done.returncode and "disabled" not in done.stderr.lower():
            # What it would have said of them nobody knows: they are missed from the next answer on.
            raise self._failed("sacct", done)
        return read_sacct(done.stdout)

    def _untold(self, group: Group, now: float) -> bool:
        """Say whether something of a group goes on, for all we know, that this look did not find."""
        observed = self._memory.seen.get(group.id, {})
        return any(str(index) not in observed or observed[str(index)].at != now for index in self._going_on(group))

    def _unclear(self, group: Group, now: float) -> bool:
        """Say whether this look found an element that ended badly, and not how."""
        observed = self._memory.seen.get(group.id, {}).values()
        return any(seen.at == now and seen.exit_code is None and read_state(seen.state).at_fault for seen in observed)

    def _last_told(self, group: Group) -> float:
        """Return when Slurm last told anything of a group, or of the element of it that is silent for longest."""
        observed = self._memory.seen.get(group.id, {})
        return min((seen.at for seen in observed.values() if not read_state(seen.state).ended), default=0.0)

    def _take(self, rows: Iterable[JobRow], by_name: Mapping[str, Group], now: float) -> None:
        """Keep what rows say of our own jobs: an id may have been given to somebody else's since."""
        mine = [row for row in rows if row.name in by_name and str(row.job) == by_name[row.name].native]
        for (_, index), row in by_element(mine).items():
            group, element = by_name[row.name], index or 0
            if element < len(group.elements):
                self._keep(self._memory.seen.setdefault(group.id, {}), str(element), row, now)

    def _keep(self, known: dict[str, Observation], element: str, row: JobRow, now: float) -> None:
        """Keep what a row says of an element, unless its end was told before."""
        old = known.get(element)
        if old is None or not read_state(old.state).ended:
            known[element] = Observation(
                row.state, row.reason, row.start_s, row.hosts, now, row.exit_code, row.exit_signal
            )
            self._wonder(row)
        elif old.exit_code is None and row.exit_code is not None:  # how it ended the accounting alone tells
            known[element] = replace(old, exit_code=row.exit_code, exit_signal=row.exit_signal)

    def _wonder(self, row: JobRow) -> None:
        """Tell once of a state that is in no table."""
        word, strange = read_state(row.state), self._memory.strange
        if not word.known and word.native not in strange and len(strange) < _STRANGE:
            strange.append(word.native)
            self._tell(
                f"site {self._site.name}: Slurm says {word.native} of job {row.job}, a state that nexapod-batch does "
                "not know: it is taken as still running until squeue or sacct says more"
            )

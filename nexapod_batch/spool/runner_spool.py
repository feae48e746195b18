"""The spool as a runner sees it: lock, inbox, claims, refusals, cancellations.

Guarantees:

* one worker per spool: `worker.lock` is locked with flock for as long as the worker or one of its executors lives;
* a launch is run by who created its claim file (O_EXCL, fsynced with its folder before the first replica starts), and
  by nobody else, ever; a claim is never removed by a worker. When the coordinator needs it no longer it is moved to
  `spent/`, where it forbids the same until the bundle has expired;
* the key of a launch goes away with its claim, before a command of it starts, and is kept in memory alone;
* the inbox file goes away only when every replica of the launch was reported or given up.

So the files alone tell what became of a launch: inbox without claim is waiting, inbox and claim is running (or died,
when the incarnation in the claim no longer holds the lock), claim without inbox has ended.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.spool import cancellations, claims, launch_keys, layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

__all__ = ["Spool"]


class Spool:
    """The folders of one spool, for one incarnation of the worker."""

    def __init__(
        self, root: Path, incarnation: str, host: str, native_id: str = "", mine: Collection[str] | None = None
    ) -> None:
        """Make missing folders; host, incarnation and what the scheduler calls this runner are written into claims.

        Of lists of cancellations only what concerns the launches that are `mine` is read; None: all.
        """
        self.root, self.incarnation, self.host, self._mine = root, incarnation, host, mine
        self.native_id = native_id or incarnation
        own_folder(root, *layout.FOLDERS)
        self._boot = claims.boot_id()
        self._inbox, self._cancel = str(root / layout.INBOX), str(root / layout.CANCEL)  # looked at often
        self._lists: dict[str, set[str]] = {}  # of cancellations, by file: they never change
        self._arrived: dict[str, int] = {}  # when launches came that nobody claimed yet, as far as it is known
        self._foreign: set[str] = set()  # launches that another incarnation claimed, or that are ours already

    def inbox_file(self, launch: str) -> Path:
        """Return where the bundle of a launch lies."""
        return self.root / layout.bundle(launch)

    def seed(self, launch: str) -> bytes:
        """Return the seed of the subkey of a launch; b"" where it is not there (any more), or is none."""
        return launch_keys.read(self._key_file(launch))

    def _key_file(self, launch: str) -> Path:
        return self.root / layout.key(launch)

    def waiting(self) -> Iterator[str]:
        """Yield the launches in the inbox that nobody claimed, oldest first; claims are looked at one by one."""
        found: dict[str, int] = {}
        names: set[str] = set()
        with os.scandir(self._inbox) as entries:
            for entry in entries:
                launch = layout.launch_of_bundle(entry.name)
                if not launch:
                    continue
                names.add(launch)
                if launch in self._foreign:
                    continue
                if launch in self._arrived:  # a bundle is put there once, and never written again
                    found[launch] = self._arrived[launch]
                    continue
                with suppress(FileNotFoundError):
                    found[launch] = entry.stat(follow_symlinks=False).st_mtime_ns
        self._foreign &= names
        self._arrived = found
        for launch in sorted(found, key=lambda launch: (found[launch], launch)):
            if self.is_claimed(launch):
                self._foreign.add(launch)
            else:
                yield launch

    def has_waiting(self) -> bool:
        """Say whether there is a launch in the inbox that nobody claimed."""
        return next(self.waiting(), None) is not None

    def claim(self, launch: str) -> bool:
        """Create the claim durably and take the launch's key away; False when it was claimed or withdrawn meanwhile."""
        self._foreign.add(launch)
        path = self.root / layout.claim(launch)
        if not claims.claim(path, claims.Claim(self.incarnation, self.host, self._boot, os.getpid(), self.native_id)):
            return False
        if os.path.lexists(self.root / layout.spent(launch)):  # looked at last: a claim is moved there in one step
            path.unlink()
            self.refuse(launch, "it was handed over before, and has ended: a launch is run once")
            return False
        self._key_file(launch).unlink(missing_ok=True)  # no command that runs from now on finds it
        return self.inbox_file(launch).exists()

    def is_claimed(self, launch: str) -> bool:
        """Say whether somebody runs a launch, or ran it."""
        return os.path.lexists(self.root / layout.claim(launch))

    def finish(self, launch: str) -> None:
        """Take the bundle out of the inbox: every replica of it was reported or given up."""
        for path in (self.inbox_file(launch), self.root / layout.cancellation(launch)):
            try:
                path.unlink(missing_ok=True)
            except IsADirectoryError:  # somebody put it there
                path.rename(self.root / layout.REFUSED / f".{os.urandom(8).hex()}")

    def refuse(self, launch: str, reason: str) -> None:
        """Move a bundle that must not be run to `refused/`, with the reason beside it."""
        self._key_file(launch).unlink(missing_ok=True)
        text = f"{reason}\n".encode("utf-8", "replace")
        atomic.write(self.root / layout.reason(launch), text, 0o600, durable=False)
        with suppress(FileNotFoundError):  # withdrawn meanwhile
            self.inbox_file(launch).replace(self.root / layout.refused_bundle(launch))

    def cancelled(self) -> set[str]:
        """Return what is to stop, by replica name and launch key, and the names of the files that say so."""
        found = set(os.listdir(self.root / layout.CANCEL))
        lists = {name for name in found if layout.is_list(name)}
        self._lists = {name: self._lists[name] if name in self._lists else self._list(name) for name in lists}
        return found.union(*self._lists.values())

    def _list(self, name: str) -> set[str]:
        path = self.root / layout.cancellation(name)
        try:
            listed = cancellations.read(careful.read(path, cancellations.MAX_BYTES), self._mine)
        except OSError:  # gone meanwhile, or nothing that a coordinator puts there
            return set()
        stopped: set[str] = set()
        for launch, replicas in listed.items():
            stopped.update([launch] if replicas is None else replicas)
        return stopped

    def drop_cancels(self, names: Iterable[str]) -> None:
        """Remove cancellations that were obeyed or name nothing that is here."""
        for name in names:
            (self.root / layout.cancellation(name)).unlink(missing_ok=True)

    def version(self) -> tuple[int, int]:
        """Return a value that changes when something is put into the inbox or into `cancel/`."""
        return os.stat(self._inbox).st_mtime_ns, os.stat(self._cancel).st_mtime_ns

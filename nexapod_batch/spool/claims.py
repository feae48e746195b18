"""The spool as the worker sees it: lock, inbox, claims, refusals, cancellations.

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

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import check_plain, own_folder
from nexapod_batch.spool import cancellations, launch_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["FOLDERS", "TICK_S", "Lock", "News", "Spool", "boot_id", "claim", "is_launch_key"]

#: The folders of a spool that the worker makes when they are missing.
FOLDERS = ("inbox", "claims", "spent", "cancel", "reports", "refused")

#: How long one tick of a file system's clock is, at most.
TICK_S = 0.05
_TRIES, _TRY_S = 10, 0.005


def boot_id() -> str:
    """Return the kernel's id of this boot, so that a claim from before a reboot can be told; "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


class Lock:
    """`worker.lock`: held with flock, content is the incarnation that holds it."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened yet."""
        self._path = path
        self._fd = -1

    def take(self, incarnation: str) -> bool:
        """Lock and write the incarnation; False when another worker holds it.

        Somebody who only looks whether the lock is free holds it shared for an instant: hence a few tries.
        """
        check_plain(self._path)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        for _ in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_TRY_S)
        else:
            os.close(fd)
            return False
        os.pwrite(fd, incarnation.encode(), 0)  # all incarnations are of one length: never a moment without one
        os.ftruncate(fd, len(incarnation))
        self._fd = fd
        return True

    def release(self) -> None:
        """Unlock; the executors that inherited the descriptor must have ended."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1


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
        own_folder(root, *FOLDERS)
        self._boot = boot_id()
        self._lists: dict[str, set[str]] = {}  # of cancellations, by file: they never change
        self._foreign: set[str] = set()  # launches that another incarnation claimed, or that are ours already

    def inbox_file(self, launch: str) -> Path:
        """Return where the bundle of a launch lies."""
        return self.root / "inbox" / f"{launch}.json"

    def seed(self, launch: str) -> bytes:
        """Return the seed of the subkey of a launch; b"" where it is not there (any more), or is none."""
        return launch_keys.read(self._key_file(launch))

    def _key_file(self, launch: str) -> Path:
        return self.root / "inbox" / f"{launch}{launch_keys.ENDING}"

    def waiting(self) -> list[str]:
        """Return the launches in the inbox that nobody claimed, oldest first."""
        found = []
        names: set[str] = set()
        with os.scandir(self.root / "inbox") as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if suffix != "json" or not dot or stem.startswith("."):
                    continue
                names.add(stem)
                if stem not in self._foreign:
                    with suppress(FileNotFoundError):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, stem))
        self._foreign &= names
        self._foreign.update(stem for _, stem in found if os.path.lexists(self.root / "claims" / stem))
        return [stem for _, stem in sorted(found) if stem not in self._foreign]

    def claim(self, launch: str) -> bool:
        """Create the claim durably and take the launch's key away; False when it was claimed or withdrawn meanwhile."""
        self._foreign.add(launch)
        who = {"incarnation": self.incarnation, "host": self.host, "boot": self._boot, "pid": os.getpid()}
        if not claim(self.root / "claims" / launch, {**who, "native": self.native_id}):
            return False
        if os.path.lexists(self.root / "spent" / launch):  # looked at last: a claim is moved there in one step
            (self.root / "claims" / launch).unlink()
            self.refuse(launch, "it was handed over before, and has ended: a launch is run once")
            return False
        self._key_file(launch).unlink(missing_ok=True)  # no command that runs from now on finds it
        return self.inbox_file(launch).exists()

    def is_claimed(self, launch: str) -> bool:
        """Say whether somebody runs a launch, or ran it."""
        return os.path.lexists(self.root / "claims" / launch)

    def finish(self, launch: str) -> None:
        """Take the bundle out of the inbox: every replica of it was reported or given up."""
        for path in (self.inbox_file(launch), self.root / "cancel" / launch):
            try:
                path.unlink(missing_ok=True)
            except IsADirectoryError:  # somebody put it there
                path.rename(self.root / "refused" / f".{os.urandom(8).hex()}")

    def refuse(self, launch: str, reason: str) -> None:
        """Move a bundle that must not be run to `refused/`, with the reason beside it."""
        refused = self.root / "refused"
        self._key_file(launch).unlink(missing_ok=True)
        atomic.write(refused / f"{launch}.reason", f"{reason}\n".encode("utf-8", "replace"), 0o600, durable=False)
        with suppress(FileNotFoundError):  # withdrawn meanwhile
            self.inbox_file(launch).replace(refused / f"{launch}.json")

    def cancelled(self) -> set[str]:
        """Return what is to stop, by replica name and launch key, and the names of the files that say so."""
        found = set(os.listdir(self.root / "cancel"))
        lists = {name for name in found if name.endswith(cancellations.ENDING)}
        self._lists = {name: self._lists[name] if name in self._lists else self._list(name) for name in lists}
        return found.union(*self._lists.values())

    def _list(self, name: str) -> set[str]:
        try:
            said = cancellations.read(careful.read(self.root / "cancel" / name, cancellations.MOST), self._mine)
        except OSError:  # gone meanwhile, or nothing that a coordinator puts there
            return set()
        return {one for key, names in said.items() for one in ([key] if names is None else names)}

    def drop_cancels(self, names: Iterable[str]) -> None:
        """Remove cancellations that were obeyed or name nothing that is here."""
        for name in names:
            (self.root / "cancel" / name).unlink(missing_ok=True)

    def version(self) -> tuple[int, int]:
        """Return a value that changes when something is put into the inbox or into `cancel/`."""
        return (self.root / "inbox").stat().st_mtime_ns, (self.root / "cancel").stat().st_mtime_ns


class News:
    """Whether folders may have changed since they were looked at, by their versions.

    A change within one tick of a file system's clock leaves the same version: folders are looked at again until that is
    past. How long ago a version appeared our own clock tells, for the file system's may be another machine's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no look yet."""
        self._clock = clock
        self._version: tuple[int, int] | None = None
        self._since = 0.0
        self._settled = False

    def there(self, version: tuple[int, int]) -> bool:
        """Say whether to look now, where this is the version."""
        now = self._clock()
        if version != self._version:
            self._version, self._since, self._settled = version, now, False
            return True
        if self._settled:
            return False
        self._settled = now - self._since > TICK_S
        return True


def claim(path: Path, who: Mapping[str, object]) -> bool:
    """Create a claim durably, with who claims in it; False when there is one already."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(fd, orjson.dumps(who))
        os.fsync(fd)
    finally:
        os.close(fd)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def is_launch_key(text: str) -> bool:
    """Say whether `text` can be a launch key: 32 lower-case hex digits."""
    return len(text) == 32 and not text.strip("0123456789abcdef")

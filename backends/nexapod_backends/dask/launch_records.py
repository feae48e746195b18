"""What is kept of each launch, as one file: what it needs, its bundle, and the worker that it was bound to.

The binding is on disk before the scheduler hears of it, and ends only when the launch was taken back before it began:
after a crash the same launch goes to the same process again, or is lost. Which workers ran which tasks is kept longer,
for replicas that come later.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["Record", "Records", "Used"]

_JOBS = 1_000  # of which it is remembered where their tasks ran


class Record(Struct, kw_only=True):
    """One launch."""

    key: str
    job: str  # UUID
    tasks: list[int]
    replicas: list[str]  # names
    cpus: int  # of one replica
    mem_mib: int
    gpus: int
    time_s: int = 0  # that one replica may take; 0 when the job does not say it
    priority: int
    partition: str
    host_set: list[int] | None  # [i, n]
    apart: bool  # replicas of its tasks must run on different workers, not only should
    inputs: list[str]  # SHA-256
    envelope: str  # base64
    seed: str = ""  # of the key of the launch, in hex; "" when its worker took it
    worker: str = ""  # id of the process that it is bound to; "" for none yet
    address: str = ""
    name: str = ""  # of that worker
    host: str = ""
    storage: str = ""  # on which the spool of its worker lies
    notes: list[str] | None = None  # replicas cancelled before it was bound
    over: str = ""  # why it is never to be started
    withdrawn: list[str] | None = None  # workers that it was bound to, and taken back from before it began
    ended: bool = False  # told as ended: it takes no room on its worker
    failed: bool = False  # told as FAILED: what it ran does not count against its worker

    @property
    def task(self) -> str:
        """Return its key in the scheduler."""
        return f"nexapod-{self.key}"


class Used(Struct, kw_only=True):
    """Where tasks of one job ran, or are to run."""

    workers: dict[int, set[str]]
    hosts: dict[int, set[str]]

    def of(self, tasks: Iterable[int]) -> tuple[set[str], set[str]]:
        """Return the workers and the hosts that had a replica of any of these tasks."""
        mine = list(tasks)
        workers = set().union(*(self.workers.get(task, ()) for task in mine))
        return workers, set().union(*(self.hosts.get(task, ()) for task in mine))


class Records:
    """The launches of one node."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._read: dict[str, int] = {}  # key -> when its file was written
        self.by_key: dict[str, Record] = {}

    def refresh(self) -> None:
        """Take in what other processes wrote, in the order in which launches came."""
        found: dict[str, int] = {}
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        found[entry.name[:-5]] = entry.stat().st_mtime_ns
        for key in self.by_key.keys() - found.keys():
            del self.by_key[key]
        names = set(Record.__struct_fields__)
        for key, written in sorted(found.items(), key=lambda one: one[1]):
            if self._read.get(key) != written or key not in self.by_key:
                with suppress(OSError, ValueError, TypeError):  # damaged: handed over again, under the same key
                    document = careful.load(self._folder / f"{key}.json")
                    self.by_key[key] = Record(**{name: document[name] for name in names & document.keys()})
        self._read = found

    def save(self, records: Sequence[Record], *, durable: bool = True) -> None:
        """Write records; with `durable` they survive a power cut when this returns."""
        own_folder(self._folder, below=self._folder.parents[1])
        paths = []
        for record in records:
            path = self._folder / f"{record.key}.json"
            atomic.write(path, json.dumps(asdict(record)).encode(), mode=0o600, durable=False)
            self.by_key[record.key] = record
            self._read[record.key] = path.stat().st_mtime_ns
            paths.append(path)
        if durable and paths:
            atomic.sync_files(paths)

    def remove(self, keys: Iterable[str]) -> None:
        """Drop records; that there were any is remembered until `expire`, so that none of them is run again."""
        (self._folder / "spent").mkdir(mode=0o700, parents=True, exist_ok=True)
        for key in keys:
            (self._folder / "spent" / key).touch(mode=0o600)
            (self._folder / f"{key}.json").unlink(missing_ok=True)
            self.by_key.pop(key, None)

    def is_spent(self, key: str) -> bool:
        """Say whether there was a record of a launch."""
        return (self._folder / "spent" / key).exists()

    def expire(self, keys: Iterable[str]) -> None:
        """Forget that there were records."""
        for key in keys:
            (self._folder / "spent" / key).unlink(missing_ok=True)

    def used(self, job: str) -> Used:
        """Return where tasks of a job ran; what failed there does not count."""
        used = Used(workers=defaultdict(set), hosts=defaultdict(set))
        lines: dict[str, dict[str, list[int] | str]] = {}
        with suppress(FileNotFoundError), careful.stream(self._folder / "used" / job) as stream:
            for line in stream:
                with suppress(ValueError, KeyError):  # a torn line is of a launch whose record is there
                    said = json.loads(line)
                    lines[said["key"]] = said
        for said in lines.values():
            self._count(used, said.get("tasks", []), str(said.get("worker", "")), str(said.get("host", "")))
        for one in self.by_key.values():
            if one.job == job and one.worker and not one.failed:
                self._count(used, one.tasks, one.worker, one.host)
        return used

    def use(self, record: Record) -> None:
        """Remember where a launch ran, whose record goes; nothing when it failed there."""
        folder = self._folder / "used"
        own_folder(folder, below=self._folder)
        new = not (folder / record.job).exists()
        said = {"key": record.key[:8], "tasks": record.tasks, "worker": record.worker, "host": record.host}
        with (folder / record.job).open("ab") as stream:
            stream.write(json.dumps(said).encode() + b"\n")
        if new:
            files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            for file in files[:-_JOBS]:
                file.unlink(missing_ok=True)

    @staticmethod
    def _count(used: Used, tasks: object, worker: str, host: str) -> None:
        for task in tasks if isinstance(tasks, list) else ():
            used.workers[task].add(worker)
            used.hosts[task].add(host)

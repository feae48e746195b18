"""Files of a node where its workers see them: through a file system that is shared, or through Dask.

Both ways ask the same agent: here in this process, there on one worker of each storage. What comes from workers is
bytes, in parts of 4 MiB; names and sizes were checked (`agent_protocol.py`) before they become files of ours, and our
disk is never filled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_backends.dask.scheduler import agent
from nexapod_backends.dask.scheduler.agent_protocol import (
    MAX_LINE,
    ForeignAnswerError,
    Found,
    Seen,
    Spool,
    found_files,
    met,
    spools,
)
from nexapod_batch.errors import SchedulerError, UnsafeOutputError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.least_used import drop, listed, note_use, over
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from nexapod_backends.dask.placement import Worker
    from nexapod_backends.dask.scheduler.client import Wire

__all__ = ["PART", "Far"]

PART = 4 << 20
_MAX_KEY, _MAX_SETTINGS = 16 * 1024, 4 << 20
_FREE = 256 << 20  # bytes that are left free here, whatever workers send
_HERE = ""  # the "worker" that is this process


class Far:
    """The files of one node on the side of its workers."""

    def __init__(self, wire: Callable[[], Wire], base: str, *, shared: bool, reports: Path, memory: Path) -> None:
        """Know where they lie: below `base` on every worker, and here too where that is `shared`."""
        self._wire, self.base, self.shared, self._reports, self._memory = wire, base, shared, reports, memory
        self._through: dict[str, str] = {}  # storage -> address of a worker that sees it
        self._settled: dict[str, str] = {}  # storage -> digest of the settings that lie there
        self._inputs: dict[str, set[str]] = {}  # storage -> inputs that lie there
        self._clock: dict[str, float] = {}  # worker -> how many seconds its clock is ahead
        self.faulty: dict[str, str] = {}  # address of a worker whose answers cannot be used -> in words
        self.last = Seen()

    @property
    def reports_there(self) -> str:
        """Return the folder into which runners write their reports where that is read directly, else ""."""
        return str(self._reports) if self.shared else ""

    # ---- who sees what

    def meet(self, workers: Sequence[Worker]) -> None:
        """Ask workers who they are and what they see; one that is of no use is told why."""
        head = {"op": "look", "base": self.base, "folders": []}
        asked = {worker.address: ({**head, "address": worker.address}, b"") for worker in workers}
        here = self.ask(_HERE, {"op": "look", "base": self.base})[0]["storage"] if self.shared else ""
        began = time.time()
        said = self._wire().ask_all(asked)
        for worker in workers:
            answer = said[worker.address]
            try:
                if isinstance(answer, SchedulerError):
                    raise answer
                found = met(worker.address, answer[0])
            except SchedulerError as error:
                worker.trouble = " ".join(str(error).split())
                self._blame(worker.address, error)
                continue
            worker.id, worker.storage = found.id, found.storage
            ahead = found.time - (began + time.time()) / 2
            self._clock[worker.address] = ahead
            worker.machine, worker.ends = found.machine, None if found.ends is None else found.ends - ahead
            if not worker.id:
                worker.trouble = f"worker {worker.name} says that it is another one: its address is used twice"
            elif self.shared and worker.storage != here:
                way = "set [filesystem] work_dir, or [dask] local_dir"
                worker.trouble = f"worker {worker.name} does not see {self.base}: {way}"
            else:
                self._settled[worker.storage] = found.settings
                self._inputs[worker.storage] = set(found.inputs)
                self.faulty.pop(worker.address, None)

    def _blame(self, worker: str, error: SchedulerError) -> None:
        """Note a worker that answers what no agent of ours would; one that is only silent may be so."""
        if isinstance(error, ForeignAnswerError):
            self.faulty[worker] = " ".join(str(error).split())

    def reach(self, workers: Iterable[Worker]) -> None:
        """Know through which of these workers each storage is seen: those that are gone see nothing any more."""
        some = [worker for worker in workers if worker.id and not worker.trouble]
        some.sort(key=lambda one: (one.status != "running", one.address), reverse=True)
        self._through = {one.storage: one.address for one in some}

    def clocks(self) -> Mapping[str, float]:
        """Return by how many seconds the clock of each worker that was met is ahead of ours."""
        return self._clock

    def settle(self, worker: Worker, inputs: Mapping[str, Path]) -> None:
        """Put settings and inputs to where a worker reads them, unless they lie there."""
        if self.shared:
            return
        text = self._settings()
        digest = hashlib.sha256(text).hexdigest()
        if self._settled.get(worker.storage) != digest:
            file = f"{self.base}/{layout.NODE_CONFIG}"
            self.ask(worker.address, {"op": "write", "base": self.base, "path": file}, text)
            self._settled[worker.storage] = digest
        for name, path in inputs.items():
            if name not in self._inputs.setdefault(worker.storage, set()):
                self._bring_there(worker.address, path, f"{self.base}/inputs/{name}")
                self._inputs[worker.storage].add(name)

    def prepare(self, settings: Mapping[str, object]) -> None:
        """Keep what each storage of workers is to hold; where that is shared with us put it there at once."""
        own_folder(self._memory, below=self._memory.parents[1])
        text = json.dumps(settings, indent=2).encode() + b"\n"
        files = {self._memory / layout.NODE_CONFIG: text}
        if self.shared:
            self.ask(_HERE, {"op": "look", "base": self.base, "folders": []})
            files[Path(self.base, layout.NODE_CONFIG)] = text
        for path, data in files.items():
            if not path.exists() or careful.read(path, _MAX_SETTINGS) != data:
                atomic.write(path, data, mode=0o600)

    def _settings(self) -> bytes:
        """Return the `node.json` that a storage must hold; SchedulerError before `prepare`."""
        try:
            return careful.read(self._memory / layout.NODE_CONFIG, _MAX_SETTINGS)
        except OSError as error:
            raise SchedulerError("the settings of the node cannot be read", got=str(error)) from error

    def ask(self, worker: str, head: Mapping[str, object], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Ask the agent, here or on a worker; SchedulerError when it cannot do it."""
        if worker != _HERE:
            return self._wire().ask(worker, head, data)
        line, _, rest = agent.serve(json.dumps(head).encode() + b"\n" + data).partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise SchedulerError("files of the node cannot be used", got=answer["error"])
        return answer, rest

    def _everywhere(self) -> list[str]:
        """Return through whom each storage is seen."""
        return [_HERE] if self.shared else sorted(set(self._through.values()))

    # ---- what runners say

    def look(self) -> Seen:
        """See all spools in reach and bring new reports here; one whose reports could not be brought is not seen."""
        seen = Seen(at=time.monotonic())
        asked: dict[str, tuple[Mapping[str, object], bytes]] = {
            one: ({"op": "look", "base": self.base}, b"") for one in self._everywhere()
        }
        if self.shared:
            said: Mapping[str, Any] = {_HERE: self.ask(*next((one, head) for one, (head, _) in asked.items()))}
        else:
            said = self._wire().ask_all(asked)
        for through, answer in said.items():
            try:
                if isinstance(answer, SchedulerError):
                    raise answer
                for worker, spool in spools(through, answer[0]):
                    if not self.shared:
                        self._bring(through, worker, spool)
                    seen.spools[spool.storage, worker] = spool
            except SchedulerError as error:
                self._blame(through, error)
        self.last = seen
        return seen

    def _bring(self, through: str, worker: str, spool: Spool) -> None:
        """Bring the reports of a spool on a worker here; ForeignAnswerError when that worker cannot see it."""
        if self._through.get(spool.storage) != through:
            raise ForeignAnswerError(f"worker {through} speaks for a storage that it does not see")
        self._collect(worker, spool)

    def _collect(self, worker: str, spool: Spool) -> None:
        """Append to our copies what the segments of one spool have more."""
        own_folder(self._reports, below=base_of(self._reports))
        for name, size in spool.reports.items():
            target = self._reports / f"{_tag(spool.storage, worker)}-{name}"
            if not target.exists() or target.stat().st_size < size:
                whole = _Lines(target, spool.through)
                self._append(spool.through, f"{self.base}/w/{worker}/{layout.segment(name)}", target, size, whole.take)

    def discard(self, segments: Sequence[str]) -> None:
        """Remove segments that were taken in: theirs first, or they would be brought again."""
        for name in segments:
            if not self.shared:
                tag, _, theirs = name.partition("-")
                for (storage, worker), spool in self.last.spools.items():
                    if _tag(storage, worker) == tag and theirs in spool.reports:
                        path = f"{self.base}/w/{worker}/{layout.segment(theirs)}"
                        self.ask(spool.through, {"op": "discard", "path": path})
            (self._reports / name).unlink(missing_ok=True)

    # ---- what replicas left

    def fetch(
        self, replica: str, work: Path, *, logs: bool, names: Collection[str] | None, max_bytes: int | None
    ) -> None:
        """Bring the files of a replica, or what there is of its logs, into our work folder.

        SchedulerError when no worker is there that sees them, UnsafeOutputError when they are not to be brought here.
        """
        if not self.shared and not self._through:
            raise SchedulerError("no worker is there that sees the files of the replica", got=replica)
        own_folder(work, below=base_of(work))
        wanted = None if names is None else sorted(names)
        head = {"op": "find", "base": self.base, "replica": replica, "names": [] if logs else wanted}
        for through in self._everywhere():
            found = found_files(through, self.ask(through, head)[0], self.base, None if self.shared else names)
            if not found.root:
                continue
            size = sum(found.beside.values()) + sum(found.files.values())
            if max_bytes is not None and size > max_bytes and not logs:
                raise UnsafeOutputError(
                    f"worker {through} has more of replica {replica} than it may have", got=f"{size} bytes",
                    wanted=f"at most {max_bytes}",
                )  # fmt: skip
            try:
                self._take_all(through, found, work / replica, logs=logs)
            except ForeignAnswerError as error:  # another replica may have better files
                raise UnsafeOutputError(" ".join(str(error).split())) from error
            return

    def _take_all(self, through: str, files: Found, target: Path, *, logs: bool) -> None:
        """Bring what lies beside a work folder, and the folder itself unless only the logs are wanted."""
        for ending, length in files.beside.items():
            if not logs or ending != ".manifest":
                beside = target.with_name(target.name + ending)
                self._take(through, files.root + ending, beside, length, growing=logs)
        if not logs:
            self._take_tree(through, files.root, target, files.files)

    def _take_tree(self, through: str, root: str, target: Path, files: Mapping[str, int]) -> None:
        if self.shared:
            if not target.exists() and os.path.isdir(root) and not os.path.islink(root):
                os.rename(root, target)
            return
        target.mkdir(mode=0o700, exist_ok=True)
        for name, size in files.items():
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take(through, f"{root}/{name}", target / name, size)

    def _take(self, through: str, path: str, target: Path, size: int, *, growing: bool = False) -> None:
        """Take one file of a known size, going on where an earlier attempt ended."""
        have = target.stat().st_size if target.exists() else -1
        if have == size or (growing and have > size):
            return
        if self.shared and not growing:
            os.rename(path, target)
            return
        if self.shared:
            with suppress(OSError):
                shutil.copyfile(path, target)
            return
        if growing:
            self._append(through, path, target, size)
            return
        part = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.part")
        self._append(through, path, part, size)
        part.replace(target)

    def _append(
        self, through: str, path: str, target: Path, size: int, check: Callable[[bytes], object] = bool
    ) -> None:
        """Bring what is missing of a file that is there up to some place, in parts, never more than was announced."""
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "ab", buffering=0) as stream:
            have = os.fstat(fd).st_size
            if have > size:  # of something else
                os.ftruncate(fd, 0)
                have = 0
            while have < size:
                want = min(PART, size - have)
                room = os.fstatvfs(fd)
                if room.f_bavail * room.f_frsize < want + _FREE:
                    raise SchedulerError(f"no room for what workers have: {target.parent} is nearly full")
                data = self.ask(through, {"op": "read", "path": path, "offset": have, "size": want})[1]
                if not 0 < len(data) <= want:
                    raise ForeignAnswerError(
                        f"worker {through}: {path} is not as long as it said", got=have + len(data), wanted=size
                    )
                check(data)
                stream.write(data)
                have += len(data)

    def withdraw(self, through: str, worker: str, key: str) -> bool:
        """Take a launch out of a spool, unless it was claimed there: whoever claims it first has it."""
        said = self.ask(through, {"op": "withdraw", "base": self.base, "worker": worker, "key": key})[0]
        return said.get("withdrawn") is True

    def remove(self, replicas: Sequence[str], work: Path) -> None:
        """Remove what is left of replicas, there as far as workers are in reach, and here."""
        for through in self._everywhere():
            with suppress(SchedulerError):
                self.ask(through, {"op": "remove", "base": self.base, "replicas": list(replicas)})
        for name in replicas:
            shutil.rmtree(work / name, ignore_errors=True)
            for ending in layout.BESIDE_WORK:
                (work / f"{name}{ending}").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything of the node from every storage in reach."""
        for through in self._everywhere():
            with suppress(SchedulerError):
                self.ask(through, {"op": "clear", "base": self.base})

    # ---- inputs

    def stage(self, inputs: Mapping[str, Path], *, copy: bool) -> dict[str, str]:
        """Return where runners find inputs; where nothing is shared they are sent with the first launch."""
        if self.shared and not copy:
            return {digest: str(path) for digest, path in inputs.items()}
        if self.shared:
            folder = Path(self.base, "inputs")
            own_folder(folder, below=base_of(folder))
            for digest, path in inputs.items():
                if (folder / digest).exists():
                    note_use(f"{folder}/{digest}")
                    continue
                part = folder / f".{digest}.{os.getpid()}.{os.urandom(4).hex()}"
                shutil.copyfile(path, part)
                part.replace(folder / digest)
        elif inputs:
            known = {**self.inputs(), **inputs}
            text = json.dumps({digest: str(path) for digest, path in known.items()})
            atomic.write(self._memory / "inputs.json", text.encode(), mode=0o600, durable=False)
        return {digest: f"{self.base}/inputs/{digest}" for digest in inputs}

    def unstage(self, needed: Collection[str], limit: int) -> int:
        """Remove shared copies that are not `needed` and more than `limit` bytes; return how many."""
        folder = f"{self.base}/inputs"
        return drop(folder, over(listed(folder), needed, limit, time.time())) if self.shared else 0

    def inputs(self) -> dict[str, Path]:
        """Return where inputs lie here that were staged, by digest; those that are gone are left out."""
        try:
            known: dict[str, str] = careful.load(self._memory / "inputs.json")
        except (OSError, ValueError):
            return {}
        return {digest: Path(path) for digest, path in known.items() if os.path.exists(path)}

    def _bring_there(self, worker: str, path: Path, target: str) -> None:
        size, offset = path.stat().st_size, 0
        with path.open("rb") as stream:
            while True:
                data = stream.read(PART)
                last = offset + len(data) >= size
                head = {"op": "write", "base": self.base, "path": target, "offset": offset, "last": last}
                self.ask(worker, head, data)
                offset += len(data)
                if last:
                    return


class _Lines:
    """Sees to it that what is appended to a segment may be lines of reports."""

    def __init__(self, target: Path, worker: str) -> None:
        """Begin behind what is there."""
        self._worker, self._open = worker, 0  # bytes since the last end of a line
        with suppress(FileNotFoundError), careful.stream(target) as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - MAX_LINE - 1))
            self._open = len(stream.read().rpartition(b"\n")[2])

    def take(self, data: bytes) -> None:
        """Look at the next part; ForeignAnswerError for what never ends."""
        first, newline, _ = data.partition(b"\n")
        if self._open + len(first) > MAX_LINE:
            raise ForeignAnswerError(
                f"worker {self._worker} reports what is no report", got=f"a line of more than {MAX_LINE} bytes"
            )
        self._open = len(data.rpartition(b"\n")[2]) if newline else self._open + len(data)


def _tag(storage: str, worker: str) -> str:
    """Return what the names of a worker's segments begin with here, so that no worker can spell those of another."""
    return hashlib.sha256(f"{storage}/{worker}".encode()).hexdigest()[:12]

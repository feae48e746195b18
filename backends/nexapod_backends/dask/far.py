"""Files of a node where its workers see them: through a file system that is shared, or through Dask.

Both ways ask the same agent: here in this process, there on one worker of each storage. What comes from workers is
bytes, in parts of 4 MiB; names and sizes are checked before they become files of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_backends.dask import agent
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import atomic
from nexapod_batch.trust.statement import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from nexapod_backends.dask.place import Worker
    from nexapod_backends.dask.wire import Wire

__all__ = ["PART", "Far", "Seen", "Spool"]

PART = 4 << 20
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,100}\.jsonl")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_BESIDE = (".out", ".err", ".manifest")
_HERE = ""  # the "worker" that is this process


@dataclass(slots=True, kw_only=True)
class Spool:
    """The spool of one worker, as it was seen."""

    inbox: frozenset[str]
    claims: Mapping[str, str]  # launch -> incarnation
    refused: Mapping[str, str]  # launch -> reason
    reports: Mapping[str, int]  # segment -> size
    holder: str | None  # incarnation of the runner that lives
    through: str  # address of the worker through which it was seen


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a look at all storages in reach found."""

    spools: dict[str, Spool] = field(default_factory=dict)  # by worker id
    at: float = 0.0


class Far:
    """The files of one node on the side of its workers."""

    def __init__(self, wire: Callable[[], Wire], base: str, *, shared: bool, reports: Path, memory: Path) -> None:
        """Know where they lie: below `base` on every worker, and here too where that is `shared`."""
        self._wire, self.base, self.shared, self._reports, self._memory = wire, base, shared, reports, memory
        self._through: dict[str, str] = {}  # storage -> address of a worker that sees it
        self._settled: dict[str, str] = {}  # storage -> digest of the settings that lie there
        self._inputs: dict[str, set[str]] = {}  # storage -> inputs that lie there
        self._clock: dict[str, float] = {}  # worker -> how many seconds its clock is ahead
        self.last = Seen()

    @property
    def reports_there(self) -> str:
        """Return the folder into which runners write their reports where that is read directly, else ""."""
        return str(self._reports) if self.shared else ""

    # ---- who sees what

    def meet(self, workers: Sequence[Worker]) -> None:
        """Ask workers who they are and what they see; one that is of no use is told why."""
        head = {"op": "look", "base": self.base, "folders": []}
        asked = {one.address: ({**head, "address": one.address}, b"") for one in workers}
        here = self.ask(_HERE, {"op": "look", "base": self.base})[0]["storage"] if self.shared else ""
        began = time.time()
        said = self._wire().ask_all(asked)
        for one in workers:
            answer = said[one.address]
            if isinstance(answer, SchedulerError):
                one.trouble = " ".join(str(answer).split())
                continue
            found = answer[0]
            one.id, one.storage = str(found.get("id", "")), str(found.get("storage", ""))
            self._clock[one.address] = float(found.get("time", began)) - (began + time.time()) / 2
            if not _ID.fullmatch(one.id):
                one.trouble = f"worker {one.name} says that it is another one: its address is used twice"
            elif self.shared and one.storage != here:
                way = "set [filesystem] work_dir, or [dask] local_dir"
                one.trouble = f"worker {one.name} does not see {self.base}: {way}"
            else:
                self._settled[one.storage] = str(found.get("settings", ""))
                self._inputs[one.storage] = set(map(str, found.get("inputs", ())))

    def reach(self, workers: Iterable[Worker]) -> None:
        """Know through which of these workers each storage is seen: those that are gone see nothing any more."""
        some = [one for one in workers if one.id and not one.trouble]
        some.sort(key=lambda one: (one.status != "running", one.address), reverse=True)
        self._through = {one.storage: one.address for one in some}

    def clocks(self) -> Mapping[str, float]:
        """Return by how many seconds the clock of each worker that was met is ahead of ours."""
        return self._clock

    def settle(self, worker: Worker, inputs: Mapping[str, Path]) -> None:
        """Put settings, key and inputs to where a worker reads them, unless they lie there."""
        if self.shared:
            return
        files = self._settings()
        digest = hashlib.sha256(files["node.json"]).hexdigest()
        if self._settled.get(worker.storage) != digest:
            for name, data in files.items():
                self.ask(worker.address, {"op": "write", "base": self.base, "path": f"{self.base}/{name}"}, data)
            self._settled[worker.storage] = digest
        for name, path in inputs.items():
            if name not in self._inputs.setdefault(worker.storage, set()):
                self._bring_there(worker.address, path, f"{self.base}/inputs/{name}")
                self._inputs[worker.storage].add(name)

    def prepare(self, key: str, settings: Mapping[str, object]) -> None:
        """Keep what each storage of workers is to hold; where that is shared with us put it there at once."""
        self._memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(settings, indent=2).encode() + b"\n"
        files = {self._memory / "node.json": text, self._memory / "key.path": key.encode()}
        if self.shared:
            self.ask(_HERE, {"op": "look", "base": self.base, "folders": []})
            files = {**files, Path(self.base, "key"): Path(key).read_bytes(), Path(self.base, "node.json"): text}
        for path, data in files.items():
            if not path.exists() or path.read_bytes() != data:
                atomic.write(path, data, mode=0o600)

    def _settings(self) -> dict[str, bytes]:
        """Return what a storage must hold, by name; SchedulerError before `prepare`."""
        try:
            key = Path((self._memory / "key.path").read_text("utf-8"))
            return {"key": key.read_bytes(), "node.json": (self._memory / "node.json").read_bytes()}
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
            if isinstance(answer, SchedulerError):
                continue
            for worker, found in dict(answer[0].get("spools", {})).items():
                with suppress(SchedulerError, KeyError, TypeError, ValueError, AttributeError):
                    spool = _spool(found, through)
                    if not self.shared:
                        self._collect(worker, spool)
                    seen.spools[worker] = spool
        self.last = seen
        return seen

    def _collect(self, worker: str, spool: Spool) -> None:
        """Append to our copies what the segments of one spool have more."""
        if not _ID.fullmatch(worker):
            return
        self._reports.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, size in spool.reports.items():
            target = self._reports / f"{_tag(worker)}-{name}"
            have = target.stat().st_size if target.exists() else 0
            if _SEGMENT.fullmatch(name) and have < size:
                self._append(spool.through, f"{self.base}/w/{worker}/reports/{name}", target, size)

    def discard(self, segments: Sequence[str]) -> None:
        """Remove segments that were taken in: theirs first, or they would be brought again."""
        for name in segments:
            if not self.shared:
                tag, _, theirs = name.partition("-")
                for worker, spool in self.last.spools.items():
                    if _tag(worker) == tag and theirs in spool.reports:
                        path = f"{self.base}/w/{worker}/reports/{theirs}"
                        self.ask(spool.through, {"op": "discard", "path": path})
            (self._reports / name).unlink(missing_ok=True)

    # ---- what replicas left

    def fetch(self, replica: str, work: Path, *, logs: bool) -> None:
        """Bring the files of a replica, or what there is of its logs, into our work folder."""
        if not self.shared and not self._through:
            raise SchedulerError("no worker is there that sees the files of the replica", got=replica)
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        for through in self._everywhere():
            found = self.ask(through, {"op": "find", "base": self.base, "replica": replica})[0]
            root = str(found.get("root") or "")
            if not root:
                continue
            for ending, size in dict(found["beside"]).items():
                if ending in _BESIDE and (not logs or ending != ".manifest"):
                    self._take(through, root + ending, work / f"{replica}{ending}", int(size), growing=logs)
            if not logs:
                self._take_tree(through, root, work / replica, found["files"])
            return

    def _take_tree(self, through: str, root: str, target: Path, files: Iterable[Sequence[Any]]) -> None:
        if self.shared:
            if not target.exists() and os.path.isdir(root):
                os.rename(root, target)
            return
        target.mkdir(mode=0o700, exist_ok=True)
        for name, size in files:
            if not isinstance(name, str) or not safe_name(name):
                continue
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take(through, f"{root}/{name}", target / name, int(size))

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

    def _append(self, through: str, path: str, target: Path, size: int) -> None:
        """Bring what is missing of a file that is there up to some place."""
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "ab", buffering=0) as stream:
            have = os.fstat(fd).st_size
            if have > size:  # of something else
                os.ftruncate(fd, 0)
                have = 0
            self._parts(through, path, have, size, stream.write)

    def _parts(self, through: str, path: str, start: int, end: int, take: Callable[[bytes], object]) -> None:
        """Read a file in parts, never more than was announced."""
        while start < end:
            want = min(PART, end - start)
            data = self.ask(through, {"op": "read", "path": path, "offset": start, "size": want})[1]
            if not 0 < len(data) <= want:
                raise SchedulerError(f"{path} is not as long as it was said to be", got=start + len(data), wanted=end)
            take(data)
            start += len(data)

    def remove(self, replicas: Sequence[str], work: Path) -> None:
        """Remove what is left of replicas, there as far as workers are in reach, and here."""
        for through in self._everywhere():
            with suppress(SchedulerError):
                self.ask(through, {"op": "remove", "base": self.base, "replicas": list(replicas)})
        for name in replicas:
            shutil.rmtree(work / name, ignore_errors=True)
            for ending in _BESIDE:
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
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for digest, path in inputs.items():
                if not (folder / digest).exists():
                    part = folder / f".{digest}.{os.getpid()}"
                    shutil.copyfile(path, part)
                    part.replace(folder / digest)
        elif inputs:
            known = {**self.inputs(), **inputs}
            text = json.dumps({digest: str(path) for digest, path in known.items()})
            atomic.write(self._memory / "inputs.json", text.encode(), mode=0o600, durable=False)
        return {digest: f"{self.base}/inputs/{digest}" for digest in inputs}

    def unstage(self, needed: Collection[str]) -> int:
        """Remove shared copies but the `needed`; return how many."""
        folder = Path(self.base, "inputs")
        if not self.shared or not folder.is_dir():
            return 0
        gone = [one for one in folder.iterdir() if one.name not in needed and not one.name.startswith(".")]
        for one in gone:
            one.unlink(missing_ok=True)
        return len(gone)

    def inputs(self) -> dict[str, Path]:
        """Return where inputs lie here that were staged, by digest; those that are gone are left out."""
        try:
            known: dict[str, str] = json.loads((self._memory / "inputs.json").read_bytes())
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


def _spool(found: Mapping[str, Any], through: str) -> Spool:
    holder = found["holder"]
    return Spool(
        inbox=frozenset(map(str, found["inbox"])),
        claims={str(key): str(who) for key, who in found["claims"].items()},
        refused={str(key): str(why) for key, why in found["refused"].items()},
        reports={str(name): int(size) for name, size in found["reports"].items()},
        holder=None if holder is None else str(holder),
        through=through,
    )


def _tag(worker: str) -> str:
    """Return what the names of a worker's segments begin with here, so that no worker can spell those of another."""
    return hashlib.sha256(worker.encode()).hexdigest()[:12]

"""What of ours runs inside a Dask worker. Its text travels: nothing of nexapod-batch need be importable there.

Only the standard library is used, and a worker's own objects. A worker is to us what this machine is to the backend
`local`: it has a spool of its own, `<base>/w/<worker>/`, and a runner that is fed through it. `serve` answers
questions about files, as bytes for bytes; `run` is the task of a launch: it hands the bundle to the runner, starts that
where none lives, and returns when the launch has ended. Where the storage is shared, the coordinator calls `serve`
itself.

Guarantees: a launch is put into one spool only, that of the worker for which it was meant (by the id of the process,
not by its address); folders of ours belong to this account and to nobody else; only plain files are read, no link is
followed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_backends.dask.scheduler.agent_base import (
    _NEW,
    _bounded,
    _digest,
    _ends,
    _folder,
    _holder,
    _id,
    _listed,
    _machine,
    _own,
    _put,
    _read,
    _small,
    _storage,
    _unlink,
    _worker,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run", "serve"]

_FOLDERS = ("inbox", "claims", "spent", "cancel", "reports", "refused")
_BESIDE = (".out", ".err", ".manifest", ".start")
_POLL_S = (0.005, 0.05)
_STARTS = 3  # of a runner that ends at once, before its launch is given up
_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_lock = threading.Lock()
_runners: dict[str, subprocess.Popen[bytes]] = {}  # by spool


def serve(request: bytes) -> bytes:
    """Answer one question: a line of JSON, and bytes behind it, on both ways."""
    line, _, data = request.partition(b"\n")
    asked = json.loads(line)
    try:
        answer = _OPS[asked.pop("op")](data, **asked)
    except OSError as error:
        answer = {"error": f"{error.strerror or error}: {error.filename}" if error.filename else str(error)}
    if isinstance(answer, bytes):
        return b"{}\n" + answer
    return json.dumps(answer).encode() + b"\n"


# ---- files, for the coordinator


def _look(_: bytes, *, base: str, address: str = "", folders: list[str] | None = None) -> dict[str, object]:
    """Say who and where this is, and what lies in the spools on this storage: of `folders`, or of all."""
    _own(base)
    worker = _worker(address) if address else None
    spools = {}
    wanted = os.listdir(f"{base}/w") if folders is None else folders
    for name in wanted:
        with suppress(FileNotFoundError):
            spools[name] = _spool(f"{base}/w/{name}")
    return {
        "id": _id(worker) if worker else "",
        "time": time.time(),
        "ends": _ends(worker) if worker else None,
        "machine": _machine(),
        "storage": _storage(base),
        "settings": _digest(f"{base}/node.json"),
        "inputs": sorted(os.listdir(f"{base}/inputs")) if os.path.isdir(f"{base}/inputs") else [],
        "spools": spools,
    }


def _spool(path: str) -> dict[str, object]:
    """See a spool: what is in the inbox before and after the rest was looked at did not end meanwhile."""
    waiting, claims = _waiting(path), {}
    for name in os.listdir(f"{path}/claims"):
        try:
            claims[name] = str(json.loads(_small(f"{path}/claims/{name}"))["incarnation"])
        except (OSError, ValueError, KeyError, TypeError):
            claims[name] = "?"
    holder = _holder(path)
    waiting &= _waiting(path)
    refused = {}
    for name in os.listdir(f"{path}/refused"):
        if name.endswith(".reason") and name[0] != ".":
            refused[name[:-7]] = _small(f"{path}/refused/{name}").decode("utf-8", "replace").strip()
    reports = {}
    if not os.path.islink(f"{path}/reports"):
        with os.scandir(f"{path}/reports") as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    reports[entry.name] = entry.stat(follow_symlinks=False).st_size
    return {"inbox": sorted(waiting), "claims": claims, "refused": refused, "reports": reports, "holder": holder}


def _waiting(path: str) -> set[str]:
    return {name[:-5] for name in os.listdir(f"{path}/inbox") if name.endswith(".json") and name[0] != "."}


def _write(data: bytes, *, base: str, path: str, offset: int = 0, last: bool = True) -> dict[str, object]:
    """Write a part of a file of ours; the `last` part makes it appear under its name."""
    _own(base)
    _folder(os.path.dirname(path))
    part = f"{path}.part"
    fd = os.open(part, _NEW | (0 if offset else os.O_TRUNC), 0o600)
    try:
        os.pwrite(fd, data, offset)
        os.ftruncate(fd, offset + len(data))
        if last:
            os.fsync(fd)
    finally:
        os.close(fd)
    if last:
        os.replace(part, path)
    return {}


def _find(_: bytes, *, base: str, replica: str, names: list[str] | None = None) -> dict[str, object]:
    """Return where a work folder lies, what is beside it, and (name, size) of each file inside, or of `names`."""
    for worker in _listed(f"{base}/work"):
        root = f"{base}/work/{worker}/{replica}"
        beside = {end: os.lstat(root + end).st_size for end in _BESIDE if os.path.lexists(root + end)}
        inside = os.path.isdir(root) and not os.path.islink(root)
        if beside or inside:
            some: list[object] = []
            if inside:
                some = list(_files(root, "") if names is None else _named(root, names))
            return {"root": root, "beside": beside, "files": some}
    return {"root": ""}


def _named(root: str, names: list[str]):  # type: ignore[no-untyped-def] # noqa: ANN202
    for name in names:
        with suppress(OSError):
            found = os.lstat(f"{root}/{name}")
            if stat.S_ISREG(found.st_mode):
                yield [name, found.st_size]


def _files(root: str, inside: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    with os.scandir(f"{root}/{inside}") as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _files(root, f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield [name, entry.stat(follow_symlinks=False).st_size]


def _remove(_: bytes, *, base: str, replicas: list[str]) -> dict[str, object]:
    """Remove the work folders of replicas and what lies beside them."""
    for worker in _listed(f"{base}/work"):
        for name in replicas:
            root = f"{base}/work/{worker}/{name}"
            shutil.rmtree(root, ignore_errors=True)
            for end in _BESIDE:
                with suppress(FileNotFoundError):
                    os.unlink(root + end)
    return {}


def _discard(_: bytes, *, path: str) -> dict[str, object]:
    """Remove a report segment."""
    _unlink(path)
    return {}


def _cancel(_: bytes, *, base: str, worker: str, names: list[str]) -> dict[str, object]:
    """Leave notes for the runner of a spool, and for tasks that have not begun."""
    folder = f"{_own(base)}/w/{worker}/cancel"
    _folder(folder)
    for name in names:
        os.close(os.open(f"{folder}/{name}", _NEW, 0o600))
    return {}


def _forget(_: bytes, *, base: str, launches: list[list[object]], gone: list[str]) -> dict[str, object]:
    """Remove what is kept of launches ([worker, key, names of replicas]), claims last; then spools of the `gone`."""
    for worker, key, names in launches:
        spool = f"{base}/w/{worker}"
        for name in names:  # type: ignore[attr-defined]
            _unlink(f"{spool}/cancel/{name}")
        for path in (
            f"{spool}/inbox/{key}.json", f"{spool}/inbox/{key}.key", f"{base}/work/{worker}/{key}.script",
            f"{spool}/cancel/{key}",
            f"{spool}/refused/{key}.json", f"{spool}/refused/{key}.reason",
        ):  # fmt: skip
            _unlink(path)
        with suppress(FileNotFoundError):  # it stays as long as the worker: nobody else has its spool
            os.makedirs(f"{spool}/spent", 0o700, exist_ok=True)
            os.rename(f"{spool}/claims/{key}", f"{spool}/spent/{key}")
    for worker in gone:
        with suppress(OSError):  # what resists is left for the next time: no other launch waits for it
            _sweep(base, worker)
    return {}


def _sweep(base: str, worker: str) -> None:
    """Remove the spool of a worker that is gone, unless reports lie there; it may have died while it made the spool."""
    spool = f"{base}/w/{worker}"
    read = os.path.islink(f"{spool}/reports") or not _listed(f"{spool}/reports")
    if read and _holder(spool) is None:
        shutil.rmtree(spool, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rmdir(f"{base}/work/{worker}")


def _clear(_: bytes, *, base: str) -> dict[str, object]:
    """Remove everything of a node from this storage."""
    shutil.rmtree(_own(base), ignore_errors=True)
    return {}


def _try(_: bytes, *, python: str) -> dict[str, object]:
    """Say what the interpreter of the runner is, and what it has of nexapod-batch."""
    code = (
        "import json, sys, nexapod_batch, nexapod_batch.runner.worker.worker;"
        "print(json.dumps([sys.version.split()[0], nexapod_batch.__version__]))"
    )
    argv = [python or sys.executable, "-E", "-P", "-c", code]
    status, stdout, stderr = _bounded(argv)
    if status:
        said = stderr.strip().splitlines() or ["it said nothing"]
        return {"error": f"{argv[0]}: {said[-1]}"}
    try:
        known = json.loads(stdout)
    except ValueError:
        return {"error": f"{argv[0]}: it printed something else than it was asked for"}
    return {"said": known, "python": argv[0], "worker_python": sys.version.split()[0]}


def _withdraw(_: bytes, *, base: str, worker: str, key: str) -> dict[str, object]:
    """Take a launch back that no runner has claimed, by claiming it: whoever claims it first has it."""
    spool = f"{base}/w/{worker}"
    _folder(f"{spool}/claims")
    try:
        fd = os.open(f"{spool}/claims/{key}", _NEW | os.O_EXCL, 0o600)
    except FileExistsError:
        return {"withdrawn": False}
    with open(fd, "wb") as stream:
        stream.write(b'{"incarnation": "withdrawn"}')
        stream.flush()
        os.fsync(fd)
    for ending in (".json", ".key"):
        _unlink(f"{spool}/inbox/{key}{ending}")
    return {"withdrawn": True}


_OPS: dict[str, Callable[..., dict[str, object] | bytes]] = {
    "look": _look, "read": _read, "write": _write, "find": _find, "remove": _remove, "discard": _discard,
    "cancel": _cancel, "forget": _forget, "clear": _clear, "try": _try, "withdraw": _withdraw,
}  # fmt: skip


# ---- the task of a launch


def run(request: bytes) -> str:
    """Hand a launch to the runner of this worker and wait for its end; why it cannot be run is left in the spool."""
    spec = json.loads(request)
    worker = _worker(spec["address"])
    if worker is None or _id(worker) != spec["worker"]:
        return "meant for a process that is gone"
    base, key = spec["base"], spec["key"]
    spool = f"{base}/w/{spec['worker']}"
    try:
        _make(base, spool, spec, worker)
        return _launch(spool, key, spec, worker)
    except (OSError, ValueError, KeyError) as error:
        _refuse(spool, key, f"{type(error).__name__}: {error}")
        raise


def _launch(spool: str, key: str, spec: dict[str, str], worker) -> str:  # type: ignore[no-untyped-def] # noqa: ANN001
    inbox, claim = f"{spool}/inbox/{key}.json", f"{spool}/claims/{key}"
    if os.path.lexists(f"{spool}/cancel/{key}") and not os.path.lexists(claim):
        _refuse(spool, key, "cancelled before it started")
        _unlink(f"{spool}/cancel/{key}")
        return "cancelled"
    if not any(os.path.lexists(one) for one in (claim, inbox, f"{spool}/refused/{key}.reason")):
        _put(f"{spool}/inbox/{key}.key", f"{spec['seed']}\n".encode())
        _put(inbox, base64.b64decode(spec["envelope"]))
    pause, starts, whose = _POLL_S[0], 0, b""
    while os.path.exists(inbox):
        whose = whose or _claimant(claim)
        if b'"withdrawn"' in whose:
            _unlink(f"{spool}/inbox/{key}.key")
            _unlink(inbox)
            return "taken back"
        if worker.status.name not in {"running", "paused", "closing_gracefully", "init"}:
            return "the worker ends"
        if _holder(spool) is None and os.path.exists(inbox):
            if os.path.lexists(claim):
                return "its runner died"
            trouble = _start(spool, spec["python"])
            starts += trouble is not None
            if trouble is not None and starts >= _STARTS:
                _refuse(spool, key, trouble)
                return trouble
        time.sleep(pause)
        pause = min(pause * 1.2, _POLL_S[1])
    return "ended"


def _claimant(claim: str) -> bytes:
    """Return what a claim says, b"" while there is none."""
    with suppress(OSError):
        return _small(claim)
    return b""


def _make(base: str, spool: str, spec: dict[str, str], worker) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    """Make the spool of this worker and its runner's settings."""
    _own(base)
    work = f"{base}/work/{spec['worker']}"
    for folder in (*(f"{spool}/{name}" for name in _FOLDERS if name != "reports"), work):
        _folder(folder)
    if spec["reports"]:  # shared storage: reports lie at once where they are read
        with suppress(FileExistsError):
            os.symlink(spec["reports"], f"{spool}/reports")
    else:
        _folder(f"{spool}/reports")
    with open(f"{base}/node.json", encoding="utf-8") as stream:
        settings = json.load(stream)
    limit = getattr(getattr(worker, "memory_manager", None), "memory_limit", None)
    mem = min(settings["mem_mib"], limit // 2**20) if limit else settings["mem_mib"]
    settings.update(
        work=work, host=spec["host"], native_id=spec["address"], cpus=worker.state.nthreads,
        mem_mib=max(1, mem),
    )  # fmt: skip
    text = json.dumps(settings).encode()
    if _digest(f"{spool}/node.json") != hashlib.sha256(text).hexdigest():
        _put(f"{spool}/node.json", text)


def _start(spool: str, python: str) -> str | None:
    """Start a runner unless one is coming up; return why the last one ended, None for no reason."""
    with _lock:
        last = _runners.get(spool)
        if last is not None and last.poll() is None:
            return None
        code = last.returncode if last is not None else 0
        trouble = f"the runner ended with {code}: {_said(spool)}" if code else None
        argv = [python or sys.executable, "-E", "-P", "-m", "nexapod_batch.runner", spool, "--parent", str(os.getpid())]
        with open(os.open(f"{spool}/worker.log", _LOG, 0o600), "ab") as log:
            _runners[spool] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        return trouble


def _said(spool: str) -> str:
    with open(os.open(f"{spool}/worker.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 2000))
        lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    if lines:
        return lines[-1].strip()
    return "it said nothing"


def _refuse(spool: str, key: str, reason: str) -> None:
    """Leave a reason why a launch is not run, and take its bundle away."""
    with suppress(OSError):
        _folder(f"{spool}/refused")
        _put(f"{spool}/refused/{key}.reason", f"{reason}\n".encode())
        _unlink(f"{spool}/inbox/{key}.json")

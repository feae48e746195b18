"""What an agent on a Dask worker needs for files, and for what it knows of its worker: its text travels before `agent`.

Only the standard library is used. Folders of ours belong to this account and to nobody else; only plain files are read,
no link is followed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress

_NEW = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIAL_S = 60.0  # for an interpreter that is tried


def _small(path: str) -> bytes:
    return _read(b"", path=path, offset=0, size=4096)


def _read(_: bytes, *, path: str, offset: int, size: int) -> bytes:
    """Return so much of a plain file; fewer bytes at its end."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no plain file")
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _worker(address: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    """Return the worker of an address in this process, None where it is not."""
    instances = sys.modules["distributed.worker"].Worker._instances  # noqa: SLF001
    return next((instance for instance in list(instances) if instance.address == address), None)


def _id(worker) -> str:  # type: ignore[no-untyped-def] # noqa: ANN001
    """Return the name of a worker's process, as no other one has it."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", worker.id)[:100]


def _ends(worker) -> float | None:  # type: ignore[no-untyped-def] # noqa: ANN001
    """Return when a worker is to end, by the clock here, as far as it is known beforehand."""
    known = []
    for name in ("NEXAPOD_WORKER_ENDS", "SLURM_JOB_END_TIME"):
        with suppress(KeyError, ValueError):
            known.append(float(os.environ[name]))
    lifetime = getattr(worker, "lifetime", None)
    if lifetime:
        with suppress(OSError, ValueError, IndexError):
            with open("/proc/self/stat", "rb") as stream:
                ticks = int(stream.read().rpartition(b")")[2].split()[19])
            up = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
            known.append(time.time() - up + float(lifetime))
    return min(known, default=None)


def _machine() -> str:
    """Return what is the same for all who run under this kernel, and for nobody else."""
    with suppress(OSError):
        return hashlib.sha256(_read(b"", path="/proc/sys/kernel/random/boot_id", offset=0, size=64)).hexdigest()[:32]
    return ""


def _own(base: str) -> str:
    """Make the folder of a node where it is missing; OSError when it is not this account's alone."""
    _folder(base)
    found = os.lstat(base)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(f"{base} is not a folder of this account alone")
    _folder(f"{base}/w")
    _unlink(f"{base}/key")  # a version that is gone copied the node's key to here
    return base


def _folder(path: str) -> None:
    """Make a folder and what is missing above it for this account alone; the umask of the worker does not count."""
    if os.path.isdir(path):
        return
    _folder(os.path.dirname(path))
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)


def _storage(base: str) -> str:
    """Return what tells one storage from another: who finds the same word in the folder shares it."""
    path = f"{base}/.storage"
    if not os.path.exists(path):
        _put(f"{path}.{os.getpid()}", os.urandom(16).hex().encode())
        with suppress(FileExistsError):
            os.link(f"{path}.{os.getpid()}", path)
        _unlink(f"{path}.{os.getpid()}")
    with open(path, encoding="ascii") as stream:
        return stream.read()


def _holder(spool: str) -> str | None:
    """Return the incarnation of the runner that holds a spool; None when none lives."""
    try:
        fd = os.open(f"{spool}/worker.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 100).decode("ascii", "replace")
    else:
        return None
    finally:
        os.close(fd)


def _put(path: str, data: bytes) -> None:
    """Write a file of which others see all or nothing."""
    head, tail = os.path.split(path)
    part = f"{head}/.{tail}.{os.getpid()}.{threading.get_ident()}"
    with open(os.open(part, _NEW | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(data)
    os.replace(part, path)


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        return ""


def _listed(path: str) -> list[str]:
    if os.path.isdir(path):
        return os.listdir(path)
    return []


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _bounded(argv: list[str]) -> tuple[int, str, str]:
    """Run a program and return how it ended and what it printed, into files of bounded size: no child holds them up."""
    limited = ["/bin/sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *argv]  # blocks of 512 bytes, or of 1024
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            code = subprocess.call(limited, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=_TRIAL_S, cwd="/")
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{argv[0]} did not answer in {_TRIAL_S:.0f} s") from error
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    return code, texts[0], texts[1]

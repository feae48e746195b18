"""The program without its start: a process that has imported it forks for each call, as often as tests run commands.

A call is a process of its own, with the environment, folder, umask and files that it was given; what a new interpreter
reads only at its start cannot be given to it, and `call` says so by None: then the real program is to be started. How
the program starts is the subject of tests that start it.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["call"]

#: What an interpreter, or a library, reads when it starts and never again.
_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC", "GLIBC", "OPENSSL", "SSL", "GCONV", "LOCPATH", "FAKETIME", "DASK")
#: What commands import, sooner or later.
_PACKAGES = ("cli.commands", "cli.node", "cli.rendering", "coordinator", "store", "wording", "planner", "local_nodes", "config")
_BACKENDS = ("nexapod_backends.local", "nexapod_backends.bare", "nexapod_backends.slurm.backend", "nexapod_backends.apptainer.runtime")
_STANDARD = (0, 1, 2)
_LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
_SAME = dict(os.environ)  # what the server starts with: not what a test has changed meanwhile

_server: _Server | None = None


# ---- the side of the tests


def call(
    program: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float, imports: Sequence[str] = ()
) -> tuple[int, str, str] | None:
    """Run the program; return its exit code and what it printed, None where only a real start will do.

    `imports` are modules that it will want, and that take long.
    """
    global _server  # noqa: PLW0603 - one for each process of pytest, made when it is first wanted
    if _read_at_start(env) != _read_at_start(_SAME):
        return None
    if _server is None or _server.process.poll() is not None:
        _server = _Server()
        atexit.register(_server.end)
    if _server.state != _state():
        return None
    request = {
        "program": program, "argv": list(argv), "env": dict(env), "cwd": str(cwd), "umask": _umask(), "imports": list(imports)
    }  # fmt: skip
    return _server.call(request, timeout)


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def _state() -> tuple[object, ...]:
    """Return what a process hands down to those that it starts, beside what a call says itself."""
    limits = tuple(resource.getrlimit(one) for one in _LIMITS)
    who = (os.getresuid(), os.getresgid(), tuple(sorted(os.getgroups())))
    return limits, who, os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)


class _Server:
    """The process that forks."""

    def __init__(self) -> None:
        """Start it."""
        self.state = _state()
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, __file__, str(theirs.fileno())]
            self.process = subprocess.Popen(argv, env=_SAME, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def end(self) -> None:
        """Let it end: nobody is there any more who could ask."""
        self._wire.close()
        self.process.wait()

    def call(self, request: Mapping[str, object], timeout: float) -> tuple[int, str, str]:
        """Let it fork; read what the child prints to its end, and how it ended."""
        (out, theirs_out), (err, theirs_err), (told, tells) = os.pipe(), os.pipe(), os.pipe()
        asked = os.memfd_create("request")
        try:
            os.write(asked, json.dumps(request).encode())
            socket.send_fds(self._wire, [b"?"], [0, theirs_out, theirs_err, tells, asked])
        finally:
            for fd in (theirs_out, theirs_err, tells, asked):
                os.close(fd)
        found = _read_all((out, err, told), time.monotonic() + timeout, str(request["argv"]))
        (status,) = json.loads(found[2].partition(b"\n")[2])
        return os.waitstatus_to_exitcode(status), _text(found[0]), _text(found[1])


def _read_all(fds: Sequence[int], end: float, what: str) -> list[bytes]:
    """Read several pipes to their ends, and close them; a child that is late is killed."""
    found = {fd: bytearray() for fd in fds}
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        try:
            while selector.get_map():
                left = end - time.monotonic()
                if left <= 0:
                    with suppress(ProcessLookupError, ValueError):
                        os.kill(int(found[fds[-1]].partition(b"\n")[0]), signal.SIGKILL)
                    raise AssertionError(f"{what} did not end")
                for key, _ in selector.select(left):
                    piece = os.read(key.fd, 1 << 16)
                    found[key.fd] += piece
                    if not piece:
                        selector.unregister(key.fd)
        finally:
            for fd in fds:
                os.close(fd)
    return [bytes(found[fd]) for fd in fds]


def _text(data: bytes) -> str:
    return io.TextIOWrapper(io.BytesIO(data)).read()


# ---- the side of the server


def serve(wire: socket.socket) -> None:
    """Fork for whoever asks, and tell how each child ended, until nobody can ask any more."""
    running: dict[int, tuple[int, int]] = {}  # descriptor of a child -> its id, and to whom its end is told
    with selectors.DefaultSelector() as selector:
        selector.register(wire, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wire:
                    _, fds, _, _ = socket.recv_fds(wire, 1, 5)
                    if not fds:
                        return
                    pid, watched = _fork(fds)
                    running[watched] = pid, fds[3]
                    selector.register(watched, selectors.EVENT_READ)
                else:
                    selector.unregister(key.fd)
                    pid, tells = running.pop(key.fd)
                    _, status = os.waitpid(pid, 0)
                    os.close(key.fd)
                    with suppress(BrokenPipeError):
                        os.write(tells, json.dumps([status]).encode())
                    os.close(tells)


def _fork(fds: Sequence[int]) -> tuple[int, int]:
    """Fork a child that runs a command; return it, and what tells its end. The child never returns."""
    request: dict[str, Any] = json.loads(os.pread(fds[4], os.fstat(fds[4]).st_size, 0))
    for module in request["imports"]:
        import_module(module)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _child(fds, request)
        finally:
            os._exit(code)
    with suppress(BrokenPipeError):
        os.write(fds[3], b"%d\n" % pid)
    for fd in (*fds[:3], fds[4]):
        os.close(fd)
    return pid, os.pidfd_open(pid)


def _child(fds: Sequence[int], request: Mapping[str, Any]) -> int:
    """Become what a new process would be, and run the command; return its exit code."""
    for fd, wanted in zip(fds, _STANDARD, strict=False):
        os.dup2(fd, wanted)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as an interpreter does
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["env"])
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    sys.argv = [request["program"], *request["argv"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    return _ended(request["program"])


def _ended(program: str) -> int:
    """Run the program, and what an interpreter does at its end; return the exit code."""
    from nexapod_batch.cli import main

    code: object = 1
    try:
        code = main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(*sys.exc_info())
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120  # as an interpreter does
    return (code or 0) & 0xFF


def _import() -> None:
    """Import what commands need."""
    import nexapod_batch as whole
    import nexapod_batch.cli.app

    for package in _PACKAGES:
        found = import_module(f"{whole.__name__}.{package}")
        if hasattr(found, "__path__"):
            for module in walk_packages(found.__path__, f"{found.__name__}."):
                if not module.name.endswith(("__main__", "check_proof")):
                    import_module(module.name)
    for backend in _BACKENDS:
        import_module(backend)


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.executable)  # as for the program
    _import()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        serve(asked)

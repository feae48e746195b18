"""A home of its own for a test, the program run in it, and nothing of it left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fork_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PROGRAM", "TRUE", "Done", "Home", "ended", "open_folder"]

PROGRAM = str(Path(sys.executable).with_name("nexapod-batch"))
#: Seconds after which a command hangs.
_HANGS_S = 180.0
#: A job that any machine can run and accept.
TRUE = '[job]\nname = "true"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n'


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> str:
        """What stands on stderr, without the line that a wait of more than a few seconds has, on whatever machine."""
        lines = self.err.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("still to come: "))


class Home:
    """A fresh home below a folder, and the program run in it."""

    #: Modules that commands will want here, and that take long to import.
    imports: tuple[str, ...] = ()

    def __init__(self, folder: Path, name: str = "home") -> None:
        """Name the home; the program makes it."""
        self.folder, self.path = folder, folder / name
        self.env = {**os.environ, "NEXAPOD_HOME": str(self.path)}

    def call(self, *argv: object, before: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> Done:
        """Run the program, behind the words `before`; there is never a traceback nor a fault of its own."""
        words, whole = [str(one) for one in argv], {**self.env, **(env or {})}
        done = None
        if not before:
            done = fork_server.call(PROGRAM, words, env=whole, cwd=self.folder, timeout=_HANGS_S, imports=self.imports)
        if done is None:
            ran = subprocess.run(
                [*before, PROGRAM, *words], env=whole, cwd=self.folder, capture_output=True, text=True, check=False, timeout=_HANGS_S
            )
            done = ran.returncode, ran.stdout, ran.stderr
        code, out, err = done
        assert "Traceback" not in err + out
        assert code != 70, err
        return Done(code, out, err)

    def json(self, *argv: object, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
        """Run the program with --json; return what it printed."""
        done = self.call(*argv, "--json", env=env)
        assert code == done.code, f"{argv}\n{done.out}\n{done.err}"
        return json.loads(done.out)

    def descriptor(self, text: str, name: str = "job.toml") -> Path:
        """Write a descriptor and return its path."""
        path = self.folder / name
        path.write_text("schema = 1\n" + text)
        return path

    def proof_code(self, job: object) -> int:
        """Return how `verify` ends on a fresh export of a job, which is how it ends on an archive of it."""
        with tempfile.TemporaryDirectory() as folder:
            done = self.call("attestations", job, "--out", f"{folder}/proof")
            assert done.code == 0, done.err
            archived = self.call("archive", job, "--out", f"{folder}/x.tar")
            code = self.call("verify", "--folder", f"{folder}/proof").code
            assert archived.code in {0, 75}, archived.err  # 75: it has not ended
            if archived.code == 0:
                found = self.call("verify", f"{folder}/x.tar")
                assert found.code == code, found.out
            return code

    def submit(self, text: str, *options: str) -> Done:
        """Submit a descriptor given as text."""
        return self.call("submit", self.descriptor(text), *options)

    def jobs(self) -> list[Any]:
        """Return every job that the home knows."""
        return list(self.json("ls", "--limit", "1000")["jobs"])

    def spool(self, node: str | None = None) -> Path:
        """Return the spool of a node, or of the only one."""
        if node is not None:
            return self.path / "spool" / node
        (found,) = (self.path / "spool").iterdir()
        return found

    def lines(self, node: str | None = None) -> list[dict[str, Any]]:
        """Return the report lines of a node, without its start notes."""
        segments = sorted((self.spool(node) / "reports").glob("[!z]*.jsonl"))
        lines = [json.loads(line) for segment in segments for line in segment.read_bytes().split(b"\n")[:-1]]
        return [line for line in lines if "payload" in line]

    def end(self) -> None:
        """Stop every worker of this home; only processes that name its spool are touched."""
        end = time.monotonic() + 20
        while pids := self._workers():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill every worker of this home, as a machine that fails does."""
        while pids := self._workers():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _workers(self) -> list[int]:
        """Return the processes that name the spool of this home."""
        mine = str(self.path / "spool").encode()
        return [pid for pid in map(_number, os.listdir("/proc")) if pid and mine in _words(pid)]


@contextmanager
def ended(home: Home, *nodes: str) -> Iterator[Home]:
    """Yield a home, with these nodes; no worker of it is left afterwards."""
    try:
        for name in nodes:
            assert home.call("node", "init", "--name", name).code == 0
        yield home
    finally:
        home.end()


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that every account can reach: pytest closes its own whenever a run starts."""
    folder = Path(tempfile.mkdtemp(prefix="nexapod-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

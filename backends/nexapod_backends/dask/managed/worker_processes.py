"""How the workers of a cluster of ours are started, looked at and ended: processes of this machine, or Slurm jobs."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from nexapod_backends.dask.managed.crew import ENDED, State
from nexapod_backends.dask.scheduler.agent_protocol import printable
from nexapod_backends.dask.scheduler.clean_config import unconfigured
from nexapod_batch import interpreter
from nexapod_batch.files import answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Hands", "Processes", "SlurmJobs", "StartError", "last_words"]

_PATIENCE_S = 60.0  # for one command of Slurm
_ENDING_S = 10.0  # that a process has to end by itself
_WAITING = frozenset({
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
})  # fmt: skip
_RUNNING = frozenset({"RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"})
_ID = re.compile(r"^([0-9]+)(?:;\S+)?$", re.MULTILINE)
#: Pages have no password: none are made, and what is left of them is seen on loopback alone.
_OPTIONS = ("--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--protocol", "tls")
_DEATH_S = 60  # until a worker that finds no scheduler ends


class StartError(Exception):
    """A worker could not be started; the text says why."""


class Hands(Protocol):
    """A way to have workers."""

    async def start(self, name: str) -> str:
        """Start a worker; return what its process or job is called; StartError in words."""

    async def states(self, ids: Mapping[str, str]) -> dict[str, State]:
        """Return the state of workers, name -> id; one of which nothing is known is left out."""

    async def end(self, ids: Iterable[str]) -> None:
        """End workers, whatever they do."""


def arguments(wanted: Mapping[str, Any], tls: Mapping[str, str]) -> list[str]:
    """Return what each worker is told beside its scheduler, name, threads, memory and folder."""
    resources = " ".join(f"{name}={count}" for name, count in wanted["gpus"].items())
    return [
        *_OPTIONS, *(["--resources", resources] if resources else []),
        *(word for name, file in tls.items() for word in (f"--tls-{name}", file)),
    ]  # fmt: skip


class Processes:
    """Workers that are processes of this machine, and reached on loopback alone."""

    def __init__(self, folder: Path, address: str, wanted: Mapping[str, Any], tls: Mapping[str, str]) -> None:
        """Start nothing yet."""
        self._folder, self._address, self._wanted = folder, address, wanted
        self._tls = tls
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> str:
        """Start a process; StartError when it cannot be."""
        argv = interpreter.module(
            "nexapod_backends.dask.worker", self._address, "--name", name,
            "--host", "127.0.0.1", "--nthreads", str(self._wanted["threads"]),
            "--memory-limit", f"{self._wanted['mem_mib']}MiB", "--death-timeout", str(_DEATH_S),
            "--local-directory", str(self._folder), *arguments(self._wanted, self._tls),
        )  # fmt: skip
        with (self._folder / f"{name}.err").open("wb") as log:
            try:
                one = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd=interpreter.FOLDER
                )
            except OSError as error:
                raise StartError(f"{argv[0]}: {error.strerror}") from error
        self._running[str(one.pid)] = one
        return str(one.pid)

    async def states(self, ids: Mapping[str, str]) -> dict[str, State]:
        """Look whether they live."""
        found = {}
        for name, pid in ids.items():
            one = self._running.get(pid)
            if one is None or one.returncode is None:
                found[name] = State(kind="running" if one is not None else ENDED)
                continue
            how = f"signal {-one.returncode}" if one.returncode < 0 else f"exit code {one.returncode}"
            said = last_words(self._folder / f"{name}.err")
            found[name] = State(kind=ENDED, words=f"worker process {pid} ended with {how}{said}")
        return found

    async def end(self, ids: Iterable[str]) -> None:
        """Let them end, and kill those that do not."""
        mine = [self._running[pid] for pid in ids if pid in self._running]
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = [one for one in mine if one.returncode is None]
            for one in left:
                with suppress(ProcessLookupError):
                    one.send_signal(number)
            if left:
                await asyncio.wait([asyncio.ensure_future(one.wait()) for one in left], timeout=_ENDING_S)


class SlurmJobs:
    """Workers that are Slurm jobs; dask-jobqueue writes their scripts, with no word left to its configuration."""

    def __init__(self, folder: Path, address: str, wanted: Mapping[str, Any], tls: Mapping[str, str]) -> None:
        """Submit nothing yet."""
        self._folder, self._address, self._wanted, self._tls = folder, address, wanted, tls
        self._slurm = wanted["slurm"]
        self._unseen: dict[str, int] = {}  # id -> looks in which the queue did not have it
        self._environ = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("SBATCH_", "SLURM_", "SQUEUE_", "SCANCEL_", "SACCT_"))
        }  # fmt: skip
        self._environ["LC_ALL"] = "C"
        if self._slurm["bin"]:
            self._environ["PATH"] = f"{self._slurm['bin']}:{os.environ.get('PATH', os.defpath)}"
        if conf := self._slurm["conf"] or os.environ.get("SLURM_CONF"):
            self._environ["SLURM_CONF"] = conf
        with unconfigured():
            from dask_jobqueue.slurm import SLURMJob  # noqa: PLC0415 - only where workers are Slurm jobs
        self._job = SLURMJob

    async def start(self, name: str) -> str:
        """Submit a job; StartError when Slurm does not take it."""
        code, out, err = await self._call(["sbatch", "--parsable"], self.script(name))
        found = _ID.search(out)
        if code or found is None:
            said = printable((err or out).strip().rpartition("\n")[2], 300) or "it said nothing"
            raise StartError(f"sbatch refuses a worker: {said}")
        return found[1]

    def script(self, name: str) -> str:
        """Return the script of a worker's job; what the site does not say is left out, whatever others configured."""
        wanted, slurm = self._wanted, self._slurm
        seconds = int(slurm["time_s"])
        ends = f"export NEXAPOD_WORKER_ENDS=$(( $(date +%s) + {seconds} ))"
        job = self._job(
            scheduler=self._address, name=name, queue=slurm["partition"], project=None, account=slurm["account"],
            walltime=f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}", job_cpu=wanted["threads"],
            job_mem=f"{wanted['mem_mib']}M", cores=wanted["threads"], memory=f"{wanted['mem_mib']}MiB", processes=1,
            nanny=False, interface="", death_timeout=_DEATH_S, local_directory=str(self._folder),
            shebang="#!/usr/bin/env bash",
            python=wanted["python"], worker_command="nexapod_backends.dask.worker",
            worker_extra_args=[shlex.quote(argument) for argument in arguments(wanted, self._tls)],
            job_extra_directives=slurm["extra"], job_directives_skip=slurm["skip"],
            job_script_prologue=[ends, *slurm["prologue"]], log_directory=str(self._folder), job_name="dask-worker",
        )  # fmt: skip
        return str(job.job_script())

    async def states(self, ids: Mapping[str, str]) -> dict[str, State]:
        """Ask Slurm once for all; one that is no longer in the queue has ended."""
        if not ids:
            return {}
        argv = ["squeue", "--noheader", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r", *self._at()]
        code, out, _ = await self._call(argv)
        if code:
            return {}
        said = {words[0]: words[1:] for line in out.splitlines() if len(words := line.strip().split("|", 2)) == 3}
        return {name: self._state(job, said.get(job)) for name, job in ids.items()}

    def _state(self, job: str, answer: Sequence[str] | None) -> State:
        if answer is None:
            self._unseen[job] = self._unseen.get(job, 0) + 1
            if self._unseen[job] < 3:  # just submitted, or the controller has just been started again
                return State(kind="unknown")
            return State(kind=ENDED, words=f"Slurm job {job} left the queue{self._last_words(job)}")
        self._unseen.pop(job, None)
        state, reason = answer[0].split(" ")[0].rstrip("+"), printable(answer[1], 100)
        words = f"{state} ({reason})" if reason not in {"", "None"} else state
        if state in _WAITING:
            return State(kind="waiting", words=words)
        if state in _RUNNING:
            return State(kind="running", words=words)
        return State(kind=ENDED, words=f"Slurm job {job} is {words}{self._last_words(job)}")

    def _last_words(self, job: str) -> str:
        return last_words(self._folder / f"dask-worker-{job}.err")

    async def end(self, ids: Iterable[str]) -> None:
        """Cancel jobs."""
        if some := list(ids):
            await self._call(["scancel", *self._at(), *some])

    def _at(self) -> list[str]:
        if self._slurm.get("cluster"):
            return [f"--clusters={self._slurm['cluster']}"]
        return []

    async def _call(self, argv: Sequence[str], text: str = "") -> tuple[int, str, str]:
        """Run a command of Slurm; a code that is not 0 where it cannot be run or hangs."""
        try:
            done = await asyncio.to_thread(
                answers.ask, argv, text=text.encode(), timeout_s=_PATIENCE_S, env=self._environ, cwd=interpreter.FOLDER
            )
        except (TimeoutError, answers.EndlessError) as error:
            return 124, "", str(error)
        except OSError as error:
            return 127, "", f"{argv[0]}: {error.strerror}"
        return done.status, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def last_words(path: Path, lines: int = 3) -> str:
    """Return the end of a log, as more of a sentence; "" where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 4000))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    kept = [printable(line, 200) for line in text.strip().splitlines() if line.strip()][-lines:]
    if kept:
        return f"; it said: {' | '.join(kept)}"
    return ""

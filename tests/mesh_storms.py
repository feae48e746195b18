"""Storms over nodes that joined: kill -9, cuts, lost answers, repeats, restarts and takeovers, by a seed.

    python tests/mesh_storms.py --seeds 300
    python tests/mesh_storms.py --from 65 --to 128 --json --keep /tmp/broken

Each seed has a world of its own: a coordinator, two nodes behind a proxy that misbehaves, and copies of the database
from which a stand-in may take over. Afterwards every task ended as it would have, no report is missing, and nothing
was begun with twice under one name. At the end it says how often each fault happened and what came of it. SIGTERM and
SIGINT stop what it started, and it says this of the seeds that had ended.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from chaos_proxy import between
from clusters.daemons import lives
from homes import PROGRAM, Home
from living_folders import contents
from servers import environment, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from chaos_proxy import Chaos
    from servers import Running

__all__ = ["FAULTS", "MeshStorm", "MeshTemplate", "Outcome", "Summary", "mesh_template"]

NODES = ("one", "two")
#: Coordinators that may follow one another in a storm.
LEADERS = 3
TASKS = 6
JOB = f"""
schema = 1
[job]
name = "storm"
command = ["sh", "-c", "sleep 0.{{n}}; echo {{n}}; head -c {{n}}0000 /dev/zero > out.bin"]
[array]
matrix = {{ n = {list(range(1, TASKS + 1))} }}
[[outputs]]
path = "out.bin"
[quorum]
agree = 2
distinct = "node"
"""
#: What a storm may do, by the names under which it is counted; the proxies add what they did to requests.
FAULTS = (
    "kill_server", "kill_agent", "kill_worker", "restart_server", "restart_agent", "copy", "take_over",
    "restore",
)  # fmt: skip
#: Seconds for which calm may take to come after a storm.
CALM_S = 240.0


def ours(home: Path, *arguments: str) -> str:
    """Run a command of ours on a home; return what it says. It must end well."""
    done = Home(home.parent, home.name).call(*arguments)
    assert done.code == 0, f"{arguments}\n{done.out}\n{done.err}"
    return done.out


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Return what the database of a home answers."""
    with closing(sqlite3.connect(f"file:{home / 'state.db'}?mode=ro", uri=True, timeout=60)) as database:
        return database.execute(query).fetchall()


def until(what: str, there: Callable[[], object], seconds: float = CALM_S) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"{what}: not after {seconds} s"
        time.sleep(0.05)


class MeshTemplate:
    """Homes of a coordinator and of nodes that joined it and know its roster; each storm begins with a copy."""

    def __init__(self, folder: Path, proxies: list[Chaos]) -> None:
        """Make the homes, with the names that they have in every storm."""
        self.proxies, self._kept, self.world = proxies, folder / "kept", folder / "world"
        self.world.mkdir()
        with running(self.world / "c") as server, ExitStack() as stack:
            proxies[0].to = server.port
            token = server.join.split()[-1]
            for name in NODES:
                joined = ("node", "join", proxies[0].url, "--token", token, "--name", name, "--owner", name)
                ours(self.world / name, *joined, "--cpus", "2")
            self._name_servers(server)
            for name in NODES:
                stack.enter_context(self._working(name))
            until("rosters", lambda: all(self._roster(name).exists() for name in NODES))
        self.world.rename(self._kept)

    def begin(self) -> None:
        """Put everything back to the beginning."""
        shutil.rmtree(self.world, ignore_errors=True)
        shutil.copytree(self._kept, self.world, symlinks=True)

    def _roster(self, name: str) -> Path:
        return self.world / name / "agent" / name / "roster.json"

    @contextmanager
    def _working(self, name: str) -> Iterator[None]:
        process = started_node(self.world, name)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def _name_servers(self, leader: Running) -> None:
        """Let a person whose key lies elsewhere sign that each of the proxies may lead to a coordinator."""
        folder = self.world.parent
        ours(folder / "owner", "node", "init", "--name", "n")
        public, roster = str(folder / "owner.pem"), str(folder / "roster.json")
        ours(folder / "owner", "key", "export", "coordinator", "--format", "pem", "--out", public)
        servers = [word for proxy in self.proxies for word in ("--server", f"{proxy.url}#")]
        member = ("--member", public, "--threshold", "1", "--expires", "2099-01-01")
        leader.command("key", "roster", "new", roster, *member, *servers)
        ours(folder / "owner", "key", "roster", "sign", roster)
        leader.command("key", "roster", "accept", roster)


@contextmanager
def mesh_template(folder: Path) -> Iterator[MeshTemplate]:
    """Yield what storms begin with, and the proxies between nodes and coordinators."""
    with ExitStack() as stack:
        proxies = [stack.enter_context(between(0, 0)) for _ in range(LEADERS)]
        yield MeshTemplate(folder, proxies)


def started_node(world: Path, name: str) -> subprocess.Popen[bytes]:
    """Let the node of a home begin to work."""
    with (world / f"{name}.run.err").open("ab") as log:
        argv = [PROGRAM, "node", "run", "--page-port", "off"]
        return subprocess.Popen(argv, env=environment(world / name), stdout=log, stderr=log)


class Outcome(NamedTuple):
    """What must not come of a storm, counted."""

    lost_reports: int
    executed_twice: int  # names under which more than one execution was begun
    ended_otherwise: int  # tasks that were not accepted


class MeshStorm:
    """One storm."""

    #: Bounds of the seconds between two faults.
    pause_s = (0.05, 0.5)

    def __init__(self, template: MeshTemplate, seed: int, wanted: int = 8, *, restores: bool = False) -> None:
        """Begin with nothing up; with `restores` the database is put back to older copies as well."""
        self.template, self.world, self.seed, self.wanted = template, template.world, seed, wanted
        self.chance = random.Random(seed)  # noqa: S311 - to be the same each time
        self.counts: Counter[str] = Counter()
        self.leader = 0  # which of the coordinators leads
        self.copies: list[Path] = []
        self.server: subprocess.Popen[bytes] | None = None
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.took = [time.monotonic()]
        self.jobs: list[str] = []  # their UUIDs, in the order of submission
        self.outcome, self.restores = Outcome(0, 0, 0), restores

    @property
    def home(self) -> Path:
        """The home of the coordinator that leads."""
        return self.world / ("c" if not self.leader else f"c{self.leader}")

    def run(self) -> None:
        """Rage, be calm, and compare."""
        self.template.begin()
        for proxy in self.template.proxies:
            proxy.begin_again(self.seed)
        try:
            self._mend()
            self._submit()
            self._copy()
            self.took.append(time.monotonic())
            self._wild(wild=True)
            while self.counts.total() < self.wanted:
                time.sleep(self.chance.uniform(*self.pause_s))
                kind = self.chance.choice(self._kinds())
                if kind():
                    self.counts[kind.__name__.lstrip("_")] += 1
                if self.chance.random() < 0.7:
                    self._mend()
                if len(self.jobs) < 2 and self.counts.total() >= self.wanted // 2:
                    self._mend()
                    self._submit()
            self._wild(wild=False)
            self._mend()
            self.took.append(time.monotonic())
            self._calm()
            self.took.append(time.monotonic())
            self._compare()
            self.took.append(time.monotonic())
        except AssertionError:
            self.outcome = self._counted()
            raise
        finally:
            self._end()

    def seconds(self) -> list[int]:
        """Return how long each part took, as far as it came: to begin, to rage, to be calm, to compare."""
        return [round(after - before) for before, after in pairwise(self.took)]

    # ---- what can happen

    def _kinds(self) -> list[Callable[[], bool]]:
        kinds = [
            self._kill_server, self._kill_agent, self._kill_agent, self._kill_worker, self._kill_worker,
            self._restart_server, self._restart_agent, self._copy,
        ]  # fmt: skip
        if self.restores:
            kinds += [self._restore, self._restore]
        return [*kinds, self._take_over] if self.leader + 1 < LEADERS else kinds

    def _kill_server(self) -> bool:
        return _killed(self.server)

    def _kill_agent(self) -> bool:
        return _killed(self.nodes.get(self.chance.choice(NODES)))

    def _restart_server(self) -> bool:
        return _ended(self.server)

    def _restart_agent(self) -> bool:
        return _ended(self.nodes.get(self.chance.choice(NODES)))

    def _kill_worker(self) -> bool:
        """Kill -9 a worker or one of its executors; not what an executor started."""
        found = {process.pid: process for process in self._runners()}
        for pid in self.chance.sample(sorted(found), len(found)):
            with suppress(psutil.NoSuchProcess):
                above = found[pid].ppid()
                if above not in found or found[above].ppid() not in found:
                    found[pid].kill()
                    return True
        return False

    def _copy(self) -> bool:
        """Copy the database of the leader as it is now, as for a stand-in."""
        copy = self.world / f"copy-{len(self.copies)}.db"
        with closing(sqlite3.connect(self.home / "state.db", timeout=60)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        copy.chmod(0o600)
        self.copies.append(copy)
        return True

    def _take_over(self) -> bool:
        """Kill -9 the leader; a stand-in goes on from the newest copy."""
        _killed(self.server)
        before, self.leader = self.home, self.leader + 1
        self.home.mkdir(mode=0o700)
        for name in ("keys", "server", "rosters"):
            shutil.copytree(before / name, self.home / name)
        shutil.copy(before / "roster.json", self.home / "roster.json")
        shutil.copy(self.copies[-1], self.home / "state.db")
        self._serve("--standby")
        self._copy()
        return True

    def _restore(self) -> bool:
        """Kill -9 the leader, and put its database back to the newest copy; seldom nobody says so.

        What was in the middle of a pass goes on until it sees that the server is gone. Who puts files back by hand waits
        for that: it would take away what the files in its memory say is done.
        """
        _killed(self.server)
        until("the last pass to end", self._no_pass)
        for path in self.home.glob("state.db*"):
            path.unlink()
        shutil.copy(self.copies[-1], self.home / "state.db")
        said = self.chance.random() < 0.7
        self._serve(*(["--standby"] if said else []))
        return True

    def _no_pass(self) -> bool:
        words = [_words(one) for one in psutil.process_iter() if lives(one)]
        return not any(str(self.home) in one and "nexapod_batch.server.pass_worker" in one for one in words)

    # ---- what holds it up

    def _mend(self) -> None:
        """Start what is down."""
        if not _is_there(self.server):
            self._serve()
        for name in NODES:
            if not _is_there(self.nodes.get(name)):
                self.nodes[name] = started_node(self.world, name)

    def _serve(self, *options: str) -> None:
        argv = [PROGRAM, "serve", "--host", "127.0.0.1", "--port", "0", "--rate", "100000", *options]
        self._close_server()
        with (self.world / "serve.err").open("ab") as log:
            self.server = subprocess.Popen(argv, env=environment(self.home), stdout=subprocess.PIPE, stderr=log)
        assert self.server.stdout is not None
        url = self.server.stdout.readline().decode()
        self.server.stdout.readline()
        assert url.startswith("https://"), (self.world / "serve.err").read_text()
        self.template.proxies[self.leader].to = int(url.strip().rpartition(":")[2])

    def _close_server(self) -> None:
        if self.server is not None and self.server.stdout is not None:
            self.server.stdout.close()

    def _submit(self) -> None:
        job = self.world / "job.toml"
        job.write_text(JOB)
        said = json.loads(ours(self.home, "submit", str(job), "--json"))
        self.jobs.append(said["uuid"] if "uuid" in said else said["job"]["uuid"])

    def _wild(self, *, wild: bool) -> None:
        for proxy in self.template.proxies:
            proxy.wild = wild

    def _say_restored(self) -> None:
        """Begin an epoch: a pass notices only that launches are missing, and nodes wait until somebody says the rest."""
        _ended(self.server)
        self._serve("--standby")

    def _calm(self) -> None:
        """Let everything come to its end; what the copy of a stand-in did not know, and no node had, is submitted again."""
        if self.counts["restore"]:
            self._say_restored()
        until("every job to end", self._all_ended)
        known = {uuid for (uuid,) in rows(self.home, "SELECT uuid FROM job")}
        for uuid in [uuid for uuid in self.jobs if uuid not in known]:
            self.jobs.remove(uuid)
            self._submit()
        until("every job to end", self._all_ended)
        until("every report to be there", lambda: not self._missing())

    def _all_ended(self) -> bool:
        assert _is_there(self.server), (self.world / "serve.err").read_text()
        return not rows(self.home, "SELECT 1 FROM job WHERE finished_at IS NULL")

    def _end(self) -> None:
        """Leave nothing behind."""
        for process in (self.server, *self.nodes.values()):
            _killed(process)
        self._close_server()
        until("no process to be left", self._none_left)

    def _none_left(self) -> bool:
        home = f"={self.world}/".encode()
        left = [one for one in psutil.process_iter() if lives(one) and home in _proc(one, "environ")]
        left += self._processes()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return not left

    # ---- what came of it

    def _compare(self) -> None:
        """Nothing is lost, nothing was begun twice, and all of it verifies."""
        known = {uuid: (accepted, tasks) for uuid, accepted, tasks in rows(self.home, "SELECT uuid, n_accepted, n_tasks FROM job")}
        assert known == dict.fromkeys(self.jobs, (TASKS, TASKS))
        self.outcome = self._counted()
        assert self.outcome == Outcome(0, 0, 0)
        for process in self.nodes.values():  # it ends when it is told to
            assert _ended(process)
        for (job,) in rows(self.home, "SELECT id FROM job"):
            ours(self.home, "verify", str(job))
        ours(self.home, "ledger", "verify")
        ours(self.home, "db", "check")

    def _counted(self) -> Outcome:
        """Count what must not be."""
        twice = [name for name, times in Counter(self._begun()).items() if times > 1]
        ((accepted,),) = rows(self.home, "SELECT coalesce(sum(n_accepted), 0) FROM job")
        return Outcome(len(self._missing()), len(twice), TASKS * len(self.jobs) - accepted)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield what nodes wrote into their segments, the coordinator's copies left out."""
        for content in contents(self.world.glob("[!c]*/agent/*/rep*/**/*.jsonl")).values():
            yield from map(json.loads, content.split(b"\n")[:-1])
        for content in contents(self.world.glob("[!c]*/agent/*/spool/reports/*.jsonl")).values():
            yield from map(json.loads, content.split(b"\n")[:-1])

    def _begun(self) -> list[str]:
        return [line["start"] for line in self._lines() if "start" in line]

    def _missing(self) -> set[bytes]:
        """Return the digests of reports that the coordinator does not have."""
        payloads = [base64.b64decode(line["payload"]) for line in self._lines() if "payload" in line]
        stored = {bytes(digest) for (digest,) in rows(self.home, "SELECT payload_sha256 FROM report")}
        return {hashlib.sha256(payload).digest() for payload in payloads} - stored

    def _processes(self) -> list[psutil.Process]:
        mine = f"{self.world}/"
        return [one for one in psutil.process_iter() if lives(one) and any(mine in word for word in _words(one))]

    def _runners(self) -> list[psutil.Process]:
        return [one for one in self._processes() if any("nexapod_batch/runner" in word or "nexapod_batch.runner" in word for word in _words(one))]


def _words(process: psutil.Process) -> list[str]:
    return _proc(process, "cmdline").decode("utf-8", "replace").split("\0")


def _proc(process: psutil.Process, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/{name}").read_bytes()
    return b""


def _is_there(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


def _killed(process: subprocess.Popen[bytes] | None) -> bool:
    """Kill -9 a process; say whether it was there."""
    if process is None or not _is_there(process):
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return True


def _ended(process: subprocess.Popen[bytes] | None) -> bool:
    """Let a process end by itself; say whether it was there. It must not hang."""
    if process is None or not _is_there(process):
        return False
    process.terminate()
    process.wait(60)
    return True


@dataclass(kw_only=True)
class Summary:
    """What came of many storms."""

    good: list[int] = field(default_factory=list)  # seeds of storms that broke nothing
    failed: list[int] = field(default_factory=list)  # of those that did
    faults: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAULTS, 0)))
    on_the_way: Counter[str] = field(default_factory=Counter)  # what the proxies did to requests
    lost_reports: int = 0
    executed_twice: int = 0
    ended_otherwise: int = 0
    stopped: bool = False  # by a signal, before the last seed

    def add(self, storm: MeshStorm, *, good: bool) -> None:
        """Count a storm that ended."""
        (self.good if good else self.failed).append(storm.seed)
        self.faults.update(storm.counts)
        for proxy in storm.template.proxies:
            self.on_the_way.update({kind: times for kind, times in proxy.met.items() if kind})
        self.lost_reports += storm.outcome.lost_reports
        self.executed_twice += storm.outcome.executed_twice
        self.ended_otherwise += storm.outcome.ended_otherwise

    def document(self) -> dict[str, object]:
        """Return all of it for a program that reads it."""
        return {
            "seeds": len(self.good) + len(self.failed), "failed": self.failed, "faults": dict(self.faults),
            "on_the_way": dict(self.on_the_way), "lost_reports": self.lost_reports,
            "executed_twice": self.executed_twice, "ended_otherwise": self.ended_otherwise, "stopped": self.stopped,
        }  # fmt: skip


def stop(number: int, frame: FrameType | None) -> None:
    """Stop everything, once: what was started is ended on the way out, whatever signals come meanwhile."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def ended_well(storm: MeshStorm, keep: Path | None) -> bool:
    """Raise a storm; say whether it broke nothing. The world of one that did is kept, if anywhere."""
    try:
        storm.run()
    except (AssertionError, subprocess.SubprocessError, OSError, ValueError):
        traceback.print_exc()
        if keep is not None:
            shutil.copytree(storm.world, keep / str(storm.seed), symlinks=True, dirs_exist_ok=True)
        return False
    return True


def raised(seeds: range, keep: Path | None, summary: Summary, *, restores: bool) -> None:
    """Raise the storms of some seeds, one after the other, and count what comes of them."""
    with tempfile.TemporaryDirectory(prefix="nexapod-storm-") as folder, mesh_template(Path(folder)) as template:
        for seed in seeds:
            storm, began = MeshStorm(template, seed, restores=restores), time.monotonic()
            good = ended_well(storm, keep)
            summary.add(storm, good=good)
            result, seconds = "good" if good else "FAILED", time.monotonic() - began
            print(f"seed {seed}: {result}, {seconds:.0f} s, {dict(storm.counts)} {storm.seconds()}", file=sys.stderr, flush=True)


def main() -> int:
    """Raise storms; 1 where one of them broke something, 130 where a signal stopped them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--to", type=int, help="the last one, instead of --seeds")
    parser.add_argument("--restores", action="store_true", help="put the database back to older copies as well")
    parser.add_argument("--keep", type=Path, help="where the world of a storm that broke something is kept")
    parser.add_argument("--json", action="store_true", help="say at the end what came of all, as one JSON object")
    options = parser.parse_args()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    summary = Summary()
    end = options.first + options.seeds if options.to is None else options.to + 1
    try:
        raised(range(options.first, end), options.keep, summary, restores=options.restores)
    except KeyboardInterrupt:
        summary.stopped = True
    document = summary.document()
    print(json.dumps(document) if options.json else "\n".join(f"{name}: {value}" for name, value in document.items()))
    if summary.stopped:
        return 130
    return bool(summary.failed)


if __name__ == "__main__":
    sys.exit(main())

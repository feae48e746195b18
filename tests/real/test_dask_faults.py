"""Faults of real Dask clusters: whatever dies, every task ends right, nothing runs twice, and no report is lost."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import time
from collections import Counter
from contextlib import suppress
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import psutil
import pytest
from clusters.dask import DaskCluster, separates
from homes import PROGRAM
from real.dask_homes import DaskHome
from real.slurm_homes import until

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("w1", "w2", "w3")
#: Seconds for which one storm may last.
LONGEST_S = 400


class Storm:
    """Faults at random, each really done, and counted."""

    def __init__(self, home: DaskHome, cluster: DaskCluster, chance: random.Random, own: Path | None) -> None:
        """Begin with nothing up but the scheduler; with `own` each worker alone sees what lies there."""
        self.home, self.cluster, self.chance, self._own = home, cluster, chance, own
        self.counts: Counter[str] = Counter()
        self.passes: subprocess.Popen[bytes] | None = None
        self._kinds = [self.coordinator] * 4 + [self.worker] * 6 + [self.runner] * 4 + [self.halt] * 2 + [self.scheduler]

    def strike(self) -> None:
        """Do one thing."""
        kind = self.chance.choice(self._kinds)
        if kind():
            self.counts[kind.__name__] += 1

    def mend(self) -> None:
        """Start what is down: a coordinator, and workers; those end that lost their scheduler."""
        if self.passes is None or self.passes.poll() is not None:
            self.passes = subprocess.Popen([PROGRAM, "wait", "all"], env=self.home.env, stdout=DEVNULL, stderr=DEVNULL)
        for name in NAMES:
            daemon = self.cluster.workers.get(name)
            if daemon is None or daemon.process() is None:
                if daemon is not None:
                    daemon.stop()
                self.cluster.start_worker(name, own=self._own, wait=False)

    def coordinator(self) -> bool:
        """Kill -9 what drives the jobs."""
        if self.passes is None or self.passes.poll() is not None:
            return False
        self.passes.kill()
        self.passes.wait()
        return True

    def worker(self) -> bool:
        """Kill -9 a worker of Dask; its runner sees that and ends."""
        name = self._up()
        if name:
            self.cluster.kill(name)
        return bool(name)

    def runner(self) -> bool:
        """Kill -9 a runner or one of its executors; not a command that is about to be executed by one."""
        found = {one.pid: one for one in self.home.runners()}
        for one in self.chance.sample(sorted(found), len(found)):
            with suppress(psutil.NoSuchProcess):
                above = found[one].ppid()
                if above not in found or found[above].ppid() not in found:
                    found[one].kill()
                    return True
        return False

    def halt(self) -> bool:
        """Let a worker stand still for a moment, as one that swaps, or whose network is away."""
        name = self._up()
        if not name:
            return False
        process = self.cluster.process(name)
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            time.sleep(self.chance.uniform(0.2, 1.0))
            process.resume()
        return True

    def scheduler(self) -> bool:
        """Kill -9 the scheduler, which forgets everything, and start another one there."""
        self.cluster.kill()
        self.cluster.start_scheduler()
        return True

    def _up(self) -> str:
        names = [name for name in NAMES if name in self.cluster.workers and self.cluster.workers[name].process() is not None]
        return self.chance.choice(names) if names else ""


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
def test_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path, *, shared: bool) -> None:
    """Fifty faults under load, with files shared, and with a storage of its own for each worker."""
    if not shared and not separates():
        pytest.skip("mount namespaces are not allowed here: workers cannot have storages of their own")
    seed = int(os.environ.get("NEXAPOD_CRASH_SEED", "20261128"))
    wanted = int(os.environ.get("NEXAPOD_CRASH_FAULTS", "50"))
    print(f"seed {seed}")
    home = DaskHome(tmp_path)
    own = None if shared else home.path / "there"
    with DaskCluster.start(tmp_path / "dask", workers=0) as cluster:
        home.pool(cluster.address, shared=shared, dask={"timeout": "3s"})
        storm = Storm(home, cluster, random.Random(seed), own)  # noqa: S311 - repeatable, not secret
        try:
            jobs, seconds = _weather(home, storm, wanted)
            print(f"{storm.counts.total()} faults over {jobs} jobs in {seconds:.0f} s: {dict(storm.counts)}")

            def calm() -> bool:
                storm.mend()
                return not home.rows("SELECT 1 FROM job WHERE finished_at IS NULL")

            until(calm, "all jobs to end", timeout=LONGEST_S, log=home.describe)
            if storm.passes is not None:
                storm.passes.wait()
            _all_is_well(home, cluster, jobs)
        finally:
            if storm.passes is not None:
                storm.passes.kill()
                storm.passes.wait()
            home.end()


def _weather(home: DaskHome, storm: Storm, wanted: int) -> tuple[int, float]:
    """Keep the cluster busy and strike; return how many jobs there were, and the seconds."""
    jobs, began = 0, time.monotonic()
    quorum = "agree = 2\nmax_replicas = 100\nmax_lost = 10000\n"
    text = home.tasks(25, "sleep 0.5; head -c 100000 /dev/zero > big").replace("agree = 1\n", quorum)
    text = text.replace("[quorum]", '[[outputs]]\npath = "big"\n[quorum]')
    while storm.counts.total() < wanted:
        assert time.monotonic() - began < LONGEST_S, f"{storm.counts} only"
        storm.mend()
        if not jobs or len(home.out()) < 25:
            done = home.call("submit", home.descriptor(text))  # 75: a pass is under way; it is submitted all the same or not
            jobs += done.code == 0
        time.sleep(storm.chance.uniform(0.05, 0.4))
        storm.strike()
    return jobs, time.monotonic() - began


def _all_is_well(home: DaskHome, cluster: DaskCluster, jobs: int) -> None:
    """Compare what ran with what is claimed and stored, wherever the reports lie."""
    rows = home.rows("SELECT * FROM job")
    assert len(rows) >= jobs
    assert [row["n_accepted"] for row in rows] == [row["n_tasks"] for row in rows], home.describe()
    assert [name for name, times in home.executed().items() if times > 1] == [], "a replica was executed twice"
    for row in rows:
        for task in range(row["n_tasks"]):
            assert (home.path / "results" / str(row["id"]) / str(task) / "big").stat().st_size == 100_000
    home.ended(home.start(home.tasks(1)))  # while something is out everything is looked at
    assert home.call("db", "check").code == 0
    stored = {bytes(row[0]) for row in home.rows("SELECT payload_sha256 FROM report")}
    seen = 0
    found = [*home.path.rglob("reports/*.jsonl"), *cluster.folder.glob("*.own/**/reports/*.jsonl")]
    for segment in {one.resolve() for one in found}:
        for line in segment.read_bytes().split(b"\n")[:-1]:
            document = json.loads(line)
            if "payload" in document:
                seen += 1
                assert hashlib.sha256(base64.b64decode(document["payload"])).digest() in stored, f"{segment}: lost report"
    print(f"{len(stored)} reports are stored, {seen} still lie in segments")

"""A storm of faults over two real Slurm clusters, one of them behind SSH: no task is lost, no replica runs twice."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import psutil
import pytest
from clusters.daemons import ClusterError
from clusters.slurm import Cluster, Clusters
from clusters.sshd import Sshd
from homes import PROGRAM
from real.slurm_homes import SlurmHome, slurm_jobs, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Storm:
    """Faults at random, each really done, and counted."""

    def __init__(self, home: SlurmHome, clusters: Clusters, sshd: Sshd, chance: random.Random) -> None:
        """Begin with everything up."""
        self.home, self.clusters, self.sshd, self.chance = home, clusters, sshd, chance
        self.counts: Counter[str] = Counter()
        self.passes: subprocess.Popen[bytes] | None = None
        self._back: dict[str, Callable[[], object]] = {}  # what is down or drained, and what ends that
        self._kinds = (
            [self.coordinator] * 4 + [self.runner] * 12 + [self.cancel] * 6 + [self.requeue] * 6
            + [self.cut] * 8 + [self.drain] * 2 + [self.node, self.controller, self.accounting]
        )  # fmt: skip

    def strike(self) -> None:
        """Do one thing; bring back what was taken away before something of its kind goes."""
        kind = self.chance.choice(self._kinds)
        if self._back.get(kind.__name__):
            self._back.pop(kind.__name__)()
        elif kind():
            self.counts[kind.__name__] += 1

    def calm(self) -> None:
        """Bring everything back."""
        while self._back:
            self._back.popitem()[1]()

    def drive(self) -> None:
        """See to it that a coordinator is at work."""
        if self.passes is None or self.passes.poll() is not None:
            self.passes = subprocess.Popen([PROGRAM, "wait", "all"], env=self.home.env, stdout=DEVNULL, stderr=DEVNULL)

    def coordinator(self) -> bool:
        """Kill -9 what drives the jobs."""
        if self.passes is None or self.passes.poll() is not None:
            return False
        self.passes.kill()
        self.passes.wait()
        return True

    def runner(self) -> bool:
        """Kill -9 a runner or one of its executors; not a command that is about to be executed by one."""
        found = {one.pid: one for one in self.home.runners()}
        for one in self.chance.sample(sorted(found), len(found)):
            with suppress(psutil.NoSuchProcess):
                above = found[one].ppid()
                main = above not in found
                old = time.time() - found[one].create_time() > 1  # what a runner starts looks like it until it is another program
                if main or (found[above].ppid() not in found and old):
                    found[one].kill()
                    return True
        return False

    def cancel(self) -> bool:
        """Cancel a running element as a person does; of a pending one Slurm keeps no trace, which takes the grace to learn."""
        cluster, element = self._element()
        return bool(element) and cluster.run("scancel", element).returncode == 0

    def requeue(self) -> bool:
        """Let Slurm start a running element again."""
        cluster, element = self._element()
        if not element:
            return False
        cluster.run("scontrol", "update", f"jobid={element}", "requeue=1")
        return cluster.run("scontrol", "requeue", element).returncode == 0

    def cut(self) -> bool:
        """Cut every connection to the site that is reached over SSH, wherever it is in its work."""
        return self.sshd.kill_sessions() > 0

    def drain(self) -> bool:
        """Let a node take no more jobs."""
        cluster = self._cluster()
        node = self.chance.choice(cluster.nodes)
        update = ("scontrol", "update", f"nodename={node}")
        if cluster.run(*update, "state=drain", "reason=storm").returncode:  # its controller is away
            return False
        self._back["drain"] = lambda: (self._back.pop("controller", bool)(), cluster.run(*update, "state=resume"))
        return True

    def node(self) -> bool:
        """Cut the power of a node."""
        cluster = self._cluster()
        node = self.chance.choice(cluster.nodes)
        try:
            cluster.lose_node(node)
        except ClusterError:  # its controller is away
            pass
        self._back["node"] = lambda: (self._back.pop("controller", bool)(), cluster.start_node(node))
        return True

    def controller(self) -> bool:
        """Take a controller away; in good order, for one that crashes forgets jobs that it took moments before."""
        cluster = self._cluster()
        cluster.stop_controller()

        def back() -> None:
            self._back.pop("accounting", bool)()  # without it slurmctld may refuse to start
            cluster.start_controller()

        self._back["controller"] = back
        return True

    def accounting(self) -> bool:
        """Take accounting away."""
        self.clusters.stop_dbd()
        self._back["accounting"] = self.clusters.start_dbd
        return True

    def _cluster(self) -> Cluster:
        return self.chance.choice(list(self.clusters.each.values()))

    def _element(self) -> tuple[Cluster, str]:
        """Return a running element of ours, if there is one, and its cluster."""
        cluster = self._cluster()
        found = cluster.run("squeue", "--noheader", "--array", "--states=R", "--format=%i %j").stdout.splitlines()
        ours = [line.split()[0] for line in found if "nexapod-" in line]
        return cluster, self.chance.choice(ours) if ours else ""


@pytest.mark.slow
def test_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """At least a hundred faults under load; every task is accepted, executions are unique, each group is one Slurm job."""
    seed = int(os.environ.get("NEXAPOD_CRASH_SEED", "20261124"))
    wanted = int(os.environ.get("NEXAPOD_CRASH_FAULTS", "100"))
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    home = SlurmHome(tmp_path)
    with Clusters.start() as clusters, Sshd.create(tmp_path / "sshd") as sshd:
        home.site(clusters.alpha, scheduler={"cmd_timeout": "2s"})
        home.site(
            clusters.beta,
            scheduler={"cmd_timeout": "2s", "transport": "ssh"},
            ssh={"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)},
            filesystem={"work_dir": str(home.path / "far")},
            runner={"python": sys.executable},
        )
        storm = Storm(home, clusters, sshd, chance)
        try:
            jobs, seconds = _weather(home, storm, wanted)
            print(f"{storm.counts.total()} faults over {jobs} jobs in {seconds:.0f} s: {dict(storm.counts)}")
            until(lambda: not storm.passes or storm.passes.poll() is not None or storm.drive(), "the last pass", timeout=400)
            home.drive(lambda: not home.rows("SELECT 1 FROM job WHERE finished_at IS NULL"), "all jobs to end", timeout=400)
            _all_is_well(home, clusters, jobs)
        finally:
            if storm.passes is not None:
                storm.passes.kill()
                storm.passes.wait()
            home.end()


def _weather(home: SlurmHome, storm: Storm, wanted: int) -> tuple[int, float]:
    """Keep the clusters busy and strike; return how many jobs there were, and the seconds."""
    jobs, began = 0, time.monotonic()
    quorum = 'agree = 2\ndistinct = "node"\nmax_replicas = 100\nmax_lost = 10000\n'
    text = home.tasks(60, "sleep 0.5").replace('agree = 1\ndistinct = "run"\n', quorum)
    while storm.counts.total() < wanted:
        assert time.monotonic() - began < 400, f"{storm.counts} only"
        if not jobs or len(home.out()) < 60:
            done = home.call("submit", home.descriptor(text))  # 75: a pass is under way; it is submitted all the same or not
            jobs += done.code == 0
        storm.drive()
        time.sleep(storm.chance.uniform(0.05, 0.3))
        storm.strike()
    storm.calm()
    storm.drive()
    return jobs, time.monotonic() - began


def _all_is_well(home: SlurmHome, clusters: Clusters, jobs: int) -> None:
    """Compare what ran with what is claimed, stored and accounted for."""
    rows = home.rows("SELECT * FROM job")
    assert len(rows) >= jobs
    assert [row["n_accepted"] for row in rows] == [row["n_tasks"] for row in rows], home.describe()
    assert [name for name, times in home.executed().items() if times > 1] == [], "a replica was executed twice"
    for cluster in clusters.each.values():
        until(lambda cluster=cluster: slurm_jobs(cluster, 0), "accounting to know them")
        made = {name: {element.partition("_")[0] for element in mine} for name, mine in slurm_jobs(cluster, 0).items()}
        assert [name for name, ids in made.items() if len(ids) > 1] == [], "a group was submitted twice"
    assert home.call("db", "check").code == 0
    stored = {bytes(row[0]) for row in home.rows("SELECT payload_sha256 FROM report")}
    for segment in (*home.path.glob("spool/*/reports/*.jsonl"), *home.path.glob("far/*/*/reports/*.jsonl")):
        for line in segment.read_bytes().split(b"\n")[:-1]:
            document = json.loads(line)
            if "payload" in document:
                assert hashlib.sha256(base64.b64decode(document["payload"])).digest() in stored, f"{segment}: lost report"
